"""Quality against annotation cost: the area under the curve, the quality for a budget, the cost of a quality.

The curve joins measured points by straight lines over a linear cost axis. Points come in any order; points of equal
cost are averaged (they are repetitions, for example seeds), and points whose quality is NaN are left out. Nothing is
said about costs outside the measured span.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from thriftseg.arrays import Float64Array
from thriftseg.errors import ConfigError
from thriftseg.metrics.gathering import RowMetric

Values = Sequence[float] | Float64Array


def cost_quality_curve(cost: Values, quality: Values) -> tuple[Float64Array, Float64Array]:
    """The points of the curve: increasing costs and the mean quality at each.

    Args:
        cost: Costs of n points, in any unit.
        quality: Quality of these points.

    Raises:
        ValueError: The numbers of costs and qualities differ.
        ConfigError: A cost is negative or not finite, or a quality is infinite.

    Example:
        >>> cost, quality = cost_quality_curve([2, 1, 2], [0.5, 0.25, 0.75])
        >>> cost.tolist(), quality.tolist()
        ([1.0, 2.0], [0.25, 0.625])
    """
    costs, qualities = np.asarray(cost, np.float64).reshape(-1), np.asarray(quality, np.float64).reshape(-1)
    if costs.shape != qualities.shape:
        raise ValueError(f"expected one quality per cost, found {costs.size} costs and {qualities.size} qualities")
    wrong = costs[~np.isfinite(costs) | (costs < 0)]
    if wrong.size:
        raise ConfigError("cost is not an amount", expected="finite, at least 0", found=float(wrong[0]))
    if np.isinf(qualities).any():
        raise ConfigError("quality is infinite", found=float(qualities[np.isinf(qualities)][0]))
    known = ~np.isnan(qualities)
    steps, index, points = np.unique(costs[known], return_inverse=True, return_counts=True)
    return steps, np.bincount(index, qualities[known], minlength=steps.size) / points


def area_under_curve(cost: Values, quality: Values) -> float:
    """Mean quality over the span of costs: the area under the curve divided by the span.

    Args:
        cost: Costs of n points.
        quality: Quality of these points.

    Returns:
        A value in the unit of quality; with a single cost the quality there, and NaN without a point.

    Raises:
        ValueError: See `cost_quality_curve`.
        ConfigError: See `cost_quality_curve`.

    Example:
        >>> area_under_curve([0, 1, 3], [0.5, 0.75, 0.75])
        0.7083333333333334
    """
    steps, values = cost_quality_curve(cost, quality)
    if steps.size < 2:
        return float(values[0]) if steps.size else math.nan
    return float(np.trapezoid(values, steps) / (steps[-1] - steps[0]))


def quality_at_cost(cost: Values, quality: Values, budget: float) -> float:
    """Quality that a budget buys.

    Args:
        cost: Costs of n points.
        quality: Quality of these points.
        budget: A cost.

    Returns:
        Quality on the curve, NaN outside its span.

    Raises:
        ValueError: See `cost_quality_curve`.
        ConfigError: See `cost_quality_curve`.

    Example:
        >>> quality_at_cost([0, 2], [0.5, 0.75], budget=1), quality_at_cost([0, 2], [0.5, 0.75], budget=3)
        (0.625, nan)
    """
    steps, values = cost_quality_curve(cost, quality)
    return float(np.interp(budget, steps, values, left=math.nan, right=math.nan)) if steps.size else math.nan


def cost_at_quality(cost: Values, quality: Values, target: float) -> float:
    """Least cost at which the curve reaches a quality.

    Args:
        cost: Costs of n points.
        quality: Quality of these points.
        target: A quality.

    Returns:
        Cost of the first crossing, also where the curve falls below the target again; the least measured cost if that
        is good enough already; infinite if the target is never reached, and NaN without a point.

    Raises:
        ValueError: See `cost_quality_curve`.
        ConfigError: See `cost_quality_curve`.

    Example:
        >>> cost_at_quality([1, 3], [0.5, 0.75], target=0.625), cost_at_quality([1, 3], [0.5, 0.75], target=0.9)
        (2.0, inf)
    """
    steps, values = cost_quality_curve(cost, quality)
    if not steps.size:
        return math.nan
    reached = np.flatnonzero(values >= target)
    if not reached.size:
        return math.inf
    after = int(reached[0])
    if after == 0:
        return float(steps[0])
    share = (target - values[after - 1]) / (values[after] - values[after - 1])
    return float(steps[after - 1] + share * (steps[after] - steps[after - 1]))


class QualityAtCost(RowMetric):
    """Area under the cost-quality curve, quality at budgets and cost at target qualities, as EVA-VOS [0] compares.

    See `area_under_curve`, `quality_at_cost` and `cost_at_quality`.

    [0] Delatolas et al., "Learning the What and How of Annotation in Video Object Segmentation", WACV 2024
        (https://github.com/thanosDelatolas/eva-vos)

    Args:
        budgets: Costs at which to read the quality.
        targets: Qualities at which to read the cost, for example a J&F of 0.85.

    Example:
        >>> curve = QualityAtCost(budgets=[20], targets=[0.75])
        >>> for hours, quality in [(10, 0.25), (30, 0.5), (50, 1.0)]:
        ...     curve.update(hours, quality)
        >>> {name: value.item() for name, value in curve.compute().items()}
        {'area': 0.5625, 'quality_at_cost_20': 0.375, 'cost_at_quality_0.75': 40.0}
    """

    def __init__(self, budgets: Sequence[float] = (), targets: Sequence[float] = ()) -> None:
        super().__init__()
        self.budgets = tuple(budgets)
        self.targets = tuple(targets)
        self.add_row_state("points", 2, dtype=torch.float64)

    def update(self, cost: float | Tensor, quality: float | Tensor) -> None:
        """Add points.

        Args:
            cost: Cost of a point, or of n points, (n,).
            quality: Quality of these points.

        Raises:
            ValueError: See `cost_quality_curve`.
            ConfigError: See `cost_quality_curve`.
        """
        costs, qualities = (torch.as_tensor(values, dtype=torch.float64).reshape(-1) for values in (cost, quality))
        cost_quality_curve(costs.numpy(force=True), qualities.numpy(force=True))
        self.append_rows("points", torch.stack([costs, qualities], dim=1))

    def compute(self) -> dict[str, Tensor]:
        """The curve so far.

        Returns:
            Float64: `area`, and per budget and target, for example, `quality_at_cost_20` and `cost_at_quality_0.85`.
        """
        cost, quality = self.rows("points").numpy().T
        readings = {"area": area_under_curve(cost, quality)}
        readings |= {f"quality_at_cost_{b:.15g}": quality_at_cost(cost, quality, b) for b in self.budgets}
        readings |= {f"cost_at_quality_{t:.15g}": cost_at_quality(cost, quality, t) for t in self.targets}
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in readings.items()}
