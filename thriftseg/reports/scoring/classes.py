"""Scores of class maps: confusion family, Boundary-IoU, temporal consistency."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from thriftseg.arrays import Int64Array
from thriftseg.errors import DatasetError
from thriftseg.metrics import class_accuracy, class_iou, class_totals, consistency_iou
from thriftseg.reports.scoring.counting import (
    Block,
    BlockCounter,
    BlockCounts,
    ClassRule,
    PairRule,
    cut_into_blocks,
)
from thriftseg.reports.scoring.effort import Effort
from thriftseg.reports.scoring.label_maps import IdSpace, LabelMapReader, decide_space
from thriftseg.reports.scoring.pairing import PairedVideo
from thriftseg.reports.scoring.report import Score
from thriftseg.reports.scoring.totals import Family, families
from thriftseg.taxonomies import Taxonomy
from thriftseg.workers import run_tasks

IdChoice = Literal["auto", "label", "train"]

_MOSTLY = 0.5


@dataclass(frozen=True)
class ClassScores:
    """Outcome of a comparison of class maps.

    Attributes:
        scores: Pooled scores by name.
        per_class: Scores of each class, by name.
        per_category: IoU per category of classes.
        per_video: Scores by name, one entry per video.
        frames: Scored frames per video.
        pairs: Scored pairs per video.
        confusion: (C, C + 1) pixels by true and predicted class, if `miou` was wanted.
        spaces: What the ids of predictions and of true labels were found to mean.
        warnings: Doubts about the scores.
    """

    scores: dict[str, Score]
    per_class: dict[str, list[float]]
    per_category: dict[str, float]
    per_video: list[dict[str, float]]
    frames: list[int]
    pairs: list[int]
    confusion: Int64Array | None
    spaces: tuple[IdSpace, IdSpace]
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ClassScorer:
    """Scores class maps.

    Attributes:
        taxonomy: Class table.
        metrics: Those of `miou`, `boundary_iou` and `tc` to report.
        classes: How classes are compared with the truth.
        pairs: How adjacent predictions are compared; `None` without `tc`.
        pred_ids: What the ids of predictions mean; "auto" finds out.
        gt_ids: What the ids of true labels mean; likewise.
        fps: Native frame numbers per second.
        effort: Processes, draws of the bootstrap and their seed.
    """

    taxonomy: Taxonomy
    metrics: Collection[str]
    classes: ClassRule
    pairs: PairRule | None
    pred_ids: IdChoice
    gt_ids: IdChoice
    fps: float
    effort: Effort

    def score(self, videos: Sequence[PairedVideo]) -> ClassScores:
        """Read and score everything.

        Raises:
            DatasetError: A file is unreadable, holds unknown ids, or sizes differ; it is unclear what ids mean; or no
                two adjacent frames are predicted.
        """
        predictions = [path for video in videos for path in video.predictions.values()]
        labels = [path for video in videos for path in video.labels.values()]
        pred_space = self._space(self.pred_ids, predictions, "--pred_ids")
        gt_space = self._space(self.gt_ids, labels, "--gt_ids")
        counts = self._count(videos, pred_space, gt_space)
        rule = self.pairs.rule if self.pairs else "thriftseg"
        found = families(counts, self.metrics, rule)
        confusion = np.sum([block.confusion for block in counts], axis=0) if "miou" in self.metrics else None
        return ClassScores(
            scores={
                name: score
                for family in found.values()
                for name, score in family.scores(self.effort.resamples, self.effort.seed).items()
            },
            per_class=_per_class(found, self.pairs),
            per_category={} if confusion is None else category_iou(confusion, self.taxonomy),
            per_video=_per_video(found, len(videos)),
            frames=_summed(((block.video, block.frames) for block in counts), len(videos)),
            pairs=_summed(((block.video, block.pairs) for block in counts), len(videos)),
            confusion=confusion,
            spaces=(pred_space, gt_space),
            warnings=[] if confusion is None else list(_doubts(confusion)),
        )

    def _space(self, choice: IdChoice, paths: Sequence[Path], option: str) -> IdSpace:
        return decide_space(self.taxonomy, paths, option) if choice == "auto" else choice

    def _count(self, videos: Sequence[PairedVideo], pred_space: IdSpace, gt_space: IdSpace) -> list[BlockCounts]:
        blocks = list(self._blocks(videos))
        if "tc" in self.metrics and not any(frame.before for block in blocks for frame in block.frames):
            raise _no_pairs(videos)
        job = BlockCounter(
            truth=LabelMapReader(self.taxonomy, gt_space, "--gt_ids"),
            pred=LabelMapReader(self.taxonomy, pred_space, "--pred_ids"),
            classes=self.classes if self._compares else None,
            pairs=self.pairs,
        )
        return run_tasks(job, blocks, self.effort.workers, description="comparing class maps")

    @property
    def _compares(self) -> bool:
        return "miou" in self.metrics or "boundary_iou" in self.metrics

    def _blocks(self, videos: Sequence[PairedVideo]) -> Iterator[Block]:
        for position, video in enumerate(videos):
            scored = list(video.labels) if self._compares else []
            yield from cut_into_blocks(position, video, self.fps, scored, video.pairs() if self.pairs else [])


def category_iou(confusion: Int64Array, taxonomy: Taxonomy) -> dict[str, float]:
    """IoU per category of classes, as the Cityscapes benchmark counts it.

    Args:
        confusion: (C, C + 1).
        taxonomy: Class table; empty where its classes have no categories.

    Returns:
        Category to IoU, in train order; NaN for categories that occur nowhere.
    """
    groups = [row.category for row in taxonomy.classes]
    categories = list(dict.fromkeys(groups))
    member = np.array([[group == category for group in groups] for category in categories], np.int64)
    merged = np.column_stack([member @ confusion[:, :-1] @ member.T, member @ confusion[:, -1]])
    iou = class_iou(class_totals(merged)).tolist()
    return {category: value for category, value in zip(categories, iou, strict=True) if category}


def _per_class(found: Mapping[str, Family], pairs: PairRule | None) -> dict[str, list[float]]:
    columns = {}
    if "miou" in found:
        columns["iou"] = class_iou(found["miou"].pooled)
        columns["accuracy"] = class_accuracy(found["miou"].pooled)
    if "boundary_iou" in found:
        columns["boundary_iou"] = class_iou(found["boundary_iou"].pooled)
    if "tc" in found and pairs is not None:
        columns["tc"] = consistency_iou(found["tc"].pooled, pairs.rule)
    return {name: column.tolist() for name, column in columns.items()}


def _per_video(found: Mapping[str, Family], count: int) -> list[dict[str, float]]:
    rows: list[dict[str, float]] = [{} for _ in range(count)]
    for family in found.values():
        for name, values in family.score(family.per_video(count)).items():
            for row, value in zip(rows, values.tolist(), strict=True):
                row[name] = value
    return rows


def _summed(entries: Iterator[tuple[int, int]], count: int) -> list[int]:
    totals = [0] * count
    for position, value in entries:
        totals[position] += value
    return totals


def _doubts(confusion: Int64Array) -> Iterator[str]:
    labelled = confusion.sum()
    if not labelled:
        yield "no labelled pixel has a class: check --gt_ids"
    elif confusion[:, -1].sum() > _MOSTLY * labelled:
        yield "more than half of the labelled pixels are predicted as no class: check --pred_ids"
    elif confusion.diagonal().sum() == labelled:
        yield "every labelled pixel is right: make sure that --pred is no copy of the truth"


def _no_pairs(videos: Sequence[PairedVideo]) -> DatasetError:
    predicted = sum(len(video.predictions) for video in videos)
    shown = sum(len(video.predictions.keys() & video.frames.keys()) for video in videos)
    return DatasetError(
        "temporal consistency needs predictions of adjacent frames",
        expected="two frames in a row with prediction and picture",
        found=f"{predicted} predictions in {len(videos)} videos, {shown} of them with a picture",
        fix="predict every frame of the videos, and point --frames to their pictures",
    )
