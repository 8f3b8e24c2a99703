"""Procedural textures of the synthetic street: sky, houses, walls, fences and plants, and the tools to draw them.

Every function draws from the generator it is given and returns a `Texture`. Colours are random per call, so that a
class is known by its shape, its texture and its place rather than by its colour.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np

from thriftseg.arrays import Float32Array, UInt8Array
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


def sky(rng: np.random.Generator, height: int, width: int) -> Texture:
    """Gradient with clouds."""
    zenith = np.array(random_color(rng, (0.52, 0.66), (0.05, 0.55), (0.55, 0.95)), dtype=np.float32)
    horizon = np.array(random_color(rng, (0.0, 0.16), (0.0, 0.25), (0.7, 1.0)), dtype=np.float32)
    ramp = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    clouds = octaves(rng, height, width, (3, 7, 16, 35))[..., None]
    cover = np.clip(0.35 * clouds + rng.uniform(-0.2, 0.3), 0, 0.8)
    brightness = np.float32(rng.uniform(170, 245))
    rgb = (zenith * (1 - ramp) + horizon * ramp) * (1 - cover) + brightness * cover
    return opaque_texture(np.clip(rgb, 0, 255))


def facade(rng: np.random.Generator, shade: float) -> Texture:
    """House front of about 14 m by 11 m with windows, a ground floor and a cornice."""
    height, width = 220, 280
    wall = random_color(rng, (0.0, 1.0) if rng.random() < 0.3 else (0.02, 0.16), (0.05, 0.5), (0.3, 0.85))
    glass = random_color(rng, (0.5, 0.7), (0.05, 0.4), (0.12, 0.5))
    frame = scaled_color(wall, rng.uniform(0.6, 1.5))
    sprite = Sprite(width, height, scaled_color(wall, shade), opaque=True)
    floors, columns = int(rng.integers(3, 6)), int(rng.integers(4, 9))
    fill_x, fill_y = rng.uniform(0.35, 0.7), rng.uniform(0.45, 0.7)
    for floor in range(floors):
        for column in range(columns):
            x, y = (column + 0.5) / columns, 0.04 + (floor + 0.5) / (floors + 1.1)
            half_x, half_y = 0.5 * fill_x / columns, 0.5 * fill_y / (floors + 1.1)
            sprite.box(x - half_x * 1.2, y - half_y * 1.2, x + half_x * 1.2, y + half_y * 1.15, frame)
            sprite.box(x - half_x, y - half_y, x + half_x, y + half_y, scaled_color(glass, rng.uniform(0.6, 1.5)))
    for column in range(columns // 2):
        x = (column + 0.5) / max(columns // 2, 1)
        color = any_paint(rng) if rng.random() < 0.4 else GLASS
        sprite.box(x - 0.5 / columns, 0.84, x + 0.5 / columns, 1.0, color)
    sprite.box(0, 0, 1, 0.035, scaled_color(wall, 0.6 * shade))
    return sprite.finish(rng, 0.07)


def wall(rng: np.random.Generator) -> Texture:
    """Brick or concrete wall of about 6 m by 1.6 m, without windows."""
    color = random_color(rng, (0.0, 0.14), (0.05, 0.5), (0.3, 0.75))
    sprite = Sprite(192, 56, color, opaque=True)
    courses = int(rng.integers(4, 9))
    for course in range(courses):
        sprite.line([(0, course / courses), (1, course / courses)], scaled_color(color, 0.75), 1)
        for brick in range(24):
            x = (brick + 0.5 * (course % 2)) / 24
            sprite.line([(x, course / courses), (x, (course + 1) / courses)], scaled_color(color, 0.75), 1)
    sprite.box(0, 0, 1, 0.08, scaled_color(color, 1.2))
    return sprite.finish(rng, 0.1)


def fence(rng: np.random.Generator) -> Texture:
    """Picket fence of about 6 m by 1.4 m; the gaps are dark."""
    color = random_color(rng, (0.0, 1.0), (0.0, 0.35), (0.25, 0.95))
    gap = random_color(rng, (0.15, 0.4), (0.1, 0.4), (0.1, 0.3))
    sprite = Sprite(240, 56, gap, opaque=True)
    pickets = int(rng.integers(24, 40))
    for picket in range(pickets):
        x = (picket + 0.5) / pickets
        sprite.box(x - 0.27 / pickets, 0, x + 0.2 / pickets, 1, scaled_color(color, rng.uniform(0.85, 1.1)))
    for y in (0.2, 0.8):
        sprite.box(0, y - 0.06, 1, y + 0.06, color)
    return sprite.finish(rng, 0.06)


def foliage_color(rng: np.random.Generator) -> Color:
    """Green in most clips, autumn colours in some."""
    hue = (0.04, 0.13) if rng.random() < 0.2 else (0.16, 0.38)
    return random_color(rng, hue, (0.2, 0.65), (0.2, 0.6))


def tree(rng: np.random.Generator, color: Color) -> Texture:
    """Crown with a ragged silhouette over a short trunk, about as wide as two thirds of its height."""
    height, width = 150, 110
    sprite = Sprite(width, height, color)
    sprite.box(0.45, 0.55, 0.55, 1.0, scaled_color((92, 74, 60), rng.uniform(0.6, 1.2)))
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    stretch = rng.uniform(0.8, 1.1)
    radius = np.hypot((columns / width - 0.5) / 0.47, (rows / height - 0.38) / (0.38 * stretch))
    ragged = radius + 0.16 * octaves(rng, height, width, (5, 12)) < 0.92
    return _leafy(rng, sprite, ragged & (rows / height < 0.8), color)


def hedge(rng: np.random.Generator, color: Color, width: int = 192) -> Texture:
    """Bushes with a ragged upper edge, a few times as wide as high."""
    height = 64
    sprite = Sprite(width, height, color)
    outline = 0.22 + 0.11 * octaves(rng, 8, width, (2, 4))[0]
    rows = np.linspace(0, 1, height)[:, None]
    return _leafy(rng, sprite, rows > outline[None], color)


def _leafy(
    rng: np.random.Generator, sprite: Sprite, where: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], color: Color
) -> Texture:
    leaves = 1 + 0.3 * octaves(rng, sprite.height, sprite.width, (9, 22, 48))
    leaves *= np.linspace(1.15, 0.7, sprite.height, dtype=np.float32)[:, None]
    painted = np.clip(np.array(color, dtype=np.float32) * leaves[..., None], 0, 255).astype(np.uint8)
    sprite.rgb[where] = painted[where]
    sprite.alpha[where] = 255
    return sprite.finish(rng, 0.05)


def skyline(rng: np.random.Generator) -> Texture:
    """Distant roofs along the horizon."""
    height, width = 96, 1024
    base = random_color(rng, (0.0, 1.0), (0.02, 0.2), (0.45, 0.75))
    sprite = Sprite(width, height, base)
    x = 0.0
    while x < 1:
        step = rng.uniform(0.01, 0.035)
        top = rng.uniform(0.15, 0.75)
        color = scaled_color(base, rng.uniform(0.75, 1.1))
        sprite.box(x, top, x + step, 1, color)
        for row in np.arange(top + 0.06, 0.95, 0.09):
            sprite.line([(x + 0.003, float(row)), (x + step - 0.003, float(row))], scaled_color(color, 0.8), 1)
        x += step * rng.uniform(0.9, 1.1)
    return sprite.finish(rng, 0.05)


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
