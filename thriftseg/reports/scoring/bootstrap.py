"""Bootstrap intervals: how far would the scores move had other videos been filmed?"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from thriftseg.arrays import Float64Array, Int64Array

Scores = dict[str, Float64Array]
"""Values by name of score, of one data set or of many resamplings of it."""

LEAST_VIDEOS = 5
"""With fewer videos, seconds are drawn instead."""

_COVERAGE = 0.95


@dataclass(frozen=True)
class Resampling:
    """Draws of units with replacement, as many as there are, many times.

    Attributes:
        weights: (R, U) how often each unit was drawn.
    """

    weights: Int64Array

    @classmethod
    def draw(cls, units: int, resamples: int = 1000, seed: int = 0) -> Resampling:
        """Draw.

        Args:
            units: Number U of units.
            resamples: Number R of draws.
            seed: Seed of the generator.

        Example:
            >>> Resampling.draw(units=3, resamples=2).weights.sum(axis=1).tolist()
            [3, 3]
        """
        drawn = np.random.default_rng(seed).integers(0, units, size=(resamples, units))
        weights = np.zeros((resamples, units), np.int64)
        np.add.at(weights, (np.arange(resamples)[:, None], drawn), 1)
        return cls(weights)

    def pool(self, counts: Int64Array | Float64Array) -> Float64Array:
        """Sum the counts of each draw: (U, ...) to (R, ...), exact for whole numbers below 2**53."""
        flat = counts.reshape(len(counts), -1).astype(np.float64)
        pooled: Float64Array = self.weights.astype(np.float64) @ flat
        return pooled.reshape(len(pooled), *counts.shape[1:])

    def intervals(
        self, counts: Int64Array | Float64Array, score: Callable[[Float64Array], Scores]
    ) -> dict[str, tuple[float, float]]:
        """Percentile intervals of 95 %.

        Args:
            counts: (U, ...) counts per unit.
            score: Turns pooled counts (R, ...) into scores (R,) by name.

        Returns:
            Lower and upper end by name; NaN where a single unit leaves nothing to draw from, or nothing was drawn.
        """
        values = score(self.pool(counts))
        if self.weights.shape[1] < 2 or not len(self.weights):
            return dict.fromkeys(values, (math.nan, math.nan))
        return {name: _percentiles(drawn) for name, drawn in values.items()}


def _percentiles(values: Float64Array) -> tuple[float, float]:
    tail = (1 - _COVERAGE) / 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # nothing but NaN gives NaN, as it should
        low, high = np.nanquantile(values, [tail, 1 - tail])
    return float(low), float(high)
