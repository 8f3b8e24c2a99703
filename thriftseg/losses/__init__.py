"""Losses: one idea per file, as functions and modules; exactly 0 with finite gradients when nothing is labelled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thriftseg.lazy import face

if TYPE_CHECKING:
    from thriftseg.losses.bootstrapped_cross_entropy import BootstrappedCrossEntropy, bootstrapped_cross_entropy
    from thriftseg.losses.cross_entropy import CrossEntropy, cross_entropy
    from thriftseg.losses.gated_crf import GatedCRF, GaussianKernel, gated_crf_loss
    from thriftseg.losses.knowledge_distillation import KnowledgeDistillation, knowledge_distillation
    from thriftseg.losses.memory_flow_distillation import MemoryFlowDistillation, memory_flow_distillation
    from thriftseg.losses.ohem import OHEMCrossEntropy, ohem_cross_entropy
    from thriftseg.losses.partial_cross_entropy import PartialCrossEntropy, partial_cross_entropy
    from thriftseg.losses.partially_huberised_cross_entropy import (
        PartiallyHuberisedCrossEntropy,
        partially_huberised_cross_entropy,
    )
    from thriftseg.losses.proposed_masks import ProposedMaskTerms, proposed_mask_terms
    from thriftseg.losses.temporal_consistency import TemporalConsistencyLoss, temporal_consistency_loss
    from thriftseg.losses.terms import LabelMapLoss, Loss, LossTerms

__getattr__, __dir__, __all__ = face(__name__)
