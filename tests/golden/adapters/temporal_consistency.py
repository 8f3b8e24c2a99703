"""Temporal consistency of recorded sequences with flow, by all rules."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.golden.compare import Deviation, compare_exactly, compare_within
from tests.golden.stated import stored_arrays
from thriftseg.flow import consistency_mask, warp
from thriftseg.metrics import TemporalConsistency, class_iou, class_totals, confusion_matrix

TOLERANCE = 1e-9
VSPW, ETC = "VSPW_baseline_official", "ETC_official"


@dataclass(frozen=True)
class Pairs:
    """All adjacent frames of a sequence: predictions and flow."""

    pred: Tensor
    previous: Tensor
    backward: Tensor
    forward: Tensor

    @property
    def inside(self) -> Tensor:
        return warp(self.previous[:, None], self.backward, "nearest")[1]

    def without_check(self, num_classes: int) -> Tensor:
        target, _ = warp(self.previous[:, None], self.backward, "nearest", fill=255)
        return confusion_matrix(self.pred, target[:, 0], num_classes)

    def score(self, rule: str, num_classes: int) -> TemporalConsistency:
        metric = TemporalConsistency(num_classes, rule=rule)
        metric.update(self.pred, self.previous, self.backward, self.forward)
        return metric


def serves(golden: Any) -> bool:
    return isinstance(golden, dict) and str(golden.get("what", "")).startswith("Temporal consistency")


def check(golden: dict[str, Any], path: Path) -> Iterator[Deviation]:
    num_classes, unit = golden["rule"]["num_classes"], _unit(golden["inputs"]["arrays"])
    file = path.parent / golden["inputs"]["file"]
    sequences = {row["sequence"]: _pairs(file, row["sequence"], unit) for row in golden["per_sequence"]}
    for row in golden["per_sequence"]:
        yield from _check_sequence(row, sequences[row["sequence"]], num_classes)
    yield from _check_overall(golden["overall"], list(sequences.values()), num_classes)
    others = golden.get("other_published_rules_on_the_same_data", {})
    unknown = sorted(others.keys() - {VSPW, ETC})
    yield compare_exactly("rules that are not known", unknown, [])
    if VSPW in others:
        yield from _check_vspw(others[VSPW], _pooled("vspw", list(sequences.values()), num_classes))
    if ETC in others:
        yield from _check_etc(others[ETC], _pooled("etc", list(sequences.values()), num_classes))


def _unit(description: str) -> float:
    """Steps of the stored flow per pixel."""
    return float(re.search(r"unit 1/(\d+) px", description)[1])


def _pairs(file: Path, sequence: int, unit: float) -> Pairs:
    names = [f"seq{sequence}_{name}" for name in ("pred", "flow_t_to_tminus1", "flow_tminus1_to_t")]
    pred, backward, forward = map(torch.from_numpy, stored_arrays(file, *names))
    return Pairs(pred[1:], pred[:-1], backward.float() / unit, forward.float() / unit)


def _check_sequence(row: dict[str, Any], pairs: Pairs, num_classes: int) -> Iterator[Deviation]:
    where = f"sequence {row['sequence']}"
    metric = pairs.score("thriftseg", num_classes)
    yield from _check_scores(where, row, metric, class_iou(class_totals(pairs.without_check(num_classes))))
    reliable = consistency_mask(pairs.backward, pairs.forward)
    counts = torch.stack([~pairs.inside, pairs.inside & ~reliable], dim=1).sum(dim=(2, 3))
    yield compare_exactly(f"{where} ignored", counts.tolist(), row["ignored_out_of_image_and_by_check_per_pair"])


def _check_overall(row: dict[str, Any], sequences: list[Pairs], num_classes: int) -> Iterator[Deviation]:
    metric = _pooled("thriftseg", sequences, num_classes)
    unchecked = class_iou(class_totals(sum(pairs.without_check(num_classes) for pairs in sequences)))
    yield from _check_scores("overall", row, metric, unchecked)
    each = [pairs.score("thriftseg", num_classes).compute()["tc"].item() for pairs in sequences]
    yield compare_within("mean of sequences", np.mean(each), row["mean_of_sequence_TC"], TOLERANCE)


def _check_scores(
    where: str, row: dict[str, Any], metric: TemporalConsistency, unchecked: Tensor
) -> Iterator[Deviation]:
    result = metric.compute()
    yield compare_exactly(f"{where} confusion", metric.confusion[:, :-1].tolist(), row["confusion_row_warped_col_pred"])
    yield compare_within(f"{where} class IoU", result["per_class"], row["class_iou"], TOLERANCE)
    yield compare_within(f"{where} TC", result["tc"], row["TC"], TOLERANCE)
    yield compare_within(f"{where} TC without check", unchecked.nanmean(), row["TC_without_check"], TOLERANCE)


def _check_vspw(row: dict[str, Any], metric: TemporalConsistency) -> Iterator[Deviation]:
    yield compare_exactly("VSPW confusion", metric.confusion[:, :-1].tolist(), row["confusion"])
    yield compare_within("VSPW", metric.compute()["tc"], row["value"], TOLERANCE)


def _check_etc(row: dict[str, Any], metric: TemporalConsistency) -> Iterator[Deviation]:
    hits = metric.confusion.diagonal()
    union = metric.confusion.sum(dim=1) + metric.confusion[:, :-1].sum(dim=0) - hits
    yield compare_exactly("ETC intersection", hits.tolist(), row["intersection"])
    yield compare_exactly("ETC union", union.tolist(), row["union"])
    yield compare_within("ETC", metric.compute()["tc"], row["value"], TOLERANCE)


def _pooled(rule: str, sequences: list[Pairs], num_classes: int) -> TemporalConsistency:
    metric = TemporalConsistency(num_classes, rule=rule)
    for pairs in sequences:
        metric.update(pairs.pred, pairs.previous, pairs.backward, pairs.forward)
    return metric
