"""Regions of a frame that a person labels at a time: all of it, squares, or super-pixels."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from thriftseg.annotation.ranking.superpixels import SLIC, NetworkSuperpixels, SuperpixelMethod, SuperpixelStore
from thriftseg.arrays import Int32Array, UInt8Array
from thriftseg.errors import ConfigError


class Granularity(Protocol):
    """Cuts a frame into the regions that are labelled one at a time.

    Example:
        >>> class Halves:
        ...     def regions(self, image): return np.indices(image.shape[:2], np.int32)[1] // (image.shape[1] // 2)
        >>> ways: list[Granularity] = [WholeFrame(), Tiles(2), Halves()]
        >>> [int(way.regions(np.zeros((4, 6, 3), np.uint8)).max()) + 1 for way in ways]
        [1, 6, 2]
    """

    def regions(self, image: UInt8Array) -> Int32Array:
        """Region of every pixel.

        Args:
            image: Frame, (H, W, 3) uint8 RGB.

        Returns:
            Ids, (H, W), from 0 without gaps, in raster order of the first pixel of each region.
        """


@dataclass(frozen=True)
class WholeFrame:
    """A frame is a single region."""

    def regions(self, image: UInt8Array) -> Int32Array:
        """Region of every pixel; see `Granularity`."""
        return np.zeros(image.shape[:2], np.int32)


@dataclass(frozen=True)
class Tiles:
    """Squares side by side from the top left corner; those at the right and bottom border may be cut off.

    Attributes:
        size: Side of a square in pixels.

    Raises:
        ConfigError: The size is below 1.

    Example:
        >>> Tiles(2).regions(np.zeros((3, 5, 3), np.uint8))
        array([[0, 0, 1, 1, 2],
               [0, 0, 1, 1, 2],
               [3, 3, 4, 4, 5]], dtype=int32)
    """

    size: int

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ConfigError("size of rectangles", expected="at least 1 pixel", found=self.size)

    def regions(self, image: UInt8Array) -> Int32Array:
        """Region of every pixel; see `Granularity`."""
        height, width = image.shape[:2]
        rows, columns = (np.arange(length, dtype=np.int32) // self.size for length in (height, width))
        return np.asarray(rows[:, None] * (columns[-1] + 1) + columns, np.int32)


@dataclass(frozen=True)
class Superpixels:
    """Super-pixels of a method.

    Attributes:
        method: Cuts the frames.
    """

    method: SuperpixelMethod = field(default_factory=SLIC)

    def regions(self, image: UInt8Array) -> Int32Array:
        """Region of every pixel; see `Granularity`."""
        return in_raster_order(self.method.segment(image))


def in_raster_order(ids: Int32Array) -> Int32Array:
    """Number the regions of a map from 0 by their first pixels.

    Args:
        ids: (H, W), any ids.

    Example:
        >>> in_raster_order(np.array([[7, 7, 2], [4, 2, 2]])).tolist()
        [[0, 0, 1], [2, 1, 1]]
    """
    _, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    ranks = np.empty(len(first), np.int32)
    ranks[np.argsort(first)] = np.arange(len(first), dtype=np.int32)
    return ranks[inverse.reshape(ids.shape)]


def create_granularity(name: str, weights: str | Path | None = None, cache: str | Path | None = None) -> Granularity:
    """A granularity by name.

    Args:
        name: "frame"; "rec<N>" for squares of N x N pixels, such as "rec40"; "sp" for super-pixels.
        weights: Weight file of SpixelFCN, which then makes the super-pixels in place of SLIC.
        cache: Folder that keeps the super-pixels.

    Raises:
        ConfigError: There is no such granularity, or weights are given that it does not use.
        CheckpointError: The weights cannot be loaded.

    Example:
        >>> create_granularity("rec40")
        Tiles(size=40)
    """
    if name == "sp":
        method: SuperpixelMethod = SLIC() if weights is None else NetworkSuperpixels.from_checkpoint(weights)
        return Superpixels(method if cache is None else SuperpixelStore(method, Path(cache)))
    if weights is not None:
        raise ConfigError(f"granularity {name!r} uses no weights", found=weights, fix='leave them out, or take "sp"')
    tiles = re.fullmatch(r"rec([1-9]\d*)", name)
    if name != "frame" and tiles is None:
        raise ConfigError("no such granularity", expected="frame, rec<N> such as rec40, or sp", found=repr(name))
    return Tiles(int(tiles[1])) if tiles else WholeFrame()
