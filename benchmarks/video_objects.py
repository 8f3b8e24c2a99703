"""J and F of video objects against the textbook way.

The official package of DAVIS 2017 is on no registry. The reference written here computes the same formulas for every
object on whole frames: void pixels cleared, a boundary map from three shifted comparisons, `cv2.dilate` of both maps
with a disk, sums of boolean maps. It is leaner than the package, which walks over its maps more often. One such
`cv2.dilate` is timed alone, too, so that the cost of the reference can be judged on any machine: the reference takes
two per object and frame.

Our cost grows with the object, that of the reference does not. The objects are seeded, ragged blobs that cover 2, 9 and
1 % of the frame; the prediction is shifted and has other rags.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from benchmarks.measure import Item, Outcome, medians, one_thread, speed_up
from thriftseg.metrics import sequence_scores

HEIGHT, WIDTH, FRAMES, BOUND_TH = 480, 854, 10, 0.008
BLOBS = ((150, 200, 60, 45), (260, 520, 130, 90), (330, 120, 30, 40))
"""Row and column of the centre and half axes of each object."""


def blob(row: int, column: int, half_height: int, half_width: int, rng: np.random.Generator) -> np.ndarray:
    """An ellipse with a ragged outline, (H, W) bool."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    distance = np.hypot((y - row) / half_height, (x - column) / half_width)
    rags = cv2.resize(rng.random((HEIGHT // 12, WIDTH // 12)), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    return distance + 0.5 * rags < 1.25


def sequence() -> tuple[np.ndarray, np.ndarray]:
    """Prediction and truth, (T, H, W) uint8."""
    rng = np.random.default_rng(0)
    pred, target = np.zeros((2, FRAMES, HEIGHT, WIDTH), np.uint8)
    for t in range(FRAMES):
        for id_, (row, column, *axes) in enumerate(BLOBS, 1):
            target[t][blob(row, column + 12 * t, *axes, rng)] = id_
            pred[t][blob(row + 2, column + 12 * t - 3, *axes, rng)] = id_
    return pred, target


def boundary(mask: np.ndarray) -> np.ndarray:
    """Pixels that differ from their right, lower or lower right neighbour; there are none beyond the image."""
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    return (mask != padded[:-1, 1:]) | (mask != padded[1:, :-1]) | (mask != padded[1:, 1:])


def disk(radius: int) -> np.ndarray:
    """Pixels within a distance of the centre, as a kernel."""
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return (x**2 + y**2 <= radius**2).astype(np.uint8)


def textbook_scores(pred: np.ndarray, target: np.ndarray, void: np.ndarray) -> tuple[float, float]:
    """J and F of a pair of masks, (H, W) bool."""
    pred, target = pred & ~void, target & ~void
    union = (pred | target).sum()
    j = (pred & target).sum() / union if union else 1.0
    footprint = disk(math.ceil(BOUND_TH * math.hypot(*pred.shape)))
    edges = boundary(pred), boundary(target)
    near_pred, near_target = (cv2.dilate(edge.astype(np.uint8), footprint).astype(bool) for edge in edges)
    of_pred, of_target = (edge.sum() for edge in edges)
    if not of_pred or not of_target:
        return j, float(of_pred == of_target)
    precision, recall = (edges[0] & near_target).sum() / of_pred, (edges[1] & near_pred).sum() / of_target
    return j, 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def textbook_sequence(pred: np.ndarray, target: np.ndarray) -> np.ndarray:
    """J and F, (2, K, T)."""
    void, objects = np.zeros((HEIGHT, WIDTH), bool), range(1, len(BLOBS) + 1)
    frames = list(zip(pred, target, strict=True))
    scores = [[textbook_scores(p == id_, t == id_, void) for p, t in frames] for id_ in objects]
    return np.moveaxis(np.array(scores), 2, 0)


def jf_480p() -> Outcome:
    """J and F of all objects of a sequence."""
    pred, target = sequence()
    objects = range(1, len(BLOBS) + 1)
    with one_thread():
        np.testing.assert_allclose(sequence_scores(pred, target, objects), textbook_sequence(pred, target), atol=1e-12)
        outcome = speed_up(lambda: textbook_sequence(pred, target), lambda: sequence_scores(pred, target, objects))
        edge, footprint = boundary(target[0] == 1).astype(np.uint8), disk(8)
        (dilation,) = medians(15, lambda: cv2.dilate(edge, footprint))
    pairs = f"{FRAMES * len(BLOBS)} object-frames: "
    return Outcome(
        outcome.ratio,
        f"{pairs}{outcome.detail}; one cv2.dilate {dilation * 1e3:.2f} ms, the reference takes 2 per object-frame",
        outcome.memory_ratio,
    )


ITEMS = [
    Item(
        "jf_480p",
        "J and F per object-frame of 480x854 / boundary maps and cv2.dilate on whole frames",
        jf_480p,
        15,
    )
]
