"""From the masks of some frames to those of all frames, for one object in one video.

Annotated frames keep their mask. Every gap between two annotated frames, before the first and after the last is filled
on its own, from the frames at its ends, and remembered: a new annotation changes only the gap it falls into. A frame at
the end that does not show the object has nothing to carry on.

As in MiVOS [0], a frame between two annotated ones is reached from both, and their probabilities are joined with
weights that fall linearly with the distance. With hard masks this comes down to the nearer of the two.

[0] Cheng, Tai, Tang, Modular Interactive Video Object Segmentation, CVPR 2021, https://arxiv.org/abs/2103.07941.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from thriftseg.annotation.eva_vos.objects import ObjectVideo, decode_masks, encode_masks
from thriftseg.arrays import BoolArray, Float32Array, UInt8Array
from thriftseg.errors import ConfigError
from thriftseg.flow import FlowStore
from thriftseg.labels import FlowPropagator, Propagator, create_propagator
from thriftseg.stores import ObjectMap, TrackedObject

Anchors = Mapping[int, BoolArray]
"""Mask, (H, W), of each annotated frame by its place."""

_REMEMBERED_GAPS = 2048  # some ten kilobytes each


class Gap(NamedTuple):
    """Frames between annotated ones.

    Attributes:
        left: The annotated frame before them, if any.
        right: The annotated frame after them, if any.
        places: The frames.
    """

    left: int | None
    right: int | None
    places: range

    def share_of_left(self, place: int) -> float:
        """Weight of what reaches a frame from the left end, 0..1; the rest comes from the right end."""
        if self.left is None or self.right is None:
            return float(self.right is None)
        return (self.right - place) / (self.right - self.left)


def gaps_between(places: Sequence[int], count: int) -> list[Gap]:
    """The gaps that annotated frames leave.

    Args:
        places: Annotated frames, increasing.
        count: Number of frames.

    Example:
        >>> [(gap.left, gap.right, list(gap.places)) for gap in gaps_between([0, 3, 4], 7)]
        [(0, 3, [1, 2]), (4, None, [5, 6])]
    """
    found = []
    for left, right in pairwise([None, *places, None]):
        inside = range(0 if left is None else left + 1, count if right is None else right)
        if len(inside):
            found.append(Gap(left, right, inside))
    return found


class MaskPropagator:
    """Carries the masks of annotated frames to all frames, with a propagator of labels.

    Unlike propagated labels, masks keep the pixels whose flow fails the forward-backward check: a hole in a mask would
    be an error for sure. Flow is rounded as `FlowStore` does it, whether it is kept or not.

    Args:
        propagator: Carries the mask of an annotated frame to those before or after it.
        flow_cache: Folder that keeps the flow of a `FlowPropagator`.

    Raises:
        ConfigError: There is no flow to keep.

    Example:
        >>> import tempfile
        >>> from thriftseg import datasets, synthetic
        >>> from thriftseg.annotation import list_objects
        >>> with tempfile.TemporaryDirectory() as root:
        ...     _ = synthetic.synthesize_objects(root, train_clips=1, val_clips=0, frames=2, height=32, width=48)
        ...     [video], _ = list_objects(datasets.DAVIS(root), "train")
        ...     masks = create_mask_propagator("nearest").propagate(video, {0: video.truth(0)})
        ...     [bool((mask == video.truth(0)).all()) for mask in masks]
        [True, True]
    """

    def __init__(self, propagator: Propagator, flow_cache: str | Path | None = None) -> None:
        self._propagator = propagator
        self._store = FlowStore(flow_cache, propagator.estimator) if isinstance(propagator, FlowPropagator) else None
        if flow_cache and self._store is None:
            raise ConfigError("flow_cache is about flow", found=propagator.name, fix="leave it out")
        self._known: OrderedDict[tuple[object, ...], bytes] = OrderedDict()

    @property
    def name(self) -> str:
        """Name of the method."""
        return self._propagator.name

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Settings that masks depend on, JSON values only."""
        return self._propagator.arguments if self._store is None else {"estimator": repr(self._store.estimator)}

    def propagate(self, video: ObjectVideo, anchors: Anchors) -> BoolArray:
        """Masks of all frames.

        Args:
            video: The object.
            anchors: Masks of annotated frames, one at least.

        Returns:
            (N, H, W); annotated frames have the mask that they were given.

        Raises:
            ConfigError: There is no annotated frame, or a mask is of another size.
        """
        places = sorted(anchors)
        if not places or places[0] < 0 or places[-1] >= len(video):
            expected = f"some of 0..{len(video) - 1}"
            raise ConfigError(f"annotated frames of {video.name}", expected=expected, found=places)
        wrong = [mask.shape for mask in anchors.values() if mask.shape != video.size]
        if wrong:
            raise ConfigError(f"size of a mask of {video.name}", expected=video.size, found=wrong[0])
        masks = np.empty((len(video), *video.size), np.bool_)
        masks[places] = [anchors[place] for place in places]
        for gap in gaps_between(places, len(video)):
            masks[gap.places.start : gap.places.stop] = self._remembered(video, gap, anchors)
        return masks

    def _remembered(self, video: ObjectVideo, gap: Gap, anchors: Anchors) -> BoolArray:
        """Masks of the frames of a gap, which is filled once for the same masks at its ends."""
        ends = (b"" if place is None else np.packbits(anchors[place]).tobytes() for place in gap[:2])
        digests = [hashlib.sha256(end).hexdigest() for end in ends]
        key = (video.files, gap.left, gap.right, *digests)
        if key in self._known:
            self._known.move_to_end(key)
            return decode_masks(self._known[key])
        filled = self._fill(video, gap, anchors)
        self._known[key] = encode_masks(filled)
        if len(self._known) > _REMEMBERED_GAPS:
            self._known.popitem(last=False)
        return filled

    def _fill(self, video: ObjectVideo, gap: Gap, anchors: Anchors) -> BoolArray:
        """Masks of the frames of a gap, (n, H, W)."""
        shares = {place: gap.share_of_left(place) for place in gap.places}
        if self._propagator.hard:
            shares = {place: float(share >= 0.5) for place, share in shares.items()}  # the earlier of equally near ends
        from_left = [place for place in gap.places if shares[place] > 0]
        from_right = [place for place in gap.places[::-1] if shares[place] < 1]
        precision: Any = np.bool_ if self._propagator.hard else np.float16
        forward = np.zeros((len(gap.places), *video.size), precision)
        for place, probability in zip(from_left, self._followed(video, gap.left, from_left, anchors), strict=True):
            forward[place - gap.places.start] = probability
        masks: BoolArray = forward > 0.5
        for place, probability in zip(from_right, self._followed(video, gap.right, from_right, anchors), strict=True):
            index, share = place - gap.places.start, shares[place]
            backward = probability.astype(precision)
            joined = share * forward[index].astype(np.float32) + (1 - share) * backward if share else backward
            masks[index] = joined > 0.5
        return masks

    def _followed(
        self, video: ObjectVideo, anchor: int | None, places: Sequence[int], anchors: Anchors
    ) -> Iterator[Float32Array]:
        """Probability of the object, (H, W), in frames that lead away from an annotated one."""
        if anchor is None or not places:
            return
        if not anchors[anchor].any():
            yield from (np.zeros(video.size, np.float32) for _ in places)
            return
        frames, propagator = _Walk(video, [anchor, *places]), self._propagator
        if isinstance(propagator, FlowPropagator) and self._store is not None:
            propagator = replace(propagator, estimator=_StoredFlow(self._store, frames), check=False)
        objects = ObjectMap(anchors[anchor].astype(np.uint16), (TrackedObject(1, train_id=0),))
        for step in propagator.probabilities(objects, frames):
            yield step.probability_of(1)


