"""A real person, who finds what to label in a folder and leaves the labels there.

    <folder>/round_<k>/
        instructions.md        what to do, and the class table
        task.json              what was asked; place for notes: working seconds, and `done` for what stays empty
        images/<video>/<frame>_<region>.png    the region, outlined, with some of the frame around it
        labels/<video>/<frame>_<region>.png    exchange "png": palette PNG of train ids, 255 = no label
        annotations.json                       exchange "coco"
        annotations.xml, labels.json           exchange "cvat"

The folder is all there is: nothing that exists is written again, what is missing is put back, and labels are read from
it whenever the same is asked.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

from msgspec.structs import replace

from thriftseg.annotation.people.answer_files import answer_files
from thriftseg.annotation.people.images import ImageTask
from thriftseg.annotation.people.requests import Answer, Request
from thriftseg.annotation.people.task_file import INSTRUCTIONS, TASK_FILE, open_task_file
from thriftseg.arrays import UInt8Array
from thriftseg.atomic import sweep_partial, write_bytes
from thriftseg.costs import PolygonCost, count_polygon_vertices
from thriftseg.datasets import encode_frame
from thriftseg.errors import ConfigError, WaitingForLabels
from thriftseg.taxonomies import Taxonomy, hex_color
from thriftseg.types import IGNORE_INDEX

_MARGIN = 32  # enough to see what a small region is part of
_SHOWN = 3
_TEXT = f"""# {{title}}: {{count}} regions to label

Every image below `images` shows one region with a line around it, or a whole frame without one. Label all of its
pixels; leave out what you cannot tell. What you label outside of the line does not count.

{{how_to}}

Then run the same command again; it says what is still missing. A region counts as labelled once any of its pixels is.
Where a region stays empty, set `done` to true in `{TASK_FILE}`. If you stop the time, write the seconds of each
region there.

| id | class | colour |
| --- | --- | --- |
{{rows}}
"""


class FilesAnnotator:
    """A real person who labels images in a folder.

    A region is answered once any pixel of it is labelled, or its task is marked as `done`. Labels outside of the
    region are left out, with a warning that counts them. An answer costs the seconds that the person has noted, else
    `seconds_per_sample`, else those of drawing its label with polygons; clicks are always counted on the label.

    Args:
        folder: Where the rounds lie.
        taxonomy: The class table.
        read_frame: Reads a frame, (H, W, 3) uint8 RGB, by video and native frame number.
        exchange: "png", "coco" or "cvat".
        seconds_per_sample: Working time per region, where it was measured on the whole.
        cost_model: Counts clicks, and prices them where no time is known.

    Raises:
        ConfigError: There is no such exchange, or the time is negative.

    Example:
        >>> import numpy as np
        >>> import tempfile
        >>> from thriftseg.annotation import Sample
        >>> from thriftseg.datasets import write_label_png
        >>> from thriftseg.taxonomies import CAMVID
        >>> request = Request.of("drive", Sample(30, 0), np.ones((4, 6), bool), "frame")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     person = FilesAnnotator(folder, CAMVID, lambda video, number: np.zeros((4, 6, 3), np.uint8))
        ...     try: person.ask([request], round=1)
        ...     except WaitingForLabels as error: print(error.problem)
        ...     write_label_png(f"{folder}/round_1/labels/drive/000030_00000.png", np.full((4, 6), 3, np.uint8))
        ...     [answer] = person.ask([request], round=1)
        1 of 1 regions are not labelled yet: drive/000030_00000
        >>> answer.cost.clicks, np.unique(answer.label).tolist()
        (4, [3])
    """

    def __init__(
        self,
        folder: str | Path,
        taxonomy: Taxonomy,
        read_frame: Callable[[str, int], UInt8Array],
        *,
        exchange: str = "png",
        seconds_per_sample: float | None = None,
        cost_model: PolygonCost | None = None,
    ) -> None:
        if seconds_per_sample is not None and not seconds_per_sample >= 0:
            raise ConfigError("seconds_per_sample", expected="0 or more", found=seconds_per_sample)
        self._folder, self._taxonomy, self._read_frame = Path(folder), taxonomy, read_frame
        self._exchange, self._files = exchange, answer_files(exchange, taxonomy)
        self._seconds, self._model = seconds_per_sample, cost_model or PolygonCost()

    def ask(self, requests: Sequence[Request], round: int) -> list[Answer]:
        """Read labels from the folder of the round, which is filled at the first time; see `Annotator`.

        Raises:
            WaitingForLabels: Some regions are not labelled yet.
            DatasetError: A file is malformed or does not fit its image or the class table, or the folder asks for
                other regions.
        """
        if not requests:
            return []
        folder = self._folder / f"round_{round}"
        tasks = [ImageTask(request, _MARGIN) for request in requests]
        notes = open_task_file(folder, self._exchange, tasks, self._taxonomy)
        self._prepare(folder, tasks)
        patches = self._read(folder, tasks)
        missing = [
            task.name for task in tasks if not notes[task.name].done and not (patches[task.name] != IGNORE_INDEX).any()
        ]
        if missing:
            shown = ", ".join(missing[:_SHOWN]) + (", ..." if len(missing) > _SHOWN else "")
            raise WaitingForLabels(
                f"{len(missing)} of {len(tasks)} regions are not labelled yet: {shown}",
                path=folder,
                fix=f"label them as {INSTRUCTIONS} there says, then run the same command again",
            )
        answers = []
        for task in tasks:
            patch, noted = patches[task.name], notes[task.name].seconds
            cost = self._model.drawn(*count_polygon_vertices(patch, self._model.tolerance))
            seconds = self._seconds if noted is None else noted
            if seconds is None:
                answers.append(Answer(task.request, patch, cost, self._model.name))
            else:
                answers.append(Answer(task.request, patch, replace(cost, seconds=seconds)))
        return answers

    def _prepare(self, folder: Path, tasks: Sequence[ImageTask]) -> None:
        sweep_partial(folder)
        absent = [task for task in tasks if not task.image_path(folder).exists()]
        absent.sort(key=lambda task: task.request.frame)
        for frame, group in groupby(absent, key=lambda task: task.request.frame):
            image = self._read_frame(*frame)
            for task in group:
                write_bytes(task.image_path(folder), encode_frame(task.picture(image), ".png"))
        self._files.prepare(folder, tasks)
        if not (folder / INSTRUCTIONS).exists():
            classes = self._taxonomy.classes
            rows = "\n".join(f"| {row.train_id} | {row.name} | {hex_color(row.color)} |" for row in classes)
            text = _TEXT.format(title=folder.name, count=len(tasks), how_to=self._files.how_to, rows=rows)
            write_bytes(folder / INSTRUCTIONS, text.encode())

    def _read(self, folder: Path, tasks: Sequence[ImageTask]) -> dict[str, UInt8Array]:
        """Labels in the boxes of the requests, by name of the task."""
        patches: dict[str, UInt8Array] = {}
        outside: dict[Path, int] = {}
        labels = self._files.read(folder, tasks)
        for task in tasks:
            path, label = labels[task.name]
            patches[task.name], lost = task.cut(label)
            if lost:
                outside[path] = outside.get(path, 0) + lost
        if outside:
            more = f" and {len(outside) - 1} more files" if len(outside) > 1 else ""
            warnings.warn(
                f"{next(iter(outside))}{more}: {sum(outside.values())} labelled pixels lie outside of the regions and "
                "were left out",
                stacklevel=3,
            )
        return patches
