"""The files in which a person labels images: label PNGs, or the annotation file of a tool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from thriftseg.annotation.people.images import ImageTask
from thriftseg.arrays import AnyArray, UInt8Array
from thriftseg.datasets import read_label_png, write_label_png
from thriftseg.errors import ConfigError, DatasetError
from thriftseg.exchange import COCO_FILE as COCO_FILE
from thriftseg.exchange import CVAT_FILE as CVAT_FILE
from thriftseg.exchange import (
    CVAT_LABEL_FILE,
    FORMATS,
    AnnotatedImage,
    ExportedFrame,
    FrameNames,
    train_ids_of,
    write_label_constructor,
)
from thriftseg.pixels import open_image
from thriftseg.taxonomies import Taxonomy
from thriftseg.types import IGNORE_INDEX, Clip


class AnswerFiles(Protocol):
    """Files of a round that start without labels and come back with some."""

    how_to: str
    """What to do with them, for the person."""

    def prepare(self, folder: Path, tasks: Sequence[ImageTask]) -> None:
        """Write empty files; those that are there are left alone."""

    def read(self, folder: Path, tasks: Sequence[ImageTask]) -> dict[str, tuple[Path, UInt8Array]]:
        """Labels of the images, 255 where there is none, by name of the task, each with its file.

        Raises:
            DatasetError: A file is malformed, or does not fit the tasks or the class table.
        """


class LabelPNGs:
    """A palette PNG of train ids per image.

    Args:
        taxonomy: The class table.
    """

    how_to = (
        "Paint the PNG files below `labels`, each of which belongs to the image of the same name below `images`, and "
        "save them as they are: one channel of class ids with the palette unchanged. 255 means no label."
    )

    def __init__(self, taxonomy: Taxonomy) -> None:
        self._taxonomy = taxonomy

    def prepare(self, folder: Path, tasks: Sequence[ImageTask]) -> None:
        """Write empty files; see `AnswerFiles`."""
        for task in tasks:
            path = self._path(folder, task)
            if not path.exists():
                write_label_png(path, np.full(task.size, IGNORE_INDEX, np.uint8), self._taxonomy.flat_palette())

    def read(self, folder: Path, tasks: Sequence[ImageTask]) -> dict[str, tuple[Path, UInt8Array]]:
        """Labels of the images; see `AnswerFiles`."""
        return {task.name: (path := self._path(folder, task), self._read(path, task)) for task in tasks}

    @staticmethod
    def _path(folder: Path, task: ImageTask) -> Path:
        return folder / "labels" / f"{task.name}.png"

    def _read(self, path: Path, task: ImageTask) -> UInt8Array:
        try:
            ids = read_label_png(path)
        except DatasetError as error:
            raise _mended(error, "save it as an indexed PNG of class ids, or delete it to start anew") from error
        _check_size(path, ids.shape, task)
        used, classes = np.unique(ids), len(self._taxonomy.palette)
        unknown = [value for value in used.tolist() if value != IGNORE_INDEX and not 0 <= value < classes]
        if unknown:
            raise DatasetError(
                f"label ids outside the class table {self._taxonomy.name!r}",
                path=path,
                expected=f"0..{classes - 1}, or {IGNORE_INDEX} for no label",
                found=", ".join(map(str, unknown[:10])),
                fix="paint with the ids that instructions.md lists",
            )
        self._check_palette(path, used)
        return ids.astype(np.uint8)

    def _check_palette(self, path: Path, used: AnyArray) -> None:
        """Some tools sort the palette when they save, after which the ids mean other classes."""
        with open_image(path) as image:
            flat = image.getpalette("RGB") if image.mode == "P" else None
        if flat is None:
            return
        expected = np.frombuffer(self._taxonomy.flat_palette(), np.uint8).reshape(256, 3)[used]
        colors = np.array(flat).reshape(-1, 3)
        found = np.append(colors, np.full((256 - len(colors), 3), -1), axis=0)[used]  # palettes may end early
        wrong = np.flatnonzero((expected != found).any(axis=1))
        if wrong.size:
            first = int(wrong[0])
            raise DatasetError(
                "the palette has changed, so the ids may mean other classes",
                path=path,
                expected=f"colour {tuple(expected[first].tolist())} for id {used[first]}",
                found=f"{tuple(found[first].tolist())}",
                fix="save the label with the palette it came with, or as greyscale of class ids",
            )


class ToolFile:
    """The annotation file of a tool, one for all images.

    Args:
        taxonomy: The class table.
        format: "coco" or "cvat".
    """

    def __init__(self, taxonomy: Taxonomy, format: str) -> None:
        self._taxonomy, self._format = taxonomy, FORMATS[format]
        self._file = {"coco": COCO_FILE, "cvat": CVAT_FILE}[format]
        labels = f"; `{CVAT_LABEL_FILE}` holds the labels of the project" if format == "cvat" else ""
        self.how_to = (
            f"Load the folder `images` and `{self._file}` into the tool{labels}. Draw masks or polygons, later ones on "
            f"top, and save the tool's export here as `{self._file}`, over the one that is there."
        )

    def prepare(self, folder: Path, tasks: Sequence[ImageTask]) -> None:
        """Write the file without shapes; see `AnswerFiles`."""
        if not (folder / self._file).exists():
            clips = _clips_of(folder, tasks)
            empty = (
                ExportedFrame(clips[task.request.video], position, np.zeros(task.size, np.uint16), ())
                for position, task in enumerate(tasks)
            )
            self._format.write(folder, empty, self._taxonomy)
        if self._file == CVAT_FILE and not (folder / CVAT_LABEL_FILE).exists():
            write_label_constructor(folder, self._taxonomy)

    def read(self, folder: Path, tasks: Sequence[ImageTask]) -> dict[str, tuple[Path, UInt8Array]]:
        """Labels of the images; see `AnswerFiles`."""
        path = folder / self._file
        images = self._format.read(path)
        names = {shape.label for image in images for shape in image.shapes}
        try:
            train_ids = train_ids_of(names, self._taxonomy, path)
        except DatasetError as error:
            raise _mended(error, "rename the classes in the tool to those that instructions.md lists") from error
        matched = self._match(path, images, folder, tasks)
        labels = {}
        for task in tasks:
            image = matched.get(task.name, AnnotatedImage(path, task.name, ()))
            _check_size(path, image.size or task.size, task)
            labels[task.name] = path, image.paint(task.size, train_ids)
        return labels

    def _match(
        self, path: Path, images: Sequence[AnnotatedImage], folder: Path, tasks: Sequence[ImageTask]
    ) -> dict[str, AnnotatedImage]:
        """The images of the file by name of the task."""
        known = FrameNames(list(_clips_of(folder, tasks).values()), folder / "images")
        matched: dict[str, AnnotatedImage] = {}
        for image in images:
            found = [tasks[position].name for _, position in known.find(image)]
            if len(found) != 1 or found[0] in matched:
                problem = "is there twice" if len(found) == 1 else "is none of this round, or may be several"
                raise DatasetError(
                    f"image {image.name!r} {problem}",
                    path=path,
                    expected=f"names such as {tasks[0].name}.png",
                    fix="annotate the images as they are called below images",
                )
            matched[found[0]] = image
        return matched


EXCHANGES = ("png", "coco", "cvat")
"""Ways to exchange labels with a person."""


def answer_files(exchange: str, taxonomy: Taxonomy) -> AnswerFiles:
    """The files of an exchange.

    Args:
        exchange: One of `EXCHANGES`.
        taxonomy: The class table.

    Raises:
        ConfigError: There is no such exchange.
    """
    if exchange not in EXCHANGES:
        raise ConfigError("no such exchange of labels", expected=", ".join(EXCHANGES), found=repr(exchange))
    return LabelPNGs(taxonomy) if exchange == "png" else ToolFile(taxonomy, exchange)


def _clips_of(folder: Path, tasks: Sequence[ImageTask]) -> Mapping[str, Clip]:
    """The images as clips, with the positions of the tasks for frame numbers, since formats name images by clips."""
    videos: dict[str, dict[int, Path]] = {}
    for position, task in enumerate(tasks):
        videos.setdefault(task.request.video, {})[position] = task.image_path(folder)
    return {video: Clip(video, frames) for video, frames in videos.items()}


def _check_size(path: Path, found: tuple[int, ...], task: ImageTask) -> None:
    if found != task.size:
        raise DatasetError(
            f"the label of {task.name} has another size than its image",
            path=path,
            expected=f"{task.size[1]}x{task.size[0]}",
            found=f"{found[1]}x{found[0]}",
            fix="label the image as it is, without cropping or scaling it",
        )


def _mended(error: DatasetError, fix: str) -> DatasetError:
    """The same fault with the fix that holds here."""
    return DatasetError(error.problem, path=error.path, expected=error.expected, found=error.found, fix=fix)