def create_mask_propagator(method: str, flow_cache: str | Path | None = None, **settings: Any) -> MaskPropagator:
    """Build a propagator of masks by name.

    Args:
        method: See `thriftseg.labels.create_propagator`.
        flow_cache: Folder that keeps flow, for "flow".
        settings: Arguments of the propagator's class.

    Raises:
        ConfigError: There is no such method, it does not take one of the arguments, or has no flow to keep.

    Example:
        >>> create_mask_propagator("nearest").name
        'nearest'
    """
    return MaskPropagator(create_propagator(method, **settings), flow_cache)


@dataclass(frozen=True)
class _Walk:
    """Frames of a video one after the other, each read when its turn comes."""

    video: ObjectVideo
    places: Sequence[int]

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[UInt8Array]:
        return map(self.video.frame, self.places)


class _StoredFlow:
    """Flow from each frame of a walk to the one before, once each in the order of the walk, by way of a store."""

    def __init__(self, store: FlowStore, walk: _Walk) -> None:
        self._store, self._video = store, walk.video
        self._steps = pairwise(walk.places)

    def estimate(self, a: UInt8Array, b: UInt8Array) -> Float32Array:
        before, place = (self._video.numbers[each] for each in next(self._steps))
        return self._store.flow(self._video.video, place, before, a, b)
