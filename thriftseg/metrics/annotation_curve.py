"""Quality of a set of videos against the hours spent on annotating them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np

from thriftseg.arrays import Float64Array


class AnnotationCurve(NamedTuple):
    """Mean quality after each annotation; `cost_at_quality` and `area_under_curve` read it.

    Attributes:
        hours: Hours spent in all, increasing, (n,).
        quality: Mean over all objects, each with its latest value, (n,).

    Example:
        >>> from thriftseg.metrics import cost_at_quality
        >>> curve = AnnotationCurve(np.array([1.0, 3.0]), np.array([0.5, 0.75]))
        >>> cost_at_quality(*curve, target=0.625)
        2.0
    """

    hours: Float64Array
    quality: Float64Array


def annotation_curve(
    objects: Sequence[Hashable], seconds: Sequence[float], quality: Sequence[float]
) -> AnnotationCurve:
    """The curve of annotations in the order in which they were made.

    An object that is not annotated any further keeps its last value, so that every point is a mean over all objects;
    there is none before each of them has a value. (The code of EVA-VOS [0] averages over the videos that go on, which
    favours those that need most work.)

    [0] https://github.com/thanosDelatolas/eva-vos

    Args:
        objects: The object of each annotation.
        seconds: What it cost.
        quality: Quality of the object after it; not NaN.

    Raises:
        ValueError: The numbers of values differ, or a quality is NaN.

    Example:
        >>> from thriftseg.metrics import area_under_curve, cost_at_quality
        >>> curve = annotation_curve(["a", "b", "a"], [3600, 3600, 1800], [0.5, 0.75, 1.0])
        >>> curve.hours.tolist(), curve.quality.tolist()
        ([2.0, 2.5], [0.625, 0.875])
        >>> cost_at_quality(*curve, target=0.75), area_under_curve(*curve)
        (2.25, 0.75)
    """
    if np.isnan(quality).any():
        raise ValueError("a quality is NaN")
    expected = len(set(objects))
    latest: dict[Hashable, float] = {}
    spent, total, points = 0.0, 0.0, []
    for name, cost, value in zip(objects, seconds, quality, strict=True):
        spent += cost
        total += value - latest.get(name, 0.0)
        latest[name] = value
        if len(latest) == expected:
            points.append((spent / 3600, total / expected))
    hours, means = np.array(points, np.float64).reshape(-1, 2).T
    return AnnotationCurve(hours, means)
