"""Clicks in the public JSON format of the Gated CRF project, and as pictures.

The JSON file maps an image name to its clicks, `{"aachen_000000_000019": [{"cls": 26, "x": 512, "y": 300}, ...]}`,
where `cls` is the raw label id, `x` the column and `y` the row. Data sets other than Cityscapes use `video/number` as
the image name and their own raw ids.

A point map is a label map without a label but for single pixels, `<folder>/<video>/<frame:06d>.png`, a palette PNG of
train ids with 255 = no click. It must never be resized: geometric changes apply to the points, which are drawn
afterwards.

[0] Obukhov, Georgoulis, Dai, Van Gool, "Gated CRF Loss for Weakly Supervised Semantic Image Segmentation", 2019.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np

from thriftseg.arrays import UInt8Array
from thriftseg.datasets import read_label_png
from thriftseg.errors import LabelStoreError
from thriftseg.parsing import read_json
from thriftseg.taxonomies import Taxonomy
from thriftseg.types import IGNORE_INDEX

Click = tuple[int, int, int]
"""Column, row, train id."""

_FIX = "see thriftseg.stores.click_file for the format"
_MOST_CLICKED = 0.01  # share of pixels beyond which a map is taken for a common label map
_Pixel = Annotated[float, msgspec.Meta(ge=0, le=2**31)]


class _Entry(msgspec.Struct):
    cls: int
    x: _Pixel
    y: _Pixel


def click_key(dataset: str, video: str, number: int) -> str:
    """Name of a frame in a click file.

    Example:
        >>> click_key("cityscapes", "aachen_000000_000019", 20), click_key("camvid", "0016E5", 7959)
        ('aachen_000000_000020', '0016E5/007959')
    """
    if dataset == "cityscapes":
        return f"{video.rpartition('_')[0]}_{number:06d}"
    return f"{video}/{number:06d}"


def read_click_file(path: str | Path, taxonomy: Taxonomy) -> dict[str, tuple[Click, ...]]:
    """Read a click file.

    Coordinates may be fractions, which are rounded down to their pixel; clicks on classes that are not trained are
    left out.

    Args:
        path: The JSON file.
        taxonomy: Translates raw ids to train ids.

    Returns:
        Image name to clicks, in the order of the file.

    Raises:
        LabelStoreError: The file is missing or no click file, or a class is not in the table.

    Example:
        >>> import tempfile
        >>> from thriftseg.taxonomies import CITYSCAPES
        >>> clicks = [{"cls": 26, "x": 512.7, "y": 300}, {"cls": 0, "x": 1, "y": 1}]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "clicks.json")
        ...     size = path.write_text(json.dumps({"aachen_000000_000019": clicks}))
        ...     read_click_file(path, CITYSCAPES)
        {'aachen_000000_000019': ((512, 300, 13),)}
    """
    train_ids = {row.id: None if row.ignored else row.train_id for row in taxonomy.table}
    content = read_json(path, dict[str, list[_Entry]], fault=LabelStoreError, fix=_FIX)
    for key, entries in content.items():
        for entry in entries:
            if entry.cls not in train_ids:
                problem = f"click of {key!r} on a label id outside the class table {taxonomy.name!r}"
                raise LabelStoreError(problem, path=path, found=entry.cls)
    return {
        key: tuple(
            (math.floor(entry.x), math.floor(entry.y), train_id)
            for entry in entries
            if (train_id := train_ids[entry.cls]) is not None
        )
        for key, entries in content.items()
    }


def encode_click_file(clicks: Mapping[str, Sequence[Click]], taxonomy: Taxonomy) -> bytes:
    """The content of a click file; equal clicks give equal bytes.

    Args:
        clicks: Image name to clicks.
        taxonomy: Translates train ids to raw ids.
    """
    raw_ids = [row.id for row in taxonomy.classes]
    entries = {
        key: [{"cls": raw_ids[train_id], "x": column, "y": row} for column, row, train_id in clicks[key]]
        for key in sorted(clicks)
    }
    lines = [f"{json.dumps(key)}: {json.dumps(listed)}" for key, listed in entries.items()]
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def digest_of(clicks: Sequence[Click]) -> str:
    """SHA-256 of the clicks of one frame, independent of the class table's raw ids.

    Example:
        >>> digest_of([(512, 300, 13)])[:8], digest_of([(512, 300, 13)]) == digest_of([(512, 300, 14)])
        ('ec771890', False)
    """
    return hashlib.sha256(json.dumps([list(click) for click in clicks]).encode()).hexdigest()


def point_map_path(folder: str | Path, video: str, number: int) -> Path:
    """Where the point map of a frame lies.

    Example:
        >>> point_map_path("maps", "drive", 30).as_posix()
        'maps/drive/000030.png'
    """
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

    Example:
        >>> import tempfile
        >>> from thriftseg.datasets import write_label_png
        >>> from thriftseg.taxonomies import CAMVID
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_label_png(Path(folder, "30.png"), draw_point_map([(9, 4, 3)], height=10, width=20))
        ...     read_point_map(Path(folder, "30.png"), CAMVID, (10, 20))
        ((9, 4, 3),)
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
