"""Propagating the objects of one annotated frame and storing what comes out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, ClassVar

import numpy as np

from thriftseg.arrays import UInt8Array
from thriftseg.costs import CostModel
from thriftseg.datasets import ClipReader
from thriftseg.errors import DatasetError, LabelStoreError, ThriftsegError
from thriftseg.labels.jobs.job import LabelJob, LabelOutcome
from thriftseg.labels.propagation.plan import PropagationTask
from thriftseg.labels.propagation.propagators.protocol import Propagated, Propagator
from thriftseg.labels.review.agreement import Agreement
from thriftseg.stores import (
    MIN_COMPONENT,
    LabelSource,
    LabelStore,
    LoggedObject,
    ObjectMap,
    ObjectUnit,
    SourceLabel,
    check_unit,
    objects_of,
)
from thriftseg.taxonomies import OBJECT_IDS
from thriftseg.types import Clip, LabelKind


@dataclass
class PropagationOutcome(LabelOutcome):
    """What became of one task.

    Attributes:
        lost: Objects that some label has lost.
        empty: Whether the annotated frame has no object.
        agreement: Agreement with manual labels by offset, where target frames have any.
    """

    lost: set[int] = field(default_factory=set)
    empty: bool = False
    agreement: dict[int, Agreement] = field(default_factory=dict)


class PropagationJob(LabelJob[PropagationTask, PropagationOutcome]):
    """Labels the targets of one annotated frame.

    In a data set of objects, the id is the class, and the labels are object ids again.

    A frame that cannot be read ends its direction of time: the labels before it are kept, the others are failures.
    Frames that the clip does not have are passed over.

    Args:
        labels: Reads the labels of the annotated frames.
        store: Where the labels go.
        propagator: Carries the objects.
        object_unit: What counts as one object.
        min_area: Smallest object of the unit "component", in pixels.
        save_objects: Whether to store object ids too.
        rank: Name of this machine among several that write without knowing of each other.
        cost_model: Prices the manual labels.
        description: Shown in front of the progress bar.

    Raises:
        ConfigError: There is no such unit of objects, or `min_area` is below 1.
    """

    dataset: ClipReader[Any]
    needs_instances: ClassVar[bool] = True
    """Whether an annotated frame without instances is a fault where the unit is "instance"."""

    def __init__(
        self,
        labels: LabelSource,
        store: LabelStore,
        propagator: Propagator,
        *,
        object_unit: ObjectUnit = "class",
        min_area: int = MIN_COMPONENT,
        save_objects: bool = False,
        rank: int | None = None,
        cost_model: str | CostModel | None = None,
        description: str = "propagate",
    ) -> None:
        check_unit(object_unit, min_area)
        area = {"min_area": min_area} if object_unit == "component" else {}
        super().__init__(
            labels.dataset,
            store,
            f"propagate/{propagator.name}",
            {**propagator.arguments, "object_unit": object_unit, **area},
            method=propagator,
            cost_model=cost_model,
            description=f"{description} ({propagator.name})",
        )
        self._labels, self._propagator, self._rank, self._save_objects = labels, propagator, rank, save_objects
        self._unit, self._min_area, self.shared = object_unit, min_area, rank is not None

    def open(self, writer: str | None = None) -> None:
        """Open the store under the name of this machine and process."""
        super().open("-".join(str(part) for part in (self._rank, writer) if part is not None) or None)

    def label(self, task: PropagationTask) -> PropagationOutcome:
        """Label the targets of one annotated frame."""
        outcome = PropagationOutcome()
        try:
            label, objects = self._read_objects(task)
        except ThriftsegError as error:
            outcome.fail(task, task.targets, error)
            return outcome
        outcome.empty = not objects.objects
        if task.annotated in task.targets:
            unmoved = Propagated(objects.ids, 1.0)
            self.store_label(task, task.annotated, label, LabelKind.MANUAL, objects, unmoved)
            outcome.written += 1
        for direction in (1, -1):
            self._walk(task, objects, direction, outcome)
        return outcome

    def annotation(self, task: PropagationTask) -> SourceLabel:
        """The label that a task starts from.

        Raises:
            LabelStoreError: It is gone.
        """
        found = self._labels.find(task.clip, task.annotated)
        if found is None:
            raise LabelStoreError(
                f"no label of frame {task.annotated} of {task.clip.video!r}", path=self._labels.folder
            )
        return found

    def _read_objects(self, task: PropagationTask) -> tuple[UInt8Array, ObjectMap]:
        """The label that a task starts from, and its objects."""
        start, instances = self.annotation(task), None
        label = self._labels.read(start)
        if self._unit == "instance":
            instances = self._labels.read_instances(start)
            if instances is None and self.needs_instances:
                raise DatasetError(
                    "no instance ids for this frame", path=start.path, fix="choose --object_unit class or component"
                )
        objects = objects_of(label, instances, self._unit, self.dataset.taxonomy.thing_ids, self._min_area)
        # What follows each object on its own need not follow all that is left beside them.
        alone = self.dataset.taxonomy is OBJECT_IDS and not self._propagator.hard
        return label, objects.without_background() if alone else objects

    def _walk(self, task: PropagationTask, objects: ObjectMap, direction: int, outcome: PropagationOutcome) -> None:
        targets = [n for n in task.targets if (n - task.annotated) * direction > 0]
        if not targets:
            return
        farthest = max(targets, key=lambda n: abs(n - task.annotated))
        low, high = sorted((task.annotated, farthest))
        way = sorted((n for n in task.clip.frames if low <= n <= high), reverse=direction < 0)
        frames = _Frames(self.dataset, task.clip, way, objects.ids.shape)
        missing = set(targets)
        for number, step in zip(way[1:], self._steps(objects, frames), strict=False):
            if number not in missing:
                continue
            label = objects.to_label(step.ids)
            label, logged = self.store_label(task, number, label, LabelKind.PROPAGATED, objects, step)
            missing.remove(number)
            outcome.written += 1
            outcome.lost |= {item.id for item in logged if item.lost}
            if number in task.clip.labels:
                self._compare(task, number, label, outcome)
        if frames.fault is not None:
            outcome.fail(task, missing, frames.fault)

    def _steps(self, objects: ObjectMap, frames: _Frames) -> Iterator[Propagated]:
        if not frames.readable:
            return iter(())
        if objects.objects:
            return (step.decide() for step in self._propagator.probabilities(objects, frames))
        return (Propagated(objects.ids, 0.0) for _ in islice(frames, 1, None))  # there is nothing to follow

    def store_label(
        self,
        task: PropagationTask,
        number: int,
        label: UInt8Array,
        kind: LabelKind,
        objects: ObjectMap,
        step: Propagated,
    ) -> tuple[UInt8Array, list[LoggedObject]]:
        """Store the label of a frame and what became of the objects in it.

        Returns:
            Both as they were stored.
        """
        video, logged = task.clip.video, logged_objects(objects, step)
        if number != task.annotated:
            self.store.object_log.write(video, number, logged)
            if self._save_objects:
                self.store.object_log.write_ids(video, number, step.ids, len(objects.objects))
        start = self.annotation(task)
        actions, licences = self._labels.recorded_actions(start), start.licences
        self.write(task, number, label, kind, start.actions, step.confidence, actions, licences=licences)
        return label, logged

    def _compare(self, task: PropagationTask, number: int, label: UInt8Array, outcome: PropagationOutcome) -> None:
        try:
            truth = self.dataset.read_label(task.clip, number)
        except DatasetError:
            return  # the label stands without it; a run that starts from this frame will report the file
        offset = round(task.clip.offset_of(task.annotated, number))
        outcome.agreement[offset] = Agreement.of(truth, label, self.dataset.taxonomy.num_classes)


class _Frames:
    """Frames of a clip one after the other, up to the first that cannot be used.

    They end there instead of raising, so that propagators that read ahead still give the labels before it.

    Attributes:
        fault: Why they ended early.
    """

    def __init__(self, dataset: ClipReader[Any], clip: Clip, numbers: list[int], size: tuple[int, ...]) -> None:
        self._dataset, self._clip, self._numbers, self._size = dataset, clip, numbers, size
        self.fault: DatasetError | None = None
        self._first = self._read(numbers[0])

    @property
    def readable(self) -> bool:
        """Whether there is at least the annotated frame."""
        return self._first is not None

    def __iter__(self) -> Iterator[UInt8Array]:
        frame, self._first = self._first, None
        for number in self._numbers[1:]:
            if frame is None:
                return
            yield frame
            frame = self._read(number)
        if frame is not None:
            yield frame

    def _read(self, number: int) -> UInt8Array | None:
        try:
            frame = self._dataset.read_frame(self._clip, number)
        except DatasetError as error:
            self.fault = error
            return None
        if frame.shape[:2] != self._size:
            self.fault = DatasetError(
                "frame and label differ in size",
                path=self._clip.frames[number],
                expected=f"{self._size[1]}x{self._size[0]} as the label",
                found=f"{frame.shape[1]}x{frame.shape[0]}",
            )
            return None
        return frame


def logged_objects(objects: ObjectMap, step: Propagated) -> list[LoggedObject]:
    """What became of every object in one frame."""
    pixels = np.bincount(step.ids.ravel(), minlength=len(objects.objects) + 1)
    return [
        LoggedObject(
            item.id,
            item.train_id,
            item.instance,
            int(pixels[item.id]),
            round(float(step.scores[item.id]), 6) if item.id in step.scores else None,
        )
        for item in objects.objects
    ]
