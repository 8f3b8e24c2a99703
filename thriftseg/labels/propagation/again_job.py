"""Propagating from a corrected frame without touching what is locked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np

from thriftseg.arrays import UInt8Array, UInt16Array
from thriftseg.labels.propagation.again_plan import Correction
from thriftseg.labels.propagation.job import PropagationJob, PropagationOutcome, logged_objects
from thriftseg.labels.propagation.plan import PropagationTask
from thriftseg.labels.propagation.propagators.protocol import Propagated, Propagator
from thriftseg.labels.review.decide import mask_of
from thriftseg.stores import (
    NO_OBJECT,
    LabelSource,
    LoggedObject,
    ObjectMap,
    ObjectUnit,
    Remade,
    ReviewedObject,
    objects_of,
)
from thriftseg.types import IGNORE_INDEX, LabelKind


class RepropagationJob(PropagationJob):
    """Labels the targets of one corrected frame again.

    Locked objects are painted over the new label and keep their numbers in the object log. Where objects are classes,
    nothing else in the frame becomes of their class.

    Args:
        corrections: Corrected frames.
        labels: Reads their labels.
        propagator: Carries the objects.
        root: Folder of the label store.
        source: Name of the labels that are made again.
        object_unit: What counts as one object. Corrections from a label store have no instances, so that "instance"
            means classes there.
        min_area: Smallest object of the unit "component", in pixels.
    """

    def __init__(
        self,
        corrections: Sequence[Correction],
        labels: LabelSource,
        propagator: Propagator,
        root: Path,
        source: str,
        *,
        object_unit: ObjectUnit,
        min_area: int,
    ) -> None:
        super().__init__(labels.dataset, propagator, root, source, object_unit=object_unit, min_area=min_area)
        self._labels = labels
        self._corrections = {(item.label.clip.video, item.label.number): item for item in corrections}

    def _read_objects(self, task: PropagationTask) -> tuple[UInt8Array, ObjectMap]:
        correction = self._correction(task)
        label, instances = self._labels.read(correction.label), None
        if self._unit == "instance" and self._labels.is_given(task.clip):
            instances = self._dataset.read_instances(task.clip, task.annotated)
        objects = objects_of(label, instances, self._unit, self._dataset.taxonomy.thing_ids, self._min_area)
        for action in self._labels.recorded_actions(correction.label):
            self._store.record_action(action)
        return label, objects

    def _store_annotated(self, task: PropagationTask, label: UInt8Array, objects: ObjectMap) -> None:
        self._store_painted(task, task.annotated, label, objects, Propagated(objects.ids, 1.0), LabelKind.MANUAL)

    def _store_step(
        self, task: PropagationTask, objects: ObjectMap, number: int, step: Propagated, outcome: PropagationOutcome
    ) -> None:
        label = objects.to_label(step.ids)
        label, logged = self._store_painted(task, number, label, objects, step, LabelKind.PROPAGATED)
        outcome.written += 1
        outcome.lost |= {item.id for item in logged if item.lost}
        if number in task.clip.labels:
            self._compare(task, number, label, outcome)

    def _store_painted(
        self,
        task: PropagationTask,
        number: int,
        label: UInt8Array,
        objects: ObjectMap,
        step: Propagated,
        kind: LabelKind,
    ) -> tuple[UInt8Array, list[LoggedObject]]:
        video, log = task.clip.video, self._store.object_log
        locked = self._store.reviews.locked_objects(video, number)
        alone = {item.train_id for item in locked} if self._unit == "class" else set()
        label, ids, logged = _paint(label, step, logged_objects(objects, step), locked, alone)
        log.write(video, number, logged)
        if log.path_of_ids(video, number).is_file():
            log.write_ids(video, number, ids, max((item.id for item in logged), default=0))
        self._write(task, number, label, step.confidence, kind)
        return label, logged

    def _write(self, task: PropagationTask, number: int, label: UInt8Array, confidence: float, kind: LabelKind) -> None:
        super()._write(task, number, label, confidence, kind)
        correction, video = self._correction(task), task.clip.video
        times = self._store.reviews.times_remade(video, number) + 1
        note = Remade(video, number, times, correction.source, task.annotated, correction.sha256)
        self._store.review_log.add([note])

    def _parents(self, task: PropagationTask, number: int) -> list[str]:
        before = self._store.labels[task.clip.video, number].parents
        return list(dict.fromkeys([*before, *self._correction(task).label.actions]))

    def _correction(self, task: PropagationTask) -> Correction:
        return self._corrections[task.clip.video, task.annotated]


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
