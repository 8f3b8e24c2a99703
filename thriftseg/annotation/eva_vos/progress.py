"""How far the annotation of an object has come, and what another annotation would bring."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from thriftseg.annotation.eva_vos.objects import FrameScores, ObjectVideo, encode_masks
from thriftseg.annotation.eva_vos.propagation import Anchors, MaskPropagator
from thriftseg.annotation.people.masks import EXACT, AnnotationKind, MaskAnnotation, MaskAnnotator
from thriftseg.arrays import BoolArray

_PURPOSES = ("frame", "type")


@dataclass(frozen=True, eq=False)
class AnnotationOutcome:
    """What an annotation led to.

    Attributes:
        annotation: The annotation.
        masks: Masks of all frames after it, from `encode_masks`.
        scores: Their scores; `None` without a truth.
    """

    annotation: MaskAnnotation
    masks: bytes
    scores: FrameScores | None

    @property
    def mean_jf(self) -> float:
        """J&F of the video; NaN without a truth."""
        return float("nan") if self.scores is None else self.scores.mean_jf


class ObjectProgress:
    """An object between two annotations.

    Args:
        video: The object.
        anchors: Masks of the frames that have been annotated.
        kinds: How they were annotated last, in the order in which that was.
        masks: Masks of all frames so far, (N, H, W).
        round: How many annotations there have been.
        annotator: Who annotates.
        propagator: Carries masks to other frames.
        seed: Of everything random.

    Example:
        >>> from pathlib import Path
        >>> from thriftseg.annotation import ClickPerson, create_mask_propagator
        >>> from thriftseg.datasets import DAVIS, VOSClip
        >>> from thriftseg.labels import GrabCutPrompter
        >>> clip = VOSClip("cat", {number: Path(f"{number}.jpg") for number in range(4)})
        >>> video, masks = ObjectVideo(DAVIS("davis"), clip, object_id=2), np.zeros((4, 32, 48), bool)
        >>> methods = ClickPerson(GrabCutPrompter()), create_mask_propagator("nearest")
        >>> progress = ObjectProgress(video, {0: masks[0], 2: masks[2]}, {0: "mask", 2: "clicks"}, masks, 2, *methods)
        >>> progress.annotated, progress.candidates, progress.longest_ago
        ([0, 2], [1, 3], None)
    """

    def __init__(
        self,
        video: ObjectVideo,
        anchors: Anchors,
        kinds: Mapping[int, AnnotationKind],
        masks: BoolArray,
        round: int,
        annotator: MaskAnnotator,
        propagator: MaskPropagator,
        seed: int = 0,
    ) -> None:
        self.video, self.anchors, self.kinds, self.masks, self.round = video, anchors, kinds, masks, round
        self._annotator, self._propagator, self._seed = annotator, propagator, seed
        self._attempts: dict[tuple[int, AnnotationKind], AnnotationOutcome] = {}

    @property
    def annotated(self) -> list[int]:
        """Frames that have been annotated, increasing."""
        return sorted(self.kinds)

    @property
    def candidates(self) -> list[int]:
        """Frames that may be annotated next, increasing; see `open_frames`."""
        return open_frames(self.kinds, len(self.video))

    @property
    def longest_ago(self) -> int | None:
        """Where no frame is left that was never annotated, the candidate whose annotation is oldest."""
        known = [place for place in self.kinds if place in self.candidates]
        return known[0] if known else None

    @cached_property
    def scores(self) -> FrameScores:
        """Scores of the masks so far."""
        return self.video.scores(self.masks)

    def random(self, purpose: Literal["frame", "type"]) -> np.random.Generator:
        """Randomness that depends on nothing but seed, object, round and purpose."""
        name = zlib.crc32(self.video.name.encode())
        return np.random.default_rng([self._seed, name, self.round, _PURPOSES.index(purpose)])

    def attempt(self, place: int, kind: AnnotationKind) -> AnnotationOutcome:
        """What comes of an annotation; the same is asked for once.

        Args:
            place: The frame.
            kind: How it is annotated.

        Raises:
            WaitingForLabels: A real person has not annotated it yet.
        """
        if (place, kind) not in self._attempts:
            annotation = self._annotator.annotate(self.video, place, kind, self.masks[place], self.round)
            masks = self._propagator.propagate(self.video, {**self.anchors, place: annotation.mask})
            scores = self.video.scores(masks) if self.video.has_truth else None
            self._attempts[place, kind] = AnnotationOutcome(annotation, encode_masks(masks), scores)
        return self._attempts[place, kind]

    def after(self, place: int, annotation: MaskAnnotation) -> ObjectProgress:
        """The object with one more annotation.

        Args:
            place: The frame.
            annotation: The annotation.
        """
        others = {other: kind for other, kind in self.kinds.items() if other != place}
        anchors, kinds = {**self.anchors, place: annotation.mask}, {**others, place: annotation.kind}
        masks = self._propagator.propagate(self.video, anchors)
        return ObjectProgress(
            self.video, anchors, kinds, masks, self.round + 1, self._annotator, self._propagator, self._seed
        )

    def gain_per_second(self, place: int, kind: AnnotationKind) -> float:
        """What an annotation adds to the J&F of the video, by its cost."""
        outcome = self.attempt(place, kind)
        return (outcome.mean_jf - self.scores.mean_jf) / outcome.annotation.cost.seconds


def open_frames(kinds: Mapping[int, AnnotationKind], count: int) -> list[int]:
    """Frames that may be annotated next, increasing: those that never were, then those that leave something to say.

    Args:
        kinds: How frames were annotated last.
        count: Number of frames.

    Example:
        >>> open_frames({0: "mask", 2: "clicks"}, 4), open_frames({0: "mask", 1: "clicks", 2: "absent"}, 3)
        ([1, 3], [1])
    """
    fresh = [place for place in range(count) if place not in kinds]
    return fresh or [place for place in range(count) if kinds[place] not in EXACT]
