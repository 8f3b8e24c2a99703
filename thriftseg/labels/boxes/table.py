"""The table of all boxes and what became of them: JSON lines beside the labels, and the same as CSV.

Below `<root>/<source>/` lie `masks.jsonl`, with one row per box and kept like the manifest, and `masks.csv`.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from thriftseg.atomic import write_bytes
from thriftseg.datasets import Box
from thriftseg.parsing import Count, Number, Record
from thriftseg.stores import Manifest

_SCHEMA = 1

Status = Literal["mask", "empty", "invalid_box"]
BoxSides = tuple[Number | None, Number | None, Number | None, Number | None]


class MaskRow(Record, frozen=True):
    """One object in one frame.

    Attributes:
        video: Identifier of the video.
        frame: Native frame number.
        object: Id of the object.
        box: Its box as given, (x0, y0, x1, y1) in pixels; `None` for what is no finite number.
        status: "mask", "empty" where nothing was found in the box, or "invalid_box" where the box is empty, inverted or
            outside of the frame.
        source: "manual", the method, or the method with `_ft` after fine-tuning; empty without a mask.
        area: Pixels that the object has among the others.
        confidence: Mean foreground probability of its pixels for Box2Seg, the expected IoU for `BoxGrabCut`, the score
            of a prompter; `None` where there is none.
        iou: IoU with the truth; `None` where the truth is not known or lacks the object.
        kept: Whether the label holds the mask, which the filter may have taken out.
    """

    video: str
    frame: Count
    object: int
    box: BoxSides
    status: Status
    source: str
    area: Count
    confidence: Number | None
    iou: Number | None
    kept: bool


def recordable(box: Box) -> BoxSides:
    """A box as it stands in the table."""
    left, top, right, bottom = (round(side, 3) if math.isfinite(side) else None for side in box)
    return left, top, right, bottom


class MaskTable:
    """The boxes of the labels of one source; any number of processes may write to it.

    Args:
        folder: Folder of the source.
        writer: Name of this process when several write at the same time, else `None`.
    """

    def __init__(self, folder: Path, writer: str | None = None) -> None:
        self._lines = Manifest(folder, writer, stem="masks")
        self._csv = folder / "masks.csv"

    @property
    def csv_path(self) -> Path:
        """The table as CSV."""
        return self._csv

    def write(self, rows: Iterable[MaskRow]) -> None:
        """Add the rows of a frame, before its label is stored."""
        self._lines.append([{"schema": _SCHEMA, **row.to_json()} for row in rows])

    def read(self) -> list[MaskRow]:
        """All rows by video, frame and object; where one was written twice, the later one.

        Raises:
            LabelStoreError: The file is damaged or of an unknown version.
        """
        found = {(row.video, row.frame, row.object): row for row in self._lines.read(MaskRow, _SCHEMA)}
        return [found[key] for key in sorted(found)]

    def consolidate(self) -> None:
        """Merge the files of all writers into one sorted one, and write the CSV. No other writer may be at work."""
        rows = self.read()
        if rows:
            self._lines.consolidate(({"schema": _SCHEMA, **row.to_json()} for row in rows), len(rows))
            write_bytes(self._csv, _as_csv(rows).encode())


def _as_csv(rows: Sequence[MaskRow]) -> str:
    names = [name for name in MaskRow.__struct_fields__ if name != "box"]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*names[:3], "x0", "y0", "x1", "y1", *names[3:]])
    for row in rows:
        values = [getattr(row, name) for name in names]
        writer.writerow([*values[:3], *row.box, *values[3:]])
    return stream.getvalue()
