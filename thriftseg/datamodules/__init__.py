"""Data modules: which samples a run sees, in which order and under which augmentation.

Names are resolved when they are used, because Lightning takes seconds to import and drawing a mixture does not need it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from thriftseg.lazy import lazy_names

if TYPE_CHECKING:
    from thriftseg.datamodules.annotation_type import AnnotationTypeDataModule
    from thriftseg.datamodules.boxes import BoxDataModule
    from thriftseg.datamodules.curriculum import GapCurriculum
    from thriftseg.datamodules.mask_quality import MaskQualityDataModule
    from thriftseg.datamodules.mixture import Mixture, MixturePart
    from thriftseg.datamodules.mixture_list import MixtureList
    from thriftseg.datamodules.motion import measure_motion
    from thriftseg.datamodules.neighbours import NeighbourPolicy
    from thriftseg.datamodules.photometric import PhotometricConfig
    from thriftseg.datamodules.pseudo_clips import WarpConfig
    from thriftseg.datamodules.semantic import SemanticDataModule
    from thriftseg.datamodules.type_environment import TypeSetEnvironment
    from thriftseg.datamodules.video_pairs import VideoPairDataModule
    from thriftseg.datamodules.vos import VOSDataModule

__all__ = [
    "AnnotationTypeDataModule",
    "BoxDataModule",
    "GapCurriculum",
    "MaskQualityDataModule",
    "Mixture",
    "MixtureList",
    "MixturePart",
    "NeighbourPolicy",
    "PhotometricConfig",
    "SemanticDataModule",
    "TypeSetEnvironment",
    "VOSDataModule",
    "VideoPairDataModule",
    "WarpConfig",
    "measure_motion",
]

__getattr__ = lazy_names(
    __name__,
    {
        "AnnotationTypeDataModule": "annotation_type",
        "BoxDataModule": "boxes",
        "GapCurriculum": "curriculum",
        "MaskQualityDataModule": "mask_quality",
        "Mixture": "mixture",
        "MixtureList": "mixture_list",
        "MixturePart": "mixture",
        "NeighbourPolicy": "neighbours",
        "PhotometricConfig": "photometric",
        "SemanticDataModule": "semantic",
        "TypeSetEnvironment": "type_environment",
        "VOSDataModule": "vos",
        "VideoPairDataModule": "video_pairs",
        "WarpConfig": "pseudo_clips",
        "measure_motion": "motion",
    },
)
