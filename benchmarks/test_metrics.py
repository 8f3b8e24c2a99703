"""Metric updates against the usual ways, in alternation; prints ratios of one thread's time and extra peak memory.

The references are `torchmetrics.classification.MulticlassJaccardIndex.update`, and for Boundary IoU a loop over
classes that erodes the mask of each, written here. That loop is calibrated against one `cv2.erode` of the same map, so
that its cost can be judged on any machine. The maps are seeded and as fragmented as street labels of their size.

Run: `OMP_NUM_THREADS=1 pytest benchmarks/test_metrics.py -m slow -s`
"""

from __future__ import annotations

import ctypes
import gc
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassJaccardIndex

from thriftseg.metrics import BoundaryIoU, ConfusionScores
from thriftseg.metrics.boundary_iou import boundary_width

ROUNDS = 15
BOX = np.ones((3, 3), np.uint8)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    yield
    torch.set_num_threads(threads[0])
    cv2.setNumThreads(threads[1])


def regions(height: int, width: int, num_classes: int, cell: int, seed: int) -> np.ndarray:
    """Smooth regions: the class whose random field, drawn every `cell` pixels, is largest."""
    fields = np.random.default_rng(seed).random((num_classes, height // cell + 2, width // cell + 2), np.float32)
    return np.argmax([cv2.resize(field, (width, height)) for field in fields], axis=0).astype(np.uint8)


def label_pair(height: int, width: int, num_classes: int, cell: int) -> list[torch.Tensor]:
    """Prediction (shifted, and another map in places) and truth (with void), (1, H, W) uint8."""
    target = regions(height, width, num_classes, cell, seed=0)
    wrong = regions(height, width, 12, cell, seed=2) == 3
    pred = np.where(wrong, regions(height, width, num_classes, cell, seed=1), np.roll(target, (1, 2), (0, 1)))
    target[regions(height, width, 12, cell, seed=3) == 1] = 255
    print(
        f"\n{height}x{width}: {np.mean(target[:, 1:] != target[:, :-1]):.1%} of the pixels differ from their neighbour"
    )
    return [torch.from_numpy(pred)[None], torch.from_numpy(target)[None]]


def seconds(function: Callable[[], object]) -> float:
    start = time.thread_time()  # of this thread alone: other programs on the machine do not count
    function()
    return time.thread_time() - start


def ratio_of(name: str, reference: Callable[[], object], ours: Callable[[], object]) -> float:
    """Median cost of the reference over median cost of ours, printed with the extra memory of both."""
    both = {"reference": reference, "ours": ours}
    times: dict[str, list[float]] = {side: [] for side in both}
    for round_ in range(ROUNDS + 2):
        for side, function in both.items():
            measured = [seconds(function) for _ in range(1 if side == "reference" else 4)]
            if round_ >= 2:  # the first rounds warm up
                times[side] += measured
    cost = {side: 1e3 * statistics.median(values) for side, values in times.items()}
    memory = {side: extra_memory(function) for side, function in both.items()}
    ratio = cost["reference"] / cost["ours"]
    print(
        f"{name}: reference {cost['reference']:.2f} ms, +{memory['reference']:.1f} MiB; "
        f"ours {cost['ours']:.2f} ms, +{memory['ours']:.1f} MiB; ratio {ratio:.1f}"
    )
    return ratio


def extra_memory(function: Callable[[], object]) -> float:
    """Growth of the resident set while the function runs, in MiB, watched from a second thread."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    page = os.sysconf("SC_PAGE_SIZE") / 2**20

    def resident() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * page

    before, peak, done = resident(), 0.0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.is_set():
            peak = max(peak, resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(5):
        function()
    done.set()
    watcher.join()
    return max(0.0, peak - before)


def counts_by_erosion(pred: np.ndarray, target: np.ndarray, num_classes: int, d: int) -> np.ndarray:
    """Boundary counts (3, C) by eroding the mask of every class."""

    def boundary(mask: np.ndarray) -> np.ndarray:
        padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        return mask - cv2.erode(padded, BOX, iterations=d)[1:-1, 1:-1]

    valid = (target != 255).astype(np.uint8)
    counts = np.zeros((3, num_classes), np.int64)
    for c in range(num_classes):
        of_target = boundary((target == c).astype(np.uint8)) & valid
        of_pred = boundary((pred == c).astype(np.uint8)) & valid
        counts[:, c] = (of_target & of_pred).sum(), of_target.sum(), of_pred.sum()
    return counts


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "least"), [(torch.int64, 20), (torch.uint8, 40)])
def test_confusion_against_torchmetrics(dtype: torch.dtype, least: float):
    pred, target = label_pair(1024, 2048, 19, cell=160)
    wide = pred.long(), target.long()
    ours, theirs = ConfusionScores(19), MulticlassJaccardIndex(19, ignore_index=255)
    given = pred.to(dtype), target.to(dtype)
    ratio = ratio_of(f"confusion from {dtype}", lambda: theirs.update(*wide), lambda: ours.update(*given))
    ours.reset()
    theirs.reset()
    ours.update(*given)
    theirs.update(*wide)
    assert torch.equal(ours.confusion[:, :19], theirs.confmat)
    assert ratio >= least


@pytest.mark.slow
@pytest.mark.parametrize(
    ("height", "width", "num_classes", "cell", "d", "least"),
    [
        (1024, 2048, 19, 160, 2, 12),
        (1024, 2048, 19, 160, boundary_width(0.02, 1024, 2048), 15),
        (360, 480, 11, 48, 2, 5),  # 6 and more on a machine with nothing else in its caches
    ],
)
def test_boundary_iou_against_erosion_per_class(
    height: int, width: int, num_classes: int, cell: int, d: int, least: float
):
    pred, target = label_pair(height, width, num_classes, cell)
    plain = pred[0].numpy(), target[0].numpy()
    metric = BoundaryIoU(num_classes, width=d)
    name = f"Boundary IoU {height}x{width}, {num_classes} classes, d = {d}"
    ratio = ratio_of(name, lambda: counts_by_erosion(*plain, num_classes, d), lambda: metric.update(pred, target))
    erosion = statistics.median(seconds(lambda: cv2.erode(plain[1], BOX, iterations=d)) for _ in range(ROUNDS))
    print(f"one cv2.erode of the map: {1e3 * erosion:.2f} ms; the reference takes {2 * num_classes} of them and sums")
    metric.reset()
    metric.update(pred, target)
    np.testing.assert_array_equal(metric.counts, counts_by_erosion(*plain, num_classes, d))
    assert ratio >= least
