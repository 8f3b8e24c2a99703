"""Which objects to annotate next, in which frames and how, over all videos of a split.

With QNet, it is the frame whose picture and mask are least like those of any frame that is annotated or stands above it
in the ranking; with an agent, it also says how. Without them, frames that move and look different are drawn, see
`thriftseg.annotation.ranking.cold_start`. Nothing is annotated in between, so that masks stay what they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from thriftseg.annotation.eva_vos.frame_choice import QNetFrames, farthest
from thriftseg.annotation.eva_vos.objects import ObjectVideo, decode_masks, encode_masks
from thriftseg.annotation.eva_vos.progress import ObjectProgress
from thriftseg.annotation.eva_vos.propagation import MaskPropagator
from thriftseg.annotation.eva_vos.settings import value_score
from thriftseg.annotation.eva_vos.type_choice import TypeChoice
from thriftseg.annotation.people.masks import AnnotationKind, MaskAnnotator
from thriftseg.annotation.ranking.frames import rank_samples
from thriftseg.annotation.ranking.selection import SampleSelection
from thriftseg.arrays import BoolArray, Float32Array
from thriftseg.datasets import VOSDataset
from thriftseg.errors import ConfigError
from thriftseg.progress import progress_bar


class RankedAnnotation(NamedTuple):
    """An annotation that is worth buying.

    Attributes:
        video: The object.
        place: The frame.
        kind: How to annotate it.
        round: Annotations of the object that come before.
        seconds: What it is expected to cost.
        score: What it is ranked by: the agent's value, discounted, per second; without an agent, the distance of the
            frame from the annotated ones to QNet; without either, how much the frame moves.
        mask: Mask of the object so far, (H, W).
    """

    video: ObjectVideo
    place: int
    kind: AnnotationKind
    round: int
    seconds: float
    score: float
    mask: BoolArray


def known_frames(video: ObjectVideo, first_only: bool) -> dict[int, AnnotationKind]:
    """Frames of an object whose mask the data set gives, and what their annotation was.

    Args:
        video: The object.
        first_only: Take the first frame alone as known.
    """
    numbers = video.numbers[:1] if first_only else video.numbers
    labelled = [place for place, number in enumerate(numbers) if number in video.clip.labels]
    return {place: "mask" if video.truth(place).any() else "absent" for place in labelled}


def rank_annotations(
    videos: Sequence[ObjectVideo],
    count: int,
    frames: QNetFrames,
    types: TypeChoice,
    annotator: MaskAnnotator,
    propagator: MaskPropagator,
    *,
    first_only: bool = False,
    seed: int = 0,
    progress: bool = True,
) -> list[RankedAnnotation]:
    """Rank annotations by QNet and, where the choice of types is an agent, by its value.

    Args:
        videos: The objects, see `list_objects`.
        count: Annotations that are wanted; fewer are returned where there are not as many.
        frames: Chooses frames.
        types: Chooses how to annotate them.
        annotator: Prices annotations.
        propagator: Carries the known masks to other frames.
        first_only: Take the mask of the first frame alone as known.
        seed: Of an agent that draws its decisions.
        progress: Whether to show a progress bar.

    Raises:
        ConfigError: The count is below 1.
    """
    if count < 1:
        raise ConfigError("count of a ranking", expected="at least 1", found=count)
    with progress_bar(progress) as bar:
        tracked = bar.track(videos, description="looking at objects")
        queues = [_Queue(video, frames, types, annotator, propagator, first_only, seed) for video in tracked]
    ranking: list[RankedAnnotation] = []
    while len(ranking) < count:
        waiting = [queue for queue in queues if queue.head is not None]
        if not waiting:
            break
        ranking.append(max(waiting, key=lambda queue: queue.score).take())
    return ranking


class _Queue:
    """The annotations of an object in their order, made one by one.

    Attributes:
        head: The next one; `None` where no frame is left.
    """

    def __init__(
        self,
        video: ObjectVideo,
        frames: QNetFrames,
        types: TypeChoice,
        annotator: MaskAnnotator,
        propagator: MaskPropagator,
        first_only: bool,
        seed: int,
    ) -> None:
        self._video, self._types, self._annotator, self._propagator = video, types, annotator, propagator
        self._seed = seed
        self._kinds = known_frames(video, first_only)
        self._anchors = {place: video.truth(place) for place in self._kinds}
        self.head: RankedAnnotation | None = None
        if len(self._kinds) < len(video):
            masks = propagator.propagate(video, self._anchors)
            self._masks = encode_masks(masks)
            self._features: Float32Array = frames.embed(self._progress(masks))
            self.head = self._made()

    @property
    def score(self) -> float:
        """That of the head."""
        return -np.inf if self.head is None else self.head.score

    def take(self) -> RankedAnnotation:
        """Remove the head."""
        taken = self.head
        if taken is None:
            raise ValueError("no annotation is left")
        self._kinds[taken.place] = taken.kind
        self.head = self._made()
        return taken

    def _made(self) -> RankedAnnotation | None:
        left = [place for place in range(len(self._video)) if place not in self._kinds]
        if not left:
            return None
        masks = decode_masks(self._masks)
        progress = self._progress(masks)
        place = farthest(self._features, progress.annotated, left)
        kind, value = self._types.choose(progress, place)
        seconds = self._annotator.price(kind).seconds
        scored = self._types.has_values
        score = value_score(value, progress.round, seconds) if scored else self._distance(place)
        return RankedAnnotation(self._video, place, kind, progress.round, seconds, score, masks[place].copy())

    def _distance(self, place: int) -> float:
        """From the nearest annotated frame."""
        others = self._features[sorted(self._kinds)].astype(np.float64)
        return float(np.linalg.norm(others - self._features[place].astype(np.float64), axis=1).min())

    def _progress(self, masks: BoolArray) -> ObjectProgress:
        return ObjectProgress(
            self._video,
            self._anchors,
            self._kinds,
            masks,
            len(self._kinds),
            self._annotator,
            self._propagator,
            self._seed,
        )


def rank_cold_annotations(
    dataset: VOSDataset,
    split: str,
    videos: Sequence[ObjectVideo],
    count: int,
    annotator: MaskAnnotator,
    propagator: MaskPropagator,
    *,
    selection: SampleSelection | None = None,
    first_only: bool = False,
    step: int = 1,
    seed: int = 0,
    progress: bool = True,
) -> list[RankedAnnotation]:
    """Rank frames to be drawn by looks and motion, without any network; all objects of a frame come together.

    Args:
        dataset: The data set.
        split: Its split.
        videos: The objects, see `list_objects`.
        count: Annotations that are wanted; fewer are returned where there are not as many.
        annotator: Prices annotations.
        propagator: Carries the known masks to other frames.
        selection: How frames are chosen.
        first_only: Take the mask of the first frame alone as known.
        step: Look at every so-manieth frame of a video, and at all known ones.
        seed: Of what is random in the selection.
        progress: Whether to show a progress bar.

    Raises:
        ConfigError: A number is below 1.
    """
    by_video: dict[str, list[ObjectVideo]] = {}
    for video in videos:
        by_video.setdefault(video.video, []).append(video)
    known = {video.name: known_frames(video, first_only) for video in videos}
    labelled = {(video.video, video.numbers[place]) for video in videos for place in known[video.name]}
    samples = rank_samples(
        dataset, split, count, selection=selection, labelled=labelled, step=step, seed=seed, progress=progress
    )
    price = annotator.price("mask").seconds
    ranking: list[RankedAnnotation] = []
    for sample in samples:
        for video in by_video.get(sample.clip.video, []):
            place = video.numbers.index(sample.sample.number)
            mask = _mask_so_far(video, known[video.name], propagator, place)
            ranking.append(RankedAnnotation(video, place, "mask", len(known[video.name]), price, sample.score, mask))
    return ranking[:count]


def _mask_so_far(
    video: ObjectVideo, known: Mapping[int, AnnotationKind], propagator: MaskPropagator, place: int
) -> BoolArray:
    anchors = {each: video.truth(each) for each in known}
    masks = propagator.propagate(video, anchors)
    mask: BoolArray = masks[place].copy()
    return mask
