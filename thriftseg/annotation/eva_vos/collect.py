"""Recording what the networks of EVA-VOS learn from: rounds in which a simulated person annotates objects [0, 1].

    <out>/quality_set/    masks and how good they are, see `thriftseg.stores.quality_set`
    <out>/type_set/       what came of each way to annotate, see `thriftseg.stores.type_set`
    <out>/*/objects.jsonl    a row per finished object, with what a person would have spent on it

An object that was begun is recorded anew when a killed recording goes on, round for round the same, and what is there
already stays. Finished ones are passed over.

[0] Delatolas, Kalogeiton, Papadopoulos, Learning the What and How of Annotation in Video Object Segmentation, WACV
    2024, https://arxiv.org/abs/2311.04414.
[1] https://github.com/thanosDelatolas/eva-vos
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import numpy as np

from thriftseg.annotation.eva_vos.frame_choice import RandomFrames
from thriftseg.annotation.eva_vos.objects import ObjectVideo
from thriftseg.annotation.eva_vos.progress import ObjectProgress, open_frames
from thriftseg.annotation.eva_vos.propagation import MaskPropagator
from thriftseg.annotation.eva_vos.settings import CollectSettings
from thriftseg.annotation.people.mask_clicker import ClickPerson, mask_iou, rebuild_mask
from thriftseg.annotation.people.masks import AnnotationKind, MaskAnnotation
from thriftseg.arrays import Float32Array, Float64Array, UInt8Array
from thriftseg.atomic import sweep_partial
from thriftseg.costs import AnnotationCost
from thriftseg.datasets import VOSDataset
from thriftseg.errors import ConfigError
from thriftseg.folders import writes_alone
from thriftseg.parsing import Count, Record
from thriftseg.stores import Annotated, Manifest, QualitySet, RatedMask, RoundFolder, RoundKey, TypeSet

QUALITY_FOLDER, TYPE_FOLDER = "quality_set", "type_set"
"""Names of the sets in the folder of a recording."""

Recorded = TypeVar("Recorded", bound=RoundFolder[Any])

STORED_EMBEDDINGS = ("sam", "sam2")
"""Prompters whose embedding of the frame is kept for agents that read it."""


class CollectedTotal(NamedTuple):
    """What a set holds.

    Attributes:
        folder: Its folder.
        kind: Which set it is.
        objects: Objects that are recorded in full.
        rounds: Rounds of these objects.
        samples: What a network is trained on: masks of objects that their frame shows, or states.
        cost: What a person would have spent on all that is recorded of them.

    Example:
        >>> cost = AnnotationCost(2880, masks=36)
        >>> total = CollectedTotal(Path("quality_set"), "quality set", 3, rounds=36, samples=70, cost=cost)
        >>> total.cost.hours, total.cost.seconds / total.rounds
        (0.8, 80.0)
    """

    folder: Path
    kind: str
    objects: int
    rounds: int
    samples: int
    cost: AnnotationCost


@writes_alone("out")
def collect_annotations(
    dataset: VOSDataset,
    videos: Sequence[ObjectVideo],
    person: ClickPerson,
    propagator: MaskPropagator,
    out: str | Path,
    settings: CollectSettings | None = None,
    *,
    say: Callable[[str], None] = lambda text: None,
) -> list[CollectedTotal]:
    """Record a quality set, a type set, or both.

    A set may grow: a later recording with other objects and the same settings adds to it.

    Args:
        dataset: Holds the frames.
        videos: The objects, see `list_objects`; the truth of all their frames is known.
        person: Who annotates.
        propagator: Carries masks to other frames.
        out: Folder of the sets.
        settings: What to record.
        say: Called with a line after each object.

    Returns:
        What the sets hold now.

    Raises:
        ConfigError: A truth is missing, the person clicks more often than is recorded, or a set was begun with other
            settings.

    Example:
        >>> import tempfile
        >>> from thriftseg import datasets, synthetic
        >>> from thriftseg.annotation import create_mask_propagator, list_objects
        >>> from thriftseg.labels import GrabCutPrompter
        >>> person, nearest = ClickPerson(GrabCutPrompter()), create_mask_propagator("nearest")
        >>> settings = CollectSettings("quality", quality_rounds=2, random_rounds=0)
        >>> with tempfile.TemporaryDirectory() as root:
        ...     _ = synthetic.synthesize_objects(root, train_clips=1, val_clips=0, frames=2, height=32, width=48)
        ...     dataset = datasets.DAVIS(root)
        ...     videos = list_objects(dataset, "train").videos
        ...     [total] = collect_annotations(dataset, videos, person, nearest, f"{root}/sets", settings)
        >>> total.objects, total.rounds, total.cost.masks
        (1, 2, 2)
    """
    settings, out = settings or CollectSettings(), Path(out)
    if not videos:
        raise ConfigError("no objects to annotate")
    hidden = next((video for video in videos if not video.has_truth), None)
    if hidden is not None:
        raise ConfigError(f"no truth in all frames of {hidden.name}", fix="choose a split whose masks are public")
    if settings.what != "quality" and person.clicks > settings.state_clicks:
        raise ConfigError(
            "an annotation has more clicks than are tried in a state",
            expected=f"{person.clicks} or more",
            found=settings.state_clicks,
        )
    made: dict[str, Any] = {"propagator": {"name": propagator.name, **propagator.arguments}}
    recorders: list[_Recorder[Any]] = []
    if settings.what != "types":
        made_masks = {
            **made,
            "seconds": person.price("mask").seconds,
            "quality_rounds": settings.quality_rounds,
            "random_rounds": settings.random_rounds,
            "seed": settings.seed,
        }
        masks = QualitySet.create(out / QUALITY_FOLDER, dataset.name, dataset.root, arguments=made_masks)
        recorders.append(_QualityRecorder(masks, person, propagator, settings))
    if settings.what != "quality":
        made_states = {
            **made,
            "person": dict(person.arguments),
            "type_rounds": settings.type_rounds,
            "state_clicks": settings.state_clicks,
        }
        states = TypeSet.create(out / TYPE_FOLDER, dataset.name, dataset.root, arguments=made_states)
        recorders.append(_TypeRecorder(states, person, propagator, settings))
    for number, video in enumerate(videos, start=1):
        told = [f"{recorder.unit} {recorder.record(video)}" for recorder in recorders if not recorder.has(video)]
        video.release()
        say(f"{number} of {len(videos)} {video.name}: {', '.join(told) or 'recorded before'}")
    return [recorder.total() for recorder in recorders]


class _SimulatedRounds:
    """An object that gets one annotation after the other, the mask of its first frame before all others."""

    def __init__(self, video: ObjectVideo, person: ClickPerson, propagator: MaskPropagator, seed: int) -> None:
        self.video, self._person = video, person
        no_masks = np.zeros((len(video), *video.size), np.bool_)
        self.progress = ObjectProgress(video, {}, {}, no_masks, 0, person, propagator, seed)
        self.costs: list[AnnotationCost] = []
        self.draw(0)

    def draw(self, place: int) -> None:
        """Have the mask of a frame drawn."""
        current = self.progress.masks[place]
        self.add(place, self._person.annotate(self.video, place, "mask", current, self.progress.round))

    def add(self, place: int, annotation: MaskAnnotation) -> None:
        """Take an annotation into account."""
        self.progress = self.progress.after(place, annotation)
        self.costs.append(annotation.cost)

    @property
    def quality(self) -> Float64Array:
        """J of the masks, (N,); NaN where the frame does not show the object."""
        pairs = zip(self.progress.masks, self.video.truths, strict=True)
        return np.array([mask_iou(mask, truth) if truth.any() else np.nan for mask, truth in pairs])

    def worst(self) -> int | None:
        """The frame with the worst J that may be annotated; `None` where the masks cannot become better."""
        quality = self.quality
        absent: dict[int, AnnotationKind] = dict.fromkeys(np.flatnonzero(np.isnan(quality)).tolist(), "absent")
        candidates = open_frames({**self.progress.kinds, **absent}, len(self.video))
        if not candidates:
            return None
        place = candidates[int(quality[candidates].argmin())]
        return place if quality[place] < 1 else None

    def random(self) -> int | None:
        """Any frame that may be annotated, drawn by seed, object and round; `None` where there is none."""
        return RandomFrames().choose(self.progress) if self.progress.candidates else None


class _Counts(NamedTuple):
    """Rounds and samples of an object, and what a person would have spent on them."""

    rounds: int
    samples: int
    cost: AnnotationCost


class _Finished(Record, frozen=True):
    """An object that is recorded in full."""

    video: str
    object: Count
    rounds: Count
    samples: Count
    cost: AnnotationCost


class _Recorder(ABC, Generic[Recorded]):
    """Records objects in one of the sets.

    Attributes:
        unit: What a sample is called.
    """

    unit: ClassVar[str]

    def __init__(
        self, rounds: Recorded, person: ClickPerson, propagator: MaskPropagator, settings: CollectSettings
    ) -> None:
        self._set, self._person, self._propagator, self._settings = rounds, person, propagator, settings
        sweep_partial(rounds.root)
        self._log = Manifest(rounds.root, stem="objects")
        self._finished = self._log.read(_Finished)
        self._names = {(row.video, row.object) for row in self._finished}

    def has(self, video: ObjectVideo) -> bool:
        """Whether an object is recorded in full."""
        return (video.video, video.object_id) in self._names

    def record(self, video: ObjectVideo) -> int:
        """Record an object; returns the number of its samples."""
        found = self._record(video)
        row = _Finished(video.video, video.object_id, *found)
        self._log.append([row.to_json()])
        self._finished.append(row)
        self._names.add((video.video, video.object_id))
        return found.samples

    def total(self) -> CollectedTotal:
        """What the set holds."""
        cost = sum((row.cost for row in self._finished), AnnotationCost())
        rounds, samples = (sum(getattr(row, name) for row in self._finished) for name in ("rounds", "samples"))
        return CollectedTotal(self._set.root, self._set.kind, len(self._finished), rounds, samples, cost)

    @abstractmethod
    def _record(self, video: ObjectVideo) -> _Counts:
        """Write the rounds of an object that are not there yet."""


class _QualityRecorder(_Recorder[QualitySet]):
    """After every annotation, the masks of all frames: of the frames with the worst J in turn, then of any frames."""

    unit = "masks"

    def _record(self, video: ObjectVideo) -> _Counts:
        first = self._settings.quality_rounds
        found = self._drawn(video, _SimulatedRounds.worst, range(first))
        if not self._settings.random_rounds:
            return found
        more = self._drawn(
            video, _SimulatedRounds.random, range(first - 1, first + self._settings.random_rounds), known=1
        )
        return _Counts(found.rounds + more.rounds, found.samples + more.samples, found.cost + more.cost)

    def _drawn(
        self, video: ObjectVideo, choose: Callable[[_SimulatedRounds], int | None], numbers: range, known: int = 0
    ) -> _Counts:
        """Draw frame after frame, and write the masks after each.

        Args:
            video: The object.
            choose: Chooses the next frame, after the first.
            numbers: Numbers of the rounds.
            known: Rounds at the start that are recorded and paid for already.
        """
        rounds = _SimulatedRounds(video, self._person, self._propagator, self._settings.seed)
        samples = self._write(rounds, numbers[0]) if not known else 0
        while rounds.progress.round < len(numbers) and (place := choose(rounds)) is not None:
            rounds.draw(place)
            samples += self._write(rounds, numbers[rounds.progress.round - 1])
        return _Counts(rounds.progress.round - known, samples, sum(rounds.costs[known:], AnnotationCost()))

    def _write(self, rounds: _SimulatedRounds, number: int) -> int:
        """Write the masks of a round unless they are there; returns how many frames show the object."""
        video, quality = rounds.video, rounds.quality
        key = RoundKey(video.video, video.object_id, number)
        if not self._set.has(key):
            paths = [video.clip.frames[each] for each in video.numbers]
            rated = [None if np.isnan(each) else float(each) for each in quality]
            rows = zip(video.numbers, paths, rounds.progress.masks.view(np.uint8), rated, strict=True)
            self._set.write_round(key, [RatedMask(*row) for row in rows])
        return int(np.count_nonzero(~np.isnan(quality)))


class _TypeRecorder(_Recorder[TypeSet]):
    """The frame with the worst J, clicked and drawn; the round goes on with what gained more J per second."""

    unit = "states"

    def _record(self, video: ObjectVideo) -> _Counts:
        person, prompter = self._person, self._person.prompter
        price, overhead = person.price("clicks"), person.costs.clicks(0, objects=1)
        click = person.costs.clicks(1, objects=0)
        rounds = _SimulatedRounds(video, person, self._propagator, self._settings.seed)
        cost, states = rounds.costs[0], 0
        embeddings: dict[int, Float32Array] = {}
        while rounds.progress.round < self._settings.type_rounds and (place := rounds.worst()) is not None:
            number, current, truth = video.numbers[place], rounds.progress.masks[place], video.truth(place)
            embedded: Any = prompter.embed(video.frame(place))
            if prompter.name in STORED_EMBEDDINGS:
                embeddings[number] = embedded.embedding
            prompted = rebuild_mask(embedded, current, *person.limits)
            clicked = [person.click_once(prompted, truth) for _ in range(self._settings.state_clicks)]
            clicks = [Annotated(mask.view(np.uint8), mask_iou(mask, truth), click) for mask in clicked]
            drawn = Annotated(truth.view(np.uint8), 1.0, person.price("mask"))
            mask, quality = current.view(np.uint8), mask_iou(current, truth)
            key = RoundKey(video.video, video.object_id, states)
            if not self._set.has(key):
                self._set.write_round(
                    key,
                    number,
                    video.clip.frames[number],
                    mask=mask,
                    quality=quality,
                    clicks=clicks,
                    drawn=drawn,
                    overhead=overhead,
                )
            cost = sum((item.cost for item in (*clicks, drawn)), cost + overhead)
            states += 1
            last = clicks[person.clicks - 1]
            if (last.quality - quality) / price.seconds > (1 - quality) / drawn.cost.seconds:
                rounds.add(place, MaskAnnotation("clicks", clicked[person.clicks - 1], price))
            else:
                rounds.draw(place)
        for state in self._set.states() if embeddings else ():
            if state.key[:2] == (video.video, video.object_id):

                def known(_: UInt8Array, embedding: Float32Array = embeddings[state.number]) -> Float32Array:
                    return embedding

                self._set.embedding(state, prompter.name, known)
        return _Counts(states, states, cost)
