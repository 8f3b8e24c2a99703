"""What a method offers that carries objects from an annotated frame to its neighbours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from thriftseg.arrays import UInt8Array, UInt16Array
from thriftseg.stores import ObjectMap


@dataclass(frozen=True)
class Propagated:
    """The objects found in one frame.

    Attributes:
        ids: Object ids, (H, W) uint16; 0 where no object claims the pixel.
        confidence: 0..1 as the method defines it.
        scores: Confidence by object id, 0..1; empty where the method has none.
    """

    ids: UInt16Array
    confidence: float
    scores: Mapping[int, float] = field(default_factory=dict)


class Propagator(Protocol):
    """Carries the objects of the first frame to the frames after it.

    One that computes on an accelerator offers `MovesToDevice.to` as well. Propagators are sent to worker processes by
    pickle, so weights are best loaded at first use.
    """

    @property
    def name(self) -> str:
        """Name of the method, and of its labels in the store."""

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Settings that the labels depend on, JSON values only."""

    def propagate(self, objects: ObjectMap, frames: Iterable[UInt8Array]) -> Iterator[Propagated]:
        """Yield what becomes of the objects in every frame but the first.

        Every call starts afresh, so the two directions of time do not see each other.

        Args:
            objects: Objects of the first frame, at least one.
            frames: Frames, (H, W, 3) uint8 RGB, adjacent ones after each other, in either direction of time. They
                are read one by one, so a propagator need not hold a clip.
        """


@runtime_checkable
class MovesToDevice(Protocol):
    """A propagator, prompter or flow estimator that computes on a device of choice."""

    def to(self, device: str) -> None:
        """Compute on a device from now on.

        Args:
            device: As torch names it, such as "cuda:1"; called once in each process, before the first clip.
        """
