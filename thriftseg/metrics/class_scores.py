"""IoU and accuracy from counts per class: of one array of counts or any number of them at once, in numpy or torch."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor

Array = TypeVar("Array", npt.NDArray[Any], "Tensor")


def class_totals(confusion: Array) -> Array:
    """Per class the hits, the true pixels and the predicted pixels.

    Args:
        confusion: (..., C, C + 1) as from `confusion_matrix`.

    Returns:
        (..., 3, C).

    Example:
        >>> class_totals(np.array([[5, 1, 0], [2, 3, 4]])).tolist()
        [[5, 3], [6, 9], [7, 4]]
    """
    hits, truth, predicted = confusion.diagonal(0, -2, -1), confusion.sum(-1), confusion[..., :-1].sum(-2)
    return library_of(confusion).stack([hits, truth, predicted], -2)  # type: ignore[no-any-return]


def class_iou(totals: Array) -> Array:
    """Intersection over union per class.

    Args:
        totals: (..., 3, C) as from `class_totals` or `boundary_counts`.

    Returns:
        (..., C) float64, NaN for classes that occur nowhere.

    Example:
        >>> class_iou(np.array([[5, 0, 0], [6, 0, 2], [7, 0, 0]])).tolist()  # hits, truth, predictions
        [0.625, nan, 0.0]
    """
    hits, truth, predicted = totals[..., 0, :], totals[..., 1, :], totals[..., 2, :]
    return ratio(hits, truth + predicted - hits)


def class_accuracy(totals: Array) -> Array:
    """Share of the true pixels of each class that was found.

    Args:
        totals: (..., 3, C) as from `class_totals`.

    Returns:
        (..., C) float64, NaN for classes absent from the truth.

    Example:
        >>> class_accuracy(np.array([[5, 0], [10, 2], [7, 0]])).tolist()
        [0.5, 0.0]
    """
    return ratio(totals[..., 0, :], totals[..., 1, :])


def semantic_scores(totals: Array) -> dict[str, Array]:
    """Pooled scores of all classes.

    Args:
        totals: (..., 3, C) as from `class_totals`.

    Returns:
        Float64 scores in [0, 1], each (...): `miou` (mean over classes with a union), `macc` (mean over classes present
        in the truth), `pixel_accuracy` and `fwiou` (IoU weighted by the frequency of the true class); NaN where there
        is nothing to count.

    Example:
        >>> scores = semantic_scores(class_totals(np.array([[3, 1, 0], [0, 4, 0]])))
        >>> {name: round(float(value), 3) for name, value in scores.items() if np.ndim(value) == 0}
        {'miou': 0.775, 'macc': 0.875, 'pixel_accuracy': 0.875, 'fwiou': 0.775}
    """
    iou, truth = class_iou(totals), totals[..., 1, :]
    return {
        "miou": mean_of_known(iou),
        "macc": mean_of_known(class_accuracy(totals)),
        "pixel_accuracy": ratio(totals[..., 0, :].sum(-1), truth.sum(-1)),
        "fwiou": ratio(library_of(totals).nansum(truth * iou, -1), truth.sum(-1)),
    }


def mean_of_known(values: Array) -> Array:
    """Mean along the last axis without NaN; NaN where nothing else is there.

    Args:
        values: (..., C).

    Returns:
        (...).

    Example:
        >>> mean_of_known(np.array([[0.5, np.nan, 1.0], [np.nan] * 3])).tolist()
        [0.75, nan]
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of numpy, that a mean is empty
        return library_of(values).nanmean(values, -1)  # type: ignore[no-any-return]


def ratio(part: Array, whole: Array) -> Array:
    """Quotient of counts in float64; 0 / 0 is NaN.

    Example:
        >>> ratio(np.array([1, 0]), np.array([2, 0])).tolist()
        [0.5, nan]
    """
    library = library_of(part)
    with np.errstate(divide="ignore", invalid="ignore"):
        quotient: Array = library.asarray(part, dtype=library.float64) / library.asarray(whole, dtype=library.float64)
    return quotient


def library_of(values: npt.NDArray[Any] | Tensor) -> Any:
    """Library of the values, numpy or torch; torch, which takes seconds to load, is not imported for numpy."""
    if isinstance(values, np.ndarray | np.generic):
        return np
    import torch

    return torch
