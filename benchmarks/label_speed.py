"""Generators of labels against the calls of OpenCV in their inner loop."""

from __future__ import annotations

import statistics
from functools import partial
from itertools import pairwise

import cv2
import numpy as np

from benchmarks.measure import Item, Outcome, one_thread, thread_seconds
from thriftseg.labels import FlowPropagator
from thriftseg.stores import objects_of
from thriftseg.synthetic import SceneConfig, render_clip
from thriftseg.workers import keep_freed_memory

FRAMES, ROUNDS = 5, 11


def flow(height: int, width: int) -> Outcome:
    """Propagation by flow over the calls of DIS for it, in a process that treats its memory as workers do."""
    keep_freed_memory()
    clip = list(render_clip(SceneConfig(height=height, width=width, num_frames=FRAMES, seed=0)))
    frames, objects = [frame.image for frame in clip], objects_of(clip[0].label)
    propagator = FlowPropagator()

    def estimate() -> None:
        dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
        for a, b in pairwise(grey):
            dis.calc(b, a, None)
            dis.calc(a, b, None)

    def propagate() -> None:
        found = [step.ids for step in propagator.probabilities(objects, frames)]
        assert np.mean([(ids > 0).mean() for ids in found]) > 0.5

    return overhead(estimate, propagate, FRAMES - 1, "DIS alone")


def overhead(reference, ours, count: int, name: str) -> Outcome:
    """Time of ours over that of the reference, which take turns."""
    with one_thread():
        pairs = [[thread_seconds(side) for side in (reference, ours)] for _ in range(ROUNDS + 1)][1:]
    seconds = [statistics.median(times) / count * 1e3 for times in zip(*pairs, strict=True)]
    ratio = statistics.median(b / a for a, b in pairs)
    return Outcome(ratio, f"{name} {seconds[0]:.1f} ms, ours {seconds[1]:.1f} ms each")


ITEMS = [
    Item(
        f"label_speed_flow_{width}x{height}",
        f"propagation by flow, {width}x{height} / DIS in both directions alone",
        partial(flow, height, width),
        at_most=1.15,
    )
    for width, height in ((480, 360), (2048, 1024))
]
