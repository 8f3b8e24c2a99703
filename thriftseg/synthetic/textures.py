"""Tools to paint textures: a canvas for shapes, smooth noise, random colours, and textures seen at any size."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np

from thriftseg.arrays import Float32Array, Float64Array, UInt8Array
from thriftseg.taxonomies import Color

Point = tuple[float, float]

DARK: Color = (28, 30, 34)
GLASS: Color = (58, 68, 80)


class Texture:
    """An RGBA image that is sampled at several resolutions.

    Args:
        rgba: (h, w, 4) uint8; the alpha channel is the silhouette.
    """

    def __init__(self, rgba: UInt8Array) -> None:
        self.rgba = rgba
        self._level = lru_cache(maxsize=None)(self._make_level)

    def level_for(self, width: float, height: float) -> UInt8Array:
        """The reduced texture that suits a projection of the given size in pixels.

        Columns and rows are reduced independently, which keeps planes seen at a grazing angle sharp. A border of one
        transparent pixel is added, so that the silhouette of an opaque texture ends exactly at its edge.

        Returns:
            (h + 2, w + 2, 4) uint8.
        """
        rows, columns = self.rgba.shape[:2]
        return self._level(_halvings(columns, width), _halvings(rows, height))

    def _make_level(self, halve_x: int, halve_y: int) -> UInt8Array:
        rows, columns = self.rgba.shape[:2]
        size = (max(columns >> halve_x, 1), max(rows >> halve_y, 1))
        reduced = self.rgba if size == (columns, rows) else cv2.resize(self.rgba, size, interpolation=cv2.INTER_AREA)
        padded = np.asarray(cv2.copyMakeBorder(reduced, 1, 1, 1, 1, cv2.BORDER_REPLICATE), dtype=np.uint8)
        padded[[0, -1], :, 3] = 0
        padded[:, [0, -1], 3] = 0
        return padded

    def mirrored(self) -> Texture:
        """The texture with left and right exchanged."""
        return Texture(np.ascontiguousarray(self.rgba[:, ::-1]))

    def shaded(self, factor: float) -> Texture:
        """The texture with its colours multiplied by a factor."""
        rgba = self.rgba.copy()
        rgba[..., :3] = np.clip(rgba[..., :3] * factor, 0, 255).astype(np.uint8)
        return Texture(rgba)


def _halvings(texels: int, pixels: float) -> int:
    return max(0, math.floor(math.log2(texels / max(pixels, 1.0)) + 0.3))


class Sprite:
    """A canvas in unit coordinates (x to the right, y down) on which opaque shapes are drawn."""

    def __init__(self, width: int, height: int, color: Color, opaque: bool = False) -> None:
        self.width, self.height = width, height
        self.rgb = np.full((height, width, 3), color, dtype=np.uint8)
        self.alpha = np.full((height, width), 255 if opaque else 0, dtype=np.uint8)

    def _pixels(self, points: Sequence[Point]) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
        scaled = np.array(points) * (self.width, self.height) - 0.5
        return np.round(scaled).astype(np.int32)

    def polygon(self, points: Sequence[Point], color: Color) -> None:
        """Fill a polygon."""
        pixels = self._pixels(points)
        cv2.fillPoly(self.rgb, [pixels], color)
        cv2.fillPoly(self.alpha, [pixels], 255)

    def box(self, x0: float, y0: float, x1: float, y1: float, color: Color) -> None:
        """Fill an upright rectangle."""
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], color)

    def ellipse(self, x: float, y: float, radius_x: float, radius_y: float, color: Color) -> None:
        """Fill an ellipse."""
        center = (round(x * self.width - 0.5), round(y * self.height - 0.5))
        axes = (max(1, round(radius_x * self.width)), max(1, round(radius_y * self.height)))
        cv2.ellipse(self.rgb, center, axes, 0, 0, 360, color, -1)
        cv2.ellipse(self.alpha, center, axes, 0, 0, 360, 255, -1)

    def line(self, points: Sequence[Point], color: Color, thickness: int) -> None:
        """Draw an open line, `thickness` pixels wide."""
        pixels = self._pixels(points)
        cv2.polylines(self.rgb, [pixels], False, color, thickness)
        cv2.polylines(self.alpha, [pixels], False, 255, thickness)

    def finish(self, rng: np.random.Generator, grain: float = 0.08) -> Texture:
        """Add grain and gradients to the colours and return the texture."""
        noise = 1 + grain * octaves(rng, self.height, self.width, (4, 13, 31))
        rgb = np.clip(self.rgb * noise[..., None], 0, 255).astype(np.uint8)
        return Texture(np.dstack([rgb, self.alpha]))


def octaves(rng: np.random.Generator, height: int, width: int, cells: Sequence[int]) -> Float32Array:
    """Smooth noise summed over several scales.

    Args:
        rng: Source of randomness.
        height: Rows.
        width: Columns.
        cells: Number of random cells along the shorter side, per scale.

    Returns:
        (height, width) float32 with mean about 0 and standard deviation about 1.
    """
    total = np.zeros((height, width), dtype=np.float32)
    shorter = min(height, width)
    for count in cells:
        grid_size = (max(2, round(height / shorter * count)), max(2, round(width / shorter * count)))
        grid = rng.standard_normal(grid_size, dtype=np.float32)
        total += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(total / math.sqrt(len(cells)), dtype=np.float32)


def random_color(
    rng: np.random.Generator, hue: tuple[float, float], saturation: tuple[float, float], value: tuple[float, float]
) -> Color:
    """A random RGB colour from ranges of hue, saturation and value, each in [0, 1] (the hue may wrap around 1)."""
    red, green, blue = colorsys.hsv_to_rgb(rng.uniform(*hue) % 1.0, rng.uniform(*saturation), rng.uniform(*value))
    return round(red * 255), round(green * 255), round(blue * 255)


def scaled_color(color: Color, factor: float) -> Color:
    """A lighter or darker version of a colour."""
    red, green, blue = (min(255, round(channel * factor)) for channel in color)
    return red, green, blue


def any_paint(rng: np.random.Generator) -> Color:
    """A colour that a car, a coat or a bin may have."""
    return random_color(rng, (0.0, 1.0), (0.0, 0.75), (0.15, 0.95))


def noise_tile(rng: np.random.Generator, size: int, cells: Sequence[int]) -> Float32Array:
    """Noise that repeats without a seam, (size, size), for planes without end."""
    noise = octaves(rng, size, size, cells)
    ramp = np.abs(np.linspace(-1, 1, size, dtype=np.float32)) ** 4 / 2
    for axis in (0, 1):
        weight = ramp[:, None] if axis == 0 else ramp[None]
        blended = noise * (1 - weight) + np.roll(noise, size // 2, axis=axis) * weight
        noise = np.asarray(blended, dtype=np.float32)
    return np.asarray(noise / max(float(noise.std()), 1e-6), dtype=np.float32)


def opaque_texture(rgb: np.ndarray[tuple[int, ...], np.dtype[np.floating]]) -> Texture:
    """A texture without a silhouette from colours (h, w, 3) in [0, 255]."""
    alpha = np.full(rgb.shape[:2], 255, dtype=np.uint8)
    return Texture(np.dstack([rgb.astype(np.uint8), alpha]))


def warped(texture: UInt8Array, inverse: Float64Array, corner: tuple[int, int], size: tuple[int, int]) -> UInt8Array:
    """The part of a projected texture that lies in a window of the image.

    Args:
        texture: (h + 2, w + 2, 4) with a transparent border.
        inverse: Map from the image to texture coordinates in [0, 1].
        corner: Column and row of the window.
        size: Width and height of the window.
    """
    rows, columns = texture.shape[0] - 2, texture.shape[1] - 2
    matrix = inverse.copy()
    matrix[:, 2] += matrix[:, 0] * corner[0] + matrix[:, 1] * corner[1]
    matrix[0] = matrix[0] * columns + 0.5 * matrix[2]
    matrix[1] = matrix[1] * rows + 0.5 * matrix[2]
    matrix /= matrix[2, 2]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    if abs(matrix[2, 0]) + abs(matrix[2, 1]) < 1e-12:
        return np.asarray(cv2.warpAffine(texture, matrix[:2], size, flags=flags), dtype=np.uint8)
    return np.asarray(cv2.warpPerspective(texture, matrix, size, flags=flags), dtype=np.uint8)
