"""Labelling all frames of a video with a small budget: select, annotate, tune, and again.

In the style of Qiao et al. [0]. Their equations are not known to us: the loss (`TestTimeTuning`), the uncertainty
(`pixel_uncertainty`) and the way it is combined with diversity (`SampleSelection`) are reconstructions, and all of them
are settings.

[0] Qiao, Sun, Liu, Xia, Luo, Zhang, Kuo, Human-in-the-Loop Video Semantic Segmentation Auto-Annotation, WACV 2023.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from thriftseg.annotation.hvsa.budget import Budget, parse_amount
from thriftseg.annotation.hvsa.folder import PERSON, RESULT, HVSAFolder, RoundSelection
from thriftseg.annotation.hvsa.manual_labels import ManualLabels, paste
from thriftseg.annotation.hvsa.settings import HVSASettings
from thriftseg.annotation.hvsa.survey import Survey, score_labels, survey_video
from thriftseg.annotation.people.polygon_clicker import PolygonAnnotator
from thriftseg.annotation.people.requests import Annotator, Answer, Request
from thriftseg.annotation.ranking.granularity import Granularity, create_granularity
from thriftseg.annotation.ranking.selection import Sample, SampleTable
from thriftseg.arrays import Float64Array
from thriftseg.costs import AnnotationCost
from thriftseg.datamodules import VideoPairDataModule
from thriftseg.errors import ConfigError
from thriftseg.folders import writes_alone
from thriftseg.inference import read_checkpoint, to_record
from thriftseg.lightning_modules import CHECKPOINT, Objective, SemanticSegmentation, TestTimeTuning, tune
from thriftseg.stores import LabelStore
from thriftseg.types import LabelKind

_SCORES_SHOWN = ("miou", "boundary_iou", "tc")
_AMOUNT_PER_PIXEL = {"clicks": 1 / 150, "seconds": 1 / 90}  # first guesses where nothing is known of a video


@dataclass(frozen=True)
class HVSAResult:
    """What a run led to.

    Attributes:
        folder: The folder of the run.
        rounds: A row per round, that of the network as given first; also in `rounds.jsonl`.
        cost: What was bought in all.
        store: Label store; source `hvsa` has every frame, source `person` what was bought.

    Example:
        >>> rounds = [{"round": 0, "pasted": {"miou": 0.5}}, {"round": 1, "pasted": {"miou": 0.7}}]
        >>> result = HVSAResult(Path("run"), rounds, AnnotationCost(5400, clicks=900), Path("run/labels"))
        >>> result.rounds[-1]["pasted"]["miou"], result.cost.hours
        (0.7, 1.5)
    """

    folder: Path
    rounds: tuple[Mapping[str, Any], ...]
    cost: AnnotationCost
    store: Path


@writes_alone("out")
def annotate_hvsa(
    module: SemanticSegmentation,
    data: VideoPairDataModule,
    annotator: Annotator,
    out: str | Path,
    settings: HVSASettings | None = None,
    *,
    notes: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = lambda text: None,
    **trainer: Any,
) -> HVSAResult:
    """Label all frames of a video: in every round, a person labels what is worth most, and the network learns it.

    A run that was stopped, be it in the middle of tuning, goes on when it is started again with the same arguments,
    and on a CPU ends with the same labels.

    Args:
        module: The network with the weights to start from, and how it is tuned.
        data: The video.
        annotator: Who labels.
        out: Folder of the run, see `thriftseg.annotation.hvsa.folder`.
        settings: How the labels are bought.
        notes: What else makes the run, JSON values by name, such as where the weights come from. It is kept with the
            settings, and a run with other notes is another run.
        say: Called with a line after each step.
        trainer: Arguments of the trainer, such as `accelerator`, `devices` and `precision`.

    Raises:
        ConfigError: A setting is out of range, the folder holds another run, or the budget or the target needs a truth
            that the data do not have.
        WaitingForLabels: A real person has to label something first; call again after that.

    Example:
        >>> import tempfile
        >>> from thriftseg.annotation import FilesAnnotator, TuningSettings
        >>> from thriftseg.datasets import FrameFolder, write_label_png
        >>> from thriftseg.taxonomies import CAMVID
        >>> from thriftseg.zoo import DeepLabV3Plus
        >>> module = TuningSettings().module(DeepLabV3Plus(11, "tu-test_resnet", decoder_channels=8))
        >>> settings = HVSASettings(rounds=1, budget="50%")
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for name in (7, 8): write_label_png(f"{root}/drive/{name}.png", np.zeros((32, 48), np.uint8))
        ...     data = VideoPairDataModule(FrameFolder(f"{root}/drive", CAMVID), "all", flow_cache=f"{root}/flow")
        ...     read = lambda video, number: data.dataset.read_frame(data.clip, number)
        ...     person = FilesAnnotator(f"{root}/work", CAMVID, read)
        ...     annotate_hvsa(module, data, person, f"{root}/run", settings, accelerator="cpu")
        Traceback (most recent call last):
        thriftseg.errors.WaitingForLabels: ...: 1 of 1 regions are not labelled yet: drive/...
    """
    settings = settings or HVSASettings()
    return _Run(module, data, annotator, Path(out), settings, dict(notes or {}), say, trainer).run()


@dataclass(eq=False)
class _Run:
    """A run; its arguments are those of `annotate_hvsa`."""

    module: SemanticSegmentation
    data: VideoPairDataModule
    annotator: Annotator
    out: Path
    settings: HVSASettings
    notes: dict[str, Any]
    say: Callable[[str], None]
    trainer: dict[str, Any]

    def __post_init__(self) -> None:
        settings, dataset = self.settings, self.data.dataset
        self.folder = HVSAFolder(self.out, {**self.notes, **self._record()})
        self.clip, self.video = self.data.clip, self.data.clip.video
        self.manual = ManualLabels(
            LabelStore(self.folder.store, PERSON, self.data.taxonomy),
            dataset.name,
            self.video,
            generator=type(self.annotator).__name__,
            arguments={"granularity": settings.granularity},
        )
        self.granularity: Granularity = create_granularity(
            settings.granularity, settings.superpixel_weights, self.folder.superpixels
        )
        self.all_pixels = math.prod(dataset.clip_size(self.clip)) * len(self.clip.frames)
        self.full: AnnotationCost | None = None  # of drawing every frame, where every frame has a truth
        if set(self.clip.labels) == set(self.clip.frames):
            read = partial(dataset.read_label, self.clip)
            if isinstance(self.annotator, PolygonAnnotator):
                drawer = self.annotator
            else:
                drawer = PolygonAnnotator(lambda _, number: read(number))
            self.full = drawer.full_cost(map(read, self.data.numbers))
        if settings.target_miou is not None and not self.clip.labels:
            problem = "a target of mIoU needs a truth"
            raise ConfigError(problem, found=f"none for {self.video!r}", fix="drop target_miou")
        self.budget = Budget(parse_amount(str(settings.budget), self._full_amount()), settings.rounds, settings.unit)
        self.latest: tuple[int, Survey] | None = None

    def run(self) -> HVSAResult:
        rows, target = [self._finish_round(0)], self.settings.target_miou
        for number in range(1, self.settings.rounds + 1):
            if target is not None and (self._scores_of(rows[-1])["miou"] or 0.0) >= target:
                break
            if self._buy(number, self._select(number)):
                self._tune(number)
            rows.append(self._finish_round(number))
        self._keep_labels(len(rows) - 1)
        return HVSAResult(self.folder.root, tuple(rows), self.manual.cost, self.folder.store)

    def _select(self, number: int) -> RoundSelection:
        """Decide what a round asks for, unless that was done before."""
        known = self.folder.selection(number)
        if known is not None:
            return known
        if self.budget.round < number:
            self.budget.next_round()
        samples: list[Sample] = []
        pixels: list[int] = []
        table = self._survey(number - 1).table if self.budget.total else None
        if table is not None and len(table.candidates):
            costs = self._expected_costs(table)
            count = self.budget.needed(float(costs[table.candidates].mean()))
            ranking = self.settings.selection.rank(table, count, np.random.default_rng([self.data.seed, number]))
            wanted = self.budget.plan(ranking, costs[ranking]) if self._asks_at_once else ranking.tolist()
            samples, pixels = [table.sample(row) for row in wanted], [int(table.pixels[row]) for row in wanted]
        selection = RoundSelection(self.budget.to_dict(), samples, pixels)
        self.folder.keep_selection(number, selection)
        return selection

    def _buy(self, number: int, selection: RoundSelection) -> int:
        """Have the samples labelled, and count them; asking again for what is labelled costs nothing."""
        self.budget = Budget(**selection.budget)
        requests = self._requests(selection.samples)
        answers: list[Answer] = []
        if self._asks_at_once:
            answers = self.annotator.ask(requests, number)
            for answer, pixels in zip(answers, selection.pixels, strict=True):
                self.budget.charge(self._amount(answer, pixels))
        else:
            for request, pixels in zip(requests, selection.pixels, strict=True):
                if not self.budget.left:
                    break
                [answer] = self.annotator.ask([request], number)
                self.budget.charge(self._amount(answer, pixels))
                answers.append(answer)
        known = self.manual.samples
        self.manual.add([answer for answer in answers if answer.sample not in known])
        return len(answers)

    def _tune(self, number: int) -> None:
        """Tune the network, or take the weights of a round that is over."""
        self.latest = None
        if self.folder.scores(number) is not None:
            self.module.load_state_dict(read_checkpoint(self.folder.tuning(number) / CHECKPOINT)["state_dict"])
            return
        labels = {frame: self.manual.read(frame) for frame in self.manual.numbers}
        self.data.start_round(number, labels)
        tune(self.module, self.data, self.folder.tuning(number), epochs=self.settings.epochs, **self.trainer)

    def _finish_round(self, number: int) -> dict[str, Any]:
        known = self.folder.scores(number)
        if known is not None:
            return known
        labels = self._survey(number).labels
        alone = score_labels(self.data, labels)
        pasted = score_labels(self.data, labels, self.manual) if self.manual.numbers else alone
        row = {"round": number, **self._spent(), "scores": _rounded(alone), "pasted": _rounded(pasted)}
        self.folder.keep_scores(number, row)
        told = [f"round {number}: {row['samples']} samples, {row['cost'].get('seconds', 0) / 3600:.2f} h"]
        told += [f"{100 * share:.1f} % of {name}" for name, share in row["share"].items()]
        scores = self._scores_of(row)
        told += [f"{name} {100 * value:.1f}" for name in _SCORES_SHOWN if (value := scores.get(name)) is not None]
        self.say(", ".join(told))
        return row

    def _keep_labels(self, number: int) -> None:
        """Write the label maps of all frames to the store, each with all that was bought as its origin."""
        store = LabelStore(self.folder.store, RESULT, self.data.taxonomy)
        missing = [frame for frame in self.data.numbers if not store.has(self.video, frame)]
        if not missing:
            return
        survey = self._survey(number)
        for action in self.manual.actions:
            if action.id not in store.actions:
                store.record_action(action)
        parents = [action.id for action in self.manual.actions]
        pasted = frozenset(self.manual.numbers) if self.settings.paste_manual else frozenset()
        for frame in missing:
            label = survey.labels[frame]
            store.write(
                self.video,
                frame,
                paste(label, self.manual.read(frame)) if frame in pasted else label,
                kind=LabelKind.FILLED,
                generator=RESULT,
                arguments={"rounds": number},
                parents=parents,
                confidence=survey.confidence[frame],
            )

    def _survey(self, number: int) -> Survey:
        """What the network says after a round."""
        if self.latest is None or self.latest[0] != number:
            survey = survey_video(
                self.module, self.data, self.manual, self.granularity, self.settings.uncertainty, **self.trainer
            )
            self.latest = (number, survey)
        return self.latest[1]

    def _requests(self, samples: Sequence[Sample]) -> list[Request]:
        """Requests in the order of the samples; every frame is cut once."""
        found: dict[Sample, Request] = {}
        for number, group in groupby(sorted(samples), key=lambda sample: sample.number):
            regions = self.granularity.regions(self.data.dataset.read_frame(self.clip, number))
            for sample in group:
                found[sample] = Request.of(self.video, sample, regions == sample.region, self.settings.granularity)
        return [found[sample] for sample in samples]

    @property
    def _asks_at_once(self) -> bool:
        """Whether a round is asked for as a whole: a simulated person answers fast enough to count on the way."""
        return self.budget.known_before or not isinstance(self.annotator, PolygonAnnotator)

    def _expected_costs(self, table: SampleTable) -> Float64Array:
        """What every sample costs or, where that is known afterwards only, what it may cost."""
        if self.budget.unit == "samples":
            return np.ones(len(table))
        if self.budget.unit == "pixels":
            return table.pixels.astype(np.float64)
        if self.budget.samples:
            return np.full(len(table), self.budget.spent / self.budget.samples)
        full = self._full_amount() or self.all_pixels * _AMOUNT_PER_PIXEL[self.budget.unit]
        return np.maximum(table.pixels.astype(np.float64) * full / self.all_pixels, 1)

    def _amount(self, answer: Answer, pixels: int) -> float:
        """What an answer takes from the budget."""
        return {
            "pixels": float(pixels),
            "samples": 1.0,
            "clicks": float(answer.cost.clicks + answer.cost.class_clicks),
            "seconds": answer.cost.seconds,
        }[self.budget.unit]

    def _full_amount(self) -> float | None:
        """What labelling the whole video takes, `None` where only the truth could tell."""
        if self.settings.unit == "pixels":
            return float(self.all_pixels)
        if self.full is None or self.settings.unit == "samples":
            return None
        return self.full.seconds if self.settings.unit == "seconds" else float(_clicks(self.full))

    def _scores_of(self, row: Mapping[str, Any]) -> Mapping[str, float | None]:
        scores: Mapping[str, float | None] = row["pasted" if self.settings.paste_manual else "scores"]
        return scores

    def _spent(self) -> dict[str, Any]:
        cost = self.manual.cost
        if self.budget.unit == "pixels":
            pixels = int(self.budget.spent)
        else:
            pixels = sum(request.pixels for request in self._requests(sorted(self.manual.samples)))
        shares = {"pixels": pixels / self.all_pixels}
        if self.full is not None:
            shares["clicks"] = _clicks(cost) / max(_clicks(self.full), 1)
            shares["boundary_clicks"] = cost.clicks / max(self.full.clicks, 1)
        return {
            "samples": len(self.manual.samples),
            "pixels": pixels,
            "cost": cost.to_json(),
            "share": {name: round(value, 6) for name, value in shares.items()},
        }

    def _record(self) -> dict[str, Any]:
        """What makes a run: another one is not to go on in its folder."""
        module, data = self.module, self.data
        return {
            "dataset": data.dataset.name,
            "split": data.split,
            "video": data.clip.video,
            "size": list(data.size),
            "batch_size": data.batch_size,
            "seed": data.seed,
            **asdict(self.settings),
            "annotator": type(self.annotator).__name__,
            "tuning": {
                "network": dict(module.network.record),
                **_objective_record(module.objective),
                "optimizer": str(module.hparams.get("optimizer")),
                "lr_scheduler": str(module.hparams.get("lr_scheduler")),
                "freeze_batch_norm": module.freeze_batch_norm,
            },
        }


def _objective_record(objective: Objective) -> dict[str, Any]:
    """What the network learns from; of the preset under the names that folders of runs have."""
    if not isinstance(objective, TestTimeTuning):
        return {"objective": to_record(objective)}
    label, consistency = objective.terms
    return {
        "loss": to_record(label.loss),
        "consistency": to_record(consistency.loss),
        "consistency_weight": consistency.weight,
    }


def _clicks(cost: AnnotationCost) -> int:
    return cost.clicks + cost.class_clicks


def _rounded(scores: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else round(value, 6) for name, value in scores.items()}
