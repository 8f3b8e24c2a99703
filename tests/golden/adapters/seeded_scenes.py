"""Values of plain loops over the pixels of seeded scenes, see `tests.metrics.reference`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.golden.compare import Deviation, compare_exactly, compare_within
from tests.metrics import reference
from thriftseg.metrics import ConfusionScores, TemporalConsistency
from thriftseg.metrics.boundary_iou import boundary_counts

TOLERANCE = 1e-9


def serves(golden: Any) -> bool:
    return isinstance(golden, list) and bool(golden) and all("boundary_counts" in case for case in golden)


def check(golden: list[dict[str, Any]], path: Path) -> Iterator[Deviation]:
    for case in golden:
        yield from check_scene(case)


def check_scene(case: dict[str, Any]) -> Iterator[Deviation]:
    name, scene = f"seed {case['seed']}", reference.scene(case["seed"])
    yield compare_exactly(f"{name} sha256", scene.digest, case["sha256"])
    pred, target, previous = (
        torch.from_numpy(np.ascontiguousarray(ids))[None] for ids in (scene.pred, scene.target, scene.previous)
    )
    scores = ConfusionScores(scene.num_classes)
    scores.update(pred, target)
    result = scores.compute()
    yield compare_exactly(f"{name} confusion", result["confusion"].tolist(), case["confusion"])
    yield compare_within(f"{name} iou", result["iou"], np.array(case["iou"], np.float64), TOLERANCE)
    for score, value in case["scores"].items():
        yield compare_within(f"{name} {score}", result[score], value, TOLERANCE)
    for rule, expected in case["boundary_counts"].items():
        void, d = rule.split()
        counts = boundary_counts(pred, target, scene.num_classes, int(d), void)
        yield compare_exactly(f"{name} boundary {rule}", counts.tolist(), expected)
    consistency = TemporalConsistency(scene.num_classes)
    flows = [torch.from_numpy(flow)[None] for flow in (scene.backward, scene.forward)]
    consistency.update(pred, previous, *flows)
    yield compare_exactly(f"{name} consistency", consistency.confusion.tolist(), case["consistency_confusion"])
    yield compare_within(f"{name} tc", consistency.compute()["tc"], case["tc"], TOLERANCE)
