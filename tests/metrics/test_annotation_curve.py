from __future__ import annotations

import math

import numpy as np
import pytest

from thriftseg.metrics import annotation_curve


def test_every_point_is_the_mean_of_the_latest_values_of_all_objects():
    rng = np.random.default_rng(0)
    objects = [*range(7), *rng.integers(0, 7, 60).tolist()]
    seconds, quality = rng.uniform(1, 80, 67).tolist(), rng.random(67).tolist()
    curve = annotation_curve(objects, seconds, quality)
    assert len(curve.hours) == len(curve.quality) == 61
    for point, count in enumerate(range(7, 68)):
        latest = dict(zip(objects[:count], quality[:count], strict=True))
        assert curve.hours[point] == pytest.approx(sum(seconds[:count]) / 3600)
        assert curve.quality[point] == pytest.approx(sum(latest.values()) / 7, abs=1e-12)


def test_no_annotation_no_point():
    assert [len(column) for column in annotation_curve([], [], [])] == [0, 0]


def test_a_quality_that_is_none():
    with pytest.raises(ValueError, match="a quality is NaN"):
        annotation_curve(["a"], [80], [math.nan])
