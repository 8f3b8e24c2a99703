"""Single tasks in a folder of a person: what is asked, and how an answer is left in the files.

The files are those of `FilesAnnotator` (regions) and `MaskFilesPerson` (masks and clicks of objects), so that the page,
an editor and a script are interchangeable.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import cv2
import msgspec
import numpy as np

from thriftseg.annotation.page.frame_state import FrameState, patch_of
from thriftseg.annotation.page.refusals import Conflict
from thriftseg.annotation.page.work import FrameStart
from thriftseg.annotation.people.images import OUTLINE_COLOR
from thriftseg.annotation.people.mask_files import AskedAnnotation
from thriftseg.annotation.people.masks import MaskClick
from thriftseg.annotation.people.task_file import TASK_FILE, write_notes
from thriftseg.arrays import AnyArray, BoolArray, Int32Array, UInt8Array
from thriftseg.datasets import PALETTE, probe_size, read_frame, read_label_png, write_label_png
from thriftseg.errors import DatasetError
from thriftseg.parsing import Amount, Count, FileName, read_json
from thriftseg.stores import objects_of
from thriftseg.taxonomies import LabelClass, Taxonomy
from thriftseg.types import IGNORE_INDEX, Size

OBJECT = Taxonomy("object", 1, (LabelClass(0, "object", 0, (0, 220, 60)),))
"""The class of tasks that are about one object."""

_EXCHANGE = "png"
_OTHER_PLACES = 100_000  # regions of a frame have five digits in the names of their files


class PageTask(ABC):
    """One task.

    Attributes:
        folder: Folder of the task file.
        group: What it is shown with: name of a video of the page, unique in the folder together with `number`.
        number: Number of the frame among these.
        image: The picture to look at.
        kind: What is asked for.
        text: The same for people.
    """

    folder: Path
    group: str
    number: int
    image: Path
    kind: Literal["region", "mask", "clicks"]
    text: str

    @property
    @abstractmethod
    def files(self) -> Sequence[Path]:
        """Files that change with the answer."""

    @abstractmethod
    def is_answered(self) -> bool:
        """Whether there is an answer.

        Raises:
            DatasetError: A file is malformed.
        """

    @abstractmethod
    def start(self) -> FrameStart:
        """What the page shows of it.

        Raises:
            DatasetError: A file is malformed.
        """

    @abstractmethod
    def answer(self, state: FrameState, seconds: float, clicks: Sequence[MaskClick]) -> None:
        """Leave an answer in the files.

        Raises:
            Conflict: It is none.
        """

    @abstractmethod
    def answer_absent(self, seconds: float) -> None:
        """Say that nothing of what is asked for can be seen."""

    @cached_property
    def size(self) -> Size:
        """Height and width of the picture."""
        return probe_size(self.image)

    @property
    def task_file(self) -> Path:
        """The task file."""
        return self.folder / TASK_FILE

    def _sized(self, path: Path, image: AnyArray) -> AnyArray:
        if image.shape[:2] != self.size:
            raise DatasetError(
                "not of the size of its picture",
                path=path,
                expected=f"{self.size[1]}x{self.size[0]}",
                found=f"{image.shape[1]}x{image.shape[0]}",
                fix="delete it, or the folder, to start anew",
            )
        return image

    def _told(self) -> dict[str, str]:
        return {"kind": self.kind, "text": self.text}


class RegionRow(msgspec.Struct):
    """A task of `FilesAnnotator`; see `ImageTask.to_dict`."""

    name: FileName
    video: FileName
    frame: Count
    granularity: str
    region: Count
    pixels: Count
    box: tuple[Count, Count, Count, Count]
    crop: tuple[Count, Count, Count, Count]
    seconds: Amount | None = None
    done: bool = False


class RegionTask(PageTask):
    """A region of a frame whose pixels get classes.

    Args:
        folder: Folder of the round.
        round: Its name on the page.
        row: What the task file says.
        taxonomy: The classes.
    """

    kind: Literal["region", "mask", "clicks"] = "region"

    def __init__(self, folder: Path, round: str, row: RegionRow, taxonomy: Taxonomy) -> None:
        self.folder, self._row, self._taxonomy = folder, row, taxonomy
        self.image, self._label = folder / "images" / f"{row.name}.png", folder / "labels" / f"{row.name}.png"
        whole = row.granularity == "frame"
        self.number = row.frame if whole else row.frame * _OTHER_PLACES + row.region
        self.group = f"{round}/{row.video}" + ("" if whole else " {1}x{0}".format(*self.size))
        what = "label all of it" if whole else "label the region inside of the line"
        self.text = f"Frame {row.frame} of {row.video}: {what}"

    @property
    def files(self) -> Sequence[Path]:
        """Label and task file."""
        return [self._label, self.task_file]

    def is_answered(self) -> bool:
        """Whether any of its pixels has a label, or it is done."""
        return self._is_done() or bool((self._read()[self._region] != IGNORE_INDEX).any())

    def start(self) -> FrameStart:
        """What was labelled so far, and the region."""
        found = objects_of(self._read())
        state = FrameState(found.ids, {item.id: item.train_id for item in found.objects})
        origin: Literal["drawn", "empty"] = "drawn" if self.is_answered() else "empty"
        return FrameStart(state, origin, region=patch_of(self._region), task=self._told())

    def answer(self, state: FrameState, seconds: float, clicks: Sequence[MaskClick]) -> None:
        """Write the label, then the task file."""
        label = np.where(self._region, state.to_label(), np.uint8(IGNORE_INDEX))
        if (label == IGNORE_INDEX).all():
            raise Conflict("nothing of the region is labelled", fix="label it, or say that there is nothing to tell")
        self._write(label, seconds)

    def answer_absent(self, seconds: float) -> None:
        """Leave the region empty."""
        self._write(np.full(self.size, IGNORE_INDEX, np.uint8), seconds)

    def _write(self, label: UInt8Array, seconds: float) -> None:
        write_label_png(self._label, label, self._taxonomy.flat_palette())
        write_notes(self.task_file, {"seconds": seconds, "done": True}, self._row.name)

    def _is_done(self) -> bool:
        rows = _read_regions(self.task_file).tasks
        return any(row.done for row in rows if row.name == self._row.name)

    def _read(self) -> UInt8Array:
        if not self._label.exists():  # the loop puts it back
            return np.full(self.size, IGNORE_INDEX, np.uint8)
        ids: Int32Array = self._sized(self._label, read_label_png(self._label)).astype(np.int32)
        known = (ids < self._taxonomy.num_classes) | (ids == IGNORE_INDEX)
        if not known.all():
            raise DatasetError(
                f"label ids outside the class table {self._taxonomy.name!r}",
                path=self._label,
                expected=f"0..{self._taxonomy.num_classes - 1}, or {IGNORE_INDEX} for no label",
                found=int(ids[~known][0]),
                fix="delete the file to start anew",
            )
        return ids.astype(np.uint8)

    @cached_property
    def _region(self) -> BoolArray:
        """Pixels of the picture that belong to the region: the box, or what lies within the line inside of it."""
        left, top, right, bottom = self._row.box
        x, y = self._row.crop[:2]
        box = np.zeros(self.size, np.bool_)
        box[top - y : bottom - y, left - x : right - x] = True
        if self._row.pixels == np.count_nonzero(box):
            return box
        line = (self._sized(self.image, read_frame(self.image)) == OUTLINE_COLOR).all(axis=2)
        _, parts = cv2.connectedComponents((~line).view(np.uint8), connectivity=4)
        inside = ~line & ~np.isin(parts, np.unique(parts[~box & ~line]))
        return inside if np.count_nonzero(inside) == self._row.pixels else box


class MaskTask(PageTask):
    """The mask of an object in a frame, drawn or corrected by clicks.

    Args:
        folder: Folder of the task.
        group: Its name on the page.
    """

    def __init__(self, folder: Path, group: str) -> None:
        self.folder, self.group, self.image = folder, group, folder / "frame.png"
        asked = self._asked()
        if asked.type not in ("mask", "clicks"):
            raise DatasetError("no such task", path=self.task_file, expected="mask or clicks", found=asked.type)
        self.kind = "mask" if asked.type == "mask" else "clicks"
        self.number = asked.frame
        what = "draw its mask" if self.kind == "mask" else "click on what is wrong with its mask"
        self.text = f"Object {asked.object} of {asked.video}: {what}"

    @property
    def files(self) -> Sequence[Path]:
        """The task file, and the mask where one is drawn."""
        return [self.task_file, self.folder / "mask.png"] if self.kind == "mask" else [self.task_file]

    def is_answered(self) -> bool:
        """Whether it is done."""
        return self._asked().done

    def start(self) -> FrameStart:
        """The mask so far."""
        origin: Literal["drawn", "machine"] = "drawn" if self.is_answered() else "machine"
        return FrameStart(FrameState(self.mask().astype(np.uint16), {1: 0}), origin, task=self._told())

    def mask(self) -> BoolArray:
        """The mask so far, (H, W); that of clicks is known from its picture."""
        if self.kind == "mask":
            path = self.folder / "mask.png"
            return np.equal(self._sized(path, read_label_png(path)), 1)
        path = self.folder / "current.png"
        return np.asarray((self._sized(path, read_frame(path)) != read_frame(self.image)).any(axis=2), np.bool_)

    def answer(self, state: FrameState, seconds: float, clicks: Sequence[MaskClick]) -> None:
        """Write the mask or the clicks, then that it is done."""
        notes: dict[str, object] = {"absent": False, "seconds": seconds, "done": True}
        if self.kind == "mask":
            mask = (state.to_label() != IGNORE_INDEX).view(np.uint8)
            if not mask.any():
                raise Conflict("the mask is empty", fix="draw it, or say that the object is not there")
            write_label_png(self.folder / "mask.png", mask, PALETTE)
        elif clicks:
            notes["clicks"] = [[click.x, click.y, int(click.positive)] for click in clicks]
        elif not self._asked().clicks:
            raise Conflict("this task takes clicks", fix="click where the mask is wrong and accept the answer")
        write_notes(self.task_file, notes)

    def answer_absent(self, seconds: float) -> None:
        """Say that the object is not in the frame."""
        write_notes(self.task_file, {"absent": True, "seconds": seconds, "done": True})

    def _asked(self) -> AskedAnnotation:
        return read_json(self.task_file, AskedAnnotation, lax=True)


class _ClassRow(msgspec.Struct):
    id: Count
    name: str
    color: str


class RegionFile(msgspec.Struct):
    """A task file of `FilesAnnotator`; see `open_task_file`."""

    exchange: str
    taxonomy: str
    classes: list[_ClassRow]
    tasks: list[RegionRow]


class _AnyTaskFile(msgspec.Struct):
    exchange: str | None = None


def read_tasks(path: Path, name: str) -> tuple[Taxonomy, list[PageTask]]:
    """The tasks of a task file, and their classes.

    Args:
        path: The file.
        name: Name of its folder on the page.

    Raises:
        DatasetError: It is malformed, or a picture is missing.
        Conflict: Its labels are exchanged with another tool.
    """
    exchange = read_json(path, _AnyTaskFile).exchange
    if exchange is None:
        return OBJECT, [MaskTask(path.parent, name)]
    if exchange != _EXCHANGE:
        raise Conflict(
            "labels that are exchanged with another tool",
            path=path,
            expected=f"exchange {_EXCHANGE}",
            found=f"exchange {exchange}",
            fix=f"ask again with --exchange {_EXCHANGE}, in another folder",
        )
    found = _read_regions(path)
    taxonomy = _taxonomy_of(found, path)
    return taxonomy, [RegionTask(path.parent, name, row, taxonomy) for row in found.tasks]


def _read_regions(path: Path) -> RegionFile:
    found = read_json(path, RegionFile)
    outside = [row.name for row in found.tasks if ".." in Path(row.name).parts or Path(row.name).is_absolute()]
    if outside:
        raise DatasetError("a task that leads out of its folder", path=path, found=outside[0])
    return found


def _taxonomy_of(found: RegionFile, path: Path) -> Taxonomy:
    name, _, version = found.taxonomy.rpartition(" version ")
    try:
        colors = [tuple(bytes.fromhex(row.color.removeprefix("#"))) for row in found.classes]
        table = tuple(
            LabelClass(row.id, row.name, row.id, (red, green, blue))
            for row, (red, green, blue) in zip(found.classes, colors, strict=True)
        )
        return Taxonomy(name, int(version), table)
    except ValueError as error:
        raise DatasetError("a damaged class table", path=path, found=str(error)) from error
