"""Scores pooled over a whole data set: a functional core per file and a thin torchmetrics class around it.

States are integer counts summed over processes, or one row per object, so the result does not depend on how the data
were batched or shared out. A class that occurs nowhere scores NaN and is left out of means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from thriftseg.lazy import face

if TYPE_CHECKING:
    from thriftseg.metrics.annotation_curve import AnnotationCurve, annotation_curve
    from thriftseg.metrics.annotation_reward import RewardRule, annotation_reward, check_reward_rule
    from thriftseg.metrics.boundary_iou import BoundaryIoU, VoidRule, boundary_counts, boundary_width
    from thriftseg.metrics.class_scores import (
        class_accuracy,
        class_iou,
        class_totals,
        mean_of_known,
        ratio,
        semantic_scores,
    )
    from thriftseg.metrics.confusion import ConfusionScores, confusion_matrix
    from thriftseg.metrics.quality_against_cost import (
        QualityAtCost,
        area_under_curve,
        cost_at_quality,
        cost_quality_curve,
        quality_at_cost,
    )
    from thriftseg.metrics.quality_scores import QualityScores, expected_quality, quality_bins, rank_correlation
    from thriftseg.metrics.temporal_consistency import Rule, TemporalConsistency, consistency_iou
    from thriftseg.metrics.video_scores import VideoFrame, VideoScores, score_video
    from thriftseg.metrics.vos.boundary_f import object_scores, sequence_scores
    from thriftseg.metrics.vos.j_and_f import FrameStatistics, JAndF, frame_statistics
    from thriftseg.metrics.vos.mask_recall import MaskRecall, present_ious
    from thriftseg.metrics.vos.protocols import ObjectScores, VOSProtocol, score_sequence

__getattr__, __dir__, __all__ = face(__name__)
