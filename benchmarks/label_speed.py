"""Generators of labels against the calls of OpenCV in their inner loop."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import time
from functools import partial
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import cv2
import numpy as np

from benchmarks.measure import Item, Outcome, one_thread, thread_seconds
from thriftseg.datasets import CamVid
from thriftseg.labels import CoarseStyle, FlowPropagator, GrabCutPrompter, RefineRule, generate_coarse, label_coarse
from thriftseg.labels.refining.instances import instances_of, refine_instances, regions_of_map, write_back
from thriftseg.stores import objects_of
from thriftseg.synthetic import SceneConfig, render_clip, synthesize
from thriftseg.types import IGNORE_INDEX
from thriftseg.workers import keep_freed_memory

FRAMES, ROUNDS = 5, 11
SECONDS_TO_START = 1.5


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


def refinement(height: int, width: int) -> Outcome:
    """Refining the coarse polygons of a frame by GrabCut over the calls of `cv2.grabCut` in it."""
    keep_freed_memory()
    frame = next(render_clip(SceneConfig(height=height, width=width, num_frames=1, seed=0)))
    label, style = np.full(frame.label.shape, IGNORE_INDEX, np.uint8), CoarseStyle(erosion=8)
    for polygon in generate_coarse(frame.label, style=style):
        cv2.fillPoly(label, [polygon.points], polygon.train_id)
    things = sorted(set(np.unique(label).tolist()) - {0, IGNORE_INDEX})
    instances = instances_of(regions_of_map(label, None, things), things)
    called, grabcut = [0.0], cv2.grabCut

    def timed(*arguments):
        start = time.thread_time()
        found = grabcut(*arguments)
        called[0] += time.thread_time() - start
        return found

    def refine() -> float:
        """Time of all over that of the calls."""
        called[0], start = 0.0, time.thread_time()
        embedded = GrabCutPrompter().embed(frame.image)
        refined = refine_instances(instances, embedded, gate=True, seed="", outline=True)
        write_back(label, refined, things, RefineRule())
        return (time.thread_time() - start) / called[0]

    with one_thread(), patch.object(cv2, "grabCut", timed):
        ratios = [refine() for _ in range(4)][1:]
    detail = f"{len(instances)} polygons, the calls alone {called[0] * 1e3:.0f} ms"
    return Outcome(statistics.median(ratios), detail)


def start(method: str) -> Outcome:
    """Time from the start of the command to its first label over the seconds that it may take."""
    with TemporaryDirectory() as folder:
        root, store = Path(folder) / "data", Path(folder) / "labels"
        synthesize(root, layout="camvid", train_clips=1, val_clips=1, frames=24, height=360, width=480)
        words = f"{method} --dataset camvid --root {root} --store {store}".split()
        source = store / words[words.index("--source") + 1]
        if "--coarse" in words:
            label_coarse(CamVid(root), "train", store=store, source="coarse", progress=False)
        taken = []
        for _ in range(6):
            shutil.rmtree(source, ignore_errors=True)
            begin = time.perf_counter()
            command = subprocess.Popen([sys.executable, "-m", "thriftseg", "label", *words], stdout=subprocess.DEVNULL)
            while not any(file.suffix in (".png", ".json") for file in source.rglob("*")):
                if command.poll():
                    raise AssertionError(f"{command.args} ended with {command.returncode}")
                time.sleep(0.005)
            taken.append(time.perf_counter() - begin)
            command.kill()
            command.wait()
    seconds = statistics.median(taken[1:])
    return Outcome(seconds / SECONDS_TO_START, f"{seconds:.2f} s from the start of the command to its first label")


def overhead(reference, ours, count: int, name: str) -> Outcome:
    """Time of ours over that of the reference, which take turns."""
    with one_thread():
        pairs = [[thread_seconds(side) for side in (reference, ours)] for _ in range(ROUNDS + 1)][1:]
    seconds = [statistics.median(times) / count * 1e3 for times in zip(*pairs, strict=True)]
    ratio = statistics.median(b / a for a, b in pairs)
    return Outcome(ratio, f"{name} {seconds[0]:.1f} ms, ours {seconds[1]:.1f} ms each")


ITEMS = [
    Item(f"label_speed_{name}_{width}x{height}", f"{what}, {width}x{height}", partial(run, height, width), at_most=most)
    for name, what, run, most in (
        ("flow", "propagation by flow / DIS in both directions alone", flow, 1.15),
        ("refine", "polygons refined by GrabCut / cv2.grabCut alone", refinement, 1.1),
    )
    for width, height in ((480, 360), (2048, 1024))
]
ITEMS += [
    Item(
        f"label_start_{words.split()[0]}",
        f"first label of `label {words}` / {SECONDS_TO_START:g} s",
        partial(start, words),
        at_most=1,
    )
    for words in (
        "propagate --method flow --offsets=-1..1 --on_missing skip --source flow",
        "clicks --source clicks",
        "coarse --source coarse",
        "refine --method grabcut --coarse coarse --source refined",
    )
]
