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
from typing import Any

from thriftseg.errors import LabelStoreError
from thriftseg.taxonomies import Taxonomy

Click = tuple[int, int, int]
"""Column, row, train id."""

_FIX = "see thriftseg.stores.click_file for the format"


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
    return {
        key: tuple(
            (math.floor(entry["x"]), math.floor(entry["y"]), train_id)
            for entry in entries
            if (train_id := train_ids[entry["cls"]]) is not None
        )
        for key, entries in _load(Path(path), taxonomy, set(train_ids)).items()
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


def _load(path: Path, taxonomy: Taxonomy, known: set[int]) -> dict[str, list[dict[str, Any]]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LabelStoreError("no such click file", path=path) from None
    except (OSError, ValueError) as error:
        raise LabelStoreError("cannot read the click file", path=path, found=str(error), fix=_FIX) from error
    if not isinstance(content, dict):
        raise LabelStoreError(
            "not a click file",
            path=path,
            expected="a JSON object of image names",
            found=type(content).__name__,
            fix=_FIX,
        )
    for key, entries in content.items():
        if not isinstance(entries, list):
            raise LabelStoreError(f"{key!r} has no list of clicks", path=path, found=entries, fix=_FIX)
        for entry in entries:
            _check_entry(entry, key, path, taxonomy, known)
    return content


def _check_entry(entry: Any, key: str, path: Path, taxonomy: Taxonomy, known: set[int]) -> None:
    complete = isinstance(entry, dict) and isinstance(entry.get("cls"), int)
    if not complete or not all(_is_coordinate(entry.get(axis)) for axis in "xy"):
        raise LabelStoreError(
            f"damaged click of {key!r}",
            path=path,
            expected='{"cls": label id, "x": column, "y": row}, coordinates from 0',
            found=entry,
            fix=_FIX,
        )
    if entry["cls"] not in known:
        raise LabelStoreError(
            f"click of {key!r} on a label id outside the class table {taxonomy.name!r}", path=path, found=entry["cls"]
        )


def _is_coordinate(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
