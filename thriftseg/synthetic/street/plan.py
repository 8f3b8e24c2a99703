"""Invents a synthetic street: its widths and crossings, the drive along it, its light and its ground."""

from __future__ import annotations

import cv2
import numpy as np

from thriftseg.synthetic.exposure import random_light
from thriftseg.synthetic.scene import SceneConfig
from thriftseg.synthetic.street import scenery
from thriftseg.synthetic.street.population import Population
from thriftseg.synthetic.street.scene import TRAIN_ID, VIEW_DISTANCE, Camera, Ground, Scene, StreetPlan
from thriftseg.synthetic.textures import noise_tile, random_color


def build_scene(config: SceneConfig) -> Scene:
    """Invent a street, its traffic and its light from the seed of a configuration."""
    rng = np.random.default_rng([config.seed, 0x57EE7])
    road = float(rng.uniform(6.5, 11.0))
    camera = _camera(rng, config, road)
    end = float(camera.z[-1]) + VIEW_DISTANCE
    sidewalk = (float(rng.uniform(1.8, 3.8)), float(rng.uniform(1.8, 3.8)))
    verge = (_verge(rng), _verge(rng))
    crossings = []
    start = float(rng.uniform(14, 45))
    while start < end:
        crossings.append((start, start + float(rng.uniform(6, 9))))
        start += float(rng.uniform(40, 80))
    plan = StreetPlan(road, sidewalk, verge, crossings)
    population = Population(rng, config, camera, plan, end)
    population.fill()
    return Scene(
        config=config,
        camera=camera,
        ground=_ground(rng, plan, population.rails),
        sky=scenery.sky(rng, int(config.height * 0.75), int(config.width * 1.3)),
        light=random_light(rng, config),
        surfaces=population.surfaces,
    )


def _camera(rng: np.random.Generator, config: SceneConfig, road: float) -> Camera:
    times = config.times
    speed = rng.uniform(0.3, 1.5) if rng.random() < 0.2 else rng.uniform(2.0, 6.5)
    phases = rng.uniform(0, 2 * np.pi, 4)
    sway = rng.uniform(0.05, 0.35) * np.sin(times * rng.uniform(0.5, 1.5) + phases[0])
    pan = rng.uniform(0.0, 0.05) * np.sin(times * rng.uniform(0.8, 2.0) + phases[1])
    nod = rng.uniform(0.001, 0.006) * np.sin(times * rng.uniform(5.0, 11.0) + phases[2])
    principal = np.stack([(0.5 + pan) * (config.width - 1), (0.42 + nod) * (config.height - 1)], axis=-1)
    return Camera(
        focal=0.9 * config.width,
        height=float(rng.uniform(1.3, 1.8)),
        x=road / 4 + sway,
        z=speed * (times + 0.25 * np.sin(0.8 * times + phases[3]) - 0.25 * np.sin(phases[3])),
        principal=principal,
    )


def _verge(rng: np.random.Generator) -> float:
    return 0.0 if rng.random() < 0.2 else float(rng.uniform(1.0, 5.0))


def _ground(rng: np.random.Generator, plan: StreetPlan, rails: list[float]) -> Ground:
    left, right = plan.pavement(-1)[1], plan.pavement(1)[1]
    half = plan.road / 2
    terrain, sidewalk, road = TRAIN_ID["terrain"], TRAIN_ID["sidewalk"], TRAIN_ID["road"]
    grey = random_color(rng, (0.0, 1.0), (0.0, 0.12), (0.25, 0.6))
    dash = float(rng.uniform(5, 9))
    lines = [(0.0, dash), (-half + 0.35, 0.0), (half - 0.35, 0.0)]
    colors = {
        road: grey,
        sidewalk: random_color(rng, (0.0, 1.0), (0.0, 0.25), (0.3, 0.8)),
        terrain: random_color(rng, (0.08, 0.36), (0.15, 0.55), (0.25, 0.6)),
    }
    noise = [noise_tile(rng, 512, (20, 60, 170))]
    while (size := len(noise[-1]) // 2) >= 8:
        coarser = cv2.resize(noise[-1], (size, size), interpolation=cv2.INTER_AREA)
        noise.append(np.asarray(coarser, dtype=np.float32))
    return Ground(
        edges=[left, -half, half, right],
        classes=[terrain, sidewalk, road, sidewalk, terrain],
        crossings=plan.crossings,
        colors=colors,
        grain={road: 0.07, sidewalk: 0.09, terrain: 0.22},
        noise=noise,
        shade=noise_tile(rng, 256, (3, 7)),
        shade_strength=float(rng.uniform(0.0, 0.5)),
        lines=[line for line in lines if rng.random() < 0.75],
        rails=rails,
        slab=float(rng.uniform(0.5, 1.2)),
    )
