"""Masks of single objects with their probabilities, and how those of a frame become one map of ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from thriftseg.arrays import BoolArray, Float32Array, UInt8Array
from thriftseg.datasets import PixelBox
from thriftseg.types import IGNORE_INDEX, Size

DRAWN = "manual"
"""Source of a mask that was drawn."""

_THRESHOLD = 127  # levels above belong to the mask
_DRAWN_FIRST = 256  # added to the levels of a drawn mask


@dataclass(frozen=True)
class ObjectMask:
    """The mask of one object in a part of a frame.

    Attributes:
        id: Id of the object, 1 to 254.
        source: What made it, `DRAWN` for a drawn one.
        levels: Foreground probability in steps of 1/255, (h, w) uint8; the mask is where it is above one half.
        top: First row of the part in the frame.
        left: First column.
        score: Confidence 0..1 as its maker defines it, `None` where it does not.
        unsure: Probability from which on pixels that are no object are not taken for background either; `None` takes
            all of them for it.
    """

    id: int
    source: str
    levels: UInt8Array
    top: int = 0
    left: int = 0
    score: float | None = None
    unsure: float | None = None

    @property
    def mask(self) -> BoolArray:
        """The object in its part of the frame, (h, w)."""
        return np.asarray(self.levels > _THRESHOLD)

    @property
    def area(self) -> int:
        """Pixels of the object, were it alone."""
        return int(np.count_nonzero(self.mask))

    @property
    def pixels(self) -> tuple[slice, slice]:
        """Rows and columns of the part."""
        height, width = self.levels.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


def levels_of(probability: Float32Array) -> UInt8Array:
    """Probabilities in steps of 1/255; exactly those above one half come out above 127.

    Example:
        >>> levels_of(np.array([0.0, 0.5, 0.50001, 1.0], np.float32)).tolist()
        [0, 127, 128, 255]
    """
    return np.ceil(255 * probability.astype(np.float64) - 0.5).clip(0, 255).astype(np.uint8)


def mean_probability(levels: UInt8Array) -> float | None:
    """Mean probability of the pixels of a mask; `None` where it is empty."""
    inside = levels[levels > _THRESHOLD]
    return float(inside.mean() / 255) if inside.size else None


def compose_masks(masks: Sequence[ObjectMask], size: Size) -> UInt8Array:
    """The objects of a frame as one map of ids.

    A pixel belongs to the object with the largest probability above one half. Drawn masks beat predicted ones; of equal
    ones the smaller mask is on top, then the smaller id.

    Args:
        masks: The masks, in any order.
        size: Height and width of the frame.

    Returns:
        Ids, (H, W) uint8; 0 where there is none.

    Example:
        >>> first = ObjectMask(3, "box2seg", np.array([[153, 153]], np.uint8))
        >>> second = ObjectMask(5, "box2seg", np.array([[230]], np.uint8), left=1)
        >>> compose_masks([first, second], (1, 3)).tolist()
        [[3, 5, 0]]
    """
    ids, best = np.zeros(size, np.uint8), np.zeros(size, np.int16)
    for mask in sorted(masks, key=lambda mask: (mask.area, mask.id), reverse=True):
        strength = mask.levels.astype(np.int16) + (_DRAWN_FIRST if mask.source == DRAWN else 0)
        wins = mask.mask & (strength >= best[mask.pixels])
        ids[mask.pixels][wins] = mask.id
        best[mask.pixels][wins] = strength[wins]
    return ids


def ignore_boxes(ids: UInt8Array, bad: Mapping[int, PixelBox]) -> UInt8Array:
    """Take bad masks out of a map of ids, and leave the pixels of their boxes without a label.

    A box in which nothing was found holds an object all the same, so it is treated like that of a bad mask.

    Pixels of other objects keep their ids, in those boxes too.

    Args:
        ids: Ids, (H, W) uint8; not changed.
        bad: Boxes of the bad and of the empty masks by id.

    Example:
        >>> ignore_boxes(np.array([[0, 1, 1, 2, 0]], np.uint8), {1: (0, 0, 4, 1)}).tolist()
        [[255, 255, 255, 2, 0]]
    """
    kept = np.where(np.isin(ids, list(bad)), np.uint8(0), ids)
    label = kept.copy()
    for x0, y0, x1, y1 in bad.values():
        label[y0:y1, x0:x1][kept[y0:y1, x0:x1] == 0] = IGNORE_INDEX
    return label


def ignore_doubtful(ids: UInt8Array, masks: Sequence[ObjectMask]) -> UInt8Array:
    """Leave pixels without a label that belong to no object, but may belong to one.

    Args:
        ids: Ids, (H, W) uint8; not changed.
        masks: The masks it was made of.

    Example:
        >>> mask = ObjectMask(1, "grabcut", np.array([[20, 100, 200]], np.uint8), unsure=0.35)
        >>> ignore_doubtful(np.array([[0, 0, 1]], np.uint8), [mask]).tolist()
        [[0, 255, 1]]
    """
    chance, least = np.zeros(ids.shape, np.float32), np.ones(ids.shape, np.float32)
    for mask in masks:
        if mask.unsure is not None:
            chance[mask.pixels] += mask.levels.astype(np.float32) / 255
            least[mask.pixels] = np.minimum(least[mask.pixels], mask.unsure)
    return np.where((ids == 0) & (chance >= least), np.uint8(IGNORE_INDEX), ids)
