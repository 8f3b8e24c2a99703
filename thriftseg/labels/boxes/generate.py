"""Boxes turned into masks of objects, with the least of drawn masks [0].

[0] Voigtlaender et al., Reducing the Annotation Effort for Video Object Segmentation Datasets, WACV 2021.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from thriftseg.atomic import write_bytes
from thriftseg.costs import AnnotationCost
from thriftseg.datasets import VOSDataset
from thriftseg.errors import DatasetError
from thriftseg.exchange import BoxTracks
from thriftseg.labels.boxes.job import BoxJob, BoxTask
from thriftseg.labels.boxes.masks import DRAWN
from thriftseg.labels.boxes.segmenters import BoxSegmenter
from thriftseg.labels.boxes.settings import BoxSettings, DrawnFrame, MaskFilter
from thriftseg.labels.boxes.sources import BoxSource, MaskBoxes, TrackBoxes
from thriftseg.labels.boxes.table import MaskRow
from thriftseg.labels.jobs.generate import generate
from thriftseg.labels.jobs.summary import Summary
from thriftseg.metrics import MaskRecall
from thriftseg.stores import LabelStore, store_root
from thriftseg.taxonomies import OBJECT_IDS
from thriftseg.workers import Workers

REPORT_FILE = "quality.json"


@dataclass(frozen=True)
class LabelQuality:
    """How good the masks are before bad ones are taken out, over the objects that the truth of a frame has [0].

    Drawn masks count like the others.

    Attributes:
        masks: Number of such masks.
        objects: Number of objects they belong to.
        j_mean: Mean IoU with the truth.
        recall_50: Share of masks whose IoU is at least 0.5.
        recall_70: Share of masks whose IoU is at least 0.7.
        object_j_mean: Mean over objects of their mean IoU.

    Example:
        >>> rows = [
        ...     MaskRow("bear", frame, 1, (0, 0, 4, 4), "mask", "grabcut", area=16, confidence=0.9, iou=iou, kept=True)
        ...     for frame, iou in enumerate([0.8, 0.6])
        ... ]
        >>> print(LabelQuality.of(rows))
        J 0.700, recall@50 1.000, recall@70 0.500 over 2 masks of 1 objects (mean over objects: J 0.700)
    """

    masks: int
    objects: int
    j_mean: float
    recall_50: float
    recall_70: float
    object_j_mean: float

    @classmethod
    def of(cls, rows: Sequence[MaskRow]) -> LabelQuality | None:
        """The quality of rows whose truth is known; `None` without any."""
        recall = MaskRecall((0.5, 0.7))
        known = sorted((row for row in rows if row.iou is not None), key=lambda row: row.video)
        if not known:
            return None
        for _, video in groupby(known, key=lambda row: row.video):
            pairs = [(row.object, row.iou) for row in video]
            recall.add(np.array([key for key, _ in pairs], np.int64), np.array([iou for _, iou in pairs], np.float64))
        scores = {name: float(value) for name, value in recall.compute().items()}
        return cls(
            masks=int(scores["masks"]),
            objects=int(scores["objects"]),
            j_mean=scores["j_mean"],
            recall_50=scores["recall_0.5"],
            recall_70=scores["recall_0.7"],
            object_j_mean=scores["object_j_mean"],
        )

    def __str__(self) -> str:
        return (
            f"J {self.j_mean:.3f}, recall@50 {self.recall_50:.3f}, recall@70 {self.recall_70:.3f} over {self.masks} "
            f"masks of {self.objects} objects (mean over objects: J {self.object_j_mean:.3f})"
        )


@dataclass(frozen=True, kw_only=True)
class BoxSummary(Summary):
    """What `label_boxes` did.

    Attributes:
        boxes: Boxes of these labels.
        manual: Masks that were drawn.
        empty: Boxes in which nothing was found.
        invalid: Boxes that are empty, inverted or outside of the frame.
        bad: Masks that the filter took out.
        oracle: Whether the filter looked at the truth.
        unmatched: Boxes of the file that lie in no frame of the split.
        quality: Quality of the masks, where the truth is known.

    Example:
        >>> summary = BoxSummary(
        ...     Path("labels/davis/boxes_grabcut"), written=2, kept=0, ignored_share=0.0, boxes=3, manual=0, empty=1,
        ...     invalid=0, bad=0, oracle=False, cost=AnnotationCost(seconds=36, boxes=3),
        ... )
        >>> summary.to_json()["labels"], str(summary).partition("; ")[2]
        (2, '0 masks drawn; 1 boxes without a mask; cost 0.01 h: 3 boxes, 0 masks')
    """

    boxes: int
    manual: int
    empty: int
    invalid: int
    bad: int
    oracle: bool
    cost: AnnotationCost = field(default_factory=AnnotationCost)
    unmatched: int = 0
    quality: LabelQuality | None = None

    def __str__(self) -> str:
        notes = [
            f"{self.written} labels of {self.boxes} boxes written to {self.folder}"
            if not self.kept
            else f"{self.written} labels written to {self.folder}, {self.kept} were there already",
            f"{self.manual} masks drawn",
        ]
        counts = [(self.empty, "boxes without a mask"), (self.invalid, "invalid boxes")]
        counts += [(self.bad, "bad masks ignored" + (" (oracle-filtered)" if self.oracle else ""))]
        counts += [(self.unmatched, "boxes in no frame of the split")]
        notes += [f"{number} {what}" for number, what in counts if number]
        notes.append(f"cost {self.cost.hours:.2f} h: {self.cost.boxes} boxes, {self.cost.masks} masks")
        return "; ".join(notes) + (f"\n{self.quality}" if self.quality else "")

    def to_json(self) -> dict[str, object]:
        """The report as it stands in `quality.json`: what was stored, in whatever number of runs."""
        values = asdict(self) | {"labels": self.written + self.kept, "cost": self.cost.to_json()}
        told = "labels boxes manual empty invalid bad oracle cost unmatched quality"
        return {name: values[name] for name in told.split()}


def label_boxes(
    dataset: VOSDataset,
    split: str,
    segmenter: BoxSegmenter,
    *,
    tracks: BoxTracks | None = None,
    box_noise: float = 0.0,
    finetune: DrawnFrame | None = None,
    mask_filter: MaskFilter | None = None,
    keep_soft: bool = False,
    seed: int = 0,
    store: str | Path | None = None,
    source: str | None = None,
    **workers: Any,
) -> BoxSummary:
    """Turn the boxes of a split into labels of object ids.

    Beside the labels lie `masks.jsonl` and `masks.csv`, which say what became of every box, and `quality.json` with
    the figures of the summary. A killed run goes on where it stopped when it is started again, and ends in the same
    files. A box and a drawn mask are actions of their own, so that they are paid once, whatever is made of them.

    The truth is that of the data set; ids in a file of boxes must be those of its masks, where it has any.

    Args:
        dataset: The data set.
        split: Its split.
        segmenter: Turns boxes into masks.
        tracks: The boxes; by default those around the true masks.
        box_noise: Shift of the sides of boxes around true masks, see `MaskBoxes`.
        finetune: Let the method learn one drawn mask per object, of the "middle", "first" or a "random" frame in which
            the object has a box; it is the label of that frame. An object with one box needs no learning.
        mask_filter: Which masks are bad; their boxes become 255.
        keep_soft: Store the probabilities of each object too.
        seed: Seed of noise and fine-tuning.
        store: Folder of the label store; `labels/<dataset>` when absent.
        source: Name of the labels in the store; `boxes_<method>`, with `_ft_<frame>` and the filter, when absent.
        workers: Those of `thriftseg.workers.Workers`: `devices`, `accelerator`, `engine` and so on.

    Raises:
        ConfigError: A setting is out of range, or the method cannot be fine-tuned.
        DatasetError: There are no boxes.
        UnfinishedError: Some labels could not be made (the others are stored).
        LabelStoreError: The source holds labels that were made in another way, or a process died.

    Example:
        >>> import tempfile
        >>> from thriftseg.datasets import DAVIS, write_label_png
        >>> from thriftseg.labels import BoxGrabCut
        >>> with tempfile.TemporaryDirectory() as root:
        ...     Path(root, "ImageSets/2017").mkdir(parents=True)
        ...     size, ids = Path(root, "ImageSets/2017/train.txt").write_text("bear"), np.zeros((48, 64), np.uint8)
        ...     ids[10:30, 20:44] = 1
        ...     write_label_png(Path(root, "Annotations/480p/bear/00000.png"), ids)
        ...     write_label_png(Path(root, "JPEGImages/480p/bear/00000.png"), 40 + 160 * ids)
        ...     summary = label_boxes(DAVIS(root), "train", BoxGrabCut(), store=Path(root, "labels"), progress=False)
        >>> summary.folder.name, summary.boxes, summary.cost.seconds, summary.quality.j_mean
        ('boxes_grabcut', 1, 7.0, 1.0)
    """
    boxes: BoxSource = MaskBoxes(dataset, box_noise, seed) if tracks is None else TrackBoxes(tracks)
    settings = BoxSettings(finetune, seed, mask_filter, keep_soft)
    tasks = [BoxTask(clip, numbers) for clip in dataset.clips(split) if (numbers := boxes.numbers(clip))]
    if not tasks:
        raise DatasetError(f"split {split!r} of {dataset.name} has no boxes", path=dataset.root)
    if finetune is None:  # no frame of a video needs the others
        tasks = [BoxTask(task.clip, (number,)) for task in tasks for number in task.targets]
    name = default_source(segmenter.name, settings) if source is None else source
    target = LabelStore(store_root(store, dataset.name), name, OBJECT_IDS)
    job = BoxJob(dataset, target, segmenter, boxes, settings)

    def summarise(summary: Summary, outcomes: object) -> BoxSummary:
        wanted = {(task.clip.video, number) for task in tasks for number in task.targets}
        stored = wanted & job.store.labels.keys()
        rows = [row for row in job.table.read() if (row.video, row.frame) in stored]
        found = BoxSummary(
            **vars(summary),
            boxes=len(rows),
            manual=sum(row.source == DRAWN for row in rows),
            empty=sum(row.status == "empty" for row in rows),
            invalid=sum(row.status == "invalid_box" for row in rows),
            bad=sum(settings.is_bad(row) for row in rows),
            oracle=mask_filter is not None and mask_filter.source == "oracle",
            unmatched=tracks.unmatched if tracks is not None else 0,
            quality=LabelQuality.of(rows),
        )
        write_bytes(found.folder / REPORT_FILE, (json.dumps(found.to_json(), indent=2) + "\n").encode())
        return found

    return generate(job, tasks, Workers(shared=True, **workers), summarise)


def default_source(method: str, settings: BoxSettings) -> str:
    """Name of the labels in the store, which tells how they were made.

    Example:
        >>> default_source("box2seg", BoxSettings("middle", mask_filter=MaskFilter("oracle", 0.7)))
        'boxes_box2seg_ft_middle_oracle0.7'
    """
    name = f"boxes_{method}" + (f"_ft_{settings.finetune}" if settings.finetune else "")
    if settings.mask_filter is None:
        return name
    oracle = settings.mask_filter.source == "oracle"
    return f"{name}_oracle{settings.mask_filter.threshold:g}" if oracle else f"{name}_list"
