"""The metrics once more, as plain loops over pixels, and seeded scenes to try them on.

`python -m tests.metrics.reference` writes `tests/golden/metrics/seeded_scenes.json`, the values of these loops on those
scenes.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "metrics" / "seeded_scenes.json"
WIDTHS = (1, 2, 5)
VOID_RULES = ("ignore_after", "ignore_before", "none")


@dataclass(frozen=True)
class Scene:
    """Truth, two predictions and flow; ids 0..num_classes-1 and 255. The last class occurs nowhere."""

    num_classes: int
    target: np.ndarray
    pred: np.ndarray
    previous: np.ndarray
    backward: np.ndarray
    forward: np.ndarray

    @property
    def digest(self) -> str:
        arrays = (self.target, self.pred, self.previous, self.backward, self.forward)
        return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()


def _blocks(rng: np.random.Generator, height: int, width: int, num_classes: int, count: int) -> np.ndarray:
    label = np.zeros((height, width), np.uint8)
    for _ in range(count):
        top, left = rng.integers(0, height), rng.integers(0, width)
        tall, wide = rng.integers(1, height // 2 + 2), rng.integers(1, width // 2 + 2)
        label[top : top + tall, left : left + wide] = rng.integers(0, num_classes)
    return label


def scene(seed: int, height: int = 37, width: int = 50, num_classes: int = 6) -> Scene:
    """Random rectangles; predictions are shifted, partly wrong and partly 255; flow in odd 32nds of a pixel."""
    rng = np.random.default_rng(seed)
    used = num_classes - 1
    target = _blocks(rng, height, width, used, 14)
    pred = np.roll(target, (1, -2), (0, 1))
    wrong = _blocks(rng, height, width, 4, 10) == 1
    pred[wrong] = _blocks(rng, height, width, used, 14)[wrong]
    previous = np.roll(pred, (-1, 3), (0, 1))
    pred[rng.random(pred.shape) < 0.02] = 255
    previous[rng.random(pred.shape) < 0.02] = 255
    target[_blocks(rng, height, width, 5, 8) == 1] = 255
    backward = np.full((2, height, width), -1 / 32, np.float32)
    backward[0] += np.where(_blocks(rng, height, width, 3, 8) == 1, 3, -2)
    backward[1] += rng.integers(-16, 17, (height, width)) / 16
    forward = -backward + rng.integers(-10, 11, backward.shape).astype(np.float32) / 16
    return Scene(num_classes, target, pred, previous, backward, forward)


def confusion(pred: np.ndarray, target: np.ndarray, num_classes: int, ignore_index: int = 255) -> np.ndarray:
    matrix = np.zeros((num_classes, num_classes + 1), np.int64)
    for true, predicted in zip(target.flatten().tolist(), pred.flatten().tolist(), strict=True):
        if true != ignore_index:
            known = 0 <= predicted < num_classes and predicted != ignore_index
            matrix[true, predicted if known else num_classes] += 1
    return matrix


def iou_per_class(matrix: np.ndarray) -> list[float | None]:
    values: list[float | None] = []
    for c in range(len(matrix)):
        union = int(matrix[c].sum() + matrix[:, c].sum() - matrix[c, c])
        values.append(int(matrix[c, c]) / union if union else None)
    return values


def mean(values: list[float | None]) -> float:
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined)


def scores(matrix: np.ndarray) -> dict[str, float]:
    rows = [int(row.sum()) for row in matrix]
    hits = [int(matrix[c, c]) for c in range(len(matrix))]
    iou = iou_per_class(matrix)
    return {
        "miou": mean(iou),
        "macc": mean([hit / row if row else None for hit, row in zip(hits, rows, strict=True)]),
        "pixel_accuracy": sum(hits) / sum(rows),
        "fwiou": sum(row * value for row, value in zip(rows, iou, strict=True) if value is not None) / sum(rows),
    }


def boundary_of_mask(mask: np.ndarray, d: int) -> np.ndarray:
    surrounded = np.pad(mask, d)  # outside the image there is no mask
    boundary = np.zeros_like(mask)
    for y, x in np.argwhere(mask):
        boundary[y, x] = not surrounded[y : y + 2 * d + 1, x : x + 2 * d + 1].all()
    return boundary


def boundary_counts(pred: np.ndarray, target: np.ndarray, num_classes: int, d: int, void: str) -> np.ndarray:
    is_void = target == 255
    if void == "ignore_before":
        pred = np.where(is_void, 255, pred)
    scored = np.ones_like(is_void) if void == "none" else ~is_void
    counts = np.zeros((3, num_classes), np.int64)
    for c in range(num_classes):
        of_target = boundary_of_mask(target == c, d) & scored
        of_pred = boundary_of_mask(pred == c, d) & scored
        counts[:, c] = (of_target & of_pred).sum(), of_target.sum(), of_pred.sum()
    return counts


def _sample(flow: np.ndarray, x: float, y: float) -> tuple[float, float]:
    _, height, width = flow.shape
    x, y = min(max(x, 0.0), width - 1.0), min(max(y, 0.0), height - 1.0)
    left, top = math.floor(x), math.floor(y)
    value = [0.0, 0.0]
    for u, v in ((left, top), (left + 1, top), (left, top + 1), (left + 1, top + 1)):
        weight = (1 - abs(x - u)) * (1 - abs(y - v))
        if weight > 0:
            value = [total + weight * float(flow[i, v, u]) for i, total in enumerate(value)]
    return value[0], value[1]


def consistency_target(scene: Scene) -> np.ndarray:
    height, width = scene.pred.shape
    target = np.full_like(scene.pred, 255)
    for y in range(height):
        for x in range(width):
            bx, by = float(scene.backward[0, y, x]), float(scene.backward[1, y, x])
            column, row = math.floor(x + bx + 0.5), math.floor(y + by + 0.5)
            fx, fy = _sample(scene.forward, x + bx, y + by)
            gap, lengths = (bx + fx) ** 2 + (by + fy) ** 2, bx**2 + by**2 + fx**2 + fy**2
            if 0 <= column < width and 0 <= row < height and gap <= 0.01 * lengths + 0.5:
                target[y, x] = scene.previous[row, column]
    return target


def _golden_case(seed: int) -> dict[str, object]:
    one = scene(seed)
    matrix = confusion(one.pred, one.target, one.num_classes)
    moved = confusion(one.pred, consistency_target(one), one.num_classes)
    return {
        "seed": seed,
        "sha256": one.digest,
        "confusion": matrix.tolist(),
        "iou": iou_per_class(matrix),
        "scores": scores(matrix),
        "boundary_counts": {
            f"{void} {d}": boundary_counts(one.pred, one.target, one.num_classes, d, void).tolist()
            for void in VOID_RULES
            for d in WIDTHS
        },
        "consistency_confusion": moved.tolist(),
        "tc": mean(iou_per_class(moved)),
    }


if __name__ == "__main__":
    cases = ",\n".join(json.dumps(_golden_case(seed)) for seed in range(3))
    GOLDEN.write_text(f"[\n{cases}\n]\n")
