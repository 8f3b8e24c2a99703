"""Stored flow against estimating it again, and RAFT against DIS, on synthetic street video of 480x854.

Reading is what training does with flow that was stored before. RAFT runs on CUDA where there is a device (the large
network) and on one thread otherwise (the small one); its weights are random, which changes its flow but not its cost.
"""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torchvision.models.optical_flow import raft_large, raft_small

from benchmarks.measure import Item, Outcome, one_thread, speed_up
from thriftseg.flow import DIS, RAFT, FlowStore
from thriftseg.synthetic import SceneConfig, render_clip

SIZE = (480, 854)
HALF_STEP = 1 / 128


@cache
def pair() -> tuple[np.ndarray, np.ndarray]:
    a, b = render_clip(SceneConfig(height=SIZE[0], width=SIZE[1], num_frames=2, seed=0))
    return a.image, b.image


def stored() -> Outcome:
    """Reading a stored flow; checks its error and tells its size."""
    estimator = DIS()
    with one_thread(), TemporaryDirectory() as folder:
        store = FlowStore(folder, estimator)
        store.flow("video", 0, 1, *pair())
        exact, (read, valid) = estimator.estimate(*pair()), store.read("video", 0, 1, SIZE)
        error = np.abs(read - exact).max()
        assert valid.all()
        assert error <= HALF_STEP
        outcome = speed_up(lambda: estimator.estimate(*pair()), lambda: store.read("video", 0, 1, SIZE))
        kilobytes = store.path_of("video", 0, 1, SIZE).stat().st_size / 1000
    stated = f"; {kilobytes:.0f} kB instead of {exact.nbytes / 1000:.0f}, largest error {error:.4f} px"
    return Outcome(outcome.ratio, outcome.detail + stated, outcome.memory_ratio)


def raft() -> Outcome:
    """Time of RAFT by that of DIS."""
    on_gpu = torch.cuda.is_available()
    with one_thread(), TemporaryDirectory() as folder:
        path = Path(folder) / "random.pth"
        torch.save((raft_large if on_gpu else raft_small)(weights=None).state_dict(), path)
        seconds = [best_of(3, estimator) for estimator in (RAFT(path), DIS())]
    where = torch.cuda.get_device_name() if on_gpu else "one thread"
    return Outcome(seconds[0] / seconds[1], f"RAFT on {where} {seconds[0] * 1e3:.0f} ms, DIS {seconds[1] * 1e3:.0f} ms")


def best_of(rounds: int, estimator: DIS | RAFT) -> float:
    def once() -> float:
        start = time.perf_counter()
        estimator.estimate(*pair())
        return time.perf_counter() - start

    return min(once() for _ in range(rounds))


ITEMS = [
    Item("flow_stored", "reading stored flow, 480x854 / estimating it with DIS of the medium preset", stored, 3),
    Item("flow_raft", "RAFT, 20 iterations, 480x854 / DIS of the medium preset", raft),
]
