"""Which objects to annotate next, in which frames and how, over all videos of a split.

With QNet, it is the frame whose picture and mask are least like those of any frame that is annotated or stands above it
in the ranking; with an agent, it also says how. Without them, frames that move and look different are drawn, see
`thriftseg.annotation.ranking.cold_start`. Nothing is annotated in between, so that masks stay what they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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

    Example:
        >>> from pathlib import Path
        >>> from thriftseg.datasets import DAVIS, VOSClip
        >>> video = ObjectVideo(DAVIS("davis"), VOSClip("cat", {4: Path("4.jpg"), 6: Path("6.jpg")}), object_id=2)
        >>> wanted = RankedAnnotation(video, 1, "mask", 1, seconds=80.0, score=0.5, mask=np.zeros((32, 48), bool))
        >>> wanted.name
        ('cat', 2, 6)
    """

    video: ObjectVideo
    place: int
    kind: AnnotationKind
    round: int
    seconds: float
    score: float
    mask: BoolArray

    @property
    def name(self) -> tuple[str, int, int]:
        """Video, object and native number of the frame."""
        return self.video.video, self.video.object_id, self.video.numbers[self.place]


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

    Example:
        >>> import tempfile
        >>> from thriftseg import datasets, synthetic
        >>> from thriftseg.annotation import Clicking, MaskMethods, create_type_choice, list_objects
        >>> from thriftseg.zoo import QNet
        >>> methods, options = MaskMethods(accelerator="cpu"), {"first_only": True, "progress": False}
        >>> people = Clicking().simulated(methods.make_prompter()), methods.make_propagator()
        >>> choices = QNetFrames(QNet(backbone="tu-test_resnet")), create_type_choice("clicks")
        >>> with tempfile.TemporaryDirectory() as root:
        ...     _ = synthetic.synthesize_objects(root, train_clips=1, val_clips=0, frames=2, height=32, width=48)
        ...     videos = list_objects(datasets.DAVIS(root), "train").videos
        ...     ranking = rank_annotations(videos, 5, *choices, *people, **options)
        >>> [(each.name, each.kind, each.seconds) for each in ranking]  # one of two frames is known
        [(('scene-train-000', 1, 1), 'clicks', 5.5)]
    """
    if count < 1:
        raise ConfigError("count of a ranking", expected="at least 1", found=count)
    queues = [_annotations_of(video, frames, types, annotator, propagator, first_only, seed) for video in videos]
    with progress_bar(progress) as bar:
        tracked = enumerate(bar.track(queues, description="looking at objects"))
        heads = {index: head for index, queue in tracked if (head := next(queue, None)) is not None}
    ranking: list[RankedAnnotation] = []
    while heads and len(ranking) < count:
        best = max(sorted(heads), key=lambda index: heads[index].score)
        ranking.append(heads.pop(best))
        following = next(queues[best], None)
        if following is not None:
            heads[best] = following
    return ranking


def _annotations_of(
    video: ObjectVideo,
    frames: QNetFrames,
    types: TypeChoice,
    annotator: MaskAnnotator,
    propagator: MaskPropagator,
    first_only: bool,
    seed: int,
) -> Iterator[RankedAnnotation]:
    """The annotations of an object in their order; each counts as made when the next is asked for."""
    kinds = known_frames(video, first_only)
    if len(kinds) == len(video):
        return
    anchors = {place: video.truth(place) for place in kinds}
    packed = encode_masks(propagator.propagate(video, anchors))
    features: Float32Array | None = None
    while left := [place for place in range(len(video)) if place not in kinds]:
        masks = decode_masks(packed)
        progress = ObjectProgress(video, anchors, kinds, masks, len(kinds), annotator, propagator, seed)
        if features is None:
            features = frames.embed(progress)
        place = farthest(features, progress.annotated, left)
        kind, value = types.choose(progress, place)
        seconds = annotator.price(kind).seconds
        if types.has_values:
            score = value_score(value, progress.round, seconds)
        else:
            annotated = features[progress.annotated].astype(np.float64)
            score = float(np.linalg.norm(annotated - features[place].astype(np.float64), axis=1).min())
        found = RankedAnnotation(video, place, kind, progress.round, seconds, score, masks[place].copy())
        del masks, progress  # all objects of a data set wait at the same time
        yield found
        kinds[place] = kind


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
        step: Look at every n-th frame of a video, and at all known ones.
        seed: Of what is random in the selection.
        progress: Whether to show a progress bar.

    Raises:
        ConfigError: A number is below 1.

    Example:
        >>> import tempfile
        >>> from thriftseg import datasets, synthetic
        >>> from thriftseg.annotation import Clicking, MaskMethods, list_objects
        >>> methods, options = MaskMethods(accelerator="cpu"), {"first_only": True, "progress": False}
        >>> people = Clicking().simulated(methods.make_prompter()), methods.make_propagator()
        >>> with tempfile.TemporaryDirectory() as root:
        ...     _ = synthetic.synthesize_objects(root, train_clips=1, val_clips=0, frames=2, height=32, width=48)
        ...     dataset = datasets.DAVIS(root)
        ...     videos = list_objects(dataset, "train").videos
        ...     ranking = rank_cold_annotations(dataset, "train", videos, 5, *people, **options)
        >>> [(each.name, each.kind, each.seconds) for each in ranking]  # one of two frames is known
        [(('scene-train-000', 1, 1), 'mask', 80.0)]
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
            anchors = {each: video.truth(each) for each in known[video.name]}
            mask = propagator.propagate(video, anchors)[place].copy()
            ranking.append(RankedAnnotation(video, place, "mask", len(anchors), price, sample.score, mask))
    return ranking[:count]
