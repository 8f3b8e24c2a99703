"""Data modules: which samples a run sees, in which order and under which augmentation.

Names are resolved when they are used, because Lightning takes seconds to import and drawing a mixture does not need it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from thriftseg.datamodules.mixture import Mixture, MixturePart
    from thriftseg.datamodules.mixture_list import MixtureList
    from thriftseg.datamodules.neighbours import NeighbourPolicy
    from thriftseg.datamodules.photometric import PhotometricConfig
    from thriftseg.datamodules.semantic import SemanticDataModule

__all__ = ["Mixture", "MixtureList", "MixturePart", "NeighbourPolicy", "PhotometricConfig", "SemanticDataModule"]

_HOMES = {
    "Mixture": "mixture",
    "MixtureList": "mixture_list",
    "MixturePart": "mixture",
    "NeighbourPolicy": "neighbours",
    "PhotometricConfig": "photometric",
    "SemanticDataModule": "semantic",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
