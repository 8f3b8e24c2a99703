"""Boxes in frames, and the part of a frame that is looked at to find the object of a box.

Boxes are (x0, y0, x1, y1) in pixels, measured from the top left corner of the frame; x1 and y1 are exclusive.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from thriftseg.arrays import BoolArray, Float32Array, Scalar, UInt8Array
from thriftseg.datasets.images import resize_frame, resize_label
from thriftseg.regions import bounding_box
from thriftseg.types import Size

Box = tuple[float, float, float, float]
PixelBox = tuple[int, int, int, int]

MARGIN = 50
"""Pixels that are shown on each side of a box, as in PReMVOS (Luiten et al., ACCV 2018)."""

CROP: Size = (385, 385)
"""Height and width that Box2Seg sees (Voigtlaender et al., WACV 2021)."""


def box_of(mask: BoolArray) -> PixelBox | None:
    """The box around the pixels of a mask, (H, W); `None` where it has none.

    Example:
        >>> box_of(np.array([[0, 0, 0], [0, 1, 1]], bool))
        (1, 1, 3, 2)
    """
    if not mask.any():
        return None
    left, top, width, height = bounding_box(mask)
    return left, top, left + width, top + height


def pixel_box(box: Box, size: Size) -> PixelBox | None:
    """Round a box to whole pixels and clip it to the frame.

    Args:
        box: The box.
        size: Height and width of the frame.

    Returns:
        The box, or `None` where it is empty, inverted, outside of the frame or no box at all.

    Example:
        >>> pixel_box((-3.2, 1.5, 4.4, 8), (6, 10)), pixel_box((5, 2, 3, 4), (6, 10))
        ((0, 2, 4, 6), None)
    """
    if not all(map(math.isfinite, box)):
        return None
    height, width = size
    x0, x1 = (min(max(math.floor(x + 0.5), 0), width) for x in (box[0], box[2]))
    y0, y1 = (min(max(math.floor(y + 0.5), 0), height) for y in (box[1], box[3]))
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


def jitter_box(box: Box, rng: np.random.Generator, strength: float = 0.05) -> Box:
    """Move each side of a box as people misplace it.

    Args:
        box: The box.
        rng: Source of randomness.
        strength: Standard deviation of the shift, by the width for left and right, by the height for top and bottom;
            shifts beyond 2.5 of it are cut to that.

    Example:
        >>> [round(side, 1) for side in jitter_box((10, 20, 110, 60), np.random.default_rng(0))]
        [10.6, 19.7, 113.2, 60.2]
        >>> jitter_box((10, 20, 110, 60), np.random.default_rng(0), strength=0)
        (10.0, 20.0, 110.0, 60.0)
    """
    width, height = box[2] - box[0], box[3] - box[1]
    shifts = strength * rng.standard_normal(4).clip(-2.5, 2.5) * (width, height, width, height)
    x0, y0, x1, y1 = (float(side + shift) for side, shift in zip(box, shifts, strict=True))
    return x0, y0, x1, y1


@dataclass(frozen=True)
class BoxWindow:
    """A box and its surroundings.

    Attributes:
        box: The box, in the frame.
        left: First column of the window.
        top: First row.
        right: Column after the last one.
        bottom: Row after the last one.

    Example:
        >>> window = BoxWindow.around((10, 60, 20, 90), size=(100, 200), margin=15)
        >>> window.shape, window.inside
        ((55, 35), (slice(15, 45, None), slice(10, 20, None)))
        >>> found = np.ones(window.shape, np.uint8)
        >>> int(window.paste(found, (100, 200)).sum())
        1925
    """

    box: PixelBox
    left: int
    top: int
    right: int
    bottom: int

    @classmethod
    def around(cls, box: PixelBox, size: Size, margin: int = MARGIN) -> BoxWindow:
        """The window around a box.

        Args:
            box: As `pixel_box` returns it.
            size: Height and width of the frame, beyond which the window does not reach.
            margin: Pixels on each side of the box.

        Example:
            >>> BoxWindow.around((10, 60, 20, 90), (100, 200)).shape
            (90, 70)
        """
        x0, y0, x1, y1 = box
        left, top = max(0, x0 - margin), max(0, y0 - margin)
        return cls(box, left, top, min(size[1], x1 + margin), min(size[0], y1 + margin))

    @property
    def shape(self) -> Size:
        """Height and width of the window."""
        return self.bottom - self.top, self.right - self.left

    @property
    def pixels(self) -> tuple[slice, slice]:
        """Rows and columns of the window in the frame."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def inside(self) -> tuple[slice, slice]:
        """Rows and columns of the box in the window."""
        x0, y0, x1, y1 = self.box
        return slice(y0 - self.top, y1 - self.top), slice(x0 - self.left, x1 - self.left)

    def cut(self, array: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        """The window of an array (H, W, ...) of the frame's size, as a view."""
        return array[self.pixels]

    def show(self, frame: UInt8Array, crop: Size = CROP) -> tuple[UInt8Array, UInt8Array]:
        """Input of a network: the window resized to the crop, whatever its aspect ratio.

        Args:
            frame: (H, W, 3) uint8.
            crop: Height and width.

        Returns:
            The frame, (*crop, 3) uint8, and the box in it, (*crop) uint8: 1 inside, 0 outside.
        """
        box: UInt8Array = np.zeros(self.shape, np.uint8)
        box[self.inside] = 1
        return resize_frame(np.ascontiguousarray(self.cut(frame)), crop), resize_label(box, crop)

    def show_label(self, label: UInt8Array, crop: Size = CROP) -> UInt8Array:
        """The window of a label map (H, W), resized to the crop by the nearest pixel."""
        return resize_label(np.ascontiguousarray(self.cut(label)), crop)

    def restore(self, values: Float32Array) -> Float32Array:
        """Resize values of the crop, such as logits, to the size of the window, bilinearly.

        Args:
            values: (h, w) float32.
        """
        height, width = self.shape
        return np.asarray(cv2.resize(values, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)

    def paste(self, values: npt.NDArray[Scalar], size: Size) -> npt.NDArray[Scalar]:
        """Put values of the window into zeros of the frame's size.

        Args:
            values: (h, w), of the shape of the window.
            size: Height and width of the frame.
        """
        frame = np.zeros(size, values.dtype)
        frame[self.pixels] = values
        return frame
