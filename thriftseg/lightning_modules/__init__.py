"""Learning recipes on Lightning's trainer, one per file, and networks read back from checkpoints.

Names are resolved when they are used, so that `load_network` serves a network without importing Lightning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from thriftseg.lazy import face

if TYPE_CHECKING:
    from thriftseg.lightning_modules.base import TrainingModule, setting_errors, usable_precision
    from thriftseg.lightning_modules.box2seg import BoxSegmentation, load_box2seg
    from thriftseg.lightning_modules.callbacks import PredictionImages, default_progress_bar
    from thriftseg.lightning_modules.eva_vos.annotation_policy import AnnotationTypeSelection
    from thriftseg.lightning_modules.eva_vos.environment import VectorEnvironment
    from thriftseg.lightning_modules.eva_vos.mask_quality import MaskQuality
    from thriftseg.lightning_modules.eva_vos.ppo import PPO, ActionChoice, choose_actions
    from thriftseg.lightning_modules.objectives.base import Objective, Term
    from thriftseg.lightning_modules.objectives.distillation import DistillationTerm, GroupedDistillationTerm
    from thriftseg.lightning_modules.objectives.label import LabelTerm
    from thriftseg.lightning_modules.objectives.presets import TDNetDistillation, TestTimeTuning, WeClick
    from thriftseg.lightning_modules.objectives.regularisers import (
        FlowTerm,
        GatedCRFTerm,
        MemoryFlowTerm,
        TemporalConsistencyTerm,
    )
    from thriftseg.lightning_modules.objectives.views import Views
    from thriftseg.lightning_modules.propagator_tuning import PropagatorTuning
    from thriftseg.lightning_modules.run_record import RunRecord
    from thriftseg.lightning_modules.schedules import PolyLR
    from thriftseg.lightning_modules.semantic import (
        TEACHER_CHECKPOINT,
        FramePrediction,
        SemanticEvaluation,
        SemanticSegmentation,
        train_teacher,
    )
    from thriftseg.lightning_modules.stopping import LastCheckpoint, between_batches
    from thriftseg.lightning_modules.test_time_tuning import CHECKPOINT, predict_frames, tune
    from thriftseg.lightning_modules.video_objects import VideoObjectSegmentation

__getattr__, __dir__, __all__ = face(
    __name__,
    moved={
        "LoadedNetwork": "thriftseg.inference.LoadedNetwork",
        "load_as": "thriftseg.inference.load_as",
        "load_network": "thriftseg.inference.load_network",
        "load_vos_network": "thriftseg.inference.load_vos_network",
        "read_checkpoint": "thriftseg.inference.read_checkpoint",
        "Box2Seg": "thriftseg.lightning_modules.box2seg.BoxSegmentation",
        "AnnotationPolicy": "thriftseg.lightning_modules.eva_vos.annotation_policy.AnnotationTypeSelection",
    },
)
