"""Propagating from a corrected frame without touching what is locked."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

import numpy as np
from msgspec.structs import replace

from thriftseg.arrays import UInt8Array, UInt16Array
from thriftseg.labels.propagation.again_plan import Correction
from thriftseg.labels.propagation.job import PropagationJob, logged_objects
from thriftseg.labels.propagation.plan import PropagationTask
from thriftseg.labels.propagation.propagators.protocol import Propagated, Propagator
from thriftseg.labels.review.decide import mask_of
from thriftseg.stores import (
    NO_OBJECT,
    LabelSource,
    LabelStore,
    LoggedObject,
    ObjectMap,
    ObjectUnit,
    Remade,
    ReviewedObject,
    SourceLabel,
)
from thriftseg.types import IGNORE_INDEX, Clip, LabelKind


class RepropagationJob(PropagationJob):
    """Labels the targets of one corrected frame, most of them again.

    Locked objects are painted over the new label and keep their numbers in the object log. Where objects are classes,
    nothing else in the frame becomes of their class. Corrections without instances are followed by class.

    Args:
        corrections: Corrected frames.
        labels: Reads their labels.
        store: The labels that are made.
        propagator: Carries the objects.
        object_unit: What counts as one object.
        min_area: Smallest object of the unit "component", in pixels.
        save_objects: Whether to store the object ids of all labels; without, of those that have some.
    """

    needs_instances = False

    def __init__(
        self,
        corrections: Sequence[Correction],
        labels: LabelSource,
        store: LabelStore,
        propagator: Propagator,
        *,
        object_unit: ObjectUnit,
        min_area: int,
        save_objects: bool,
    ) -> None:
        super().__init__(
            labels,
            store,
            propagator,
            object_unit=object_unit,
            min_area=min_area,
            save_objects=save_objects,
            description="propagate again",
        )
        self._corrections = {(item.label.clip.video, item.label.number): item for item in corrections}

    def is_done(self, clip: Clip, number: int) -> bool:
        """Never: `plan_repropagation` has left out what is done."""
        return False

    def annotation(self, task: PropagationTask) -> SourceLabel:
        """The corrected label."""
        return self._corrections[task.clip.video, task.annotated].label

    def store_label(
        self,
        task: PropagationTask,
        number: int,
        label: UInt8Array,
        kind: LabelKind,
        objects: ObjectMap,
        step: Propagated,
    ) -> tuple[UInt8Array, list[LoggedObject]]:
        """Store the label of a frame with its locked objects, and from which correction it was made."""
        correction, video = self._corrections[task.clip.video, task.annotated], task.clip.video
        reviews, log = self.store.reviews, self.store.object_log
        locked = reviews.locked_objects(video, number)
        alone = {item.train_id for item in locked} if self._unit == "class" else set()
        label, ids, logged = _paint(label, step, logged_objects(objects, step), locked, alone)
        log.write(video, number, logged)
        if self._save_objects or log.path_of_ids(video, number).is_file():
            log.write_ids(video, number, ids, max((item.id for item in logged), default=0))
        before = self.store.labels.get((video, number))
        parents = dict.fromkeys([*(before.parents if before else ()), *correction.label.actions])
        actions = self._labels.recorded_actions(correction.label)
        licences = [*(before.licences if before else ()), *correction.label.licences]
        self.write(task, number, label, kind, list(parents), step.confidence, actions, licences=licences)
        times = reviews.times_remade(video, number) + 1
        self.store.review_log.add([Remade(video, number, times, correction.source, task.annotated, correction.sha256)])
        return label, logged


def _paint(
    label: UInt8Array,
    step: Propagated,
    logged: Sequence[LoggedObject],
    locked: Sequence[ReviewedObject],
    alone: set[int],
) -> tuple[UInt8Array, UInt16Array, list[LoggedObject]]:
    """Put locked objects over new ones, which take the numbers that are left.

    Args:
        label: New label, (H, W) uint8 train ids.
        step: New objects.
        logged: The same for the object log.
        locked: Locked objects of the frame.
        alone: Classes that belong to locked objects only.

    Returns:
        Label, object ids and objects with the locked ones among them.
    """
    if not locked:
        return label, step.ids, list(logged)
    free = (number for number in count(1) if number not in {item.id for item in locked})
    kept = [item for item in logged if item.train_id not in alone]
    renumbered = {item.id: number for item, number in zip(kept, free, strict=False)}
    table = np.zeros(len(logged) + 1, np.uint16)
    table[list(renumbered)] = list(renumbered.values())
    ids, painted = table[step.ids], label.copy()
    painted[np.isin(label, sorted(alone))] = IGNORE_INDEX
    for item in locked:
        mask = mask_of(item)
        painted[mask], ids[mask] = item.train_id, item.id
    areas = np.bincount(ids.ravel(), minlength=NO_OBJECT + 1)
    entries = [replace(item, id=renumbered[item.id]) for item in kept]
    entries += [LoggedObject(item.id, item.train_id, None, 0) for item in locked]
    entries = [replace(item, pixels=int(areas[item.id]) if item.id < len(areas) else 0) for item in entries]
    return painted, ids, sorted(entries, key=lambda item: item.id)
