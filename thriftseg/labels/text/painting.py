"""Objects to a label map."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from thriftseg.arrays import BoolArray, UInt8Array
from thriftseg.types import IGNORE_INDEX, Size


class FoundObject(NamedTuple):
    """An object that a word stands for.

    Attributes:
        train_id: Class of the word.
        score: How sure the network is that there is such an object, 0..1.
        mask: Its pixels, (H, W) bool.

    Example:
        >>> person = FoundObject(train_id=11, score=0.5, mask=np.array([[True, True, False]]))
        >>> faint = person._replace(score=0.25, mask=np.array([[False, True, True]]))
        >>> paint_objects([faint, person], size=(1, 3)).confidence == (0.5 + 0.5 + 0.25) / 3
        True
    """

    train_id: int
    score: float
    mask: BoolArray


class Painted(NamedTuple):
    """A label map.

    Attributes:
        label: Train ids, (H, W) uint8.
        confidence: Mean score over the pixels that belong to an object; 0 where none does.
    """

    label: UInt8Array
    confidence: float


def paint_objects(objects: Iterable[FoundObject], size: Size, background: int = IGNORE_INDEX) -> Painted:
    """Give every pixel to the object of the highest score; of equal ones, to the first.

    Args:
        objects: The objects, one at a time.
        size: Height and width of the map.
        background: What pixels become that belong to no object.

    Example:
        >>> person = FoundObject(11, 0.5, np.array([[True, True, False]]))
        >>> rider = FoundObject(12, 0.75, np.array([[False, True, False]]))
        >>> painted = paint_objects([rider, person], (1, 3))
        >>> painted.label.tolist(), painted.confidence
        ([[11, 12, 255]], 0.625)
    """
    label = np.full(size, background, np.uint8)
    scores = np.zeros(size, np.float32)
    for item in objects:
        won = item.mask & (scores < item.score)
        label[won], scores[won] = item.train_id, item.score
    owned = scores > 0
    return Painted(label, float(scores[owned].mean(dtype=np.float64)) if owned.any() else 0.0)
