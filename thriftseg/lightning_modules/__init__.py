"""Learning recipes on Lightning's trainer, one per file, and networks read back from checkpoints."""

from __future__ import annotations

from thriftseg.lightning_modules.callbacks import PredictionImages, default_progress_bar
from thriftseg.lightning_modules.checkpoints import LoadedNetwork, load_network, read_checkpoint
from thriftseg.lightning_modules.schedules import PolyLR
from thriftseg.lightning_modules.semantic import SemanticSegmentation

__all__ = [
    "LoadedNetwork",
    "PolyLR",
    "PredictionImages",
    "SemanticSegmentation",
    "default_progress_bar",
    "load_network",
    "read_checkpoint",
]
