"""Learning recipes on Lightning's trainer, one per file, and networks read back from checkpoints.

Names are resolved when they are used, so that `load_network` serves a network without importing Lightning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from thriftseg.lazy import lazy_names

if TYPE_CHECKING:
    from thriftseg.lightning_modules.annotation_policy import AnnotationPolicy
    from thriftseg.lightning_modules.base import TrainingModule
    from thriftseg.lightning_modules.box2seg import Box2Seg, load_box2seg
    from thriftseg.lightning_modules.callbacks import PredictionImages, default_progress_bar
    from thriftseg.lightning_modules.environment import VectorEnvironment
    from thriftseg.lightning_modules.mask_quality import MaskQuality
    from thriftseg.lightning_modules.ppo import PPO, choose_actions
    from thriftseg.lightning_modules.run_record import RunRecord
    from thriftseg.lightning_modules.schedules import PolyLR
    from thriftseg.lightning_modules.semantic import SemanticSegmentation
    from thriftseg.lightning_modules.taught import TaughtSegmentation
    from thriftseg.lightning_modules.tdnet_distillation import TDNetDistillation
    from thriftseg.lightning_modules.test_time_tuning import (
        FramePrediction,
        TestTimeTuning,
        predict_frames,
        tune,
    )
    from thriftseg.lightning_modules.video_objects import VideoObjectSegmentation
    from thriftseg.lightning_modules.weclick import WeClick

__all__ = [
    "PPO",
    "AnnotationPolicy",
    "Box2Seg",
    "FramePrediction",
    "MaskQuality",
    "PolyLR",
    "PredictionImages",
    "RunRecord",
    "SemanticSegmentation",
    "TDNetDistillation",
    "TaughtSegmentation",
    "TestTimeTuning",
    "TrainingModule",
    "VectorEnvironment",
    "VideoObjectSegmentation",
    "WeClick",
    "choose_actions",
    "default_progress_bar",
    "load_box2seg",
    "predict_frames",
    "tune",
]

__getattr__ = lazy_names(
    __name__,
    {
        "PPO": "ppo",
        "AnnotationPolicy": "annotation_policy",
        "Box2Seg": "box2seg",
        "FramePrediction": "test_time_tuning",
        "MaskQuality": "mask_quality",
        "PolyLR": "schedules",
        "PredictionImages": "callbacks",
        "RunRecord": "run_record",
        "SemanticSegmentation": "semantic",
        "TDNetDistillation": "tdnet_distillation",
        "TaughtSegmentation": "taught",
        "TestTimeTuning": "test_time_tuning",
        "TrainingModule": "base",
        "VectorEnvironment": "environment",
        "VideoObjectSegmentation": "video_objects",
        "WeClick": "weclick",
        "choose_actions": "ppo",
        "default_progress_bar": "callbacks",
        "load_box2seg": "box2seg",
        "predict_frames": "test_time_tuning",
        "tune": "test_time_tuning",
    },
)
