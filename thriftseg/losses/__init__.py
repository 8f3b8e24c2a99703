"""Losses on label maps: one idea per file, exact when nothing is labelled."""

from __future__ import annotations

from thriftseg.losses.cross_entropy import CrossEntropy
from thriftseg.losses.ohem import OHEMCrossEntropy
from thriftseg.losses.partial_cross_entropy import PartialCrossEntropy
from thriftseg.losses.partially_huberised_cross_entropy import PartiallyHuberisedCrossEntropy
from thriftseg.losses.terms import LabelMapLoss, LossTerms

__all__ = [
    "CrossEntropy",
    "LabelMapLoss",
    "LossTerms",
    "OHEMCrossEntropy",
    "PartialCrossEntropy",
    "PartiallyHuberisedCrossEntropy",
]
