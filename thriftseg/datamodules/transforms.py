"""Geometric augmentation with one resampling step: cut the source window first, then resize it.

Resizing a whole 1024x2048 frame to keep a 768x768 part of it costs a third of the loading speed, so the window that
ends up in the crop is found first, in whole source pixels, and only that window is resampled.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from thriftseg.arrays import BoolArray, Float32Array, Scalar, UInt8Array
from thriftseg.datasets import resize_frame, resize_label
from thriftseg.errors import ConfigError
from thriftseg.flow import flip_flow, scale_flow
from thriftseg.stores import Click, draw_point_map
from thriftseg.types import IGNORE_INDEX, Size


def write_planar(image: UInt8Array, out: UInt8Array) -> None:
    """Write a frame (h, w, 3) into the upper left of `out` (3, H, W), without a copy in between."""
    height, width = image.shape[:2]
    cv2.split(image, [plane[:height, :width] for plane in out])


@dataclass(frozen=True)
class Geometry:
    """One drawn augmentation, applied alike to every frame, label, point and flow field of a sample.

    The source window (`top`, `left`, `height`, `width`) becomes the upper left `shown` part of the crop; the rest of
    the crop is padding. A flip mirrors the shown part and leaves the padding where it is.

    Attributes:
        top: First source row.
        left: First source column.
        height: Source rows.
        width: Source columns.
        shown: Height and width of the window in the crop.
        crop: Height and width of the output.
        flip: Mirror left and right.
    """

    top: int
    left: int
    height: int
    width: int
    shown: Size
    crop: Size
    flip: bool = False

    @property
    def padded(self) -> bool:
        """Whether a part of the crop is padding."""
        return self.shown != self.crop

    def frame(self, image: UInt8Array, out: UInt8Array) -> None:
        """Write the augmented frame into `out`.

        Args:
            image: Frame (H, W, 3).
            out: Array (3, *crop); padding is left as it is.
        """
        write_planar(self._mirror(resize_frame(self._cut(image), self.shown)), out)

    def label(self, label: UInt8Array) -> UInt8Array:
        """Label map (H, W) to (*crop); padding is ignored."""
        window = resize_label(self._cut(label), self.shown)
        padded = np.full(self.crop, IGNORE_INDEX, dtype=np.uint8)
        padded[: self.shown[0], : self.shown[1]] = self._mirror(window)
        return padded

    def points(self, points: tuple[Click, ...]) -> list[Click]:
        """Points (column, row, train id) to their pixels in the crop; those outside are dropped."""
        moved = []
        for column, row, train_id in points:
            x = int(np.floor((column + 0.5 - self.left) * self.shown[1] / self.width))
            y = int(np.floor((row + 0.5 - self.top) * self.shown[0] / self.height))
            if 0 <= x < self.shown[1] and 0 <= y < self.shown[0]:
                moved.append((self.shown[1] - 1 - x if self.flip else x, y, train_id))
        return moved

    def point_map(self, points: tuple[Click, ...]) -> UInt8Array:
        """Points drawn as single pixels into an otherwise ignored map (*crop); on one pixel the last point wins."""
        return draw_point_map(self.points(points), *self.crop)

    def flow(self, flow: Float32Array, valid: BoolArray | None = None) -> tuple[Float32Array, BoolArray]:
        """Flow (2, H, W) between two frames of the sample, as it is between the augmented frames.

        Args:
            flow: Flow between the frames as stored.
            valid: Where it is known, (H, W); everywhere when absent.

        Returns:
            Flow (2, *crop) in pixels of the crop, and where it is known and starts and ends inside the shown part.
        """
        rows, columns = self.shown
        window = np.stack([self._cut(channel) for channel in flow])
        shown, inside = scale_flow(window, self.shown, None if valid is None else self._cut(valid))
        if self.flip:
            shown, inside = flip_flow(shown, inside)
        padded, padded_inside = np.zeros((2, *self.crop), np.float32), np.zeros(self.crop, np.bool_)
        padded[:, :rows, :columns], padded_inside[:rows, :columns] = shown, inside
        return padded, padded_inside

    def _cut(self, array: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        return array[self.top : self.top + self.height, self.left : self.left + self.width]

    def _mirror(self, image: UInt8Array) -> UInt8Array:
        return np.asarray(cv2.flip(image, 1), dtype=np.uint8) if self.flip else image


@dataclass(frozen=True)
class RandomScaleCrop:
    """Draws a scale, a crop window and a flip.

    Where the scaled frame is smaller than the crop it is padded on the right and bottom. A crop that not even the
    largest scale can fill is an error.

    Attributes:
        crop: Height and width of the output.
        scale: Smallest and largest factor, drawn uniformly, relative to `resize` or to the frame as stored.
        flip: Mirror every second sample.
        resize: Working height and width; the frame is never stored at that size, both steps are one resampling.
    """

    crop: Size
    scale: tuple[float, float] = (0.5, 2.0)
    flip: bool = True
    resize: Size | None = None

    def __post_init__(self) -> None:
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ConfigError("scale range is not increasing and positive", found=self.scale, fix="use e.g. 0.5, 2.0")
        for name, size in (("crop", self.crop), ("resize", self.resize)):
            if size is not None and min(size) < 1:
                raise ConfigError(f"{name} must be positive", found=size)

    def check(self, height: int, width: int) -> None:
        """Raise `ConfigError` when frames of this size can never fill the crop."""
        base = self.resize or (height, width)
        largest = (round(base[0] * self.scale[1]), round(base[1] * self.scale[1]))
        if self.crop[0] > largest[0] or self.crop[1] > largest[1]:
            raise ConfigError(
                f"crop {self.crop[0]}x{self.crop[1]} is larger than the padded image",
                expected=f"at most {largest[0]}x{largest[1]} (frame {height}x{width}, working size "
                f"{base[0]}x{base[1]}, largest scale {self.scale[1]:g})",
                fix="use a smaller crop or a larger scale",
            )

    def draw(self, rng: np.random.Generator, height: int, width: int) -> Geometry:
        """Draw the augmentation of one sample whose frames are `height` x `width`.

        The window has whole source pixels, so the true scale differs from the drawn one by less than a pixel.
        """
        self.check(height, width)
        base = self.resize or (height, width)
        scale = rng.uniform(*self.scale)
        top, rows, shown_rows = draw_window(rng, height, base[0] * scale, self.crop[0])
        left, columns, shown_columns = draw_window(rng, width, base[1] * scale, self.crop[1])
        flip = self.flip and bool(rng.random() < 0.5)
        return Geometry(top, left, rows, columns, (shown_rows, shown_columns), self.crop, flip)


def draw_window(rng: np.random.Generator, size: int, scaled: float, crop: int) -> tuple[int, int, int]:
    """Draw a window along one axis.

    Args:
        rng: Source of randomness.
        size: Source pixels.
        scaled: Their number after scaling.
        crop: Pixels of the crop.

    Returns:
        First source pixel, number of source pixels, number of shown pixels.
    """
    shown = min(max(round(scaled), 1), crop)
    extent = min(max(round(shown * size / scaled), 1), size)
    return int(rng.integers(0, size - extent + 1)), extent, shown
