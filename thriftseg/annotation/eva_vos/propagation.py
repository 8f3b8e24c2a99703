"""From the masks of some frames to those of all frames, for one object in one video.

Annotated frames keep their mask. Every gap between two annotated frames, before the first and behind the last is filled
on its own, from the frames at its ends, and remembered: a new annotation changes only the gap it falls into. A frame at
the end that does not show the object has nothing to carry on.

As in MiVOS [0], a frame between two annotated ones is reached from both, and their probabilities are joined with
weights that fall linearly with the distance. With hard masks this comes down to the nearer of the two.

[0] Cheng, Tai, Tang, Modular Interactive Video Object Segmentation, CVPR 2021, https://arxiv.org/abs/2103.07941.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, pairwise, repeat
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

import numpy as np

from thriftseg.annotation.eva_vos.mask_stack import decode_masks, encode_masks
from thriftseg.annotation.eva_vos.objects import ObjectVideo
from thriftseg.arrays import BoolArray, Float16Array, Float32Array, UInt8Array
from thriftseg.errors import ConfigError
from thriftseg.flow import DIS, FlowStore, compose, warp_labels
from thriftseg.labels import Propagator, create_propagator
from thriftseg.stores import ObjectMap, TrackedObject

if TYPE_CHECKING:
    from thriftseg.labels import SAM2Propagator, STMPropagator

Anchors = Mapping[int, BoolArray]
"""Mask, (H, W), of each annotated frame by its place."""

_REMEMBERED_GAPS = 2048  # some ten kilobytes each


class MaskPropagator(Protocol):
    """Carries the masks of annotated frames to all frames."""

    @property
    def name(self) -> str:
        """Name of the method."""

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Settings that masks depend on, JSON values only."""

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


class Gap(NamedTuple):
    """Frames between annotated ones.

    Attributes:
        left: The annotated frame before them, if any.
        right: The annotated frame behind them, if any.
        places: The frames.
    """

    left: int | None
    right: int | None
    places: range


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


class NearestCopy:
    """Copies the mask of the nearest annotated frame, of two equally near ones the earlier: the baseline to beat."""

    name: ClassVar[str] = "nearest"
    arguments: ClassVar[Mapping[str, Any]] = {}

    def propagate(self, video: ObjectVideo, anchors: Anchors) -> BoolArray:
        """Masks of all frames; see `MaskPropagator.propagate`."""
        places = _checked(video, anchors)
        nearest = [min(places, key=lambda place: (abs(place - each), place)) for each in range(len(video))]
        return np.stack([anchors[place] for place in nearest])


class _GapFiller(ABC):
    """Fills gap by gap, and remembers what it has filled."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, bytes] = OrderedDict()

    def propagate(self, video: ObjectVideo, anchors: Anchors) -> BoolArray:
        """Masks of all frames; see `MaskPropagator.propagate`."""
        places = _checked(video, anchors)
        masks = np.empty((len(video), *video.size), np.bool_)
        masks[places] = [anchors[place] for place in places]
        for gap in gaps_between(places, len(video)):
            masks[gap.places.start : gap.places.stop] = self._filled(video, gap, anchors)
        return masks

    def _filled(self, video: ObjectVideo, gap: Gap, anchors: Anchors) -> BoolArray:
        ends = (b"" if place is None else np.packbits(anchors[place]).tobytes() for place in gap[:2])
        digests = [hashlib.sha256(end).hexdigest() for end in ends]
        key = f"{video.video} {gap.left} {gap.right} {' '.join(digests)}"
        if key in self._known:
            self._known.move_to_end(key)
            return decode_masks(self._known[key])
        filled = self._fill(video, gap, anchors)
        self._known[key] = encode_masks(filled)
        if len(self._known) > _REMEMBERED_GAPS:
            self._known.popitem(last=False)
        return filled

    @abstractmethod
    def _fill(self, video: ObjectVideo, gap: Gap, anchors: Anchors) -> BoolArray:
        """Masks of the frames of a gap, (n, H, W)."""


class FlowWarp(_GapFiller):
    """Warps the mask of the nearer annotated frame by chained optical flow; of two equally near ones, the earlier.

    Other than the labels of `FlowPropagator`, masks keep the pixels that fail the forward-backward check: a gap in the
    mask would be an error for sure.

    Args:
        store: Estimates flow, and keeps it if it has a folder; DIS of the medium preset without one by default.
    """

    name: ClassVar[str] = "flow"

    def __init__(self, store: FlowStore | None = None) -> None:
        super().__init__()
        self._store = FlowStore(None, DIS()) if store is None else store

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Settings that masks depend on."""
        return {"estimator": repr(self._store.estimator)}

    def _fill(self, video: ObjectVideo, gap: Gap, anchors: Anchors) -> BoolArray:
        middle = _first_of_right(gap)
        forward, backward = range(gap.places.start, middle), range(gap.places.stop - 1, middle - 1, -1)
        masks = np.zeros((len(gap.places), *video.size), np.bool_)
        for anchor, places in ((gap.left, forward), (gap.right, backward)):
            if anchor is not None and anchors[anchor].any():
                for place, mask in zip(places, self._warped(video, anchor, places, anchors[anchor]), strict=True):
                    masks[place - gap.places.start] = mask
        return masks

    def _warped(self, video: ObjectVideo, anchor: int, places: range, mask: BoolArray) -> Iterator[UInt8Array]:
        """The mask of an annotated frame, seen from frames that lead away from it one by one."""
        ids = mask.view(np.uint8)
        numbers, previous = video.numbers, video.frame(anchor)
        to_anchor: Float32Array | None = None
        for before, place in pairwise([anchor, *places]):
            frame = video.frame(place)
            back = self._store.flow(video.video, numbers[place], numbers[before], frame, previous)
            to_anchor = back if to_anchor is None else compose(back, to_anchor)
            yield warp_labels(ids, to_anchor, fill=0)
            previous = frame


