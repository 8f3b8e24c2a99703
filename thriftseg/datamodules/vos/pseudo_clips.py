"""Clips made of a single image: every frame is the image under another affine and thin-plate warp."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from thriftseg.arrays import Float32Array, Float64Array, UInt8Array
from thriftseg.datamodules.transforms import Geometry, write_planar
from thriftseg.datasets import resize_frame, resize_label
from thriftseg.errors import ConfigError
from thriftseg.types import IGNORE_INDEX, Size


@dataclass(frozen=True)
class Warp:
    """One drawn warp, applied alike to an image and to its mask.

    Outside of the image, the frame mirrors it and the mask is ignored.

    Attributes:
        size: Height and width that the image is resized to first.
        columns: Column of the resized image that each pixel of the crop shows, (H, W).
        rows: Its row, (H, W).
    """

    size: Size
    columns: Float32Array
    rows: Float32Array

    @property
    def shown(self) -> Size:
        """Height and width of the part of the crop that is no padding: all of it."""
        return self.columns.shape[0], self.columns.shape[1]

    def frame(self, image: UInt8Array, out: UInt8Array) -> None:
        """Write the warped image (h, w, 3) into `out` (3, H, W)."""
        resized = resize_frame(image, self.size)
        moved = cv2.remap(resized, self.columns, self.rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        write_planar(np.asarray(moved, np.uint8), out)

    def label(self, label: UInt8Array) -> UInt8Array:
        """The warped mask (h, w) as (H, W)."""
        resized = resize_label(label, self.size)
        moved = cv2.remap(
            resized,
            self.columns,
            self.rows,
            cv2.INTER_NEAREST,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=IGNORE_INDEX,
        )
        return np.asarray(moved, np.uint8)


@dataclass(frozen=True)
class WarpConfig:
    """Strength of the warps between the frames of a pseudo clip; zero switches a part off.

    Attributes:
        rotation: Largest angle in degrees.
        scale: Sizes are multiplied by 1 - scale to 1 + scale.
        shear: Largest angle of shear in degrees.
        shift: Largest shift as a share of the crop's height and width.
        bend: Standard deviation of the thin-plate displacement of the control points, as the same share.
        points: Control points along each side.

    Raises:
        ConfigError: A setting is out of range.

    Example:
        >>> shifted = WarpConfig(rotation=0, scale=0, shear=0, shift=0.5, bend=0)
        >>> crop = Geometry(top=0, left=0, height=2, width=6, shown=(2, 6), crop=(2, 6))
        >>> warp = shifted.draw(np.random.default_rng(0), crop, height=2, width=6)
        >>> warp.label(np.array([[1, 2, 3, 4, 5, 6]] * 2, np.uint8)).tolist()
        [[2, 3, 4, 5, 6, 255], [2, 3, 4, 5, 6, 255]]
    """

    rotation: float = 20.0
    scale: float = 0.15
    shear: float = 10.0
    shift: float = 0.1
    bend: float = 0.03
    points: int = 4

    def __post_init__(self) -> None:
        limits = {"rotation": 180, "scale": 0.9, "shear": 60, "shift": 1, "bend": 1}
        for name, most in limits.items():
            if not 0 <= getattr(self, name) <= most:
                raise ConfigError(f"{name} of the warps is out of range", expected=f"0 to {most}", found=self)
        if self.points < 2:
            raise ConfigError("too few control points for warps", expected="2 or more", found=self.points)

    def draw(self, rng: np.random.Generator, geometry: Geometry, height: int, width: int) -> Warp:
        """Draw the warp of one frame.

        Args:
            rng: Source of randomness.
            geometry: The crop and flip of the clip that the warp is relative to.
            height: Rows of the image.
            width: Columns of the image.
        """
        rows, columns = geometry.crop
        scale_y, scale_x = geometry.shown[0] / geometry.height, geometry.shown[1] / geometry.width
        grid = np.stack(np.meshgrid(np.arange(columns) + 0.5, np.arange(rows) + 0.5), axis=-1).reshape(-1, 2)
        extent = np.array([columns, rows], np.float64)
        shift = extent * rng.uniform(-self.shift, self.shift, 2)
        bend = extent * rng.normal(0, self.bend, (self.points**2, 2))
        seen = (grid - extent / 2) @ self._affine(rng).T + extent / 2 + shift
        seen += thin_plate_basis(self.points, rows, columns) @ bend
        if geometry.flip:
            seen[:, 0] = geometry.shown[1] - seen[:, 0]
        seen += (geometry.left * scale_x - 0.5, geometry.top * scale_y - 0.5)
        x, y = seen.astype(np.float32).reshape(rows, columns, 2).transpose(2, 0, 1)
        size = max(round(height * scale_y), 1), max(round(width * scale_x), 1)
        return Warp(size, np.ascontiguousarray(x), np.ascontiguousarray(y))

    def _affine(self, rng: np.random.Generator) -> Float64Array:
        angle = np.deg2rad(rng.uniform(-self.rotation, self.rotation))
        shear = np.tan(np.deg2rad(rng.uniform(-self.shear, self.shear)))
        size = rng.uniform(1 - self.scale, 1 + self.scale)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        return np.asarray(turn @ np.array([[1, shear], [0, 1]]) * size)


@lru_cache(maxsize=4)
def thin_plate_basis(points: int, height: int, width: int) -> Float64Array:
    """Displacement of every pixel per displacement of the control points, by thin-plate splines [0].

    The control points lie on a regular grid from corner to corner. The spline moves them as asked and bends the plane
    between them least; displacements that are affine in the control points are affine everywhere.

    [0] Bookstein, Principal Warps: Thin-Plate Splines and the Decomposition of Deformations, PAMI 1989.

    Args:
        points: Control points along each side.
        height: Rows.
        width: Columns.

    Returns:
        (height * width, points * points), rows in reading order.

    Example:
        >>> bool(np.allclose(thin_plate_basis(3, 4, 5).sum(axis=1), 1))  # a shift of all points shifts every pixel
        True
    """
    ticks = np.linspace(0, 1, points)
    control = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
    pixels = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    count = len(control)
    system = np.zeros((count + 3, count + 3))
    system[:count, :count] = _radial(control, control)
    system[:count, count:] = _affine_terms(control)
    system[count:, :count] = _affine_terms(control).T
    at = np.stack(pixels, axis=-1).reshape(-1, 2)
    values = np.concatenate([_radial(at, control), _affine_terms(at)], axis=1)
    return np.asarray(values @ np.linalg.inv(system)[:, :count])


def _radial(at: Float64Array, centres: Float64Array) -> Float64Array:
    """r^2 log r^2 of the distances, (m, n)."""
    squared = ((at[:, None] - centres[None]) ** 2).sum(axis=-1)
    return np.asarray(squared * np.log(np.where(squared > 0, squared, 1.0)))


def _affine_terms(at: Float64Array) -> Float64Array:
    return np.concatenate([np.ones((len(at), 1)), at], axis=1)
