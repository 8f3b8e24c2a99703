"""Reading label maps of unknown origin into train ids: raw ids, train ids or colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from thriftseg.arrays import Int32Array, UInt8Array
from thriftseg.datasets import read_frame, read_label_png
from thriftseg.errors import DatasetError
from thriftseg.pixels import open_image
from thriftseg.taxonomies import Taxonomy
from thriftseg.types import IGNORE_INDEX

IdSpace = Literal["label", "train", "either"]
"""Ids of the data set's label files, train ids, or both where they do not contradict each other."""

_UNKNOWN = 254
_PROBED = 16
_SHOWN = 10


@dataclass(frozen=True)
class LabelMapReader:
    """Reads PNGs into train ids, (H, W) uint8, 255 = no class.

    One-channel and palette files hold ids; colour files are translated by the colours of the class table.

    Attributes:
        taxonomy: Class table.
        space: What the ids of the files mean.
        option: Option of the command line that says so, for messages.
    """

    taxonomy: Taxonomy
    space: IdSpace
    option: str

    def read(self, path: Path) -> UInt8Array:
        """Read a file.

        Raises:
            DatasetError: It is missing, unreadable, or holds an id or a colour that the class table does not have.
        """
        if _has_colours(path):
            return _translate_colours(self.taxonomy, path)
        raw = read_label_png(path)
        ids = np.asarray(cv2.LUT(raw.astype(np.uint8, copy=False), self._table), np.uint8)
        if raw.dtype != np.uint8:
            ids[(raw < 0) | (raw > 255)] = IGNORE_INDEX if self.taxonomy.others_ignored else _UNKNOWN
        if (ids == _UNKNOWN).any():
            raise self._unknown(path, raw, ids)
        return ids

    @cached_property
    def _table(self) -> UInt8Array:
        table = np.full(256, IGNORE_INDEX if self.taxonomy.others_ignored else _UNKNOWN, np.uint8)
        if self.space != "label":
            table[[*range(self.taxonomy.num_classes), IGNORE_INDEX]] = [*range(self.taxonomy.num_classes), IGNORE_INDEX]
        if self.space != "train":
            for row in self.taxonomy.table:
                if row.id >= 0:
                    table[row.id] = row.train_id
        return table

    def _unknown(self, path: Path, raw: UInt8Array | Int32Array, ids: UInt8Array) -> DatasetError:
        unknown = np.unique(raw[ids == _UNKNOWN]).tolist()
        other = {"label": "train", "train": "label"}.get(self.space)
        known = "train ids" if self.space == "train" else "ids"
        return DatasetError(
            f"ids outside the class table {self.taxonomy.name!r}",
            path=path,
            expected=f"{known} of its {self.taxonomy.num_classes} classes",
            found=", ".join(map(str, unknown[:_SHOWN])) + (", ..." if len(unknown) > _SHOWN else ""),
            fix=f"pass {self.option} {other} if these are {other} ids" if other else "check --layout and --classes",
        )


def decide_space(taxonomy: Taxonomy, paths: Sequence[Path], option: str) -> IdSpace:
    """Find out whether files hold label ids or train ids.

    Both are accepted where every class has the same id in both. Otherwise an id that only exists as a label id decides
    for label ids, and failing that an id that would be no class as a label id decides for train ids. A spread of the
    files is looked at first, and the others only as long as nothing has told.

    Args:
        taxonomy: Class table.
        paths: The files.
        option: Option of the command line that settles it, for the message.

    Raises:
        DatasetError: Every id means a class either way.
    """
    rows = {row.id: row.train_id for row in taxonomy.table}
    if all(row.ignored or row.id == row.train_id for row in taxonomy.table):
        return "either"
    trained = set(range(taxonomy.num_classes))
    label_only = rows.keys() - trained - {IGNORE_INDEX}
    train_only = {value for value in (*trained, IGNORE_INDEX) if rows.get(value, IGNORE_INDEX) == IGNORE_INDEX}
    seen: set[int] = set()
    for index, path in enumerate(_spread(paths, _PROBED)):
        if index >= _PROBED and seen & train_only:
            break
        if not _has_colours(path):
            seen.update(np.unique(read_label_png(path)).tolist())
            if seen & label_only:
                return "label"
    if seen and not seen & train_only:
        raise DatasetError(
            "cannot tell label ids from train ids",
            path=paths[0].parent,
            expected=f"an id that is a class of {taxonomy.name!r} in one way only",
            found=f"ids {', '.join(map(str, sorted(seen)[:_SHOWN]))}",
            fix=f"say which with {option} label or {option} train",
        )
    return "train"


def _spread(paths: Sequence[Path], count: int) -> list[Path]:
    """All paths, evenly spaced ones first."""
    first = list(dict.fromkeys(round(position) for position in np.linspace(0, len(paths) - 1, count)))
    rest = sorted(set(range(len(paths))) - set(first))
    return [paths[index] for index in (*first, *rest)]


def _has_colours(path: Path) -> bool:
    with open_image(path) as image:
        return image.mode in ("RGB", "RGBA")


def _translate_colours(taxonomy: Taxonomy, path: Path) -> UInt8Array:
    colors = read_frame(path).astype(np.uint32)
    codes = colors[..., 0] << 16 | colors[..., 1] << 8 | colors[..., 2]
    ids: UInt8Array = _color_table(taxonomy)[codes]
    if (ids == _UNKNOWN).any():
        row, column = np.argwhere(ids == _UNKNOWN)[0].tolist()
        raise DatasetError(
            f"colours outside the class table {taxonomy.name!r}",
            path=path,
            expected="one of its colours, exactly",
            found=f"{tuple(colors[row, column].tolist())} at row {row}, column {column}",
            fix="write ids instead of colours, or name the colours in a table for --classes",
        )
    return ids


@lru_cache(maxsize=2)
def _color_table(taxonomy: Taxonomy) -> UInt8Array:
    """Train id by colour, (2**24,); a colour shared with an ignored class means the one that is trained."""
    table = np.full(1 << 24, _UNKNOWN, np.uint8)
    for row in sorted(taxonomy.table, key=lambda row: not row.ignored):
        red, green, blue = row.color
        table[red << 16 | green << 8 | blue] = row.train_id
    return table
