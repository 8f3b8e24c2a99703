"""Labels of annotated frames carried over to their neighbours."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from thriftseg.costs import CostModel
from thriftseg.datasets import ClipReader, shard
from thriftseg.errors import ConfigError
from thriftseg.labels.jobs.generate import generate
from thriftseg.labels.jobs.summary import Summary
from thriftseg.labels.propagation.job import PropagationJob, PropagationOutcome
from thriftseg.labels.propagation.plan import plan_propagation
from thriftseg.labels.propagation.propagators.protocol import Propagator
from thriftseg.labels.propagation.propagators.registry import create_propagator
from thriftseg.labels.review.agreement import Agreement
from thriftseg.stores import MANUAL, MIN_COMPONENT, LabelSource, LabelStore, ObjectUnit, SourceLabel, store_root
from thriftseg.workers import Workers


@dataclass(frozen=True, kw_only=True)
class PropagationSummary(Summary):
    """What `label_propagate` did.

    Attributes:
        superseded: See `PropagationPlan`.
        absent: See `PropagationPlan`.
        lost: Objects that were lost on the way, counted once per annotated frame.
        empty: Annotated frames without any object; their labels are 255 everywhere, of confidence 0.
        agreement: By offset, agreement of the labels made now with manual labels of the same frames.

    Example:
        >>> summary = PropagationSummary(Path("flow"), 8, kept=0, ignored_share=0.125, superseded=2, absent=0, lost=3)
        >>> str(summary).split("; ")[2:]
        ['2 left to a nearer annotated frame', '3 objects lost on the way']
    """

    superseded: int
    absent: int
    lost: int = 0
    empty: int = 0
    agreement: Mapping[int, Agreement] = field(default_factory=dict)

    def __str__(self) -> str:
        notes = (
            (self.superseded, "left to a nearer annotated frame"),
            (self.absent, "skipped for want of a frame"),
            (self.lost, "objects lost on the way"),
            (self.empty, "annotated frames without an object"),
        )
        return "; ".join([super().__str__(), *(f"{count} {note}" for count, note in notes if count)])


def label_propagate(
    dataset: ClipReader[Any],
    split: str,
    offsets: str | int | Iterable[int],
    *,
    annotations: str = MANUAL,
    method: str | Propagator = "flow",
    object_unit: ObjectUnit = "class",
    min_area: int = MIN_COMPONENT,
    store: str | Path | None = None,
    source: str | None = None,
    include_annotated: bool = False,
    save_objects: bool = False,
    on_missing: Literal["error", "skip"] = "error",
    annotated_every: int = 1,
    cost_model: str | CostModel | None = None,
    rank: int = 0,
    world: int = 1,
    **workers: Any,
) -> PropagationSummary:
    """Label the neighbours of all annotated frames of a split.

    A killed run goes on where it stopped when it is started again, and ends in the same files. What became of every
    object stands in the object log of the source (`thriftseg.stores.object_log`).

    Args:
        dataset: The data set, of labels of classes or of masks of objects.
        split: Its split.
        offsets: Offsets from the annotated frames, such as `-10..10`; 0 stands for the manual label itself.
        annotations: Source of labels that people made: "manual" of the data set, or one of the label store.
        method: Name of a propagator, see `create_propagator`, or one of your own (it is sent to other processes).
        object_unit: What counts as one object: "class", "instance" or "component".
        min_area: Smallest object of the unit "component", in pixels; smaller ones become 255.
        store: Folder of the label store; `labels/<dataset>` when absent.
        source: Name of the labels in the store; the name of the method when absent.
        include_annotated: Whether to copy the manual label to the store too when 0 is among the offsets.
        save_objects: Whether to store the object ids of each frame too.
        on_missing: "error", or "skip" to leave out offsets at which a clip has no frame.
        annotated_every: Start from every such annotated frame of a clip only, to compare with the others.
        cost_model: Prices the manual labels for the summary.
        rank: This machine, 0..world-1; each takes a contiguous share of the clips.
        world: Number of machines that write to the same store without knowing of each other.
        workers: Those of `thriftseg.workers.Workers`: `devices`, `accelerator`, `engine` and so on.

    Raises:
        ConfigError: An offset does not exist, a setting is out of range, or the annotations are not the work of people.
        UnfinishedError: Some labels could not be made (the others are stored).
        LabelStoreError: The split has no annotated frames, the source holds labels that were made in another way, or a
            process died.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from thriftseg.datasets import Folder, write_label_png
        >>> with tempfile.TemporaryDirectory() as root:
        ...     size = Path(root, "classes.yaml").write_text("classes: [{name: road}, {name: car}]")
        ...     halves = np.repeat([[0, 1]] * 16, 12, axis=1).astype(np.uint8)
        ...     for name in ("frames/7.png", "frames/8.png", "frames/9.png", "labels/7.png", "labels/9.png"):
        ...         write_label_png(Path(root, "train/drive", name), halves)
        ...     store = Path(root, "labels")
        ...     summary = label_propagate(Folder(root), "train", "1..2", annotated_every=2, store=store, progress=False)
        >>> summary.written, {offset: part.miou for offset, part in summary.agreement.items()}
        (2, {2: 1.0})
    """
    propagator = create_propagator(method) if isinstance(method, str) else method
    labels = LabelSource(dataset, store_root(store, dataset.name), annotations)
    plan = plan_propagation(
        shard(dataset.clips(split), rank, world),
        offsets,
        annotated=_numbers(labels.drawn(split)),
        include_annotated=include_annotated,
        on_missing=on_missing,
        annotated_every=annotated_every,
    )
    target = LabelStore(labels.root, propagator.name if source is None else source, dataset.taxonomy)
    if target.source == annotations:
        raise ConfigError("labels propagated into themselves", found=annotations, fix="choose another --source")
    job = PropagationJob(
        labels,
        target,
        propagator,
        object_unit=object_unit,
        min_area=min_area,
        save_objects=save_objects,
        rank=rank if world > 1 else None,
        cost_model=cost_model,
    )

    def summarise(summary: Summary, outcomes: Sequence[PropagationOutcome]) -> PropagationSummary:
        parts: dict[int, list[Agreement]] = defaultdict(list)
        for outcome in outcomes:
            for offset, agreement in outcome.agreement.items():
                parts[offset].append(agreement)
        return PropagationSummary(
            **vars(summary),
            superseded=plan.superseded,
            absent=plan.absent,
            lost=sum(len(outcome.lost) for outcome in outcomes),
            empty=sum(outcome.empty for outcome in outcomes),
            agreement={offset: Agreement.sum(parts[offset]) for offset in sorted(parts)},
        )

    return generate(job, plan.tasks, Workers(shared=True, **workers), summarise)


def _numbers(labels: Iterable[SourceLabel]) -> dict[str, list[int]]:
    """Native frame numbers by video."""
    found: dict[str, list[int]] = defaultdict(list)
    for label in labels:
        found[label.clip.video].append(label.number)
    return found
