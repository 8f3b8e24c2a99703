"""Invents the clips of synthetic video object segmentation: what moves where, enters, hides and leaves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from thriftseg.arrays import Float64Array
from thriftseg.synthetic.exposure import Light, random_light
from thriftseg.synthetic.objects import shapes
from thriftseg.synthetic.scene import SceneConfig
from thriftseg.synthetic.textures import Texture

CROSSING_FRAMES = 12
"""Frames that entering and leaving take."""

_MARGIN = 1.8  # the backdrop is this much larger than a frame


@dataclass
class Part:
    """A flat textured piece that moves in the image.

    Attributes:
        texture: Colours and silhouette.
        owner: Number of its object from 1; 0 for the backdrop and what is no object.
        poses: (T, 3, 3) from texture coordinates in [0, 1] to pixels.
    """

    texture: Texture
    owner: int
    poses: Float64Array


@dataclass
class ObjectScene:
    """Everything needed to draw any frame of a clip.

    Attributes:
        config: Size, length and seed.
        light: Illumination.
        parts: From back to front; the first one is the backdrop.
        categories: What the objects are, in the order of their numbers.
    """

    config: SceneConfig
    light: Light
    parts: list[Part]
    categories: list[str]


def build_object_scene(config: SceneConfig, categories: tuple[str, ...]) -> ObjectScene:
    """Invent a clip of two to four objects from the seed of a configuration.

    The first object is there from the start, and often the second one crosses its way; others may enter late or leave.
    Most clips have things that look and move like objects but are none, some a bar in front of everything.

    Args:
        config: Size, length and seed.
        categories: What the objects may be.
    """
    return _Director(config, categories).scene()


class _Director:
    """Draws what happens in a clip; one per clip."""

    def __init__(self, config: SceneConfig, categories: tuple[str, ...]) -> None:
        self.config, self.categories = config, categories
        self.rng = np.random.default_rng([config.seed, 0x0B1EC7])
        self.colors = shapes.palette(self.rng)
        self.frames: Float64Array = np.arange(config.num_frames, dtype=np.float64)
        self.size = np.array([config.width, config.height], np.float64)
        drift = np.outer(self.frames, self.rng.uniform(-0.006, 0.006, 2))
        sway = [self._wave(self.rng.uniform(0.01, 0.06)) for _ in range(2)]
        limit = 0.4 * (_MARGIN - 1)
        self.pan = np.clip(drift + np.stack(sway, axis=-1), -limit, limit) * self.size  # of the camera, (T, 2)

    def scene(self) -> ObjectScene:
        rng = self.rng
        count = int(rng.integers(2, 5))
        chosen = [str(name) for name in rng.choice(self.categories, count)]
        moving = [self._object(number, category) for number, category in enumerate(chosen, start=1)]
        moving += [self._object(0, str(rng.choice(self.categories))) for _ in range(int(rng.integers(0, 3)))]
        order = rng.permutation(len(moving))
        layered = [part for index in order for part in moving[index]]
        bars = []
        if rng.random() < 0.35:  # a post that stands still before the camera and hides what passes behind it
            texture = shapes.backdrop(rng, 64, 24, list(self.colors[::-1]))
            center = self.size * (rng.uniform(0.25, 0.75), 0.5) + 1.3 * self.pan
            width = rng.uniform(0.05, 0.1) * self.size[0]
            bars = [Part(texture, 0, _poses(center, width, 2.2 * self.size[1], rng.uniform(-0.2, 0.2)))]
        light = random_light(rng, self.config)
        width, height = np.round(_MARGIN * self.size).astype(int).tolist()
        texture = shapes.backdrop(rng, height, width, self.colors)
        angle, scale = self._wave(rng.uniform(0, 0.06)), 1 + self._wave(rng.uniform(0, 0.05))
        backdrop = Part(texture, 0, _poses(self.size / 2 + self.pan, scale * width, scale * height, angle))
        return ObjectScene(self.config, light, [backdrop, *layered, *bars], chosen)

    def _object(self, number: int, category: str) -> list[Part]:
        rng = self.rng
        length = rng.uniform(0.26, 0.46) * self.size[1]
        center = self._path(number) + 0.5 * self.pan + self._events(number, length)
        angle = rng.uniform(0, 2 * np.pi) + self.frames * rng.uniform(-0.03, 0.03) + self._wave(0.25)
        scale = length * (1 + self._wave(rng.uniform(0, 0.2)))
        stretch = 1 + self._wave(rng.uniform(0, 0.12))
        colors = shapes.palette(rng) if self.config.own_colors else self.colors
        texture = shapes.object_texture(rng, category, colors)
        body = Part(texture, number, _poses(center, scale * stretch, scale / stretch, angle))
        if rng.random() >= 0.4:
            return [body]
        # A smaller piece swings about the body and belongs to the same object.
        swing = angle + rng.uniform(0, 2 * np.pi) + self._wave(0.8)
        offset = 0.5 * scale[:, None] * np.stack([np.cos(swing), np.sin(swing)], axis=-1)
        texture = shapes.object_texture(rng, "block", colors)
        return [Part(texture, number, _poses(center + offset, 0.6 * scale, 0.35 * scale, swing)), body]

    def _path(self, number: int) -> Float64Array:
        """Where the centre wanders, (T, 2); the second object crosses the first one's way."""
        rng = self.rng
        home = rng.uniform((0.2, 0.25), (0.8, 0.75))
        if number == 1:
            self._meeting = home
        if number == 2 and rng.random() < 0.7:
            home = self._meeting + rng.uniform(-0.06, 0.06, 2)
        reach = rng.uniform((0.05, 0.04), (0.16, 0.14))
        sway = np.stack([self._wave(float(amplitude)) for amplitude in reach], axis=-1)
        return np.asarray((home + sway) * self.size)

    def _events(self, number: int, length: float) -> Float64Array:
        """Displacement to beyond the border before an object enters and after it has left, (T, 2)."""
        rng = self.rng
        away = np.zeros((self.config.num_frames, 2))
        if number == 1:
            return away
        if rng.random() < 0.35:
            away += np.outer(1 - self._passed(rng.uniform(0.1, 0.5)), self._beyond(length))
        if rng.random() < 0.25:
            away += np.outer(self._passed(rng.uniform(0.5, 0.8)), self._beyond(length))
        return away

    def _passed(self, share: float) -> Float64Array:
        """0 before a share of the clip, 1 some frames later, (T,)."""
        x = np.clip((self.frames - share * self.config.num_frames) / CROSSING_FRAMES, 0, 1)
        return np.asarray(x * x * (3 - 2 * x))

    def _beyond(self, length: float) -> Float64Array:
        """A way out of the image from anywhere in it."""
        side = int(self.rng.integers(4))
        sign = 1 if side % 2 else -1
        way = np.zeros(2)
        way[side // 2] = sign * (0.95 * self.size[side // 2] + length)
        return way

    def _wave(self, amplitude: float) -> Float64Array:
        """A swing of 22 to 60 frames, (T,)."""
        period, phase = self.rng.uniform(22, 60), self.rng.uniform(0, 2 * np.pi)
        return np.asarray(amplitude * np.sin(2 * np.pi * self.frames / period + phase))


def _poses(
    center: Float64Array, width: Float64Array | float, height: Float64Array | float, angle: Float64Array | float
) -> Float64Array:
    """Rectangles turned about their centre (T, 2): maps from [0, 1] x [0, 1] to pixels, (T, 3, 3)."""
    right = np.asarray(width)[..., None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    down = np.asarray(height)[..., None] * np.stack([-np.sin(angle), np.cos(angle)], axis=-1)
    poses = np.zeros((len(center), 3, 3))
    poses[:, :2, 0], poses[:, :2, 1] = right, down
    poses[:, :2, 2] = center - (right + down) / 2
    poses[:, 2, 2] = 1
    return poses
