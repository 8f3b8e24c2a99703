"""From counts to scores, for any number of count arrays at once: one, one per video, one per resampling."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from thriftseg.arrays import Float64Array, Int64Array
from thriftseg.metrics import Rule
from thriftseg.taxonomies import Taxonomy

Scores = dict[str, Float64Array]


def class_totals(confusion: Int64Array) -> Int64Array:
    """Per class the hits, the true pixels and the predicted pixels.

    Args:
        confusion: (..., C, C + 1) as from `thriftseg.metrics.confusion.confusion_matrix`.

    Returns:
        (..., 3, C).

    Example:
        >>> class_totals(np.array([[5, 1, 0], [2, 3, 4]])).tolist()
        [[5, 3], [6, 9], [7, 4]]
    """
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    return np.stack([hits, confusion.sum(axis=-1), confusion[..., :-1].sum(axis=-2)], axis=-2)


def class_iou(totals: Int64Array | Float64Array) -> Float64Array:
    """Intersection over union per class from (..., 3, C) totals; NaN for classes that occur nowhere."""
    hits, truth, predicted = (totals[..., row, :].astype(np.float64) for row in range(3))
    return _ratio(hits, truth + predicted - hits)


def class_accuracy(totals: Int64Array | Float64Array) -> Float64Array:
    """Share of the true pixels of each class that was found; NaN for classes absent from the truth."""
    return _ratio(totals[..., 0, :].astype(np.float64), totals[..., 1, :].astype(np.float64))


def semantic_scores(totals: Int64Array | Float64Array) -> Scores:
    """mIoU, mean accuracy, pixel accuracy and frequency weighted IoU, by the rules of `confusion_scores`.

    Args:
        totals: (..., 3, C) from `class_totals`.

    Returns:
        `miou`, `macc`, `pixel_accuracy` and `fwiou`, each (...); NaN where there is nothing to count.
    """
    iou, truth = class_iou(totals), totals[..., 1, :].astype(np.float64)
    labelled = truth.sum(axis=-1)
    return {
        "miou": mean_of_known(iou),
        "macc": mean_of_known(class_accuracy(totals)),
        "pixel_accuracy": _ratio(totals[..., 0, :].sum(axis=-1).astype(np.float64), labelled),
        "fwiou": _ratio(np.nansum(truth * iou, axis=-1), labelled),
    }


def boundary_scores(counts: Int64Array | Float64Array) -> Scores:
    """`boundary_iou` (...) from (..., 3, C) boundary counts."""
    return {"boundary_iou": mean_of_known(class_iou(counts))}


def consistency_iou(totals: Int64Array | Float64Array, rule: Rule) -> Float64Array:
    """Consistency per class, (..., C); NaN for the classes that the rule leaves out, see `TemporalConsistency`."""
    iou = class_iou(totals)
    if rule == "vspw":
        return np.where(totals[..., 1, :] == 0, np.nan, iou)
    if rule == "etc":
        return np.where(totals[..., 1, :].any(axis=-1, keepdims=True), np.nan_to_num(iou), np.nan)
    return iou


def category_iou(confusion: Int64Array, taxonomy: Taxonomy) -> dict[str, float]:
    """IoU per category of classes, as the Cityscapes benchmark counts it.

    Args:
        confusion: (C, C + 1).
        taxonomy: Class table; empty where its classes have no categories.

    Returns:
        Category to IoU, in train order; NaN for categories that occur nowhere.
    """
    groups = [row.category for row in taxonomy.classes]
    scores = {}
    for category in dict.fromkeys(group for group in groups if group):
        member = np.array([group == category for group in groups])
        hits = confusion[member][:, :-1][:, member].sum()
        missed = confusion[member].sum() - hits
        surplus = confusion[~member][:, :-1][:, member].sum()
        scores[category] = float(_ratio(np.float64(hits), np.float64(hits + missed + surplus)))
    return scores


def mean_of_known(values: Float64Array | Sequence[float]) -> Float64Array:
    """Mean along the last axis without NaN; NaN where nothing else is there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # an empty mean is NaN, as it should be
        return np.asarray(np.nanmean(np.asarray(values, np.float64), axis=-1), np.float64)


def _ratio(part: Float64Array | np.float64, whole: Float64Array | np.float64) -> Float64Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.divide(part, whole), np.float64)
