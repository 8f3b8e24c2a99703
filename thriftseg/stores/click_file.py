"""Clicks in the public JSON format of the Gated CRF project.

The file maps an image name to its clicks, `{"aachen_000000_000019": [{"cls": 26, "x": 512, "y": 300}, ...]}`, where
`cls` is the raw label id, `x` the column and `y` the row. Data sets other than Cityscapes use `video/number` as the
image name and their own raw ids.

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

from thriftseg.errors import LabelStoreError
from thriftseg.parsing import read_json
from thriftseg.taxonomies import Taxonomy

Click = tuple[int, int, int]
"""Column, row, train id."""

_FIX = "see thriftseg.stores.click_file for the format"
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
    """SHA-256 of the clicks of one frame, independent of the class table's raw ids."""
    return hashlib.sha256(json.dumps([list(click) for click in clicks]).encode()).hexdigest()
