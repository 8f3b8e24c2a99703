"""Learning recipes on Lightning's trainer, one per file, and networks read back from checkpoints.

Names are resolved when they are used, so that `load_network` serves a network without importing Lightning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from thriftseg.lazy import lazy_names

if TYPE_CHECKING:
    from thriftseg.lightning_modules.base import TrainingModule
    from thriftseg.lightning_modules.box2seg import Box2Seg, load_box2seg
    from thriftseg.lightning_modules.callbacks import PredictionImages, default_progress_bar
    from thriftseg.lightning_modules.checkpoints import (
        LoadedNetwork,
        load_network,
        load_vos_network,
        read_checkpoint,
    )
    from thriftseg.lightning_modules.run_record import RunRecord
    from thriftseg.lightning_modules.schedules import PolyLR
    from thriftseg.lightning_modules.semantic import SemanticSegmentation
    from thriftseg.lightning_modules.taught import TaughtSegmentation
    from thriftseg.lightning_modules.tdnet_distillation import TDNetDistillation
    from thriftseg.lightning_modules.video_objects import VideoObjectSegmentation
    from thriftseg.lightning_modules.weclick import WeClick

__all__ = [
    "Box2Seg",
    "LoadedNetwork",
    "PolyLR",
    "PredictionImages",
    "RunRecord",
    "SemanticSegmentation",
    "TDNetDistillation",
    "TaughtSegmentation",
    "TrainingModule",
    "VideoObjectSegmentation",
    "WeClick",
    "default_progress_bar",
    "load_box2seg",
    "load_network",
    "load_vos_network",
    "read_checkpoint",
]

__getattr__ = lazy_names(
    __name__,
    {
        "Box2Seg": "box2seg",
        "LoadedNetwork": "checkpoints",
        "PolyLR": "schedules",
        "PredictionImages": "callbacks",
        "RunRecord": "run_record",
        "SemanticSegmentation": "semantic",
        "TDNetDistillation": "tdnet_distillation",
        "TaughtSegmentation": "taught",
        "TrainingModule": "base",
        "VideoObjectSegmentation": "video_objects",
        "WeClick": "weclick",
        "default_progress_bar": "callbacks",
        "load_box2seg": "box2seg",
        "load_network": "checkpoints",
        "load_vos_network": "checkpoints",
        "read_checkpoint": "checkpoints",
    },
)
