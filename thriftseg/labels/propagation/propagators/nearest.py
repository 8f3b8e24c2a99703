"""Objects that stay where they were: the baseline every propagation has to beat."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sized
from itertools import islice
from typing import Any, ClassVar

from thriftseg.arrays import UInt8Array
from thriftseg.labels.propagation.propagators.protocol import Propagated
from thriftseg.stores import ObjectMap


class NearestPropagator:
    """Copies the objects of the annotated frame; sure of everything.

    Example:
        >>> import numpy as np
        >>> from thriftseg.stores.object_map import objects_of
        >>> objects = objects_of(np.array([[7, 255]], np.uint8))
        >>> frame = np.zeros((1, 2, 3), np.uint8)
        >>> [step.ids.tolist() for step in NearestPropagator().probabilities(objects, [frame, frame, frame])]
        [[[1, 0]], [[1, 0]]]
    """

    name: ClassVar[str] = "nearest"
    arguments: ClassVar[Mapping[str, Any]] = {}
    hard: ClassVar[bool] = True

    def probabilities(self, objects: ObjectMap, frames: Iterable[UInt8Array]) -> Iterator[Propagated]:
        """Yield the objects in every frame but the first; see `Propagator.probabilities`.

        Frames whose number is known are not read.
        """
        passed: Iterable[Any] = range(len(frames)) if isinstance(frames, Sized) else frames
        for _ in islice(passed, 1, None):
            yield Propagated(objects.ids, 1.0)
