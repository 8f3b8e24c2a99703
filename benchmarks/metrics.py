"""Metric updates against the usual ways.

The references are `torchmetrics.classification.MulticlassJaccardIndex.update`, and for Boundary IoU a loop over
classes that erodes the mask of each, written here. That loop is calibrated against one `cv2.erode` of the same map, so
that its cost can be judged on any machine. The maps are seeded and as fragmented as street labels of their size.
"""

from __future__ import annotations

from functools import partial

import cv2
import numpy as np
import torch
from torchmetrics.classification import MulticlassJaccardIndex

from benchmarks.measure import Item, Outcome, medians, one_thread, speed_up
from thriftseg.metrics import BoundaryIoU, ConfusionScores
from thriftseg.metrics.boundary_iou import boundary_width

BOX = np.ones((3, 3), np.uint8)


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
    return [torch.from_numpy(pred)[None], torch.from_numpy(target)[None]]


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


def confusion(dtype: torch.dtype) -> Outcome:
    """Update of the confusion matrix from maps of this type."""
    pred, target = label_pair(1024, 2048, 19, cell=160)
    wide = pred.long(), target.long()
    given = pred.to(dtype), target.to(dtype)
    ours, theirs = ConfusionScores(19), MulticlassJaccardIndex(19, ignore_index=255)
    ours.update(*given)
    theirs.update(*wide)
    assert torch.equal(ours.confusion[:, :19], theirs.confmat)
    with one_thread():
        return speed_up(lambda: theirs.update(*wide), lambda: ours.update(*given))


def boundary_iou(height: int, width: int, num_classes: int, cell: int, d: int) -> Outcome:
    """Update of the Boundary IoU for boundaries `d` wide."""
    pred, target = label_pair(height, width, num_classes, cell)
    plain = pred[0].numpy(), target[0].numpy()
    metric = BoundaryIoU(num_classes, width=d)
    metric.update(pred, target)
    np.testing.assert_array_equal(metric.counts, counts_by_erosion(*plain, num_classes, d))
    with one_thread():
        outcome = speed_up(lambda: counts_by_erosion(*plain, num_classes, d), lambda: metric.update(pred, target))
        (erosion,) = medians(15, lambda: cv2.erode(plain[1], BOX, iterations=d))
    calibration = f"; one cv2.erode {erosion * 1e3:.2f} ms, the reference takes {2 * num_classes}"
    return Outcome(outcome.ratio, outcome.detail + calibration, outcome.memory_ratio)


WIDE = boundary_width(0.02, 1024, 2048)
TORCHMETRICS = "1024x2048, 19 classes / torchmetrics MulticlassJaccardIndex.update"
EROSION = "erosion per class and numpy sums"
ITEMS = [
    Item("confusion_int64", f"confusion matrix from int64 {TORCHMETRICS}", partial(confusion, torch.int64), 20),
    Item("confusion_uint8", f"confusion matrix from uint8 {TORCHMETRICS}", partial(confusion, torch.uint8), 40),
    Item(
        "boundary_iou_d2",
        f"Boundary-IoU 1024x2048, 19 classes, d = 2 / {EROSION}",
        partial(boundary_iou, 1024, 2048, 19, 160, 2),
        12,
    ),
    Item(
        f"boundary_iou_d{WIDE}",
        f"Boundary-IoU 1024x2048, 19 classes, d = {WIDE} / {EROSION}",
        partial(boundary_iou, 1024, 2048, 19, 160, WIDE),
        15,
    ),
    Item(
        "boundary_iou_small",
        f"Boundary-IoU 360x480, 11 classes, d = 2 / {EROSION}",
        partial(boundary_iou, 360, 480, 11, 48, 2),
        6,
    ),
]
