"""The contract of methods that carry objects from an annotated frame to its neighbours.

A propagator streams: it reads one frame after the other and tells of each but the first how probable every object is
there. Label propagation takes one object per pixel from that (`ObjectProbabilities.decide`). The EVA-VOS loop asks once
from each end of a gap between two annotated frames and joins the probabilities
(`ObjectProbabilities.probability_of`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from thriftseg.arrays import BoolArray, Float32Array, UInt8Array, UInt16Array
from thriftseg.labels.refining.prompters.protocol import Prompt
from thriftseg.stores import ObjectMap


class ObjectProbabilities(Protocol):
    """Where the objects are in one frame. It holds until the next frame is asked for.

    Methods that yield hard masks use `Propagated`, networks whose channels compete for a pixel
    `thriftseg.labels.propagation.merging.ChannelProbabilities`.

    Example:
        >>> class EvenOdds:
        ...     def probability_of(self, object_id):
        ...         return np.full((1, 3), 0.5, np.float32)
        ...     def decide(self):
        ...         return Propagated(np.zeros((1, 3), np.uint16), confidence=0.5)
        >>> found: ObjectProbabilities = EvenOdds()
        >>> found.probability_of(2).tolist(), found.decide().confidence
        ([[0.5, 0.5, 0.5]], 0.5)
    """

    def probability_of(self, object_id: int) -> Float32Array:
        """Probability that a pixel shows an object.

        Args:
            object_id: One of the ids that were given.

        Returns:
            (H, W), 0..1.
        """

    def decide(self) -> Propagated:
        """One object or none per pixel, with memory that does not grow with the number of objects where possible."""


@dataclass(frozen=True)
class Propagated:
    """The objects found in one frame, at most one per pixel: probabilities of 0 and 1.

    Attributes:
        ids: Object ids, (H, W) uint16; 0 where no object claims the pixel.
        confidence: 0..1 as the method defines it.
        scores: Confidence by object id, 0..1; empty where the method has none.

    Example:
        >>> found = Propagated(np.array([[2, 0, 1]], np.uint16), 1.0)
        >>> found.probability_of(2).tolist(), found.decide() is found
        ([[1.0, 0.0, 0.0]], True)
    """

    ids: UInt16Array
    confidence: float
    scores: Mapping[int, float] = field(default_factory=dict)

    def probability_of(self, object_id: int) -> Float32Array:
        """1 where the object is and 0 elsewhere; see `ObjectProbabilities.probability_of`."""
        return np.asarray(self.ids == object_id, np.float32)

    def decide(self) -> Propagated:
        """The objects as they are."""
        return self


class Propagator(Protocol):
    """Carries the objects of the first frame to the frames after it.

    One that computes on an accelerator offers `MovesToDevice.to` as well. Propagators are sent to worker processes by
    pickle, so weights are best loaded at first use.

    Attributes:
        hard: Whether all probabilities are 0 or 1. Between two annotated frames, there is nothing to join then: a frame
            takes what comes from the nearer one.

    Example:
        >>> from thriftseg.stores import objects_of
        >>> class Mirrored:
        ...     name, arguments, hard = "mirrored", {}, True
        ...     def probabilities(self, objects, frames):
        ...         for place, _ in enumerate(frames):
        ...             if place:
        ...                 yield Propagated(objects.ids[:, ::-1], confidence=1.0)
        >>> propagator: Propagator = Mirrored()
        >>> objects, frame = objects_of(np.array([[7, 255]], np.uint8)), np.zeros((1, 2, 3), np.uint8)
        >>> [found.ids.tolist() for found in propagator.probabilities(objects, [frame, frame, frame])]
        [[[0, 1]], [[0, 1]]]
    """

    hard: ClassVar[bool]

    @property
    def name(self) -> str:
        """Name of the method, and of its labels in the store."""

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Settings that the labels depend on, JSON values only."""

    def probabilities(self, objects: ObjectMap, frames: Iterable[UInt8Array]) -> Iterator[ObjectProbabilities]:
        """Yield where the objects are in every frame but the first.

        Every call starts afresh, so the two directions of time do not see each other.

        Args:
            objects: Objects of the first frame, at least one.
            frames: Frames, (H, W, 3) uint8 RGB, adjacent ones after each other, in either direction of time. They
                are read one by one, so a propagator need not hold a clip.
        """


class Tracker(ObjectProbabilities, Protocol):
    """Objects in the current frame of a clip that is walked through frame by frame.

    Any frame may be prompted: the first with the objects it shows, later ones with objects that appear and with
    corrections. Looking at the result before or between prompts changes nothing.

    Example:
        >>> class Still:
        ...     def __init__(self, first):
        ...         self.ids = np.zeros(first.shape[:2], np.uint16)
        ...     def prompt(self, object_id, prompt):
        ...         self.ids[prompt] = object_id
        ...     def step(self, frame):
        ...         pass
        ...     def probability_of(self, object_id):
        ...         return self.decide().probability_of(object_id)
        ...     def decide(self):
        ...         return Propagated(self.ids, confidence=1.0)
        >>> tracker: Tracker = Still(np.zeros((1, 3, 3), np.uint8))
        >>> tracker.prompt(5, np.array([[True, False, False]]))
        >>> tracker.step(np.zeros((1, 3, 3), np.uint8))
        >>> tracker.prompt(6, np.array([[False, False, True]]))
        >>> tracker.decide().ids.tolist()
        [[5, 0, 6]]
    """

    def prompt(self, object_id: int, prompt: BoolArray | Prompt) -> None:
        """Say where an object is in the current frame.

        A further prompt for the same object in the same frame takes the place of the one before.

        Args:
            object_id: 1..65535, known or new.
            prompt: Its mask, (H, W), which a network takes as the truth and remembers as such. Or points and a box:
                where the object was followed before they correct what the network sees, and are remembered as long as
                any frame without a prompt.

        Raises:
            ConfigError: The mask is of another size, or the network does not take such a prompt.
        """

    def step(self, frame: UInt8Array) -> None:
        """Follow all objects into the next frame.

        Args:
            frame: (H, W, 3) uint8 RGB, of the size of the first.
        """


@runtime_checkable
class TracksObjects(Protocol):
    """A propagator that can be prompted at any frame; see `thriftseg.labels.follow` for all propagators.

    Example:
        >>> from thriftseg.labels import FlowPropagator, SAM2Propagator
        >>> issubclass(SAM2Propagator, TracksObjects), isinstance(FlowPropagator(), TracksObjects)
        (True, False)
    """

    def track(self, first: UInt8Array) -> Tracker:
        """Start at a frame, without any object.

        Args:
            first: The first frame, (H, W, 3) uint8 RGB.
        """


@runtime_checkable
class MovesToDevice(Protocol):
    """A propagator, prompter or flow estimator that computes on a device of choice."""

    def to(self, device: str) -> None:
        """Compute on a device from now on.

        Args:
            device: As torch names it, such as "cuda:1"; called once in each process, before the first clip.
        """
