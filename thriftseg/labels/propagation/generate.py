"""Labels of annotated frames carried over to their neighbours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from thriftseg.costs import AnnotationCost, CostModel
from thriftseg.datasets import VideoDataset, shard
from thriftseg.labels.jobs.engine import Accelerator, run_job
from thriftseg.labels.jobs.storing import raise_unfinished
from thriftseg.labels.propagation.job import PropagationJob, PropagationOutcome
from thriftseg.labels.propagation.plan import PropagationPlan, PropagationTask, plan_propagation
from thriftseg.labels.propagation.propagators.protocol import Propagator
from thriftseg.labels.propagation.propagators.registry import create_propagator
from thriftseg.labels.review.agreement import Agreement
from thriftseg.stores import MANUAL, MIN_COMPONENT, LabelStore, ObjectUnit, action_id, price_actions, store_root


@dataclass(frozen=True)
class PropagationSummary:
    """What `label_propagate` did.

    Attributes:
        folder: Folder of the source.
        written: Labels made now.
        kept: Labels that were there already.
        superseded: See `PropagationPlan`.
        absent: See `PropagationPlan`.
        ignored_share: Mean share of pixels without a label, over all labels of this call.
        failures: One line per label that could not be made.
        lost: Objects that were lost on the way, counted once per annotated frame.
        empty: Annotated frames without any object; their labels are 255 everywhere, of confidence 0.
        cost: What the manual labels cost that the labels descend from; `None` without a cost model.
        agreement: By offset, agreement of the labels made now with manual labels of the same frames.
    """

    folder: Path
    written: int
    kept: int
    superseded: int
    absent: int
    ignored_share: float
    failures: tuple[str, ...] = ()
    lost: int = 0
    empty: int = 0
    cost: AnnotationCost | None = None
    agreement: Mapping[int, Agreement] = field(default_factory=dict)

    def __str__(self) -> str:
        notes = [
            f"{self.written} labels written to {self.folder}, {self.kept} were there already",
            f"{100 * self.ignored_share:.1f} % of their pixels carry no label",
        ]
        if self.superseded:
            notes.append(f"{self.superseded} left to a nearer annotated frame")
        if self.absent:
            notes.append(f"{self.absent} skipped for want of a frame")
        if self.lost:
            notes.append(f"{self.lost} objects lost on the way")
        if self.empty:
            notes.append(f"{self.empty} annotated frames without an object")
        return "; ".join(notes)


def label_propagate(
    dataset: VideoDataset,
    split: str,
    offsets: str | int | Iterable[int],
    *,
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
    devices: int = 1,
    accelerator: Accelerator = "auto",
    num_nodes: int = 1,
    rank: int = 0,
    world: int = 1,
    progress: bool = True,
) -> PropagationSummary:
    """Label the neighbours of all annotated frames of a split.

    A killed run goes on where it stopped when it is started again, and ends in the same files. What became of every
    object stands in the object log of the source (`thriftseg.stores.object_log`).

    Args:
        dataset: The data set.
        split: Its split.
        offsets: Offsets from the annotated frames, such as `-10..10`; 0 stands for the manual label itself.
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
        devices: Number of GPUs or CPU processes per node.
        accelerator: What the method computes on.
        num_nodes: Number of nodes that work together, see `run_job`.
        rank: This machine, 0..world-1; each takes a contiguous share of the clips.
        world: Number of machines that write to the same store without knowing of each other.
        progress: Whether to show a progress bar.

    Raises:
        ConfigError: An offset does not exist, or a setting is out of range.
        UnfinishedError: Some labels could not be made (the others are stored).
        LabelStoreError: The source holds labels that were made in another way, or a process died.
    """
    propagator = create_propagator(method) if isinstance(method, str) else method
    model = CostModel.named(cost_model) if isinstance(cost_model, str) else cost_model
    root = store_root(store, dataset.name)
    target = LabelStore(root, source or propagator.name, dataset.taxonomy)
    plan = plan_propagation(
        shard(dataset.clips(split), rank, world),
        offsets,
        include_annotated=include_annotated,
        on_missing=on_missing,
        annotated_every=annotated_every,
    )
    _check_price(dataset, plan, model)
    job = PropagationJob(
        dataset,
        propagator,
        root,
        target.source,
        object_unit=object_unit,
        min_area=min_area,
        save_objects=save_objects,
        rank=rank if world > 1 else None,
    )
    target.require_recipe(job.generator, job.arguments)
    outcomes = run_job(
        job,
        [task for task in (_without_done(task, target) for task in plan.tasks) if task.targets],
        description=f"propagate ({propagator.name})",
        devices=devices,
        accelerator=accelerator,
        num_nodes=num_nodes,
        progress=progress,
    )
    target.refresh()
    summary = _summarise(dataset, plan, target, outcomes, model)
    raise_unfinished(summary)
    return summary


def _check_price(dataset: VideoDataset, plan: PropagationPlan, model: CostModel | None) -> None:
    """Refuse a model that knows no price for this data set before the work, not after it."""
    if model is not None and not model.needs_label and plan.tasks:
        model.manual_frame(dataset.name)


def _without_done(task: PropagationTask, store: LabelStore) -> PropagationTask:
    left = tuple(target for target in task.targets if not store.has(task.clip.video, target))
    return PropagationTask(task.clip, task.annotated, left)


def _summarise(
    dataset: VideoDataset,
    plan: PropagationPlan,
    store: LabelStore,
    outcomes: Sequence[PropagationOutcome],
    model: CostModel | None,
) -> PropagationSummary:
    stored = [
        (task, row) for task in plan.tasks for n in task.targets if (row := store.labels.get((task.clip.video, n)))
    ]
    written = sum(outcome.written for outcome in outcomes)
    cost = None
    if model is not None:
        clips = [task.clip for task in plan.tasks]
        parents = dict.fromkeys(action_id(MANUAL, dataset.name, t.clip.video, t.annotated) for t, _ in stored)
        prices = price_actions(dataset, clips, parents, model, cache_folder=store.root)
        cost = sum(prices.values(), AnnotationCost())
    return PropagationSummary(
        store.folder,
        written,
        len(stored) - written,
        plan.superseded,
        plan.absent,
        ignored_share=sum(row.ignored_share for _, row in stored) / max(1, len(stored)),
        failures=tuple(sorted(failure for outcome in outcomes for failure in outcome.failures)),
        lost=sum(len(outcome.lost) for outcome in outcomes),
        empty=sum(outcome.empty for outcome in outcomes),
        cost=cost,
        agreement=_pooled(outcomes),
    )


def _pooled(outcomes: Iterable[PropagationOutcome]) -> dict[int, Agreement]:
    """Agreement of all clips by offset, in increasing order."""
    parts: dict[int, list[Agreement]] = {}
    for outcome in outcomes:
        for offset, part in outcome.agreement.items():
            parts.setdefault(offset, []).append(part)
    return {offset: Agreement.sum(parts[offset]) for offset in sorted(parts)}
