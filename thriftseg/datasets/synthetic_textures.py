"""Procedural textures of the synthetic street: facades, vehicles, people, plants and street furniture.

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

Color = tuple[int, int, int]
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


class _Sprite:
    """A canvas in unit coordinates (x to the right, y down) on which opaque shapes are drawn."""

    def __init__(self, width: int, height: int, color: Color, opaque: bool = False) -> None:
        self.width, self.height = width, height
        self.rgb = np.full((height, width, 3), color, dtype=np.uint8)
        self.alpha = np.full((height, width), 255 if opaque else 0, dtype=np.uint8)

    def _pixels(self, points: Sequence[Point]) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
        scaled = np.array(points) * (self.width, self.height) - 0.5
        return np.round(scaled).astype(np.int32)

    def polygon(self, points: Sequence[Point], color: Color) -> None:
        pixels = self._pixels(points)
        cv2.fillPoly(self.rgb, [pixels], color)
        cv2.fillPoly(self.alpha, [pixels], 255)

    def box(self, x0: float, y0: float, x1: float, y1: float, color: Color) -> None:
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], color)

    def ellipse(self, x: float, y: float, radius_x: float, radius_y: float, color: Color) -> None:
        center = (round(x * self.width - 0.5), round(y * self.height - 0.5))
        axes = (max(1, round(radius_x * self.width)), max(1, round(radius_y * self.height)))
        cv2.ellipse(self.rgb, center, axes, 0, 0, 360, color, -1)
        cv2.ellipse(self.alpha, center, axes, 0, 0, 360, 255, -1)

    def line(self, points: Sequence[Point], color: Color, thickness: int) -> None:
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


# --- stuff ------------------------------------------------------------------------------------------------------


def sky(rng: np.random.Generator, height: int, width: int) -> Texture:
    """Gradient with clouds."""
    zenith = np.array(random_color(rng, (0.52, 0.66), (0.05, 0.55), (0.55, 0.95)), dtype=np.float32)
    horizon = np.array(random_color(rng, (0.0, 0.16), (0.0, 0.25), (0.7, 1.0)), dtype=np.float32)
    ramp = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    clouds = octaves(rng, height, width, (3, 7, 16, 35))[..., None]
    cover = np.clip(0.35 * clouds + rng.uniform(-0.2, 0.3), 0, 0.8)
    brightness = np.float32(rng.uniform(170, 245))
    rgb = (zenith * (1 - ramp) + horizon * ramp) * (1 - cover) + brightness * cover
    return _opaque(np.clip(rgb, 0, 255))


def facade(rng: np.random.Generator, shade: float) -> Texture:
    """House front of about 14 m by 11 m with windows, a ground floor and a cornice."""
    height, width = 220, 280
    wall = random_color(rng, (0.0, 1.0) if rng.random() < 0.3 else (0.02, 0.16), (0.05, 0.5), (0.3, 0.85))
    glass = random_color(rng, (0.5, 0.7), (0.05, 0.4), (0.12, 0.5))
    frame = scaled_color(wall, rng.uniform(0.6, 1.5))
    sprite = _Sprite(width, height, scaled_color(wall, shade), opaque=True)
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
    sprite = _Sprite(192, 56, color, opaque=True)
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
    sprite = _Sprite(240, 56, gap, opaque=True)
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
    sprite = _Sprite(width, height, color)
    sprite.box(0.45, 0.55, 0.55, 1.0, scaled_color((92, 74, 60), rng.uniform(0.6, 1.2)))
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    stretch = rng.uniform(0.8, 1.1)
    radius = np.hypot((columns / width - 0.5) / 0.47, (rows / height - 0.38) / (0.38 * stretch))
    ragged = radius + 0.16 * octaves(rng, height, width, (5, 12)) < 0.92
    return _leafy(rng, sprite, ragged & (rows / height < 0.8), color)


def hedge(rng: np.random.Generator, color: Color, width: int = 192) -> Texture:
    """Bushes with a ragged upper edge, a few times as wide as high."""
    height = 64
    sprite = _Sprite(width, height, color)
    outline = 0.22 + 0.11 * octaves(rng, 8, width, (2, 4))[0]
    rows = np.linspace(0, 1, height)[:, None]
    return _leafy(rng, sprite, rows > outline[None], color)


def _leafy(
    rng: np.random.Generator, sprite: _Sprite, where: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], color: Color
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
    sprite = _Sprite(width, height, base)
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
        noise = noise * (1 - weight) + np.roll(noise, size // 2, axis=axis) * weight
    return np.asarray(noise / max(float(noise.std()), 1e-6), dtype=np.float32)


# --- vehicles ---------------------------------------------------------------------------------------------------


def car_faces(rng: np.random.Generator) -> tuple[Texture, Texture, Texture]:
    """Rear, front and side (rear end on the left) of one car."""
    paint = any_paint(rng)
    roof = rng.uniform(0.55, 0.8)
    return _car_end(rng, paint, (190, 25, 25)), _car_end(rng, paint, (235, 232, 210)), _car_side(rng, paint, roof)


def _car_end(rng: np.random.Generator, paint: Color, lamps: Color) -> Texture:
    sprite = _Sprite(90, 76, scaled_color(paint, 0.9))
    for x in (0.06, 0.78):
        sprite.box(x, 0.8, x + 0.16, 1.0, DARK)
    sprite.polygon([(0.08, 0.02), (0.92, 0.02), (0.99, 0.42), (0.01, 0.42)], paint)
    sprite.polygon([(0.15, 0.08), (0.85, 0.08), (0.92, 0.4), (0.08, 0.4)], GLASS)
    sprite.box(0.01, 0.4, 0.99, 0.86, scaled_color(paint, 0.85))
    sprite.box(0.02, 0.76, 0.98, 0.9, scaled_color(paint, 0.5))
    for x in (0.03, 0.8):
        sprite.box(x, 0.46, x + 0.17, 0.58, lamps)
    sprite.box(0.37, 0.6, 0.63, 0.7, (225, 225, 215))
    return sprite.finish(rng, 0.06)


def _car_side(rng: np.random.Generator, paint: Color, roof: float) -> Texture:
    sprite = _Sprite(200, 76, scaled_color(paint, 0.8))
    sprite.polygon(
        [(0, 0.86), (0, 0.3), (0.06, 0.03), (roof - 0.12, 0.0), (roof, 0.4), (0.97, 0.5), (1, 0.86)],
        scaled_color(paint, 0.8),
    )
    sprite.polygon([(0.05, 0.38), (0.09, 0.1), (roof - 0.14, 0.08), (roof - 0.03, 0.4)], GLASS)
    for x in (0.34, roof - 0.16):
        sprite.box(x, 0.05, x + 0.02, 0.4, scaled_color(paint, 0.7))
    sprite.line([(0.36, 0.42), (0.36, 0.82)], scaled_color(paint, 0.55), 1)
    for x in (0.2, 0.82):
        sprite.ellipse(x, 0.8, 0.085, 0.2, DARK)
        sprite.ellipse(x, 0.8, 0.045, 0.11, (140, 142, 146))
    return sprite.finish(rng, 0.06)


def truck_faces(rng: np.random.Generator) -> tuple[Texture, Texture, Texture]:
    """Rear (doors), front (cab) and side (rear end on the left: plain cargo box, then cab)."""
    cargo, cab = any_paint(rng), any_paint(rng)
    rear = _Sprite(96, 124, cargo)
    rear.box(0, 0, 1, 0.82, cargo)
    rear.line([(0.5, 0), (0.5, 0.8)], scaled_color(cargo, 0.6), 2)
    rear.box(0.02, 0.82, 0.98, 0.88, DARK)
    for x in (0.04, 0.74):
        rear.box(x, 0.84, x + 0.22, 1.0, DARK)
        rear.box(x, 0.79, x + 0.12, 0.84, (180, 30, 25))
    front = _Sprite(96, 124, cab)
    front.box(0.02, 0.0, 0.98, 0.2, scaled_color(cargo, 0.8))
    front.box(0.04, 0.16, 0.96, 0.88, cab)
    front.box(0.09, 0.25, 0.91, 0.5, GLASS)
    front.box(0.2, 0.6, 0.8, 0.72, scaled_color(cab, 0.4))
    for x in (0.06, 0.78):
        front.box(x, 0.74, x + 0.16, 0.8, (240, 236, 205))
        front.box(x, 0.86, x + 0.18, 1.0, DARK)
    side = _Sprite(300, 124, scaled_color(cargo, 0.82))
    side.box(0, 0, 0.74, 0.8, scaled_color(cargo, 0.82))
    for x in np.linspace(0.06, 0.68, 7):
        side.line([(float(x), 0.02), (float(x), 0.78)], scaled_color(cargo, 0.7), 1)
    side.box(0.02, 0.8, 0.97, 0.86, DARK)
    side.polygon([(0.77, 0.18), (0.93, 0.18), (1.0, 0.5), (1.0, 0.84), (0.77, 0.84)], scaled_color(cab, 0.82))
    side.polygon([(0.83, 0.25), (0.92, 0.25), (0.97, 0.5), (0.83, 0.5)], GLASS)
    for x in (0.14, 0.28, 0.87):
        side.ellipse(x, 0.88, 0.05, 0.12, DARK)
    return rear.finish(rng, 0.07), front.finish(rng, 0.07), side.finish(rng, 0.07)


def bus_faces(rng: np.random.Generator) -> tuple[Texture, Texture, Texture]:
    """Rear, front and side (rear end on the left) with one row of large windows and doors."""
    paint, stripe = any_paint(rng), any_paint(rng)
    ends = []
    for lamps, top in (((190, 25, 25), 0.3), ((240, 236, 205), 0.14)):
        end = _Sprite(100, 124, paint)
        end.box(0.01, 0.0, 0.99, 0.93, paint)
        end.box(0.07, 0.04, 0.93, 0.12, DARK)
        end.box(0.07, top - 0.02, 0.93, 0.55, GLASS)
        end.box(0.01, 0.68, 0.99, 0.76, stripe)
        for x in (0.05, 0.83):
            end.box(x, 0.78, x + 0.12, 0.86, lamps)
            end.box(x, 0.92, x + 0.13, 1.0, DARK)
        ends.append(end.finish(rng, 0.05))
    side = _Sprite(400, 124, scaled_color(paint, 0.85))
    side.box(0, 0, 1, 0.92, scaled_color(paint, 0.85))
    side.box(0, 0.62, 1, 0.7, scaled_color(stripe, 0.85))
    for x in np.linspace(0.02, 0.9, 8):
        side.box(float(x), 0.16, float(x) + 0.095, 0.52, GLASS)
    for x in (0.4, 0.9):
        side.box(x, 0.16, x + 0.07, 0.9, scaled_color(GLASS, 0.8))
    for x in (0.2, 0.8):
        side.ellipse(x, 0.88, 0.04, 0.12, DARK)
    return ends[0], ends[1], side.finish(rng, 0.05)


def tram_faces(rng: np.random.Generator) -> tuple[Texture, Texture, Texture]:
    """Rear, front and side of a tram: rounded ends, pantograph, long window band, no visible wheels."""
    paint, skirt = any_paint(rng), any_paint(rng)
    ends = []
    for lamps in ((190, 25, 25), (240, 236, 205)):
        end = _Sprite(96, 150, paint)
        end.line([(0.3, 0.0), (0.5, 0.06), (0.7, 0.0)], DARK, 2)
        end.line([(0.5, 0.06), (0.5, 0.12)], DARK, 2)
        end.polygon([(0.04, 0.12), (0.96, 0.12), (1.0, 0.3), (1.0, 0.97), (0.0, 0.97), (0.0, 0.3)], paint)
        end.polygon([(0.18, 0.22), (0.82, 0.22), (0.9, 0.55), (0.1, 0.55)], GLASS)
        end.box(0.3, 0.15, 0.7, 0.2, (230, 170, 60))
        end.box(0.04, 0.78, 0.96, 0.97, skirt)
        for x in (0.12, 0.74):
            end.ellipse(x + 0.07, 0.7, 0.06, 0.035, lamps)
        ends.append(end.finish(rng, 0.05))
    side = _Sprite(640, 150, scaled_color(paint, 0.85))
    side.box(0, 0.12, 1, 0.97, scaled_color(paint, 0.85))
    side.box(0.015, 0.24, 0.985, 0.54, GLASS)
    side.box(0, 0.78, 1, 0.97, scaled_color(skirt, 0.85))
    for x in np.linspace(0.1, 0.9, 9):
        side.box(float(x), 0.22, float(x) + 0.012, 0.9, scaled_color(paint, 0.6))
    for x in (0.33, 0.66):
        side.box(x, 0.12, x + 0.014, 0.97, DARK)
    return ends[0], ends[1], side.finish(rng, 0.05)


def bicycle(rng: np.random.Generator) -> Texture:
    """Side view, 1.75 m by 1.05 m: two wheels, a diamond frame, handlebar and saddle."""
    color = any_paint(rng)
    sprite = _Sprite(110, 66, (70, 72, 76))
    for x in (0.2, 0.8):
        sprite.ellipse(x, 0.68, 0.19, 0.31, DARK)
        sprite.ellipse(x, 0.68, 0.15, 0.25, (110, 112, 116))
        sprite.line([(x - 0.1, 0.5), (x + 0.1, 0.86)], DARK, 1)
        sprite.line([(x + 0.1, 0.5), (x - 0.1, 0.86)], DARK, 1)
    sprite.line([(0.2, 0.68), (0.4, 0.3), (0.7, 0.3), (0.48, 0.7), (0.2, 0.68)], color, 4)
    sprite.line([(0.8, 0.68), (0.7, 0.14), (0.8, 0.1)], color, 4)
    sprite.line([(0.48, 0.7), (0.38, 0.2)], color, 4)
    sprite.box(0.3, 0.14, 0.45, 0.22, DARK)
    return sprite.finish(rng, 0.05)


def motorcycle(rng: np.random.Generator) -> Texture:
    """Side view, 2.1 m by 1.15 m: a bulky body between two thick wheels."""
    color = any_paint(rng)
    sprite = _Sprite(120, 66, DARK)
    for x in (0.18, 0.82):
        sprite.ellipse(x, 0.74, 0.16, 0.26, DARK)
        sprite.ellipse(x, 0.74, 0.07, 0.12, (150, 150, 152))
    sprite.polygon([(0.2, 0.5), (0.36, 0.36), (0.52, 0.38), (0.66, 0.24), (0.8, 0.44), (0.7, 0.8), (0.34, 0.82)], color)
    sprite.box(0.4, 0.58, 0.64, 0.82, (96, 98, 100))
    sprite.polygon([(0.16, 0.4), (0.5, 0.36), (0.5, 0.46), (0.2, 0.5)], DARK)
    sprite.line([(0.82, 0.74), (0.68, 0.1), (0.6, 0.12)], (90, 92, 96), 5)
    sprite.ellipse(0.76, 0.3, 0.05, 0.09, (235, 230, 200))
    return sprite.finish(rng, 0.05)


# --- people -----------------------------------------------------------------------------------------------------

_SKIN = ((226, 184, 150), (196, 148, 112), (142, 98, 70), (94, 64, 48))


def _skin(rng: np.random.Generator) -> Color:
    return scaled_color(_SKIN[int(rng.integers(len(_SKIN)))], rng.uniform(0.85, 1.1))


def person_parts(rng: np.random.Generator) -> tuple[Texture, Texture]:
    """Upper body (0.62 m by 1.0 m) and one leg (0.2 m by 0.92 m)."""
    coat, trousers, skin = any_paint(rng), any_paint(rng), _skin(rng)
    body = _Sprite(50, 80, coat)
    body.polygon([(0.14, 0.36), (0.3, 0.27), (0.7, 0.27), (0.86, 0.36), (0.78, 1.0), (0.22, 1.0)], coat)
    for x in (0.06, 0.8):
        body.box(x, 0.34, x + 0.14, 0.86, scaled_color(coat, 0.8))
        body.ellipse(x + 0.07, 0.9, 0.06, 0.04, skin)
    body.box(0.43, 0.2, 0.57, 0.3, skin)
    body.ellipse(0.5, 0.12, 0.16, 0.12, skin)
    body.polygon([(0.33, 0.1), (0.38, 0.01), (0.62, 0.01), (0.67, 0.1)], scaled_color(DARK, rng.uniform(0.6, 3.0)))
    leg = _Sprite(18, 74, trousers)
    leg.polygon([(0.05, 0), (0.95, 0), (0.78, 0.94), (0.22, 0.94)], trousers)
    leg.box(0.15, 0.92, 0.98, 1.0, DARK)
    return body.finish(rng, 0.09), leg.finish(rng, 0.09)


def rider(rng: np.random.Generator) -> Texture:
    """Somebody bent over handlebars to the right, 1.0 m by 1.35 m."""
    coat, trousers, skin = any_paint(rng), any_paint(rng), _skin(rng)
    sprite = _Sprite(72, 96, coat)
    sprite.polygon([(0.1, 0.52), (0.28, 0.5), (0.62, 0.66), (0.5, 0.98), (0.36, 0.98), (0.42, 0.74)], trousers)
    sprite.box(0.34, 0.93, 0.6, 1.0, DARK)
    sprite.polygon([(0.08, 0.56), (0.3, 0.18), (0.56, 0.22), (0.46, 0.58)], coat)
    sprite.polygon([(0.46, 0.24), (0.58, 0.28), (0.96, 0.52), (0.9, 0.58), (0.5, 0.42)], scaled_color(coat, 0.8))
    sprite.ellipse(0.56, 0.11, 0.13, 0.1, skin)
    sprite.polygon([(0.42, 0.1), (0.48, 0.0), (0.64, 0.0), (0.7, 0.08)], any_paint(rng))
    return sprite.finish(rng, 0.08)


# --- street furniture -------------------------------------------------------------------------------------------


def pole(rng: np.random.Generator) -> Texture:
    """Upright rod, shaded from left to right."""
    color = random_color(rng, (0.0, 1.0), (0.0, 0.2), (0.2, 0.75))
    shade = np.linspace(1.2, 0.65, 8)[None] * (1 + 0.07 * octaves(rng, 128, 8, (2, 4)))
    rgb = np.array(color) * shade[..., None]
    return _opaque(np.clip(rgb, 0, 255))


def traffic_light(rng: np.random.Generator) -> Texture:
    """Dark housing with one of three lamps lit."""
    lit = int(rng.integers(3))
    sprite = _Sprite(26, 64, DARK, opaque=True)
    for index, color in enumerate(((235, 45, 35), (245, 180, 40), (60, 220, 110))):
        sprite.ellipse(0.5, 0.18 + 0.32 * index, 0.34, 0.13, color if index == lit else scaled_color(color, 0.25))
    return sprite.finish(rng, 0.04)


def traffic_sign(rng: np.random.Generator) -> Texture:
    """Disc, triangle, diamond or rectangle with a border and a mark."""
    border = random_color(
        rng,
        *((((-0.03, 0.03), (0.7, 0.95), (0.6, 0.9))) if rng.random() < 0.6 else ((0.55, 0.66), (0.6, 0.9), (0.4, 0.8))),
    )
    inner = ((240, 240, 236), (240, 200, 40), border)[int(rng.integers(3))]
    sprite = _Sprite(56, 56, border)
    shape = int(rng.integers(4))
    for scale, color in ((0.48, border), (0.34, inner)):
        if shape == 0:
            sprite.ellipse(0.5, 0.5, scale, scale, color)
        else:
            sprite.polygon(_sign_outline(shape, scale), color)
    mark = DARK if inner != border else (240, 240, 236)
    sprite.box(0.42, 0.34, 0.58, 0.68, mark)
    return sprite.finish(rng, 0.04)


def _sign_outline(shape: int, scale: float) -> list[Point]:
    if shape == 1:
        return [(0.5, 0.5 - scale), (0.5 + scale, 0.5 + 0.85 * scale), (0.5 - scale, 0.5 + 0.85 * scale)]
    if shape == 2:
        return [(0.5, 0.5 - scale), (0.5 + scale, 0.5), (0.5, 0.5 + scale), (0.5 - scale, 0.5)]
    return [
        (0.5 - scale, 0.5 - scale),
        (0.5 + scale, 0.5 - scale),
        (0.5 + scale, 0.5 + scale),
        (0.5 - scale, 0.5 + scale),
    ]


def bin_or_box(rng: np.random.Generator) -> Texture:
    """Litter bin or switch box: clutter without a class."""
    color = any_paint(rng)
    sprite = _Sprite(40, 56, color)
    sprite.polygon([(0.05, 0.1), (0.95, 0.1), (0.85, 1.0), (0.15, 1.0)], color)
    sprite.box(0, 0, 1, 0.14, scaled_color(color, 0.7))
    return sprite.finish(rng, 0.08)


def _opaque(rgb: np.ndarray[tuple[int, ...], np.dtype[np.floating]]) -> Texture:
    alpha = np.full(rgb.shape[:2], 255, dtype=np.uint8)
    return Texture(np.dstack([rgb.astype(np.uint8), alpha]))
