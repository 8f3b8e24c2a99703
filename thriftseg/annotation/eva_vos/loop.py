"""Annotating objects of videos: which frame, how, and which object next, as EVA-VOS does [0].

[0] Delatolas, Kalogeiton, Papadopoulos, Learning the What and How of Annotation in Video Object Segmentation, WACV
    2024, https://arxiv.org/abs/2311.04414.
[1] https://github.com/thanosDelatolas/eva-vos
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from thriftseg.annotation.eva_vos.folder import EVAVOSFolder
from thriftseg.annotation.eva_vos.frame_choice import FrameChoice
from thriftseg.annotation.eva_vos.objects import ObjectVideo
from thriftseg.annotation.eva_vos.progress import AnnotationOutcome, ObjectProgress, open_frames
from thriftseg.annotation.eva_vos.propagation import MaskPropagator
from thriftseg.annotation.eva_vos.settings import EVAVOSSettings, value_score
from thriftseg.annotation.eva_vos.type_choice import TypeChoice
from thriftseg.annotation.people.masks import AnnotationKind, MaskAnnotator
from thriftseg.costs import AnnotationCost
from thriftseg.datasets import resize_label
from thriftseg.errors import ConfigError, LabelStoreError, WaitingForLabels
from thriftseg.folders import writes_alone
from thriftseg.metrics import AnnotationCurve, annotation_curve
from thriftseg.stores import Row

_ROUNDING = 1e-6  # seconds that sums of floats may be off by
_CERTAINTY: Mapping[AnnotationKind | None, int] = {"mask": 2, "absent": 2, "clicks": 1, "box": 1, None: 0}


@dataclass(frozen=True)
class EVAVOSResult:
    """What a run led to.

    Attributes:
        folder: The folder of the run.
        rows: A row per annotation; also in `actions.jsonl`.
        cost: What was bought in all.
        curve: Mean J&F against hours; `None` without a truth.

    Example:
        >>> curve = annotation_curve(["a", "a"], seconds=[80, 5.5], quality=[0.6, 0.7])
        >>> rows, cost = ({"type": "mask"}, {"type": "clicks"}), AnnotationCost(85.5, masks=1, clicks=3)
        >>> result = EVAVOSResult(Path("run"), rows, cost, curve)
        >>> [row["type"] for row in result.rows], result.curve.quality.tolist()
        (['mask', 'clicks'], [0.6, 0.7])
    """

    folder: Path
    rows: tuple[Row, ...]
    cost: AnnotationCost
    curve: AnnotationCurve | None


@writes_alone("out")
def annotate_eva_vos(
    videos: Sequence[ObjectVideo],
    annotator: MaskAnnotator,
    propagator: MaskPropagator,
    frame_choice: FrameChoice,
    type_choice: TypeChoice,
    out: str | Path,
    settings: EVAVOSSettings | None = None,
    *,
    say: Callable[[str], None] = lambda text: None,
    wait: Callable[[WaitingForLabels], None] | None = None,
) -> EVAVOSResult:
    """Annotate objects until the budget is spent, or every object is finished.

    The first frame of each object is drawn. After that, a frame is chosen, how to annotate it, and the masks of all
    frames are made anew of all annotated ones. An object is finished after its last round, when it has reached the
    target, or when nothing is left to say about any of its frames.

    A run that was stopped goes on when it is started again with the same arguments, and ends with the same log.

    Args:
        videos: The objects, see `list_objects`.
        annotator: Who annotates.
        propagator: Carries masks to other frames.
        frame_choice: Chooses frames.
        type_choice: Chooses how to annotate them.
        out: Folder of the run, see `thriftseg.annotation.eva_vos.folder`.
        settings: When to stop, and in which order objects are annotated.
        say: Called with a line after each annotation.
        wait: Called when a real person has to annotate something; the loop goes on when it returns.

    Raises:
        ConfigError: Something needs a truth that there is not, the budget does not cover the first masks, the agent's
            value is asked for without an agent, or the folder holds another run.
        WaitingForLabels: A real person has to annotate something first, and nobody waits; call again after that.

    Example:
        >>> import tempfile
        >>> from thriftseg import datasets, synthetic
        >>> from thriftseg.annotation import AnnotationChoices, Clicking, MaskMethods, list_objects
        >>> methods, choices = MaskMethods(accelerator="cpu"), AnnotationChoices(frame="random", type="mask")
        >>> prompter = methods.make_prompter()
        >>> who = Clicking().simulated(prompter), methods.make_propagator()
        >>> how = choices.make_frames(methods), choices.make_types(methods, prompter)
        >>> with tempfile.TemporaryDirectory() as root:
        ...     _ = synthetic.synthesize_objects(root, train_clips=1, val_clips=0, frames=2, height=32, width=48)
        ...     videos = list_objects(datasets.DAVIS(root), "train").videos
        ...     result = annotate_eva_vos(videos, *who, *how, Path(root, "run"), EVAVOSSettings(rounds=1))
        >>> result.cost.masks, [row["frame"] for row in result.rows], float(result.curve.quality[-1])  # all is drawn
        (2, [0, 1], 1.0)
    """
    settings = settings or EVAVOSSettings()
    return _Run(videos, annotator, propagator, frame_choice, type_choice, Path(out), settings, say, wait).run()


@dataclass(frozen=True, eq=False)
class _Proposal:
    """The annotation that an object is to get next.

    Attributes:
        place: The frame.
        kind: How it is annotated.
        value: What the agent expects of it, else NaN.
        score: Place of the object in the ranking, the highest first; NaN without one.
        outcome: What came of it, where that is known already.
    """

    place: int
    kind: AnnotationKind
    value: float = math.nan
    score: float = math.nan
    outcome: AnnotationOutcome | None = None


@dataclass
class _ObjectLog:
    """An object and its rows in the log."""

    video: ObjectVideo
    rows: list[Row] = field(default_factory=list)
    proposal: _Proposal | None = None

    @property
    def latest(self) -> dict[int, Row]:
        """The last row of each annotated frame, by place, in the order of these rows."""
        places = {number: place for place, number in enumerate(self.video.numbers)}
        last = {row["frame"]: row for row in self.rows}
        return {places[row["frame"]]: row for row in self.rows if last[row["frame"]] is row}

    @property
    def kinds(self) -> dict[int, AnnotationKind]:
        """How frames were annotated last, in the order in which that was."""
        return {place: row["type"] for place, row in self.latest.items()}


@dataclass(eq=False)
class _Run:
    """A run; its arguments are those of `annotate_eva_vos`."""

    videos: Sequence[ObjectVideo]
    annotator: MaskAnnotator
    propagator: MaskPropagator
    frame_choice: FrameChoice
    type_choice: TypeChoice
    out: Path
    settings: EVAVOSSettings
    say: Callable[[str], None]
    wait: Callable[[WaitingForLabels], None] | None = None

    def __post_init__(self) -> None:
        self._check()
        # What makes a run: another one is not to go on in its folder.
        record = {
            "objects": [video.name for video in self.videos],
            "size": [[len(video), *video.size] for video in self.videos],
            "annotator": dict(self.annotator.arguments),
            "propagator": {"name": self.propagator.name, **self.propagator.arguments},
            "frames": dict(self.frame_choice.arguments),
            "types": dict(self.type_choice.arguments),
            "settings": asdict(self.settings),
        }
        self.folder = EVAVOSFolder(self.out, record)
        self.objects = [_ObjectLog(video) for video in self.videos]
        by_name = {item.video.name: item for item in self.objects}
        for row in self.folder.rows:
            item = by_name.get(_name_of(row))
            if item is None or row["frame"] not in item.video.numbers or row["round"] != len(item.rows):
                found = f"round {row['round']} of {_name_of(row)} in frame {row['frame']}"
                raise LabelStoreError("the log has a row that is not of this run", path=self.folder.root, found=found)
            item.rows.append(row)

    def run(self) -> EVAVOSResult:
        self._annotate_each([item for item in self.objects if not item.rows])
        if self.settings.ranking == "none":
            for number in range(1, self.settings.rounds + 1):
                self._annotate_each([item for item in self.objects if len(item.rows) == number and self._goes_on(item)])
        else:
            self._annotate_by_rank()
        self._write_masks()
        rows = tuple(self.folder.rows)
        cost = sum((AnnotationCost(**row["cost"]) for row in rows), AnnotationCost())
        return EVAVOSResult(self.folder.root, rows, cost, curve_of(rows))

    def _annotate_each(self, items: Sequence[_ObjectLog]) -> None:
        """Annotate each object once; a real person is asked about all of them before the run waits."""
        while items:
            waiting: list[tuple[_ObjectLog, WaitingForLabels]] = []
            for item in items:
                if self._is_spent():
                    return
                try:
                    self._annotate(item)
                except WaitingForLabels as error:
                    waiting.append((item, error))
            if waiting:
                self._wait([error for _, error in waiting])
            items = [item for item, _ in waiting]

    def _wait(self, errors: Sequence[WaitingForLabels]) -> None:
        """Wait for a person, or say what the run waits for."""
        error = errors[0]
        if len(errors) > 1:
            places = "\n".join(f"  {each.path}" for each in errors)
            problem = f"{len(errors)} annotations are not finished yet"
            error = WaitingForLabels(problem, fix=error.fix, detail=places)
        if self.wait is None:
            raise error
        self.wait(error)

    def _annotate_by_rank(self) -> None:
        """Annotate the object that promises most, and again."""
        while not self._is_spent():
            items = [item for item in self.objects if self._goes_on(item)]
            if not items:
                return
            for item in items:
                if item.proposal is None:
                    item.proposal = self._propose(self._progress(item))
                    item.video.release()
            try:
                self._annotate(max(items, key=lambda item: item.proposal.score if item.proposal else -math.inf))
            except WaitingForLabels as error:
                self._wait([error])

    def _annotate(self, item: _ObjectLog) -> None:
        progress = self._progress(item)
        item.proposal = proposal = item.proposal or self._propose(progress)
        outcome = proposal.outcome or progress.attempt(proposal.place, proposal.kind)
        row = self._row(item, proposal, outcome)
        self.folder.keep(item.video, row, outcome.annotation.mask, outcome.masks)
        item.rows.append(row)
        item.proposal = None
        item.video.release()
        quality = "" if row["jf"] is None else f", J&F {100 * row['jf']:.1f}"
        done = f"{_name_of(row)} round {row['round']}: frame {row['frame']}, {row['type']}"
        self.say(f"{done}, {row['seconds'] / 3600:.3f} h in all{quality}")

    def _propose(self, progress: ObjectProgress) -> _Proposal:
        if not progress.round:
            return _Proposal(0, "mask")
        place = self.frame_choice.choose(progress)
        kind, value = self.type_choice.choose(progress, place)
        if self.settings.ranking == "none":
            return _Proposal(place, kind, value)
        if self.settings.ranking == "value":
            seconds = self.annotator.price(kind).seconds
            return _Proposal(place, kind, value, value_score(value, progress.round, seconds))
        gain = progress.gain_per_second(place, kind)
        return _Proposal(place, kind, value, gain, progress.attempt(place, kind))

    def _progress(self, item: _ObjectLog) -> ObjectProgress:
        """The object as its files describe it."""
        video, round = item.video, len(item.rows)
        anchors = {
            place: self.folder.read_bought(video, row["round"], row["frame"]) for place, row in item.latest.items()
        }
        masks = self.folder.read_state(video, round - 1)
        if masks is None:
            no_masks = np.zeros((len(video), *video.size), np.bool_)
            masks = self.propagator.propagate(video, anchors) if anchors else no_masks
        return ObjectProgress(
            video, anchors, item.kinds, masks, round, self.annotator, self.propagator, self.settings.seed
        )

    def _row(self, item: _ObjectLog, proposal: _Proposal, outcome: AnnotationOutcome) -> Row:
        annotation, scores = outcome.annotation, outcome.scores
        rows = self.folder.rows
        return {
            "action": len(rows),
            "video": item.video.video,
            "object": item.video.object_id,
            "round": len(item.rows),
            "frame": item.video.numbers[proposal.place],
            "asked": proposal.kind,
            "type": annotation.kind,
            "clicks": [[click.x, click.y, int(click.positive)] for click in annotation.clicks],
            "free_clicks": annotation.free_clicks,
            "cost": annotation.cost.to_json(),
            "seconds": (rows[-1]["seconds"] if rows else 0.0) + annotation.cost.seconds,
            "j": None if scores is None else _rounded(scores.mean_j),
            "f": None if scores is None else _rounded(scores.mean_f),
            "jf": None if scores is None else _rounded(scores.mean_jf),
            "value": _rounded(proposal.value),
            "score": _rounded(proposal.score),
        }

    def _goes_on(self, item: _ObjectLog) -> bool:
        target, reached = self.settings.target, item.rows[-1]["jf"]
        is_good = target is not None and reached is not None and reached >= target
        return not is_good and len(item.rows) <= self.settings.rounds and bool(open_frames(item.kinds, len(item.video)))

    def _is_spent(self) -> bool:
        spent = self.folder.rows[-1]["seconds"] if self.folder.rows else 0.0
        return self.settings.hours is not None and spent >= self.settings.hours * 3600 - _ROUNDING

    def _write_masks(self) -> None:
        """Write the objects of all frames; where two claim a pixel, the one whose mask there is more certain has it."""
        videos: dict[str, list[_ObjectLog]] = {}
        for item in self.objects:
            videos.setdefault(item.video.video, []).append(item)
        for items in videos.values():
            stacks = [self._progress(item).masks for item in items]
            for place in range(len(items[0].video)):
                certain = [_CERTAINTY[item.kinds.get(place)] for item in items]
                ids = np.zeros(items[0].video.size, np.uint16)
                for index in sorted(range(len(items)), key=certain.__getitem__):
                    ids[stacks[index][place]] = items[index].video.object_id
                self.folder.write_masks(items[0].video, place, resize_label(ids, items[0].video.native_size))

    def _check(self) -> None:
        names = [video.name for video in self.videos]
        if not names or len(set(names)) < len(names):
            raise ConfigError("objects to annotate", expected="at least one, none of them twice", found=names)
        choices = (self.frame_choice, self.type_choice)
        looks = self.settings.ranking == "oracle" or any(choice.needs_truth for choice in choices)
        if looks and not self.annotator.needs_truth:
            raise ConfigError("an oracle serves a simulated person only", fix="choose frames and types without a truth")
        if self.annotator.needs_truth or self.settings.target is not None:
            for video in self.videos:
                if not video.has_truth:
                    raise ConfigError(
                        f"no truth in all frames of {video.name}",
                        fix="choose a split whose masks are public, or a real person without a target",
                    )
        if self.settings.ranking == "value" and not self.type_choice.has_values:
            raise ConfigError("ranking by value needs an agent", fix="set the type of annotation to agent")
        first, hours = len(self.videos) * self.annotator.price("mask").seconds, self.settings.hours
        if hours is not None and hours * 3600 < first - _ROUNDING:
            expected = f"{first / 3600:.3f} h or more"
            raise ConfigError("the budget does not cover the first masks", expected=expected, found=hours)


def curve_of(rows: Sequence[Row]) -> AnnotationCurve | None:
    """Mean J&F against hours of a log; `None` without a truth.

    Args:
        rows: Rows of `actions.jsonl`, in their order.
    """
    if any(row["jf"] is None for row in rows):
        return None
    seconds = [AnnotationCost(**row["cost"]).seconds for row in rows]
    return annotation_curve([_name_of(row) for row in rows], seconds, [row["jf"] for row in rows])


def _name_of(row: Row) -> str:
    return f"{row['video']}__{row['object']}"


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)
