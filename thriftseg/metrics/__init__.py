"""Scores pooled over a whole data set: a functional core per file and a thin torchmetrics class around it.

States are integer counts summed over processes, so the result does not depend on how the data were batched or shared
out. A class that occurs nowhere scores NaN and is left out of means.
"""

from __future__ import annotations

from thriftseg.metrics.boundary_iou import BoundaryIoU
from thriftseg.metrics.confusion import ConfusionScores
from thriftseg.metrics.temporal_consistency import TemporalConsistency

__all__ = ["BoundaryIoU", "ConfusionScores", "TemporalConsistency"]
