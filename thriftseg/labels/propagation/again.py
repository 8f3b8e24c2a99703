"""Propagated labels made again where a person has corrected a frame."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from thriftseg.datasets import VideoDataset
from thriftseg.errors import ConfigError, LabelStoreError
from thriftseg.flow import estimator_of
from thriftseg.labels.jobs.generate import generate, sole_writers
from thriftseg.labels.jobs.summary import Summary
from thriftseg.labels.propagation.again_job import RepropagationJob
from thriftseg.labels.propagation.again_plan import Correction, RepropagationPlan, plan_repropagation
from thriftseg.labels.propagation.job import PropagationOutcome
from thriftseg.labels.propagation.propagators.protocol import Propagator
from thriftseg.labels.propagation.propagators.registry import PROPAGATORS, create_propagator
from thriftseg.labels.review.agreement import Agreement
from thriftseg.parsing import read_bytes
from thriftseg.stores import (
    MIN_COMPONENT,
    LabelRow,
    LabelSource,
    LabelStore,
    ObjectUnit,
    SourceLabel,
    canonical,
    store_root,
)
from thriftseg.workers import Workers

_GENERATOR = "propagate/"


@dataclass(frozen=True, kw_only=True)
class RepropagationSummary(Summary):
    """What `label_repropagate` did; `kept` are labels made again from these corrections before.

    Attributes:
        corrected: Frames that labels were made again from.
        locked: Locked labels in the clips with corrections, which were left alone.
        lost: Objects that were lost on the way, counted once per corrected frame.
        agreement: Agreement of the new labels with manual ones of the same frames; `None` where there are none.

    Example:
        >>> summary = RepropagationSummary(Path("flow"), 8, kept=0, ignored_share=0.1, corrected=2, locked=1, lost=3)
        >>> print(summary)
        8 labels of flow made again from 2 corrected frames; 1 locked labels left alone; 3 objects lost on the way
    """

    corrected: int
    locked: int
    lost: int = 0
    agreement: Agreement | None = None

    @property
    def done(self) -> int:
        """Labels made again from these corrections before."""
        return self.kept

    def __str__(self) -> str:
        notes = [f"{self.written} labels of {self.folder} made again from {self.corrected} corrected frames"]
        if self.kept:
            notes.append(f"{self.kept} were made from them before")
        if self.locked:
            notes.append(f"{self.locked} locked labels left alone")
        if self.lost:
            notes.append(f"{self.lost} objects lost on the way")
        if self.agreement is not None:
            notes.append(f"mIoU {self.agreement.miou:.3f} against manual labels of the same frames")
        return "; ".join(notes)


class Repropagation:
    """Labels of one source that corrections of another reach, and what it takes to make them again.

    Args:
        dataset: The data set.
        split: Its split.
        source: The propagated labels.
        corrections: Source of labels that people made, such as those of `import_labels`; or "manual".
        store: Folder of the label store; `labels/<dataset>` when absent.
        frames: The only frames that are made, labelled or not, as native numbers by video.

    Raises:
        ConfigError: The labels were not propagated, or the corrections are not the work of people.
        LabelStoreError: One of the sources has no labels; none of the first are needed where frames are named.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from thriftseg.datasets import Folder, write_label_png
        >>> from thriftseg.labels import label_propagate
        >>> with tempfile.TemporaryDirectory() as root:
        ...     size = Path(root, "classes.yaml").write_text("classes: [{name: road}, {name: car}]")
        ...     for name in ("frames/7.png", "frames/8.png", "frames/9.png", "labels/7.png", "labels/9.png"):
        ...         write_label_png(Path(root, "train/drive", name), np.zeros((16, 24), np.uint8))
        ...     dataset, store = Folder(root), Path(root, "labels")
        ...     summary = label_propagate(
        ...         dataset, "train", "1..2", method="nearest", annotated_every=2, store=store, progress=False
        ...     )
        ...     again = Repropagation(dataset, "train", "nearest", "manual", store=store)
        ...     print(again.plan())
        drive: the correction of frame 9 reaches 9
        1 labels to make again (--repropagate true), 1 made again before, 0 locked ones in these clips
    """

    def __init__(
        self,
        dataset: VideoDataset,
        split: str,
        source: str,
        corrections: str,
        *,
        store: str | Path | None = None,
        frames: Mapping[str, Collection[int]] | None = None,
    ) -> None:
        root = store_root(store, dataset.name)
        if source == corrections:
            raise ConfigError("labels that correct themselves", found=source, fix="give corrections another source")
        self.dataset = dataset
        self.store = LabelStore(root, source, dataset.taxonomy)
        self._frames = frames
        if frames is None or self.store.labels:
            _check_propagated(self.row, self.store)
        self._labels = LabelSource(dataset, root, corrections)
        drawn = self._labels.drawn(split)
        self._corrections = [self._correction(item) for item in drawn if frames is None or item.clip.video in frames]

    @property
    def row(self) -> LabelRow:
        """Row of a label that is there, which tells how they are made.

        Raises:
            LabelStoreError: There is none.
        """
        if not self.store.labels:
            raise LabelStoreError(f"no labels of source {self.store.source!r}", path=self.store.folder)
        return next(iter(self.store.labels.values()))

    def plan(self) -> RepropagationPlan:
        """What is still to be made again."""
        self.store.refresh()
        return plan_repropagation(self.store, self._corrections, self._frames)

    def run(
        self,
        propagator: Propagator | None = None,
        *,
        object_unit: ObjectUnit | None = None,
        save_objects: bool = False,
        **workers: Any,
    ) -> RepropagationSummary:
        """Make labels again; see `label_repropagate`."""
        known = self.row.arguments if propagator is None or self.store.labels else {}
        job = RepropagationJob(
            self._corrections,
            self._labels,
            self.store,
            propagator_like(self.row) if propagator is None else propagator,
            object_unit=object_unit or known.get("object_unit", "class"),
            min_area=known.get("min_area", MIN_COMPONENT),
            save_objects=save_objects,
        )
        if known:
            _check_recipe(job, self.row, self.store)
        crew = Workers(shared=True, **workers)

        def summarise(summary: Summary, outcomes: Sequence[PropagationOutcome]) -> RepropagationSummary:
            parts = [part for outcome in outcomes for part in outcome.agreement.values()]
            return RepropagationSummary(
                **vars(replace(summary, kept=plan.done)),
                corrected=len(plan.tasks),
                locked=plan.locked,
                lost=sum(len(outcome.lost) for outcome in outcomes),
                agreement=Agreement.sum(parts) if parts else None,
            )

        with sole_writers(self.store, crew):  # what others do meanwhile would be done again
            plan = self.plan()
            return generate(job, plan.tasks, crew, summarise)

    def _correction(self, label: SourceLabel) -> Correction:
        if self._labels.is_given(label.clip):
            digest = hashlib.sha256(read_bytes(label.clip.labels[label.number])).hexdigest()
        else:
            digest = self._labels.store.labels[label.clip.video, label.number].sha256
        return Correction(label, self._labels.source, digest)


def label_repropagate(
    dataset: VideoDataset,
    split: str,
    source: str,
    corrections: str,
    *,
    store: str | Path | None = None,
    propagator: Propagator | None = None,
    frames: Mapping[str, Collection[int]] | None = None,
    object_unit: ObjectUnit | None = None,
    save_objects: bool = False,
    **workers: Any,
) -> RepropagationSummary:
    """Make those propagated labels again that a correction can reach, and no others.

    See `plan_repropagation` for how far that is. A corrected frame that the source has a label of gets the corrected
    one. Locked frames stay as they are, locked objects keep their pixels, and decisions about labels that are made
    again are void. The new labels descend from the human work behind the old ones and from that of the correction.
    A killed run goes on when it is started again; so does one after further corrections, or a correction of these.
    Where the unit is "instance", corrections without instances are followed by class.

    Args:
        dataset: The data set.
        split: Its split.
        source: The propagated labels.
        corrections: Source of labels that people made, such as those of `import_labels`; or "manual".
        store: Folder of the label store; `labels/<dataset>` when absent.
        propagator: What the labels were made with; built from their rows when absent, which networks need weights for.
        frames: The only frames that are made, as native numbers by video. Those that a correction reaches get a label
            although they have none, so that the source may be new, with a propagator; not those corrected themselves.
        object_unit: What counts as one object; as in the labels that are there, and "class" in a new source, if unset.
        save_objects: Whether to store the object ids of all labels; without, of those that have some.
        workers: Those of `thriftseg.workers.Workers`: `devices`, `accelerator`, `engine` and so on.

    Raises:
        ConfigError: The labels were not propagated, or with another method or other settings; or the corrections are
            not the work of people.
        LabelStoreError: One of the sources has no labels, or a process died.
        UnfinishedError: Some labels could not be made (the others are stored).

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from thriftseg.datasets import Folder, write_label_png
        >>> from thriftseg.labels import label_propagate
        >>> from thriftseg.types import LabelKind
        >>> with tempfile.TemporaryDirectory() as root:
        ...     size = Path(root, "classes.yaml").write_text("classes: [{name: road}, {name: car}]")
        ...     for name in ("frames/7.png", "frames/8.png", "frames/9.png", "labels/7.png"):
        ...         write_label_png(Path(root, "train/drive", name), np.zeros((16, 24), np.uint8))
        ...     dataset, store = Folder(root), Path(root, "labels")
        ...     made = label_propagate(dataset, "train", "1..2", method="nearest", store=store, progress=False)
        ...     corrected = LabelStore(store, "person", dataset.taxonomy)
        ...     row = corrected.write("drive", 9, np.ones((16, 24), np.uint8), kind=LabelKind.MANUAL, generator="page")
        ...     again = label_repropagate(dataset, "train", "nearest", "person", store=store, progress=False)
        ...     label = LabelStore(store, "nearest", dataset.taxonomy).read("drive", 9)
        ...     made.written, again.written, int(label.min())
        (2, 1, 1)
    """
    repropagation = Repropagation(dataset, split, source, corrections, store=store, frames=frames)
    return repropagation.run(
        propagator,
        object_unit=object_unit,
        save_objects=save_objects,
        **workers,
    )


def propagator_like(row: LabelRow, weights: str | Path | None = None, **settings: Any) -> Propagator:
    """Build the propagator that made a label.

    Args:
        row: Row of the label.
        weights: Weights of the network, or of RAFT, which rows do not hold.
        settings: What else its arguments do not tell; these win.

    Raises:
        ConfigError: The method is unknown or does not take a setting.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from thriftseg.labels import FlowPropagator
        >>> from thriftseg.taxonomies import CAMVID
        >>> from thriftseg.types import LabelKind
        >>> made = {"kind": LabelKind.PROPAGATED, "generator": "propagate/flow"}
        >>> with tempfile.TemporaryDirectory() as root:
        ...     store, label = LabelStore(root, "flow", CAMVID), np.zeros((4, 6), np.uint8)
        ...     row = store.write("drive", 8, label, arguments=FlowPropagator(beta=1.0).arguments, **made)
        >>> propagator_like(row).arguments["beta"], propagator_like(row, beta=2.0).arguments["beta"]
        (1.0, 2.0)
    """
    method = row.generator.removeprefix(_GENERATOR)
    # Rows hold digests of weights and the names of objects, which are no settings.
    names = set(inspect.signature(PROPAGATORS.find(method)).parameters) - {"weights", "estimator"}
    known = {name: value for name, value in row.arguments.items() if name in names}
    if str(row.arguments.get("estimator", "")).startswith("RAFT"):
        known["estimator"] = estimator_of("raft", weights)
    elif weights is not None:
        known["weights"] = weights
    return create_propagator(method, **{**known, **settings})


def _check_propagated(row: LabelRow, store: LabelStore) -> None:
    if not row.generator.startswith(_GENERATOR):
        raise ConfigError(
            f"labels of source {store.source!r} were not propagated", path=store.manifest_path, found=row.generator
        )


def _check_recipe(job: RepropagationJob, row: LabelRow, store: LabelStore) -> None:
    found, wanted = (
        canonical({"generator": generator, **arguments})
        for generator, arguments in ((job.generator, job.arguments), (row.generator, row.arguments))
    )
    if found != wanted:
        raise ConfigError(
            f"source {store.source!r} was propagated in another way",
            path=store.manifest_path,
            expected=wanted,
            found=found,
            fix="give the weights and settings it was made with",
        )
