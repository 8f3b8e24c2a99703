"""One set of formulas for one matrix or many, in numpy and in torch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.metrics import reference
from thriftseg.labels import Agreement
from thriftseg.metrics import (
    boundary_counts,
    class_accuracy,
    class_iou,
    class_totals,
    confusion_matrix,
    consistency_iou,
    mean_of_known,
    semantic_scores,
)
from thriftseg.metrics.confusion import confusion_scores

ABSENT = 3
"""A class that occurs nowhere in the matrices."""


def matrices(count: int, num_classes: int = 6) -> np.ndarray:
    """Confusion matrices, (count, C, C + 1); the last one is empty."""
    drawn = np.random.default_rng(count).integers(0, 50, (count, num_classes, num_classes + 1))
    drawn[:, ABSENT] = drawn[:, :, ABSENT] = drawn[-1] = 0
    return drawn


def test_a_stack_scores_like_its_parts_in_both_libraries():
    stack = matrices(5).reshape(5, 1, 6, 7)
    for array in (stack, torch.from_numpy(stack)):
        totals = class_totals(array)
        assert totals.shape == (5, 1, 3, 6)
        pooled = {"iou": class_iou(totals), "accuracy": class_accuracy(totals), **semantic_scores(totals)}
        for index, matrix in enumerate(stack[:, 0]):
            expected = confusion_scores(torch.from_numpy(matrix))
            for name, values in pooled.items():
                assert isinstance(values, type(array))
                assert values.dtype in (np.float64, torch.float64)
                np.testing.assert_allclose(values[index, 0], expected[name], rtol=1e-15)
    assert all(np.isnan(values[-1]).all() for values in pooled.values())


def test_scores_of_one_matrix_by_plain_sums():
    matrix = matrices(1 + 1)[0]
    scores = semantic_scores(class_totals(matrix))
    hits, truth, found = matrix.diagonal().tolist(), matrix.sum(1).tolist(), matrix[:, :-1].sum(0).tolist()
    iou = [math.nan if c == ABSENT else hits[c] / (truth[c] + found[c] - hits[c]) for c in range(6)]
    assert class_iou(class_totals(matrix)).tolist() == pytest.approx(iou, nan_ok=True, abs=0)
    known = [value for value in iou if not math.isnan(value)]
    assert scores["miou"] == pytest.approx(sum(known) / 5)
    assert scores["macc"] == pytest.approx(sum(hits[c] / truth[c] for c in range(6) if c != ABSENT) / 5)
    assert scores["pixel_accuracy"] == sum(hits) / sum(truth)
    frequent = sum(truth[c] * iou[c] for c in range(6) if c != ABSENT)
    assert scores["fwiou"] == pytest.approx(frequent / sum(truth))


def test_counts_of_boundaries_are_totals():
    scene = reference.scene(1)
    pred, target = torch.from_numpy(scene.pred), torch.from_numpy(scene.target)
    counts = boundary_counts(pred[None], target[None], scene.num_classes, width=1)
    hits, of_target, of_pred = counts.tolist()
    expected = [h / (t + p - h) if t + p else math.nan for h, t, p in zip(hits, of_target, of_pred, strict=True)]
    assert class_iou(counts).tolist() == pytest.approx(expected, nan_ok=True, abs=0)
    assert class_iou(counts.numpy()).tolist() == pytest.approx(expected, nan_ok=True, abs=0)


@pytest.mark.parametrize("rule", ["thriftseg", "vspw", "etc"])
def test_rules_of_consistency(rule: str):
    matrix = np.array(
        [[4, 2, 0, 0, 0], [1, 3, 5, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]]
    )  # 2 only predicted, 3 absent
    expected = [
        4 / 7,
        3 / 11,
        math.nan if rule == "vspw" else 0,
        0 if rule == "etc" else math.nan,
    ]
    totals = class_totals(np.stack([matrix, np.zeros_like(matrix)]))
    for library in (np.asarray, torch.from_numpy):
        values = consistency_iou(library(totals), rule)
        np.testing.assert_array_equal(values, [expected, [math.nan] * 4])
    assert mean_of_known(values).tolist()[0] == pytest.approx(np.nanmean(expected), abs=1e-15)


def test_agreement_of_labels_is_scored_alike():
    truth, label = reference.scene(2).target, reference.scene(2).pred
    agreement = Agreement.of(truth, label, num_classes=6)
    scores = confusion_scores(confusion_matrix(torch.from_numpy(label), torch.from_numpy(truth), 6))
    np.testing.assert_array_equal(agreement.counts, scores["confusion"])
    np.testing.assert_array_equal(agreement.iou, scores["iou"])
    assert agreement.miou == pytest.approx(scores["miou"].item(), abs=1e-15)
    kept = np.where((truth != 255) & (label == 255), 255, truth)
    of_kept = confusion_scores(confusion_matrix(torch.from_numpy(label), torch.from_numpy(kept), 6))
    np.testing.assert_array_equal(agreement.kept_iou, of_kept["iou"])
    assert agreement.kept_miou == pytest.approx(of_kept["miou"].item(), abs=1e-15)
    assert agreement.kept_accuracy == of_kept["pixel_accuracy"].item()
    assert (label == 255).any()


def test_agreement_without_a_label():
    nothing = Agreement(np.array([[0, 0, 5], [0, 0, 0]]))
    assert np.isnan([nothing.kept_miou, nothing.kept_accuracy, *nothing.precision, *nothing.kept_iou]).all()
    np.testing.assert_array_equal(nothing.iou, [0, math.nan])
    assert (nothing.miou, nothing.ignored_share) == (0, 1)
