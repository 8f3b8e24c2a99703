"""Data modules: which samples a run sees, in which order and under which augmentation.

Names are resolved when they are used, because Lightning takes seconds to import and drawing a mixture does not need it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from thriftseg.lazy import face

if TYPE_CHECKING:
    from thriftseg.datamodules.boxes import BoxDataModule
    from thriftseg.datamodules.eva_vos.annotation_type import AnnotationTypeDataModule
    from thriftseg.datamodules.eva_vos.mask_quality import MaskQualityDataModule
    from thriftseg.datamodules.eva_vos.type_environment import CLICK, MASK, TypeSetEnvironment
    from thriftseg.datamodules.mixing.config import read_mixture
    from thriftseg.datamodules.mixing.mixture import Mixture, MixturePart
    from thriftseg.datamodules.mixing.mixture_list import MixtureList
    from thriftseg.datamodules.mixing.motion import measure_motion
    from thriftseg.datamodules.neighbours import NeighbourPolicy
    from thriftseg.datamodules.photometric import PhotometricConfig
    from thriftseg.datamodules.semantic import SemanticDataModule
    from thriftseg.datamodules.shards import LABELS_OF_SHARDS, ShardReport, write_shards
    from thriftseg.datamodules.video_pairs import VideoPairDataModule
    from thriftseg.datamodules.vos.curriculum import GapCurriculum
    from thriftseg.datamodules.vos.labels import MaskPart
    from thriftseg.datamodules.vos.module import VOSDataModule
    from thriftseg.datamodules.vos.pseudo_clips import WarpConfig

__getattr__, __dir__, __all__ = face(__name__)
