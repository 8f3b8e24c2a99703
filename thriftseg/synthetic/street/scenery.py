"""Drawings of what surrounds a synthetic street: sky, houses, walls, fences and plants.

Every function draws from the generator it is given and returns a `Texture`. Colours are random per call, so that a
class is known by its shape, its texture and its place rather than by its colour.
"""

from __future__ import annotations

import numpy as np

from thriftseg.synthetic.textures import (
    GLASS,
    Sprite,
    Texture,
    any_paint,
    octaves,
    opaque_texture,
    random_color,
    scaled_color,
)
from thriftseg.taxonomies import Color


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
