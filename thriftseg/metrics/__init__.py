"""Scores pooled over a whole data set: a functional core per file and a thin torchmetrics class around it.

States are integer counts summed over processes, or one row per object, so the result does not depend on how the data
were batched or shared out. A class that occurs nowhere scores NaN and is left out of means.
"""

from __future__ import annotations

from thriftseg.metrics.annotation_curve import AnnotationCurve, annotation_curve
from thriftseg.metrics.annotation_reward import RewardRule, annotation_reward
from thriftseg.metrics.boundary_iou import BoundaryIoU
from thriftseg.metrics.confusion import ConfusionScores
from thriftseg.metrics.quality_at_cost import (
    QualityAtCost,
    area_under_curve,
    cost_at_quality,
    cost_quality_curve,
    quality_at_cost,
)
from thriftseg.metrics.quality_bins import QualityScores, expected_quality, quality_bins, rank_correlation
from thriftseg.metrics.temporal_consistency import TemporalConsistency
from thriftseg.metrics.video_scores import VideoFrame, VideoScores, score_video
from thriftseg.metrics.vos.j_and_f import (
    FrameStatistics,
    JAndF,
    ObjectScores,
    VOSProtocol,
    frame_statistics,
    object_scores,
    score_sequence,
    sequence_scores,
)
from thriftseg.metrics.vos.mask_recall import MaskRecall, present_ious

__all__ = [
    "AnnotationCurve",
    "BoundaryIoU",
    "ConfusionScores",
    "FrameStatistics",
    "JAndF",
    "MaskRecall",
    "ObjectScores",
    "QualityAtCost",
    "QualityScores",
    "RewardRule",
    "TemporalConsistency",
    "VOSProtocol",
    "VideoFrame",
    "VideoScores",
    "annotation_curve",
    "annotation_reward",
    "area_under_curve",
    "cost_at_quality",
    "cost_quality_curve",
    "expected_quality",
    "frame_statistics",
    "object_scores",
    "present_ious",
    "quality_at_cost",
    "quality_bins",
    "rank_correlation",
    "score_sequence",
    "score_video",
    "sequence_scores",
]
