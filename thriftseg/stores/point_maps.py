"""Clicks as pictures: label maps without a label but for single pixels.

    <folder>/<video>/<frame:06d>.png   palette PNG of train ids, 255 = no click

They must never be resized: geometric changes apply to the points, which are drawn afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from thriftseg.arrays import UInt8Array
from thriftseg.datasets import read_label_png
from thriftseg.errors import LabelStoreError
from thriftseg.stores.click_file import Click
from thriftseg.taxonomies import Taxonomy
from thriftseg.types import IGNORE_INDEX

_MOST_CLICKED = 0.01  # share of pixels beyond which a map is taken for a common label map


def point_map_path(folder: str | Path, video: str, number: int) -> Path:
    """Where the point map of a frame lies."""
    return Path(folder) / video / f"{number:06d}.png"


def draw_point_map(clicks: Sequence[Click], height: int, width: int) -> UInt8Array:
    """Draw each click as one pixel; of several clicks on one pixel the last is seen.

    Returns:
        Train ids, (H, W) uint8, 255 = no click.

    Example:
        >>> draw_point_map([(2, 0, 7)], height=1, width=4).tolist()
        [[255, 255, 7, 255]]
    """
    drawn = np.full((height, width), IGNORE_INDEX, np.uint8)
    for column, row, train_id in clicks:
        drawn[row, column] = train_id
    return drawn


def clicks_of_point_map(point_map: UInt8Array) -> tuple[Click, ...]:
    """The clicks of a point map as (column, row, train id), ordered by class, then row and column.

    Example:
        >>> clicks_of_point_map(np.array([[9, 255], [255, 4]], np.uint8))
        ((1, 1, 4), (0, 0, 9))
    """
    rows, columns = np.nonzero(point_map != IGNORE_INDEX)
    ids = point_map[rows, columns]
    order = np.argsort(ids, kind="stable")
    return tuple(zip(columns[order].tolist(), rows[order].tolist(), ids[order].tolist(), strict=True))


def read_point_map(path: str | Path, taxonomy: Taxonomy, size: tuple[int, int]) -> tuple[Click, ...]:
    """Read the clicks of a point map.

    Args:
        path: The PNG.
        taxonomy: Class table of its train ids.
        size: Height and width of the frame.

    Raises:
        DatasetError: The file is missing or holds no ids.
        LabelStoreError: Its size is not that of the frame, it holds other ids, or it is a common label map.
    """
    ids = read_label_png(path)
    if ids.shape != size:
        raise LabelStoreError(
            "the point map has another size than the frame",
            path=path,
            expected=f"{size[1]}x{size[0]}",
            found=f"{ids.shape[1]}x{ids.shape[0]}",
            fix="draw the clicks at the size of the frame; point maps cannot be resized",
        )
    clicked = ids[ids != IGNORE_INDEX]
    unknown = clicked[(clicked < 0) | (clicked >= taxonomy.num_classes)]
    if unknown.size:
        raise LabelStoreError(
            f"train ids outside the class table {taxonomy.name!r}",
            path=path,
            expected=f"0..{taxonomy.num_classes - 1} or {IGNORE_INDEX}",
            found=int(unknown[0]),
        )
    if clicked.size > max(1, _MOST_CLICKED * ids.size):
        raise LabelStoreError(
            "a common label map in place of a point map",
            path=path,
            expected="single pixels",
            found=f"{clicked.size} of {ids.size} pixels with a label",
        )
    return clicks_of_point_map(ids.astype(np.uint8))
