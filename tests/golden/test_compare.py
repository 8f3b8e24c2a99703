"""Deviations of outputs from their recorded statistics."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.golden.compare import Deviation, compare_output, describe


class TestComparison:
    def row(self, values: Tensor) -> dict[str, Any]:
        return {"name": "x", "role": "final", **describe(values)}

    def ratio(self, row: dict[str, Any], values: Tensor) -> float:
        return max(entry.ratio for entry in compare_output(row, values))

    def test_equal_values(self):
        values = torch.randn(2, 3, 8, 9)
        assert self.ratio(self.row(values), values) == 0

    def test_projections_see_every_element(self):
        values = torch.randn(1, 4, 50, 50)
        changed = values.clone()
        changed[0, 2, 31, 17] += 5  # in none of the 64 samples
        row = self.row(values)
        assert describe(changed)["sample"] == row["sample"]
        worst = {entry.where: entry.ratio for entry in compare_output(row, changed)}
        assert worst["x sample"] == 0
        assert worst["x proj"] > 1

    def test_argmax_of_dense_outputs(self):
        scene = torch.randn(100, 100)
        values = torch.stack([scene + 1e-5, scene]).unsqueeze(0)
        flipped = values.clone()
        flipped[0, 1, 0, :11] += 2e-5
        assert self.ratio(self.row(values), flipped) == pytest.approx(22 / 20)
        flipped[0, 1, 0, 10] -= 2e-5
        assert self.ratio(self.row(values), flipped) == pytest.approx(20 / 20)

    def test_other_shape(self):
        (deviation,) = compare_output(self.row(torch.ones(2, 3)), torch.ones(3, 2))
        assert deviation == Deviation("x: shape [3, 2], expected [2, 3]", math.inf)

    def test_nan_is_no_match(self):
        assert self.ratio(self.row(torch.ones(2, 3)), torch.full((2, 3), math.nan)) == math.inf
