"""Sums of the counts of blocks: per video, per second, of everything, and what they score."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from thriftseg.arrays import Int64Array
from thriftseg.metrics import Rule, class_iou, class_totals, consistency_iou, mean_of_known, semantic_scores
from thriftseg.reports.scoring.bootstrap import LEAST_VIDEOS, Resampling, Scores
from thriftseg.reports.scoring.counting import BlockCounts
from thriftseg.reports.scoring.report import Score

Scorer = Callable[[npt.NDArray[Any]], Scores]


@dataclass(frozen=True)
class Family:
    """Counts of one kind and the scores that follow from them.

    Attributes:
        per_block: (B, ...) counts per second of video.
        videos: (B,) position of the video of each block.
        units: (B,) frames or pairs behind the counts of each block.
        score: Turns (..., counts) into scores.
    """

    per_block: Int64Array
    videos: Int64Array
    units: Int64Array
    score: Scorer

    @property
    def pooled(self) -> Int64Array:
        """Counts of everything."""
        return np.asarray(self.per_block.sum(axis=0), np.int64)

    def per_video(self, count: int) -> Int64Array:
        """Counts per video, (V, ...)."""
        totals = np.zeros((count, *self.per_block.shape[1:]), np.int64)
        np.add.at(totals, self.videos, self.per_block)
        return totals

    def scores(self, resamples: int, seed: int) -> dict[str, Score]:
        """The pooled scores with their intervals."""
        drawn, unit = self._drawn()
        values = self.score(self.pooled)
        intervals = Resampling.draw(len(drawn), resamples, seed).intervals(drawn, self.score)
        return {name: Score(float(value), *intervals[name], unit, len(drawn)) for name, value in values.items()}

    def _drawn(self) -> tuple[Int64Array, str]:
        """Counts of the units that the bootstrap draws: videos, or seconds where there are few videos."""
        used = self.units > 0
        videos = np.unique(self.videos[used])
        if len(videos) < LEAST_VIDEOS:
            return self.per_block[used], "second"
        return self.per_video(int(self.videos.max()) + 1)[videos], "video"


def families(counts: Sequence[BlockCounts], metrics: Collection[str], rule: Rule) -> dict[str, Family]:
    """Bring the counts of all blocks into arrays.

    Args:
        counts: Counts of blocks, in the order of videos and seconds.
        metrics: Those of `miou`, `boundary_iou` and `tc` that are wanted.
        rule: Rule of temporal consistency.

    Returns:
        The counts by metric.
    """
    videos = np.array([block.video for block in counts], np.int64)
    frames = np.array([block.frames for block in counts], np.int64)
    found = {}
    if "miou" in metrics:
        of_classes = np.stack([class_totals(block.confusion) for block in counts])
        found["miou"] = Family(of_classes, videos, frames, semantic_scores)
    if "boundary_iou" in metrics:
        of_boundary = np.stack([block.boundary for block in counts])  # both, true, predicted: as class_totals
        found["boundary_iou"] = Family(
            of_boundary, videos, frames, lambda totals: {"boundary_iou": mean_of_known(class_iou(totals))}
        )
    if "tc" in metrics:
        of_pairs = np.stack([class_totals(block.consistency) for block in counts])
        pairs = np.array([block.pairs for block in counts], np.int64)
        found["tc"] = Family(
            of_pairs, videos, pairs, lambda totals: {"tc": mean_of_known(consistency_iou(totals, rule))}
        )
    return found
