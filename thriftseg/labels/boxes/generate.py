"""Boxes turned into masks of objects, with the least of drawn masks [0].

[0] Voigtlaender et al., Reducing the Annotation Effort for Video Object Segmentation Datasets, WACV 2021.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path

import numpy as np

from thriftseg.atomic import write_bytes
from thriftseg.costs import AnnotationCost
from thriftseg.datasets import VOSClip, VOSDataset
from thriftseg.errors import DatasetError
from thriftseg.exchange import BoxTracks
from thriftseg.labels.boxes.job import BoxJob, BoxTask
from thriftseg.labels.boxes.masks import MANUAL
from thriftseg.labels.boxes.segmenters import BoxSegmenter
from thriftseg.labels.boxes.settings import BoxSettings, DrawnFrame, MaskFilter
from thriftseg.labels.boxes.sources import BoxSource, MaskBoxes, TrackBoxes
from thriftseg.labels.boxes.table import MaskRow, MaskTable
from thriftseg.labels.jobs.engine import Accelerator, run_job
from thriftseg.labels.jobs.storing import raise_unfinished
from thriftseg.metrics import MaskRecall
from thriftseg.stores import LabelStore, store_root

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


@dataclass(frozen=True)
class BoxSummary:
    """What `label_boxes` did.

    Attributes:
        folder: Folder of the source.
        written: Labels made now.
        kept: Labels that were there already.
        boxes: Boxes of these labels.
        manual: Masks that were drawn.
        empty: Boxes in which nothing was found.
        invalid: Boxes that are empty, inverted or outside of the frame.
        bad: Masks that the filter took out.
        oracle: Whether the filter looked at the truth.
        cost: What boxes and drawn masks cost.
        unmatched: Boxes of the file that lie in no frame of the split.
        quality: Quality of the masks, where the truth is known.
        failures: One line per label that could not be made.
    """

    folder: Path
    written: int
    kept: int
    boxes: int
    manual: int
    empty: int
    invalid: int
    bad: int
    oracle: bool
    cost: AnnotationCost
    unmatched: int = 0
    quality: LabelQuality | None = None
    failures: tuple[str, ...] = field(default=())

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
        values = asdict(self)
        for of_this_run in ("folder", "written", "kept", "failures"):
            del values[of_this_run]
        return {"labels": self.written + self.kept, **values, "cost": self.cost.to_dict()}


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
    devices: int = 1,
    accelerator: Accelerator = "auto",
    num_nodes: int = 1,
    progress: bool = True,
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
        devices: Number of GPUs or CPU processes per node.
        accelerator: What the method computes on.
        num_nodes: Number of nodes that work together, see `run_job`.
        progress: Whether to show a progress bar.

    Raises:
        ConfigError: A setting is out of range, or the method cannot be fine-tuned.
        DatasetError: There are no boxes.
        UnfinishedError: Some labels could not be made (the others are stored).
        LabelStoreError: The source holds labels that were made in another way, or a process died.
    """
    boxes: BoxSource = MaskBoxes(dataset, box_noise, seed) if tracks is None else TrackBoxes(tracks)
    settings = BoxSettings(finetune, seed, mask_filter, keep_soft)
    root, name = store_root(store, dataset.name), source or default_source(segmenter.name, settings)
    job = BoxJob(dataset, root, name, segmenter, boxes, settings)
    frames = [(clip, number) for clip in dataset.clips(split) for number in boxes.numbers(clip)]
    if not frames:
        raise DatasetError(f"split {split!r} of {dataset.name} has no boxes", path=dataset.root)
    target = job.prepare()
    todo = [(clip, number) for clip, number in frames if not target.has(clip.video, number)]
    outcomes = run_job(
        job,
        _tasks(todo, whole_videos=finetune is not None),
        description=f"boxes ({segmenter.name})",
        devices=devices,
        accelerator=accelerator,
        num_nodes=num_nodes,
        progress=progress,
    )
    target.refresh()
    summary = _summarise(
        target,
        frames,
        written=sum(outcome.written for outcome in outcomes),
        failures=sorted(failure for outcome in outcomes for failure in outcome.failures),
        settings=settings,
        unmatched=tracks.unmatched if tracks is not None else 0,
    )
    write_bytes(target.folder / REPORT_FILE, (json.dumps(summary.to_json(), indent=2) + "\n").encode())
    raise_unfinished(summary)
    return summary


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


def _tasks(frames: Sequence[tuple[VOSClip, int]], whole_videos: bool) -> list[BoxTask]:
    if not whole_videos:
        return [BoxTask(clip, (number,)) for clip, number in frames]
    videos = groupby(frames, key=lambda frame: frame[0].video)
    grouped = [list(video) for _, video in videos]
    return [BoxTask(video[0][0], tuple(number for _, number in video)) for video in grouped]


def _summarise(
    store: LabelStore,
    frames: Sequence[tuple[VOSClip, int]],
    *,
    written: int,
    failures: Sequence[str],
    settings: BoxSettings,
    unmatched: int,
) -> BoxSummary:
    stored = {(clip.video, number) for clip, number in frames if store.has(clip.video, number)}
    rows = [row for row in MaskTable(store.folder).read() if (row.video, row.frame) in stored]
    return BoxSummary(
        folder=store.folder,
        written=written,
        kept=len(stored) - written,
        boxes=len(rows),
        manual=sum(row.source == MANUAL for row in rows),
        empty=sum(row.status == "empty" for row in rows),
        invalid=sum(row.status == "invalid_box" for row in rows),
        bad=sum(settings.is_bad(row) for row in rows),
        oracle=settings.mask_filter is not None and settings.mask_filter.source == "oracle",
        cost=_cost(store, stored),
        unmatched=unmatched,
        quality=LabelQuality.of(rows),
        failures=tuple(failures),
    )


def _cost(store: LabelStore, frames: set[tuple[str, int]]) -> AnnotationCost:
    """What the distinct actions cost that the labels descend from."""
    paid = {parent for frame in frames for parent in store.labels[frame].parents}
    return sum((store.actions[action].cost for action in sorted(paid)), AnnotationCost())
