"""Label maps that lie beside a golden, and the predictions that goldens derive from them by rule."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from PIL import Image

from tests.golden.stated import beside

_PAIR = re.compile(r"\(dy, ?dx\) ?= ?\((-?\d+), ?(-?\d+)\)")
_CLIP_SHIFT = re.compile(r"clip\(y-\((-?\d+)\).*clip\(x-\((-?\d+)\)")


def read_ids(path: Path) -> np.ndarray:
    """A PNG of ids, (H, W) uint8.

    Raises:
        MissingFile: It is not there.
    """
    with Image.open(beside(path)) as image:
        return np.array(image, np.uint8)


def shifted(ids: np.ndarray, dy: int, dx: int) -> np.ndarray:
    """Move a map by (dy, dx); the border is repeated."""
    height, width = ids.shape
    rows, columns = np.arange(height) - dy, np.arange(width) - dx
    return ids[rows.clip(0, height - 1)[:, None], columns.clip(0, width - 1)]


def minimum_filtered(ids: np.ndarray) -> np.ndarray:
    """Smallest id among the 3x3 neighbours; the border is repeated."""
    padded = np.pad(ids, 1, mode="edge")
    height, width = ids.shape
    return np.min([padded[y : y + height, x : x + width] for y in range(3) for x in range(3)], axis=0)


def states_shift(words: str) -> bool:
    """Whether words name the shift of a prediction."""
    return bool(_PAIR.search(words) or _CLIP_SHIFT.search(words))


def prediction(kind: str, ids: np.ndarray, rule: str, drawn: Path) -> np.ndarray:
    """The prediction that a golden compares with a true map.

    Args:
        kind: "shift", "minfilter" or "noise".
        ids: The true map.
        rule: How the golden words the shift.
        drawn: The file of the prediction of kind "noise".
    """
    if kind == "noise":
        return read_ids(drawn)
    found = _PAIR.search(rule) or _CLIP_SHIFT.search(rule)
    if found is None:
        raise ValueError(f"no shift in the rule of {kind!r}: {rule!r}")
    if kind == "minfilter":
        ids = minimum_filtered(minimum_filtered(ids))
    return shifted(ids, int(found[1]), int(found[2]))
