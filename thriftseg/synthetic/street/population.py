"""Fills a synthetic street with houses, plants, furniture, vehicles and people."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from thriftseg.arrays import Float64Array
from thriftseg.synthetic.scene import SceneConfig
from thriftseg.synthetic.street import scenery, sprites
from thriftseg.synthetic.street.scene import (
    BACKDROP,
    OUTER,
    STREET,
    TRAIN_ID,
    VIEW_DISTANCE,
    Camera,
    StreetPlan,
    Surface,
    along_street,
    assemble,
    upright,
)
from thriftseg.synthetic.textures import Texture
from thriftseg.types import IGNORE_INDEX, INSTANCES_PER_CLASS

BEHIND = 12.0
DESIGNS = 6

Faces = tuple[Texture, Texture, Texture]


@dataclass(frozen=True)
class VehicleKind:
    """Size in metres (width, height, length) and how to draw the rear, front and side of a vehicle class."""

    name: str
    size: tuple[float, float, float]
    draw: Callable[[np.random.Generator], Faces]


CAR = VehicleKind("car", (1.8, 1.5, 4.2), sprites.car_faces)
TRUCK = VehicleKind("truck", (2.4, 3.1, 7.5), sprites.truck_faces)
BUS = VehicleKind("bus", (2.5, 3.1, 11.0), sprites.bus_faces)
TRAM = VehicleKind("train", (2.4, 3.6, 20.0), sprites.tram_faces)


class Population:
    """Places surfaces; one instance per scene."""

    def __init__(
        self, rng: np.random.Generator, config: SceneConfig, camera: Camera, plan: StreetPlan, end: float
    ) -> None:
        self.rng, self.config, self.camera, self.plan, self.end = rng, config, camera, plan, end
        self.surfaces: list[Surface] = []
        self.rails: list[float] = []
        self._instances: dict[int, int] = {}
        self._designs: dict[str, list[object]] = {}
        self._foliage = [scenery.foliage_color(rng) for _ in range(3)]
        self._crowd = max(1.0, config.duration / 1.8) ** 0.8  # more traffic passes in longer clips

    def fill(self) -> None:
        """Place everything, from the horizon to the traffic."""
        self._skyline()
        for side in (-1, 1):
            self._roadside(side)
            self._furniture(side)
            self._parked_cars(side)
            self._walkers(side)
        self._traffic()
        self._two_wheelers()
        self._crossing_people()

    # --- shared pieces ---

    def _still(self, value: float) -> Float64Array:
        return np.full(self.config.num_frames, value)

    def _instance(self, name: str) -> int:
        train_id = TRAIN_ID[name]
        number = self._instances.get(train_id, 0)
        self._instances[train_id] = number + 1
        return train_id * INSTANCES_PER_CLASS + number % (INSTANCES_PER_CLASS - 1) + 1

    def _design(self, name: str, draw: Callable[[np.random.Generator], object], count: int = DESIGNS) -> object:
        """One of a few drawings of a kind, so that long clips do not draw a texture per object."""
        drawn = self._designs.setdefault(name, [])
        choice = int(self.rng.integers(count))
        if choice >= len(drawn):
            drawn.append(draw(self.rng))
            choice = len(drawn) - 1
        return drawn[choice]

    def _texture(self, name: str, draw: Callable[[np.random.Generator], Texture], count: int = DESIGNS) -> Texture:
        texture = self._design(name, draw, count)
        if not isinstance(texture, Texture):
            raise TypeError(f"{name} is not a single texture")
        return texture

    def _add(
        self,
        texture: Texture,
        name: str | None,
        poses: Float64Array,
        depth: Float64Array,
        layer: int = STREET,
        *,
        instance: int = 0,
        part: int = 0,
        facing: int = 0,
        footprint: tuple[float, float] | None = None,
    ) -> Surface:
        train_id = IGNORE_INDEX if name is None else TRAIN_ID[name]
        layers = np.full(self.config.num_frames, layer)
        surface = Surface(texture, train_id, instance, poses, depth, layers, part, facing, footprint)
        self.surfaces.append(surface)
        return surface

    def _billboard(
        self,
        texture: Texture,
        name: str | None,
        x: float,
        z: float,
        size: tuple[float, float],
        *,
        top: float | None = None,
        layer: int = STREET,
        part: int = 0,
        shadow: bool = True,
    ) -> None:
        width, height = size
        depth = self._still(z)
        poses = upright(self._still(x), height if top is None else top, depth, width, height)
        footprint = (width, 0.5) if shadow and layer == STREET else None
        self._add(texture, name, poses, depth, layer, part=part, footprint=footprint)

    # --- what stands still ---

    def _skyline(self) -> None:
        still = self._still(float(self.camera.z[-1]) + VIEW_DISTANCE * 1.6)
        self._add(scenery.skyline(self.rng), "building", upright(self._still(0), 22, still, 420, 24), still, BACKDROP)
        green = scenery.hedge(self.rng, self._foliage[0], 1024)
        height = float(self.rng.uniform(6, 16))
        self._add(green, "vegetation", upright(self._still(0), height, still, 420, height + 2), still, BACKDROP, part=1)

    def _roadside(self, side: int) -> None:
        """Houses, or a strip of green behind a fence, a wall or a hedge, interrupted by the side streets."""
        z = -BEHIND
        green_share = float(self.rng.uniform(0.3, 0.75))
        while z < self.end:
            blocked = next(((a, b) for a, b in self.plan.crossings if a - 3 <= z < b), None)
            if blocked:
                z = blocked[1]
                continue
            limit = min((a for a, _ in self.plan.crossings if a > z), default=self.end + 30)
            length = min(float(self.rng.uniform(8, 20)), limit - z)
            if self.rng.random() < green_share:
                self._green(side, z, z + length)
            else:
                self._house(side, z, z + length)
            z += length + (float(self.rng.uniform(1, 4)) if self.rng.random() < 0.25 else 0.0)

    def _plane(self, texture: Texture, name: str, side: int, x: float, z0: float, z1: float, height: float) -> None:
        start, end = (z0, z1) if side < 0 else (z1, z0)
        poses = along_street(self._still(x), height, self._still(start), self._still(end), height)
        self._add(texture, name, poses, self._still(z0), OUTER, part=1)

    def _house(self, side: int, z0: float, z1: float) -> None:
        height = float(self.rng.uniform(7, 17))
        lit = 1.0 if side > 0 else 0.85
        texture = self._texture("facade", lambda rng: scenery.facade(rng, float(rng.uniform(0.8, 1.1))))
        line = self.plan.line(side)
        self._plane(texture, "building", side, line, z0, z1, height)
        depth = self._still(z0)
        front = texture.shaded(0.8 * lit)
        self._add(front, "building", upright(self._still(line + side * 6), height, depth, 12, height), depth, OUTER)

    def _green(self, side: int, z0: float, z1: float) -> None:
        line = self.plan.line(side)
        for z in np.arange(z0, z1, 3.0) + self.rng.uniform(0.2, 2.5):
            x = line + side * float(self.rng.uniform(1.5, 7))
            self._tree(x, float(z), float(self.rng.uniform(5, 10)), OUTER)
        kind = float(self.rng.random())
        if kind < 0.42:
            height = float(self.rng.uniform(1.1, 2.2))
            self._plane(self._texture("fence", scenery.fence), "fence", side, line, z0, z1, height)
        elif kind < 0.8:
            height = float(self.rng.uniform(1.3, 3.0))
            self._plane(self._texture("wall", scenery.wall), "wall", side, line, z0, z1, height)
        else:
            hedge = self._texture("hedge", lambda rng: scenery.hedge(rng, self._foliage[1]))
            self._plane(hedge, "vegetation", side, line, z0, z1, float(self.rng.uniform(1.0, 2.2)))

    def _tree(self, x: float, z: float, height: float, layer: int) -> None:
        color = self._foliage[int(self.rng.integers(3))]
        texture = self._texture("tree", lambda rng: scenery.tree(rng, color))
        self._billboard(texture, "vegetation", x, z, (height * 0.7, height), layer=layer)

    def _furniture(self, side: int) -> None:
        """Poles, signs, lights, trees, parked two-wheelers and clutter on the sidewalk."""
        inner, outer = self.plan.pavement(side)
        for a, _ in self.plan.crossings:
            x, z = inner + side * 0.4, a - 0.8
            self._billboard(self._texture("pole", sprites.pole), "pole", x, z, (0.18, 3.4))
            light = self._texture("light", sprites.traffic_light)
            self._billboard(light, "traffic light", x, z, (0.45, 1.1), top=3.5, part=1, shadow=False)
        near_road = inner + side * 0.5
        kinds = ("lamp", "sign", "tree", "bin", "two-wheeler", "bush")
        weights = (0.27, 0.25, 0.16, 0.12, 0.12, 0.08)
        z = float(self.rng.uniform(3, 8))
        while z < self.end - 20:
            if not any(a - 1 <= z <= b for a, b in self.plan.crossings):
                self._place(kinds[int(self.rng.choice(len(kinds), p=weights))], near_road, outer, z)
            z += float(self.rng.uniform(2.5, 7.0))

    def _place(self, kind: str, near_road: float, outer: float, z: float) -> None:
        """Put one piece of furniture on a sidewalk between its inner and its outer side."""
        if kind == "lamp":
            height = float(self.rng.uniform(4.5, 7.5))
            self._billboard(self._texture("pole", sprites.pole), "pole", near_road, z, (0.2, height))
        elif kind == "sign":
            self._billboard(self._texture("pole", sprites.pole), "pole", near_road, z, (0.14, 2.6))
            size = float(self.rng.uniform(0.65, 1.0))
            sign = self._texture("sign", sprites.traffic_sign)
            self._billboard(sign, "traffic sign", near_road, z, (size, size), top=2.75, part=1, shadow=False)
        elif kind == "tree":
            self._tree(0.5 * (near_road + outer), z, float(self.rng.uniform(3.5, 6.5)), STREET)
        elif kind == "bin":
            self._billboard(self._texture("bin", sprites.bin_or_box), None, near_road, z, (0.6, 0.95))
        elif kind == "two-wheeler":
            x = float(self.rng.uniform(min(near_road, outer), max(near_road, outer)))
            name = "bicycle" if self.rng.random() < 0.6 else "motorcycle"
            self._two_wheeler(name, self._still(x), self._still(z), float(self.rng.uniform(-0.7, 0.7)), ridden=False)
        else:
            hedge = self._texture("bush", lambda rng: scenery.hedge(rng, self._foliage[2], 128))
            self._billboard(hedge, "vegetation", outer, z, (1.8, 1.0))

    def _parked_cars(self, side: int) -> None:
        if self.rng.random() < 0.3:
            return
        z = float(self.rng.uniform(2, 15))
        x = side * (self.plan.road / 2 - 0.95)
        while z < self.end - 40:
            if not any(a - 6 <= z <= b + 1 for a, b in self.plan.crossings):
                self._vehicle(CAR, self._still(x), self._still(z), heading=side)
            z += float(self.rng.uniform(5.5, 22))

    # --- what moves ---

    def _moment(self, early: float = 0.2, late: float = 0.9) -> int:
        return int(self.rng.uniform(early, late) * self.config.num_frames)

    def _passing(self, frame: int, depth: float, speed: float) -> Float64Array:
        """Positions along the street of something `depth` metres ahead of the camera at a frame."""
        times = self.config.times
        return np.asarray(self.camera.z[frame] + depth + speed * (times - times[frame]), dtype=np.float64)

    def _traffic(self) -> None:
        own, opposite = self.plan.road / 4, -self.plan.road / 4
        pace = float(self.camera.z[-1]) / max(float(self.config.times[-1]), 1e-6)  # of the camera
        depth = float(self.rng.uniform(9, 20))
        for kind in self._shuffled_queue():
            speed = pace + float(self.rng.uniform(-0.8, 1.6))
            self._vehicle(kind, self._still(own), self._passing(self._moment(), depth, speed), heading=1)
            depth += kind.size[2] + float(self.rng.uniform(6, 18))
        for kind in self._shuffled_queue():
            depth = float(self.rng.uniform(7, 32))
            speed = -float(self.rng.uniform(3, 9))
            self._vehicle(kind, self._still(opposite - 0.3), self._passing(self._moment(), depth, speed), heading=-1)
        self._latecomer(own, pace)
        if self.rng.random() < 0.55:
            self._tram(pace)

    def _latecomer(self, own: float, pace: float) -> None:
        """Somebody who enters the image in the middle of the clip: overtaking a moving camera, or from the side."""
        frame = self._moment(0.3, 0.6)
        if pace < 1.6:
            side = float(self.rng.choice([-1.0, 1.0]))
            depth = float(self.rng.uniform(6, 13))
            edge = side * (0.57 * depth + 0.3)
            walked = side * float(self.rng.uniform(1.6, 2.3)) * (self.config.times - self.config.times[frame])
            here = self._still(float(self.camera.z[frame]) + depth)
            self._person(self.camera.x[frame] + edge - walked, here, swing=0.5)
        elif self.rng.random() < 0.4:
            z = self._passing(frame, 4.0, pace + float(self.rng.uniform(2.5, 5)))
            self._vehicle(CAR, self._still(own - 2.7), z, heading=1)
        else:
            side = float(self.rng.choice([-1.7, 1.5]))
            z = self._passing(frame, 1.55 * abs(side), pace + float(self.rng.uniform(2, 4)))
            self._two_wheeler("motorcycle", self._still(own + side), z, float(self.rng.uniform(0.7, 1.2)), ridden=True)

    def _shuffled_queue(self) -> list[VehicleKind]:
        count = max(1, round(self._crowd * float(self.rng.uniform(0.7, 1.6))))
        kinds = (CAR, TRUCK, BUS)
        return [kinds[int(self.rng.choice(3, p=(0.5, 0.25, 0.25)))] for _ in range(count)]

    def _tram(self, pace: float) -> None:
        x = -self.plan.road / 4 - 0.2
        self.rails = [x - 0.7, x + 0.7]
        oncoming = self.rng.random() < 0.5
        speed = -float(self.rng.uniform(1, 5)) if oncoming else pace + float(self.rng.uniform(-0.5, 1.0))
        z = self._passing(self._moment(0.4, 0.8), float(self.rng.uniform(10, 24)), speed)
        self._vehicle(TRAM, self._still(x), z, heading=-1 if oncoming else 1)

    def _vehicle(self, kind: VehicleKind, x: Float64Array, z: Float64Array, heading: int) -> None:
        """A box: the face towards the camera and the two sides, of which at most one is seen."""
        width, height, length = kind.size
        faces = self._design(kind.name, kind.draw)
        if not isinstance(faces, tuple):
            raise TypeError(f"{kind.name} needs three faces")
        rear, front, flank = faces
        instance = self._instance(kind.name)
        for facing in (-1, 1):
            far, near = z + length, z
            start, end = (far, near) if facing < 0 else (near, far)
            texture = flank.mirrored() if facing * heading < 0 else flank
            poses = along_street(x + facing * width / 2, height, start, end, height)
            self._add(texture, kind.name, poses, z, instance=instance, facing=facing)
        poses = upright(x, height, z, width, height)
        end_face = rear if heading > 0 else front
        self._add(end_face, kind.name, poses, z, instance=instance, part=1, footprint=(width * 1.15, length))

    def _two_wheelers(self) -> None:
        for name, share in (("bicycle", 0.8), ("motorcycle", 0.7)):
            for _ in range(round(self._crowd * 2)):
                if self.rng.random() > share:
                    continue
                heading = 1 if self.rng.random() < 0.6 else -1
                speed = heading * float(self.rng.uniform(2.5, 6.5))
                side = heading * (self.plan.road / 2 - float(self.rng.uniform(0.6, 2.0)))
                z = self._passing(self._moment(0.3, 0.95), float(self.rng.uniform(5, 15)), speed)
                yaw = float(self.rng.uniform(0.7, 1.25)) * (1 if heading > 0 else -1)
                self._two_wheeler(name, self._still(side), z, yaw, ridden=True)

    def _two_wheeler(self, name: str, x: Float64Array, z: Float64Array, yaw: float, *, ridden: bool) -> None:
        draw, size = (sprites.bicycle, (1.75, 1.05)) if name == "bicycle" else (sprites.motorcycle, (2.1, 1.15))
        poses = upright(x, size[1], z, size[0], size[1], yaw)
        self._add(self._texture(name, draw), name, poses, z, instance=self._instance(name), footprint=(0.9, 0.9))
        if ridden:
            poses = upright(x - 0.12 * np.cos(yaw), 1.8, z, 1.05, 1.35, yaw)
            self._add(
                self._texture("rider", sprites.rider), "rider", poses, z, instance=self._instance("rider"), part=1
            )

    def _walkers(self, side: int) -> None:
        inner, outer = sorted(self.plan.pavement(side))
        for _ in range(round(float(self.rng.uniform(2, 5)) * self._crowd)):
            x = self._still(float(self.rng.uniform(inner + 0.3, outer - 0.2)))
            pace = float(self.rng.choice([-1.3, 0.0, 1.3])) * float(self.rng.uniform(0.7, 1.2))
            z = self._passing(self._moment(0.0, 1.0), float(self.rng.uniform(5, 26)), pace)
            self._person(x, z, swing=0.28 if pace else 0.0)

    def _crossing_people(self) -> None:
        """People who walk across the street, some of them into view after the clip has begun."""
        for _ in range(max(1, round(self._crowd * float(self.rng.uniform(0.8, 2.2))))):
            pace = float(self.rng.choice([-1.0, 1.0])) * float(self.rng.uniform(1.0, 1.9))
            times, frame = self.config.times, self._moment()
            x = float(self.rng.uniform(-4, 4)) + self.camera.x[frame] + pace * (times - times[frame])
            z = self._still(float(self.camera.z[frame] + self.rng.uniform(6, 18)))
            self._person(x, z, swing=0.5)

    def _person(self, x: Float64Array, z: Float64Array, swing: float) -> None:
        """Upper body and two legs that swing about the hip."""
        parts = self._design("person", sprites.person_parts, 10)
        if not isinstance(parts, tuple):
            raise TypeError("a person needs a body and a leg")
        body, leg = parts
        scale = float(self.rng.uniform(0.85, 1.1))
        instance = self._instance("person")
        angle = swing * np.sin(self.config.times * self.rng.uniform(6, 9) + self.rng.uniform(0, 2 * np.pi))
        for direction in (-1.0, 1.0):
            poses = _swinging(x, z, 0.9 * scale, (0.22 * scale, 0.92 * scale), direction * angle, direction * 0.08)
            self._add(leg, "person", poses, z, instance=instance)
        poses = upright(x, 1.78 * scale, z, 0.66 * scale, 1.0 * scale)
        self._add(body, "person", poses, z, instance=instance, part=1, footprint=(0.7, 0.5))


def _swinging(
    x: Float64Array, z: Float64Array, hip: float, size: tuple[float, float], angle: Float64Array, shift: float
) -> Float64Array:
    """Poses of a limb hanging from the hip, turned in the image plane by an angle per frame."""
    width, length = size
    zero = np.zeros_like(x)
    right = np.stack([width * np.cos(angle), width * np.sin(angle), zero], axis=-1)
    down = np.stack([length * np.sin(angle), -length * np.cos(angle), zero], axis=-1)
    corner = np.stack([x + shift, np.full_like(x, hip), z], axis=-1) - right / 2
    return assemble(right, down, corner)
