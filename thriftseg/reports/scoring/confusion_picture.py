"""Picture of a confusion matrix."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np

from thriftseg.arrays import Float64Array, Int64Array

_WITH_NUMBERS = 30
"""Classes up to which every cell shows its percentage."""


def row_shares(confusion: Int64Array) -> Float64Array:
    """Share of each true class that went to each predicted one; NaN for classes absent from the truth.

    Example:
        >>> row_shares(np.array([[3, 1, 0], [0, 0, 0]])).tolist()
        [[0.75, 0.25, 0.0], [nan, nan, nan]]
    """
    truth = confusion.sum(axis=1, keepdims=True).astype(np.float64)
    return np.asarray(np.divide(confusion, truth, out=np.full(confusion.shape, np.nan), where=truth > 0), np.float64)


def draw_confusion(confusion: Int64Array, class_names: Sequence[str]) -> bytes:
    """Draw a confusion matrix in percent of the true class.

    Args:
        confusion: (C, C + 1) pixels by true and predicted class; the last column counts predictions of no class and
            is left out where it is empty.
        class_names: C names.

    Returns:
        A PNG.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with_rest = bool(confusion[:, -1].any())
    shares = row_shares(confusion) if with_rest else row_shares(confusion)[:, :-1]
    side = max(4.0, 1.6 + 0.42 * len(class_names))
    figure = Figure(figsize=(side + 1, side), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(shares.shape[1]), [*class_names, *(["no class"] if with_rest else [])], rotation=90)
    axes.set_yticks(range(len(class_names)), class_names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.tick_params(labelsize=8, length=0)
    if len(class_names) <= _WITH_NUMBERS:
        for row, column in np.argwhere(shares >= 0.005).tolist():
            share = shares[row, column]
            ink = "white" if share > 0.55 else "#333333"
            axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=7, color=ink)
    figure.colorbar(image, ax=axes, shrink=0.7, label="share of the true class")
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()
