"""The table of all boxes and what became of them: JSON lines beside the labels, and the same as CSV.

Below `<root>/<source>/` lie `masks.jsonl`, with one row per box and kept like the manifest, and `masks.csv`.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

from thriftseg.atomic import write_bytes
from thriftseg.datasets import Box
from thriftseg.errors import LabelStoreError
from thriftseg.stores import Manifest

_SCHEMA = 1

Status = Literal["mask", "empty", "invalid_box"]


@dataclass(frozen=True)
class MaskRow:
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
        confidence: Mean foreground probability of its pixels for Box2Seg, the score of a prompter; `None` where there
            is none.
        iou: IoU with the truth; `None` where the truth is not known or lacks the object.
        kept: Whether the label holds the mask, which the filter may have taken out.
    """

    video: str
    frame: int
    object: int
    box: tuple[float | None, ...]
    status: Status
    source: str
    area: int
    confidence: float | None
    iou: float | None
    kept: bool


def recordable(box: Box) -> tuple[float | None, ...]:
    """A box as it stands in the table."""
    return tuple(round(side, 3) if math.isfinite(side) else None for side in box)


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
        self._lines.append([{"schema": _SCHEMA, **asdict(row)} for row in rows])

    def read(self) -> list[MaskRow]:
        """All rows by video, frame and object; where one was written twice, the later one.

        Raises:
            LabelStoreError: The file is damaged or of an unknown version.
        """
        found: dict[tuple[str, int, int], MaskRow] = {}
        for entry in self._lines.read():
            if entry.pop("schema", None) != _SCHEMA:
                raise LabelStoreError(
                    "table of masks of an unknown version",
                    path=self._lines.path,
                    expected=f"schema {_SCHEMA}",
                    fix="use the thriftseg version that wrote it, or generate the labels again",
                )
            try:
                row = MaskRow(**{**entry, "box": tuple(entry["box"])})
            except (TypeError, KeyError) as error:
                raise LabelStoreError("damaged row", path=self._lines.path, found=str(entry)) from error
            found[row.video, row.frame, row.object] = row
        return [found[key] for key in sorted(found)]

    def consolidate(self) -> None:
        """Merge the files of all writers into one sorted one, and write the CSV. No other writer may be at work."""
        rows = self.read()
        if rows:
            self._lines.consolidate({"schema": _SCHEMA, **asdict(row)} for row in rows)
            write_bytes(self._csv, _as_csv(rows).encode())


def _as_csv(rows: Sequence[MaskRow]) -> str:
    names = [field.name for field in fields(MaskRow) if field.name != "box"]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*names[:3], "x0", "y0", "x1", "y1", *names[3:]])
    for row in rows:
        values = [getattr(row, name) for name in names]
        writer.writerow([*values[:3], *row.box, *values[3:]])
    return stream.getvalue()
