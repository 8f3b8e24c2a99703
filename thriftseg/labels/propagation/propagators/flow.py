"""Objects carried by optical flow.

Flow between adjacent frames is chained: what a distant frame shows is followed step by step back to the annotated
one, since direct flow fails on the long way (on CamVid's 15 Hz clip, ten frames away, chaining keeps 64 % of the
pixels and 0.51 mIoU with ignored pixels counted as wrong; direct DIS flow keeps 31 % and 0.29). The chain is built in
both directions and checked as a whole: going to the annotated frame and back should return.

The check fails where objects cover each other, but also on much of a road, whose flow is vague but whose label is not.
So the frame is flooded from the pixels that pass (watershed): one that fails keeps its object where the flood reaches
it with the same. Where the way leads out of the image, or between two objects, no object claims the pixel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, ClassVar

import cv2
import numpy as np

from thriftseg.arrays import BoolArray, Float32Array, UInt8Array, UInt16Array
from thriftseg.flow import DIS, FlowEstimator, compose, consistency_mask_np, warp_labels, warp_settled
from thriftseg.labels.propagation.propagators.protocol import MovesToDevice, Propagated
from thriftseg.stores import NO_OBJECT, ObjectMap

_LARGE = 1 << 20  # frames of this many pixels are flooded at every second one: memory is slow at random places


@dataclass(frozen=True, eq=False)
class FlowPropagator:
    """Propagation by chained optical flow.

    The confidence is the share of pixels whose flow is trusted; the score of an object is this share among the pixels
    that the flow alone would give it. Without the check, all pixels count as trusted.

    Args:
        estimator: Flow of two frames.
        alpha: Tolerance of the forward-backward check relative to the squared lengths.
        beta: Absolute tolerance in squared pixels.
        check: Whether pixels whose flow is not trusted are left out. Flow is estimated in both directions for it.
        flood: Whether a pixel that fails the forward-backward check is trusted all the same where a flood of the frame
            from the pixels that pass gives it the same object, and none is trusted where the object
            would be another one if the way ended 1/4 px beside. False trusts the check alone, as former versions did.

    Example:
        >>> from thriftseg.stores.object_map import objects_of
        >>> frame = np.random.default_rng(0).integers(0, 255, (48, 64, 3)).astype(np.uint8)
        >>> objects = objects_of(np.zeros((48, 64), np.uint8))
        >>> [float(step.confidence) for step in FlowPropagator().probabilities(objects, [frame, frame])]
        [1.0]
    """

    estimator: FlowEstimator = field(default_factory=DIS)
    alpha: float = 0.01
    beta: float = 0.5
    check: bool = True
    flood: bool = True

    name: ClassVar[str] = "flow"
    hard: ClassVar[bool] = True

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Settings that the labels depend on."""
        made = {"estimator": repr(self.estimator), "chained": True, "alpha": self.alpha, "beta": self.beta}
        if not self.check:
            return {**made, "check": False}
        return {**made, "flood": True} if self.flood else made

    def to(self, device: str) -> None:
        """Estimate flow on a device from now on, where the estimator has the choice."""
        if isinstance(self.estimator, MovesToDevice):
            self.estimator.to(device)

    def probabilities(self, objects: ObjectMap, frames: Iterable[UInt8Array]) -> Iterator[Propagated]:
        """Yield the objects in every frame but the first; see `Propagator.probabilities`."""
        to_first: Float32Array | None = None
        from_first: Float32Array | None = None
        by_flood = self.check and self.flood
        step = 2 if by_flood else 1
        for previous, frame in pairwise(frames):
            back = self.estimator.estimate(frame, previous)
            to_first = back if to_first is None else compose(back, to_first, exact=not by_flood)
            if not self.check:
                yield Propagated(warp_labels(objects.ids, to_first, fill=NO_OBJECT), 1.0)
                continue
            forth = _every(step, self.estimator.estimate(previous, frame))
            from_first = forth if from_first is None else compose(from_first, forth, exact=not by_flood)
            reliable = consistency_mask_np(
                _every(step, to_first), from_first, self.alpha, self.beta / step**2, exact=not by_flood
            )
            if by_flood:
                ids, settled = warp_settled(objects.ids, to_first, fill=NO_OBJECT)
                reliable = _enlarged(reliable, step, ids.shape)
                nth = 1 if ids.size < _LARGE else 2
                agrees = _flood_agrees(frame[::nth, ::nth], ids[::nth, ::nth], reliable[::nth, ::nth])
                reliable = (reliable | _enlarged(agrees, nth, ids.shape)) & settled
            else:
                ids = warp_labels(objects.ids, to_first, fill=NO_OBJECT)
            found = np.bincount(ids.ravel())
            ids *= reliable  # to NO_OBJECT
            kept = np.bincount(ids.ravel(), minlength=len(found))
            scores = {
                number: float(kept[number] / found[number]) for number in np.flatnonzero(found).tolist() if number
            }
            yield Propagated(ids, np.count_nonzero(reliable) / reliable.size, scores)


def _every(step: int, flow: Float32Array) -> Float32Array:
    """The flow of every n-th pixel, in units of n pixels."""
    return flow if step == 1 else np.multiply(flow[:, ::step, ::step], np.float32(1 / step))


def _enlarged(mask: BoolArray, step: int, size: tuple[int, ...]) -> BoolArray:
    """A mask of every n-th pixel for all pixels."""
    return mask if step == 1 else mask.repeat(step, axis=0)[: size[0]].repeat(step, axis=1)[:, : size[1]]


def _flood_agrees(frame: UInt8Array, ids: UInt16Array, reliable: BoolArray) -> BoolArray:
    """Where ids that spread from the reliable pixels along the colours of the frame arrive at the same ids."""
    markers = (ids.astype(np.int32) + 1) * reliable  # pixels without an object spread as well
    flooded = cv2.watershed(np.ascontiguousarray(frame), markers)  # -1 where two meet
    return np.asarray(flooded - 1 == ids, np.bool_)
