"""Drawings of the things on the synthetic street: vehicles, people and street furniture.

Every function draws from the generator it is given; colours are random per call.
"""

from __future__ import annotations

import numpy as np

from thriftseg.synthetic.textures import (
    DARK,
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


def car_faces(rng: np.random.Generator) -> tuple[Texture, Texture, Texture]:
    """Rear, front and side (rear end on the left) of one car."""
    paint = any_paint(rng)
    roof = rng.uniform(0.55, 0.8)
    return _car_end(rng, paint, (190, 25, 25)), _car_end(rng, paint, (235, 232, 210)), _car_side(rng, paint, roof)


def _car_end(rng: np.random.Generator, paint: Color, lamps: Color) -> Texture:
    sprite = Sprite(90, 76, scaled_color(paint, 0.9))
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
    sprite = Sprite(200, 76, scaled_color(paint, 0.8))
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
    rear = Sprite(96, 124, cargo)
    rear.box(0, 0, 1, 0.82, cargo)
    rear.line([(0.5, 0), (0.5, 0.8)], scaled_color(cargo, 0.6), 2)
    rear.box(0.02, 0.82, 0.98, 0.88, DARK)
    for x in (0.04, 0.74):
        rear.box(x, 0.84, x + 0.22, 1.0, DARK)
        rear.box(x, 0.79, x + 0.12, 0.84, (180, 30, 25))
    front = Sprite(96, 124, cab)
    front.box(0.02, 0.0, 0.98, 0.2, scaled_color(cargo, 0.8))
    front.box(0.04, 0.16, 0.96, 0.88, cab)
    front.box(0.09, 0.25, 0.91, 0.5, GLASS)
    front.box(0.2, 0.6, 0.8, 0.72, scaled_color(cab, 0.4))
    for x in (0.06, 0.78):
        front.box(x, 0.74, x + 0.16, 0.8, (240, 236, 205))
        front.box(x, 0.86, x + 0.18, 1.0, DARK)
    side = Sprite(300, 124, scaled_color(cargo, 0.82))
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
        end = Sprite(100, 124, paint)
        end.box(0.01, 0.0, 0.99, 0.93, paint)
        end.box(0.07, 0.04, 0.93, 0.12, DARK)
        end.box(0.07, top - 0.02, 0.93, 0.55, GLASS)
        end.box(0.01, 0.68, 0.99, 0.76, stripe)
        for x in (0.05, 0.83):
            end.box(x, 0.78, x + 0.12, 0.86, lamps)
            end.box(x, 0.92, x + 0.13, 1.0, DARK)
        ends.append(end.finish(rng, 0.05))
    side = Sprite(400, 124, scaled_color(paint, 0.85))
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
        end = Sprite(96, 150, paint)
        end.line([(0.3, 0.0), (0.5, 0.06), (0.7, 0.0)], DARK, 2)
        end.line([(0.5, 0.06), (0.5, 0.12)], DARK, 2)
        end.polygon([(0.04, 0.12), (0.96, 0.12), (1.0, 0.3), (1.0, 0.97), (0.0, 0.97), (0.0, 0.3)], paint)
        end.polygon([(0.18, 0.22), (0.82, 0.22), (0.9, 0.55), (0.1, 0.55)], GLASS)
        end.box(0.3, 0.15, 0.7, 0.2, (230, 170, 60))
        end.box(0.04, 0.78, 0.96, 0.97, skirt)
        for x in (0.12, 0.74):
            end.ellipse(x + 0.07, 0.7, 0.06, 0.035, lamps)
        ends.append(end.finish(rng, 0.05))
    side = Sprite(640, 150, scaled_color(paint, 0.85))
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
    sprite = Sprite(110, 66, (70, 72, 76))
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
    sprite = Sprite(120, 66, DARK)
    for x in (0.18, 0.82):
        sprite.ellipse(x, 0.74, 0.16, 0.26, DARK)
        sprite.ellipse(x, 0.74, 0.07, 0.12, (150, 150, 152))
    sprite.polygon([(0.2, 0.5), (0.36, 0.36), (0.52, 0.38), (0.66, 0.24), (0.8, 0.44), (0.7, 0.8), (0.34, 0.82)], color)
    sprite.box(0.4, 0.58, 0.64, 0.82, (96, 98, 100))
    sprite.polygon([(0.16, 0.4), (0.5, 0.36), (0.5, 0.46), (0.2, 0.5)], DARK)
    sprite.line([(0.82, 0.74), (0.68, 0.1), (0.6, 0.12)], (90, 92, 96), 5)
    sprite.ellipse(0.76, 0.3, 0.05, 0.09, (235, 230, 200))
    return sprite.finish(rng, 0.05)


_SKIN = ((226, 184, 150), (196, 148, 112), (142, 98, 70), (94, 64, 48))


def _skin(rng: np.random.Generator) -> Color:
    return scaled_color(_SKIN[int(rng.integers(len(_SKIN)))], rng.uniform(0.85, 1.1))


def person_parts(rng: np.random.Generator) -> tuple[Texture, Texture]:
    """Upper body (0.62 m by 1.0 m) and one leg (0.2 m by 0.92 m)."""
    coat, trousers, skin = any_paint(rng), any_paint(rng), _skin(rng)
    body = Sprite(50, 80, coat)
    body.polygon([(0.14, 0.36), (0.3, 0.27), (0.7, 0.27), (0.86, 0.36), (0.78, 1.0), (0.22, 1.0)], coat)
    for x in (0.06, 0.8):
        body.box(x, 0.34, x + 0.14, 0.86, scaled_color(coat, 0.8))
        body.ellipse(x + 0.07, 0.9, 0.06, 0.04, skin)
    body.box(0.43, 0.2, 0.57, 0.3, skin)
    body.ellipse(0.5, 0.12, 0.16, 0.12, skin)
    body.polygon([(0.33, 0.1), (0.38, 0.01), (0.62, 0.01), (0.67, 0.1)], scaled_color(DARK, rng.uniform(0.6, 3.0)))
    leg = Sprite(18, 74, trousers)
    leg.polygon([(0.05, 0), (0.95, 0), (0.78, 0.94), (0.22, 0.94)], trousers)
    leg.box(0.15, 0.92, 0.98, 1.0, DARK)
    return body.finish(rng, 0.09), leg.finish(rng, 0.09)


def rider(rng: np.random.Generator) -> Texture:
    """Somebody bent over handlebars to the right, 1.0 m by 1.35 m."""
    coat, trousers, skin = any_paint(rng), any_paint(rng), _skin(rng)
    sprite = Sprite(72, 96, coat)
    sprite.polygon([(0.1, 0.52), (0.28, 0.5), (0.62, 0.66), (0.5, 0.98), (0.36, 0.98), (0.42, 0.74)], trousers)
    sprite.box(0.34, 0.93, 0.6, 1.0, DARK)
    sprite.polygon([(0.08, 0.56), (0.3, 0.18), (0.56, 0.22), (0.46, 0.58)], coat)
    sprite.polygon([(0.46, 0.24), (0.58, 0.28), (0.96, 0.52), (0.9, 0.58), (0.5, 0.42)], scaled_color(coat, 0.8))
    sprite.ellipse(0.56, 0.11, 0.13, 0.1, skin)
    sprite.polygon([(0.42, 0.1), (0.48, 0.0), (0.64, 0.0), (0.7, 0.08)], any_paint(rng))
    return sprite.finish(rng, 0.08)


def pole(rng: np.random.Generator) -> Texture:
    """Upright rod, shaded from left to right."""
    color = random_color(rng, (0.0, 1.0), (0.0, 0.2), (0.2, 0.75))
    shade = np.linspace(1.2, 0.65, 8)[None] * (1 + 0.07 * octaves(rng, 128, 8, (2, 4)))
    rgb = np.array(color) * shade[..., None]
    return opaque_texture(np.clip(rgb, 0, 255))


def traffic_light(rng: np.random.Generator) -> Texture:
    """Dark housing with one of three lamps lit."""
    lit = int(rng.integers(3))
    sprite = Sprite(26, 64, DARK, opaque=True)
    for index, color in enumerate(((235, 45, 35), (245, 180, 40), (60, 220, 110))):
        sprite.ellipse(0.5, 0.18 + 0.32 * index, 0.34, 0.13, color if index == lit else scaled_color(color, 0.25))
    return sprite.finish(rng, 0.04)


_SIGN_OUTLINES = (
    ((0, -1), (1, 0.85), (-1, 0.85)),
    ((0, -1), (1, 0), (0, 1), (-1, 0)),
    ((-1, -1), (1, -1), (1, 1), (-1, 1)),
)
"""Corners of a triangle, a diamond and a rectangle around the middle of a sign."""


def traffic_sign(rng: np.random.Generator) -> Texture:
    """Disc, triangle, diamond or rectangle with a border and a mark."""
    red, blue = ((-0.03, 0.03), (0.7, 0.95), (0.6, 0.9)), ((0.55, 0.66), (0.6, 0.9), (0.4, 0.8))
    border = random_color(rng, *(red if rng.random() < 0.6 else blue))
    inner = ((240, 240, 236), (240, 200, 40), border)[int(rng.integers(3))]
    sprite = Sprite(56, 56, border)
    shape = int(rng.integers(4))
    for scale, color in ((0.48, border), (0.34, inner)):
        if shape == 0:
            sprite.ellipse(0.5, 0.5, scale, scale, color)
        else:
            corners = _SIGN_OUTLINES[shape - 1]
            sprite.polygon([(0.5 + x * scale, 0.5 + y * scale) for x, y in corners], color)
    mark = DARK if inner != border else (240, 240, 236)
    sprite.box(0.42, 0.34, 0.58, 0.68, mark)
    return sprite.finish(rng, 0.04)


def bin_or_box(rng: np.random.Generator) -> Texture:
    """Litter bin or switch box: clutter without a class."""
    color = any_paint(rng)
    sprite = Sprite(40, 56, color)
    sprite.polygon([(0.05, 0.1), (0.95, 0.1), (0.85, 1.0), (0.15, 1.0)], color)
    sprite.box(0, 0, 1, 0.14, scaled_color(color, 0.7))
    return sprite.finish(rng, 0.08)
