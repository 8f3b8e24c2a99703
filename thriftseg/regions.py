"""Shapes of annotation files as pixels, and masks as run lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from thriftseg.arrays import BoolArray, Float64Array, Int32Array, Int64Array, UInt8Array
from thriftseg.limits import COORDINATE, ENTRIES, IMAGE_PIXELS, POLYGON_STEPS

_STEPS_PER_PAIR = 400  # which OpenCV needs to pass an edge when it sorts another one into its list


class Region(Protocol):
    """A set of pixels.

    Example:
        >>> canvas = np.zeros((2, 3), np.uint8)
        >>> regions: list[Region] = [box_region(0, 0, 2, 1), PointRegion([(2, 1)])]
        >>> for value, region in enumerate(regions, start=1): region.paint(canvas, value)
        >>> canvas.tolist()
        [[1, 1, 0], [0, 0, 2]]
    """

    def paint(self, canvas: UInt8Array, value: int) -> None:
        """Set the pixels of the region; what lies outside the canvas is left out.

        Args:
            canvas: (H, W) uint8, changed in place.
            value: What its pixels become.
        """


@dataclass(frozen=True)
class MaskRegion:
    """A mask as run lengths inside a box.

    Attributes:
        counts: Lengths of runs, alternately outside and inside the region, the first outside (it may be 0).
        width: Columns of the box.
        height: Rows of the box.
        left: Column of its first pixel.
        top: Row of its first pixel.
        column_major: Whether the runs go down the columns instead of along the rows.

    Raises:
        ValueError: A run is negative, the runs do not fill the box, or the box has too many pixels.

    Example:
        >>> canvas = np.zeros((2, 4), np.uint8)
        >>> MaskRegion([1, 2, 1], width=2, height=2, left=1).paint(canvas, 7)
        >>> canvas.tolist()
        [[0, 0, 7, 0], [0, 7, 0, 0]]
    """

    counts: Sequence[int] | npt.NDArray[np.integer]
    width: int
    height: int
    left: int = 0
    top: int = 0
    column_major: bool = False

    def __post_init__(self) -> None:
        counts = np.asarray(self.counts, np.int64)
        if counts.ndim != 1 or (counts < 0).any():
            raise ValueError("run lengths that are no list of numbers from 0")
        IMAGE_PIXELS.check(counts.max(initial=0))  # before their sum, which could come round to a small number
        IMAGE_PIXELS.check(self.width * self.height)
        if self.width < 0 or self.height < 0 or counts.sum() != self.width * self.height:
            raise ValueError(f"run lengths of {counts.sum()} pixels for a box of {self.width}x{self.height}")
        object.__setattr__(self, "counts", counts.astype(np.int32))

    @property
    def mask(self) -> BoolArray:
        """The pixels of the box, (height, width)."""
        inside = np.arange(len(self.counts)) % 2 == 1
        flat = np.repeat(inside, self.counts)
        return flat.reshape(self.width, self.height).T if self.column_major else flat.reshape(self.height, self.width)

    def paint(self, canvas: UInt8Array, value: int) -> None:
        """Set the pixels of the region; see `Region.paint`."""
        top, left = max(0, self.top), max(0, self.left)
        part = self.mask[top - self.top : max(0, canvas.shape[0] - self.top)]
        part = part[:, left - self.left : max(0, canvas.shape[1] - self.left)]
        canvas[top : top + part.shape[0], left : left + part.shape[1]][part] = value


@dataclass(frozen=True)
class PolygonRegion:
    """A polygon whose coordinates measure from the top left corner of the image, so that a pixel is 1 x 1 in size.

    A pixel belongs to it when its centre lies inside by the even-odd rule; a centre on the left or upper border does,
    one on the right or lower border does not.

    Attributes:
        points: (P, 2) corners as (x, y).

    Raises:
        ValueError: There are fewer than three corners, or one is no pair of finite numbers, or is too far away.

    Example:
        >>> canvas = np.zeros((3, 4), np.uint8)
        >>> PolygonRegion([(1, 0), (3, 0), (3, 2), (1, 2)]).paint(canvas, 1)
        >>> canvas.tolist()
        [[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    """

    points: Sequence[tuple[float, float]] | npt.NDArray[np.number]

    def __post_init__(self) -> None:
        points = np.asarray(self.points, np.float64)
        if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3 or not np.isfinite(points).all():
            raise ValueError(f"a polygon with corners of shape {points.shape}, expected at least three finite (x, y)")
        COORDINATE.check(np.abs(points).max())
        object.__setattr__(self, "points", points)

    def paint(self, canvas: UInt8Array, value: int) -> None:
        """Set the pixels of the region; see `Region.paint`."""
        points = np.asarray(self.points, np.float64)
        limits = np.array(canvas.shape[::-1])
        left, top = np.clip(np.floor(points.min(axis=0)), 0, limits).astype(int)
        right, bottom = np.clip(np.ceil(points.max(axis=0)), 0, limits).astype(int)
        inside = _fill(points - (left, top), bottom - top, right - left)
        canvas[top:bottom, left:right][inside] = value


def box_region(left: float, top: float, right: float, bottom: float, degrees: float = 0) -> PolygonRegion:
    """A rectangle, turned clockwise around its centre.

    Example:
        >>> box_region(0, 0, 4, 2).points.tolist()
        [[0.0, 0.0], [4.0, 0.0], [4.0, 2.0], [0.0, 2.0]]
        >>> box_region(0, 0, 4, 2, degrees=90).points.round(6).tolist()
        [[3.0, -1.0], [3.0, 3.0], [1.0, 3.0], [1.0, -1.0]]
    """
    corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float64)
    return PolygonRegion(turned(corners, ((left + right) / 2, (top + bottom) / 2), degrees))


def turned(points: Float64Array, pivot: tuple[float, float], degrees: float) -> Float64Array:
    """Points after a clockwise turn (as seen on the screen) around a pivot.

    Args:
        points: (P, 2) as (x, y).
        pivot: The point that stays.
        degrees: Angle.

    Example:
        >>> turned(np.array([[3.0, 1.0]]), (1, 1), 90).round(6).tolist()  # from right of the pivot to below it
        [[1.0, 3.0]]
    """
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.asarray((points - pivot) @ np.array([[cosine, sine], [-sine, cosine]]) + pivot, np.float64)


@dataclass(frozen=True)
class DrawnPolygon:
    """A polygon between pixel centres that includes its outline, as Cityscapes draws them.

    Attributes:
        corners: (P, 2) int32 as (column, row).

    Example:
        >>> canvas = np.zeros((3, 4), np.uint8)
        >>> DrawnPolygon(np.array([(1, 0), (3, 0), (3, 1), (1, 1)], np.int32)).paint(canvas, 1)
        >>> canvas.tolist()
        [[0, 1, 1, 1], [0, 1, 1, 1], [0, 0, 0, 0]]
    """

    corners: Int32Array

    def paint(self, canvas: UInt8Array, value: int) -> None:
        """Set the pixels of the region; see `Region.paint`."""
        check_steps(self.corners, canvas.shape[0])
        cv2.fillPoly(canvas, [self.corners], value)


def check_steps(corners: Int32Array, height: int, path: str | Path | None = None) -> None:
    """Refuse a polygon that OpenCV would take very long to fill: its time grows with the square of the edges in a row.

    Args:
        corners: (P, 2) as (column, row).
        height: Rows of the image.
        path: File that the polygon is from.

    Raises:
        LimitError: It would take more steps than the limit.

    Example:
        >>> check_steps(np.tile([(0, 0), (9, 9)], (1000, 1)), 10)
        >>> check_steps(np.tile([(0, 0), (9, 9)], (10_000, 1)), 10, "a.json")
        Traceback (most recent call last):
        thriftseg.limits.LimitError: a.json: too many steps to fill a polygon; expected at most 17179869184; found ...
    """
    if len(corners) ** 2 * (height + _STEPS_PER_PAIR) <= POLYGON_STEPS.value:
        return
    rows = np.clip(corners[:, 1], 0, height)
    first, last = np.minimum(rows, np.roll(rows, -1)), np.maximum(rows, np.roll(rows, -1))
    edges = np.cumsum(np.bincount(first, minlength=height + 1) - np.bincount(last, minlength=height + 1))
    POLYGON_STEPS.check(int(np.square(edges).sum()) + _STEPS_PER_PAIR * len(corners) * int(edges.max()), path)


@dataclass(frozen=True)
class PointRegion:
    """Single pixels.

    Attributes:
        points: (P, 2) as (x, y) from the top left corner of the image.

    Example:
        >>> canvas = np.zeros((2, 3), np.uint8)
        >>> PointRegion([(0.5, 1.5), (2, 0), (3, 0)]).paint(canvas, 1)
        >>> canvas.tolist()
        [[0, 0, 1], [1, 0, 0]]
    """

    points: Sequence[tuple[float, float]]

    def paint(self, canvas: UInt8Array, value: int) -> None:
        """Set the pixels of the region; see `Region.paint`."""
        height, width = canvas.shape
        for x, y in self.points:
            if 0 <= x < width and 0 <= y < height:
                canvas[int(y), int(x)] = value


def run_lengths(flat: BoolArray) -> Int64Array:
    """Lengths of the runs of a flat mask, the first of which is outside and may be 0.

    Example:
        >>> run_lengths(np.array([True, True, False, True])).tolist()
        [0, 2, 1, 1]
    """
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff(changes, prepend=0, append=flat.size)
    return np.concatenate([[0], counts]) if flat.size and flat[0] else counts


def bounding_box(mask: BoolArray) -> tuple[int, int, int, int]:
    """Left, top, width and height of the pixels of a mask that has some.

    Example:
        >>> bounding_box(np.array([[0, 0, 0], [0, 1, 1]], bool))
        (1, 1, 2, 1)
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    left, top = int(columns[0]), int(rows[0])
    return left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1


def _fill(points: Float64Array, height: int, width: int) -> BoolArray:
    """Pixels inside a polygon: every edge toggles what lies right of it in the rows it crosses."""
    x0, y0 = points.T
    x1, y1 = np.roll(points, -1, axis=0).T
    first = np.clip(np.ceil(np.minimum(y0, y1) - 0.5), 0, height).astype(np.int64)
    after = np.clip(np.ceil(np.maximum(y0, y1) - 0.5), 0, height).astype(np.int64)
    crossed = after - first
    ends = np.cumsum(crossed)
    ENTRIES.check(ends[-1])
    edge = np.repeat(np.arange(len(points)), crossed)
    row = first[edge] + np.arange(len(edge)) - np.repeat(ends - crossed, crossed)
    slope = (x1[edge] - x0[edge]) / (y1[edge] - y0[edge])
    crossing = x0[edge] + (row + 0.5 - y0[edge]) * slope
    column = np.clip(np.ceil(crossing - 0.5), 0, width).astype(np.int64)
    toggles = np.zeros((height, width + 1), np.bool_)
    np.logical_xor.at(toggles, (row, column), True)
    return np.logical_xor.accumulate(toggles[:, :width], axis=1)


_BITS, _MORE, _SIGN, _BASE = 5, 0x20, 0x10, 48
_WIDEST = 64 // _BITS + 1  # characters of a number of 64 bits


def encode_counts(counts: Sequence[int]) -> str:
    """Compress run lengths to text.

    From the fourth run on, the difference to the run two before is kept. A number becomes characters of five bits,
    lowest first, each plus 48 and, unless it is the last one, plus 32; the sign is that of the last one's fifth bit.

    Example:
        >>> encode_counts([6, 1, 40, 4, 5, 4, 5, 4, 21])
        '61X13mN000`0'
    """
    values = [int(count) for count in counts]
    text = bytearray()
    for position, value in enumerate(values):
        left = value - values[position - 2] if position > 2 else value
        more = True
        while more:
            bits = left & (_MORE - 1)
            left >>= _BITS
            more = left != (-1 if bits & _SIGN else 0)
            text.append(_BASE + bits + (_MORE if more else 0))
    return text.decode("ascii")


def decode_counts(text: str) -> list[int]:
    """The inverse of `encode_counts`.

    Raises:
        ValueError: The text has other characters, ends within a number, or has one that is too large.

    Example:
        >>> decode_counts("61X13mN000`0")
        [6, 1, 40, 4, 5, 4, 5, 4, 21]
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - _BASE
        if not 0 <= bits < 2 * _MORE:
            raise ValueError(f"compressed run lengths with the character {character!r}")
        if shift == _WIDEST * _BITS:
            raise ValueError("compressed run lengths with a number beyond 64 bits")
        value |= (bits & (_MORE - 1)) << shift
        shift += _BITS
        if not bits & _MORE:
            value -= (1 << shift) if bits & _SIGN else 0
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("compressed run lengths that end within a number")
    return counts


def segmentation_regions(segmentation: Any, size: tuple[int, int]) -> tuple[Region, ...]:
    """The regions of an annotation's `segmentation`: polygons, or run lengths of either kind.

    Args:
        segmentation: As in the file.
        size: Height and width of the image.

    Raises:
        ValueError: It is neither, or does not fit the image.

    Example:
        >>> canvas = np.zeros((2, 3), np.uint8)
        >>> [region] = segmentation_regions({"size": [2, 3], "counts": [1, 2, 3]}, (2, 3))  # down the columns
        >>> region.paint(canvas, 1)
        >>> canvas.tolist()
        [[0, 1, 0], [1, 0, 0]]
        >>> len(segmentation_regions([[0, 0, 2, 0, 2, 2], [4, 4, 6, 4, 6, 6]], (8, 8)))
        2
    """
    if isinstance(segmentation, dict):
        height, width = (int(value) for value in segmentation["size"])
        if (height, width) != size:
            raise ValueError(f"run lengths of size {width}x{height} in an image of {size[1]}x{size[0]}")
        counts = segmentation["counts"]
        return (MaskRegion(decode_counts(counts) if isinstance(counts, str) else counts, width, height, 0, 0, True),)
    if not isinstance(segmentation, list) or not segmentation:
        raise ValueError(f"segmentation {segmentation!r}, expected run lengths or polygons")
    return tuple(PolygonRegion(np.asarray(ring, np.float64).reshape(-1, 2)) for ring in segmentation)