class _ProbabilityFiller(_GapFiller):
    """Follows the object by a network that gives probabilities, from both ends of a gap."""

    def __init__(self, network: Propagator) -> None:
        super().__init__()
        self._arguments = network.arguments

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Settings that masks depend on."""
        return self._arguments

    def _fill(self, video: ObjectVideo, gap: Gap, anchors: Anchors) -> BoolArray:
        forward = list(self._followed(video, gap.left, gap.places, anchors))
        backward = self._followed(video, gap.right, gap.places[::-1], anchors)
        masks = np.empty((len(gap.places), *video.size), np.bool_)
        for index, later in zip(range(len(masks) - 1, -1, -1), backward, strict=True):
            share = _share_of_left(gap, gap.places[index])
            masks[index] = share * forward.pop().astype(np.float32) + (1 - share) * later > 0.5
        return masks

    def _followed(
        self, video: ObjectVideo, anchor: int | None, places: range, anchors: Anchors
    ) -> Iterator[Float16Array]:
        if anchor is None or not anchors[anchor].any():
            return repeat(np.zeros(video.size, np.float16), len(places))
        objects = ObjectMap(anchors[anchor].astype(np.uint16), (TrackedObject(1, train_id=0),))
        frames = (video.frame(place) for place in chain([anchor], places))
        return (probabilities.astype(np.float16) for probabilities in self._probabilities(objects, frames))

    @abstractmethod
    def _probabilities(self, objects: ObjectMap, frames: Iterator[UInt8Array]) -> Iterator[Float32Array]:
        """Probability of the only object, (H, W), in every frame but the first."""


class STMPropagation(_ProbabilityFiller):
    """Follows the object by a network for video object segmentation, such as STM.

    Args:
        propagator: The network and its settings.
    """

    name: ClassVar[str] = "stm"

    def __init__(self, propagator: STMPropagator) -> None:
        super().__init__(propagator)
        self._propagator = propagator

    def _probabilities(self, objects: ObjectMap, frames: Iterator[UInt8Array]) -> Iterator[Float32Array]:
        for logits in self._propagator.track(objects, frames):
            yield logits.softmax(dim=0)[1].float().cpu().numpy()


class SAM2Propagation(_ProbabilityFiller):
    """Follows the object by SAM 2.

    Args:
        propagator: The model and its settings.
    """

    name: ClassVar[str] = "sam2"

    def __init__(self, propagator: SAM2Propagator) -> None:
        super().__init__(propagator)
        self._propagator = propagator

    def _probabilities(self, objects: ObjectMap, frames: Iterator[UInt8Array]) -> Iterator[Float32Array]:
        for tracker in self._propagator.track(objects, frames):
            yield tracker.logits()[0].sigmoid().float().cpu().numpy()


MASK_PROPAGATORS = ("nearest", "flow", "stm", "sam2")
"""Names that `create_mask_propagator` takes."""


def create_mask_propagator(method: str, flow_cache: str | None = None, **settings: Any) -> MaskPropagator:
    """Build a propagator by name.

    Args:
        method: "nearest", "flow", "stm" or "sam2".
        flow_cache: Folder that keeps flow, for "flow".
        settings: Arguments of `STMPropagator` or `SAM2Propagator`.

    Raises:
        ConfigError: There is no such method, or it does not take one of the arguments.

    Example:
        >>> create_mask_propagator("nearest").name
        'nearest'
    """
    if method not in MASK_PROPAGATORS:
        raise ConfigError("no such propagation of masks", expected=", ".join(MASK_PROPAGATORS), found=repr(method))
    if method in ("nearest", "flow"):
        if settings:
            raise ConfigError(f"{method} has no such settings", found=", ".join(settings))
        return NearestCopy() if method == "nearest" else FlowWarp(FlowStore(flow_cache, DIS()))
    network: Any = create_propagator(method, **settings)
    return STMPropagation(network) if method == "stm" else SAM2Propagation(network)


def _checked(video: ObjectVideo, anchors: Anchors) -> list[int]:
    """Places of the annotated frames, increasing.

    Raises:
        ConfigError: There is none, it is no frame, or its mask is of another size.
    """
    places = sorted(anchors)
    if not places or places[0] < 0 or places[-1] >= len(video):
        raise ConfigError(f"annotated frames of {video.name}", expected=f"some of 0..{len(video) - 1}", found=places)
    wrong = [mask.shape for mask in anchors.values() if mask.shape != video.size]
    if wrong:
        raise ConfigError(f"size of a mask of {video.name}", expected=video.size, found=wrong[0])
    return places


def _first_of_right(gap: Gap) -> int:
    """The first frame of a gap that is nearer to its right end."""
    if gap.left is None or gap.right is None:
        return gap.places.start if gap.left is None else gap.places.stop
    return (gap.left + gap.right) // 2 + 1


def _share_of_left(gap: Gap, place: int) -> float:
    """Weight of what comes from the left end."""
    if gap.left is None or gap.right is None:
        return float(gap.right is None)
    return (gap.right - place) / (gap.right - gap.left)
