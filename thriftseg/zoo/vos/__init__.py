"""Video object segmentation: what its networks share, in small parts that can be used alone."""

from __future__ import annotations

from thriftseg.zoo.vos.aggregation import aggregate, probabilities
from thriftseg.zoo.vos.memory import Memory, MemoryFrame, MemoryPolicy
from thriftseg.zoo.vos.network import VOSNetwork, VOSState
from thriftseg.zoo.vos.objects import ObjectIds, ObjectRows
from thriftseg.zoo.vos.padding import SplitPadding
from thriftseg.zoo.vos.reader import MemoryReader
from thriftseg.zoo.vos.tracker import ObjectTracker

__all__ = [
    "Memory",
    "MemoryFrame",
    "MemoryPolicy",
    "MemoryReader",
    "ObjectIds",
    "ObjectRows",
    "ObjectTracker",
    "SplitPadding",
    "VOSNetwork",
    "VOSState",
    "aggregate",
    "probabilities",
]
