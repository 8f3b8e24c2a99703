"""Inspection of the labels of a source: classes, agreement with manual labels, and cost."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import asdict

from thriftseg.arrays import Int64Array
from thriftseg.costs import AnnotationCost, CostModel
from thriftseg.datasets import ClipReader
from thriftseg.errors import LabelStoreError, ThriftsegError
from thriftseg.labels.review.agreement import Agreement
from thriftseg.stores import MANUAL, LabelSource, SourceLabel, action_id, price_actions, store_root
from thriftseg.taxonomies import OBJECT_IDS
from thriftseg.types import IGNORE_INDEX, LabelKind
from thriftseg.workers import Workers, run_tasks


@dataclass(frozen=True)
class InspectedLabel:
    """What one label holds.

    Attributes:
        label: The label.
        counts: Pixels by class, (C + 1,) int64; the last entry is ignored pixels.
        offset: Steps from the annotated frame that the label was made from; `None` where it is the same frame.
        agreement: Comparison with the manual label of the same frame, if there is another one.

    Example:
        >>> from thriftseg.types import Clip
        >>> label = SourceLabel(Clip("drive", {}), 8, "flow", LabelKind.PROPAGATED, (), Path("8.png"))
        >>> agreement = Agreement.of(np.array([[0, 1, 1, 1]], np.uint8), np.array([[0, 1, 1, 255]], np.uint8), 2)
        >>> inspected = InspectedLabel(label, np.array([1, 2, 1]), offset=2, agreement=agreement)
        >>> inspected.ignored_share, inspected.accuracy
        (0.25, 0.75)
    """

    label: SourceLabel
    counts: Int64Array
    offset: int | None = None
    agreement: Agreement | None = None

    @property
    def ignored_share(self) -> float:
        """Share of pixels without a label."""
        return float(self.counts[-1] / self.counts.sum())

    @property
    def accuracy(self) -> float:
        """Share of the manually labelled pixels that carry the same label; NaN without a manual label."""
        if self.agreement is None:
            return math.nan
        counts = self.agreement.counts
        return float(np.trace(counts) / max(1, counts.sum()))


@dataclass(frozen=True)
class Inspection:
    """What the labels of one source hold.

    Attributes:
        dataset: Name of the data set.
        split: Its split.
        source: Name of the source.
        class_names: Names in train id order.
        labels: One entry per label, ordered by video and number.
        cost: What the human work cost that the labels descend from, each action counted once.
        cost_model: Name of the cost model.

    Example:
        >>> from thriftseg.types import Clip
        >>> def inspected(number, confidence, ignored):
        ...     path = Path(f"{number}.png")
        ...     label = SourceLabel(Clip("drive", {}), number, "flow", LabelKind.PROPAGATED, (), path, confidence)
        ...     return InspectedLabel(label, np.array([60, 20, ignored]))
        >>> labels = inspected(7, 0.75, ignored=0), inspected(8, 0.25, ignored=40)
        >>> inspection = Inspection("camvid", "train", "flow", ("road", "car"), labels, AnnotationCost(), "polygon")
        >>> inspection.confidence, inspection.class_share, inspection.ignored_share, inspection.worst(1)[0].label.number
        (0.5, [0.75, 0.25], 0.2, 8)
    """

    dataset: str
    split: str
    source: str
    class_names: tuple[str, ...]
    labels: tuple[InspectedLabel, ...]
    cost: AnnotationCost
    cost_model: str

    @property
    def kinds(self) -> dict[str, int]:
        """Number of labels by kind."""
        return dict(sorted(Counter(entry.label.kind.label for entry in self.labels).items()))

    @property
    def class_share(self) -> list[float]:
        """Share of all labelled pixels per class."""
        counts = self._counts[:-1]
        return [float(share) for share in counts / max(1, counts.sum())]

    @property
    def listed(self) -> list[int]:
        """Train ids to list in tables: all classes; of numbered objects, those that some label shows or should show."""
        known = np.array(self.class_share) > 0
        if self.agreement is not None:
            known |= self.agreement.counts.any(axis=1)
        objects = self.class_names == tuple(OBJECT_IDS.class_names)
        return np.flatnonzero(known).tolist() if objects else list(range(len(self.class_names)))

    @property
    def ignored_share(self) -> float:
        """Share of all pixels without a label."""
        return float(self._counts[-1] / self._counts.sum())

    @property
    def confidence(self) -> float | None:
        """Mean confidence of the labels that have one."""
        values = [entry.label.confidence for entry in self.labels if entry.label.confidence is not None]
        return sum(values) / len(values) if values else None

    @property
    def needs_review(self) -> int:
        """Labels that a person has yet to look at."""
        return sum(entry.label.needs_review for entry in self.labels)

    @property
    def licences(self) -> list[str]:
        """Licences of the weights that had a part in the labels, sorted."""
        return sorted({licence for entry in self.labels for licence in entry.label.licences})

    @property
    def agreement(self) -> Agreement | None:
        """Comparison with all manual labels of the same frames; `None` where there is none."""
        parts = [entry.agreement for entry in self.labels if entry.agreement is not None]
        return Agreement.sum(parts) if parts else None

    @property
    def by_offset(self) -> dict[int, Agreement]:
        """The same by offset from the annotated frame, increasing."""
        parts: dict[int, list[Agreement]] = {}
        for entry in self.labels:
            if entry.offset is not None and entry.agreement is not None:
                parts.setdefault(entry.offset, []).append(entry.agreement)
        return {offset: Agreement.sum(parts[offset]) for offset in sorted(parts)}

    def worst(self, count: int) -> list[InspectedLabel]:
        """The labels to look at first: least accurate, else least confident, else with most ignored pixels."""
        return sorted(self.labels, key=_badness, reverse=True)[:count]

    def spread(self, count: int) -> list[InspectedLabel]:
        """Labels at equal distances in the order of videos and numbers."""
        places = np.unique(np.linspace(0, len(self.labels) - 1, min(count, len(self.labels))).round().astype(int))
        return [self.labels[place] for place in places.tolist()]

    def to_json(self) -> dict[str, Any]:
        """The figures as plain values; what is not known is `None`."""
        agreement = self.agreement
        return {
            "dataset": self.dataset,
            "split": self.split,
            "source": self.source,
            "labels": len(self.labels),
            "kinds": self.kinds,
            "ignored_share": self.ignored_share,
            "confidence": self.confidence,
            "needs_review": self.needs_review,
            "licences": self.licences,
            "cost_model": self.cost_model,
            "cost": {**asdict(self.cost), "hours": self.cost.hours},
            "class_share": {self.class_names[row]: self.class_share[row] for row in self.listed},
            "agreement": None if agreement is None else self._agreement_json(agreement),
            "by_offset": {str(offset): _scores(part) for offset, part in self.by_offset.items()},
        }

    @property
    def _counts(self) -> Int64Array:
        counts: Int64Array = np.sum([entry.counts for entry in self.labels], axis=0)
        return counts

    def _agreement_json(self, agreement: Agreement) -> dict[str, Any]:
        compared = sum(entry.agreement is not None for entry in self.labels)
        figures = {
            "iou": agreement.iou,
            "kept_iou": agreement.kept_iou,
            "kept_share": agreement.kept_share,
            "precision": agreement.precision,
        }
        per_class = {
            self.class_names[train_id]: {figure: _known(values[train_id]) for figure, values in figures.items()}
            for train_id in self.listed
        }
        return {"labels": compared, **_scores(agreement), "classes": per_class}


def inspect_labels(
    dataset: ClipReader[Any],
    split: str,
    source: str,
    *,
    store: str | Path | None = None,
    cost_model: str | CostModel = "polygon",
    devices: int = 1,
    progress: bool = True,
) -> Inspection:
    """Look through all labels of a source.

    Args:
        dataset: The data set.
        split: Its split.
        source: "manual" or "coarse" (of the data set), or a source of the label store.
        store: Folder of the label store; `labels/<dataset>` when absent.
        cost_model: Prices the labels of the data set that the labels descend from.
        devices: Number of processes.
        progress: Whether to show a progress bar.

    Raises:
        LabelStoreError: The source has no labels, some cannot be read, or one descends from an action without price.

    Example:
        >>> import tempfile
        >>> from thriftseg.datasets import Folder, write_label_png
        >>> with tempfile.TemporaryDirectory() as root:
        ...     size = Path(root, "classes.yaml").write_text("classes: [{name: road}, {name: car}]")
        ...     for name in ("frames/7.png", "labels/7.png"):
        ...         write_label_png(Path(root, "train/drive", name), np.array([[0, 0, 1, 255]], np.uint8))
        ...     inspection = inspect_labels(Folder(root), "train", "manual", store=Path(root, "labels"), progress=False)
        >>> inspection.kinds, inspection.ignored_share, inspection.cost.masks
        ({'manual': 1}, 0.25, 1)
    """
    model = CostModel.named(cost_model)
    found = LabelSource(dataset, store_root(store, dataset.name), source)
    labels = found.labels(split)
    inspected = inspect_each(found, labels, devices=devices, progress=progress)
    prices = price_actions(
        dataset,
        dataset.clips(split),
        dict.fromkeys(action for label in labels for action in label.actions),
        model,
        stores=[] if found.is_given(labels[0].clip) else [found.store],
        cache_folder=found.root,
    )
    return Inspection(
        dataset=dataset.name,
        split=split,
        source=source,
        class_names=tuple(dataset.taxonomy.class_names),
        labels=tuple(inspected),
        cost=sum(prices.values(), AnnotationCost()),
        cost_model=model.name,
    )


def inspect_each(
    found: LabelSource, labels: Sequence[SourceLabel], *, devices: int = 1, progress: bool = True
) -> list[InspectedLabel]:
    """Look at some labels of a source, in their order.

    Args:
        found: Reads the labels.
        labels: The labels.
        devices: Number of processes.
        progress: Whether to show a progress bar.

    Raises:
        LabelStoreError: Some cannot be read.
    """
    workers = Workers(devices, "cpu", progress=progress)
    results = run_tasks(_InspectJob(found), labels, workers, description="inspect")
    failures = sorted(result for result in results if isinstance(result, str))
    if failures:
        raise LabelStoreError(
            f"{len(failures)} of {len(labels)} labels cannot be inspected",
            path=found.folder,
            fix="delete the files below and run the command that made them again",
            detail="\n".join(failures),
        )
    return [result for result in results if not isinstance(result, str)]


class _InspectJob:
    """Counts the pixels of one label; an unreadable one gives its message instead."""

    def __init__(self, labels: LabelSource) -> None:
        self._labels = labels

    def __call__(self, task: SourceLabel) -> InspectedLabel | str:
        dataset, clip, classes = self._labels.dataset, task.clip, self._labels.dataset.taxonomy.num_classes
        try:
            label = self._labels.read(task)
            compared = task.kind != LabelKind.MANUAL and task.number in clip.labels
            truth = dataset.read_label(clip, task.number) if compared else None
        except ThriftsegError as error:
            return error.headline
        pixels = np.bincount(label.ravel(), minlength=IGNORE_INDEX + 1)
        counts = np.append(pixels[:classes], pixels[classes:].sum()).astype(np.int64)
        agreement = None if truth is None else Agreement.of(truth, label, classes)
        starts = [n for n in clip.labels if action_id(MANUAL, dataset.name, clip.video, n) in task.actions]
        steps = [round(clip.offset_of(start, task.number)) for start in starts]
        return InspectedLabel(task, counts, min(steps, key=abs, default=0) or None, agreement)


def _badness(entry: InspectedLabel) -> tuple[float, float, float]:
    """Larger for worse labels; ranked by the first figure that is known."""
    wrong = 0.0 if entry.agreement is None else 1 - entry.accuracy
    unsure = 0.0 if entry.label.confidence is None else 1 - entry.label.confidence
    return wrong, unsure, entry.ignored_share


def _scores(agreement: Agreement) -> dict[str, float | None]:
    return {
        "miou": _known(agreement.miou),
        "kept_miou": _known(agreement.kept_miou),
        "kept_accuracy": _known(agreement.kept_accuracy),
        "ignored_share": agreement.ignored_share,
    }


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
