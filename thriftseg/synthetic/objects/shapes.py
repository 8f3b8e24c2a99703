"""Silhouettes and patterns of the objects that synthetic video object segmentation follows.

All things of a clip are painted with the same few colours, so that an object is known by its pattern, its outline and
its motion rather than by its colour. Every function draws from the generator it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from thriftseg.arrays import BoolArray, Float32Array, UInt8Array
from thriftseg.synthetic.textures import Point, Sprite, Texture, any_paint, octaves, random_color, scaled_color
from thriftseg.taxonomies import Color

Silhouette = Callable[[np.random.Generator], list[Point]]

_SIDE = 96  # texels


def palette(rng: np.random.Generator) -> list[Color]:
    """The four colours of a clip."""
    return [random_color(rng, (0.0, 1.0), (0.05, 0.7), (0.2, 0.95)) for _ in range(4)]


def object_texture(rng: np.random.Generator, category: str, colors: Sequence[Color]) -> Texture:
    """A thing of a category, painted with one of the colours and another one, of the clip or its own.

    Args:
        rng: Source of randomness.
        category: A key of `CATEGORIES`.
        colors: Colours of the clip.
    """
    sprite = Sprite(_SIDE, _SIDE, colors[0], opaque=False)
    sprite.polygon(CATEGORIES[category](rng), colors[0])
    first, second = (colors[int(index)] for index in rng.permutation(len(colors))[:2])
    chosen = [scaled_color(first, rng.uniform(0.75, 1.25)), any_paint(rng) if rng.random() < 0.5 else second]
    inside = sprite.alpha > 0
    sprite.rgb[inside] = pattern(rng, _SIDE, _SIDE, chosen, cell=float(rng.uniform(7, 26)))[inside]
    rim = inside & (cv2.erode(sprite.alpha, np.ones((5, 5), np.uint8)) == 0)
    sprite.rgb[rim] = (sprite.rgb[rim] * rng.uniform(0.55, 0.95)).astype(np.uint8)
    return sprite.finish(rng, 0.1)


def backdrop(rng: np.random.Generator, height: int, width: int, colors: Sequence[Color]) -> Texture:
    """A wall of patches, each with a pattern of its own in the colours of the clip."""
    rgb = pattern(rng, height, width, list(colors[:2]), cell=float(rng.uniform(0.06, 0.2)) * height)
    for _ in range(int(rng.integers(5, 10))):
        where = octaves(rng, height, width, (2, 4)) > rng.uniform(0.3, 1.0)
        drawn = (colors[int(index)] for index in rng.integers(len(colors), size=2))
        pair = [scaled_color(color, rng.uniform(0.75, 1.25)) for color in drawn]
        rgb[where] = pattern(rng, height, width, pair, cell=float(rng.uniform(0.04, 0.25)) * height)[where]
    light = 1 + 0.1 * octaves(rng, height, width, (3, 11, 37, 90))
    alpha = np.full((height, width), 255, np.uint8)
    return Texture(np.dstack([np.clip(rgb * light[..., None], 0, 255).astype(np.uint8), alpha]))


def pattern(rng: np.random.Generator, height: int, width: int, colors: Sequence[Color], cell: float) -> UInt8Array:
    """Stripes, checks, dots or spots of two colours.

    Args:
        rng: Source of randomness.
        height: Rows.
        width: Columns.
        colors: The two colours.
        cell: Size of a repetition in pixels.

    Returns:
        (height, width, 3) uint8.
    """
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    angle = rng.uniform(0, np.pi)
    wave = octaves(rng, height, width, (3, 6)) * rng.uniform(0, 0.6)
    u = (columns * np.cos(angle) + rows * np.sin(angle)) / cell * 2 * np.pi + wave
    v = (rows * np.cos(angle) - columns * np.sin(angle)) / cell * 2 * np.pi + wave
    second = _PATTERNS[int(rng.integers(len(_PATTERNS)))](np.sin(u), np.sin(v), wave)
    return np.where(second[..., None], np.array(colors[1], np.uint8), np.array(colors[0], np.uint8))


_PATTERNS: tuple[Callable[[Float32Array, Float32Array, Float32Array], BoolArray], ...] = (
    lambda u, v, wave: np.asarray(u > 0),
    lambda u, v, wave: np.asarray(u * v > 0),
    lambda u, v, wave: np.asarray(u + v > 0.9),
    lambda u, v, wave: np.asarray(u + 0.5 * v + 3 * wave > 0.2),
)


def _radial(radius: Callable[[np.random.Generator, Float32Array], Float32Array]) -> Silhouette:
    def outline(rng: np.random.Generator) -> list[Point]:
        angles = np.linspace(0, 2 * np.pi, 72, endpoint=False, dtype=np.float32)
        lengths = radius(rng, angles)
        lengths = 0.48 * lengths / lengths.max()
        squeeze = rng.uniform(0.7, 1.0)
        return [
            (float(0.5 + r * np.cos(a)), float(0.5 + squeeze * r * np.sin(a)))
            for r, a in zip(lengths, angles, strict=True)
        ]

    return outline


def _blob(rng: np.random.Generator, angles: Float32Array) -> Float32Array:
    waves = [rng.uniform(0, 0.3) / k * np.cos(k * angles + rng.uniform(0, 2 * np.pi)) for k in range(2, 6)]
    return np.asarray(1 + np.sum(waves, axis=0), np.float32)


def _star(rng: np.random.Generator, angles: Float32Array) -> Float32Array:
    points = int(rng.integers(4, 8))
    saw = np.abs((angles * points / np.pi) % 2 - 1)
    return np.asarray(0.45 + 0.55 * saw, np.float32)


def _flower(rng: np.random.Generator, angles: Float32Array) -> Float32Array:
    return np.asarray(0.6 + 0.4 * np.abs(np.cos(rng.integers(2, 5) * angles)), np.float32)


def _gear(rng: np.random.Generator, angles: Float32Array) -> Float32Array:
    return np.asarray(np.where(np.sin(rng.integers(6, 11) * angles) > 0, 1.0, 0.78), np.float32)


def _egg(rng: np.random.Generator, angles: Float32Array) -> Float32Array:
    return np.asarray(1 + rng.uniform(0.05, 0.25) * np.cos(angles), np.float32)


def _block(rng: np.random.Generator) -> list[Point]:
    margin = rng.uniform(0.02, 0.28)
    return [(0.02, margin), (0.98, margin), (0.98, 1 - margin), (0.02, 1 - margin)]


def _cross(rng: np.random.Generator) -> list[Point]:
    a = rng.uniform(0.28, 0.4)
    b = 1 - a
    return [(a, 0), (b, 0), (b, a), (1, a), (1, b), (b, b), (b, 1), (a, 1), (a, b), (0, b), (0, a), (a, a)]


def _arrow(rng: np.random.Generator) -> list[Point]:
    neck = rng.uniform(0.2, 0.36)
    return [(0, neck), (0.5, neck), (0.5, 0.02), (1, 0.5), (0.5, 0.98), (0.5, 1 - neck), (0, 1 - neck)]


def _kite(rng: np.random.Generator) -> list[Point]:
    waist = rng.uniform(0.25, 0.45)
    return [(0.5, 0), (0.95, waist), (0.5, 1), (0.05, waist)]


def _bolt(rng: np.random.Generator) -> list[Point]:
    x = rng.uniform(0.5, 0.7)
    return [(0.35, 0), (0.9, 0), (x, 0.38), (0.95, 0.38), (0.2, 1), (0.4, 0.55), (0.05, 0.55)]


CATEGORIES: dict[str, Silhouette] = {
    "blob": _radial(_blob),
    "star": _radial(_star),
    "flower": _radial(_flower),
    "gear": _radial(_gear),
    "block": _block,
    "cross": _cross,
    "arrow": _arrow,
    "kite": _kite,
    "egg": _radial(_egg),
    "bolt": _bolt,
}
"""Outlines in unit coordinates by the name of their category."""

UNSEEN = ("egg", "bolt")
"""Categories that no training video has."""
