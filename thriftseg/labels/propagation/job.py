"""Propagating the objects of one annotated frame and storing what comes out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from thriftseg.arrays import UInt8Array
from thriftseg.datasets import VideoDataset
from thriftseg.errors import DatasetError, ThriftsegError
from thriftseg.labels.jobs.engine import LabelJob
from thriftseg.labels.propagation.plan import PropagationTask
from thriftseg.labels.propagation.propagators.protocol import MovesToDevice, Propagated, Propagator
from thriftseg.labels.review.agreement import Agreement
from thriftseg.stores import (
    MANUAL,
    MIN_COMPONENT,
    LabelStore,
    LoggedObject,
    ObjectMap,
    ObjectUnit,
    action_id,
    check_unit,
    objects_of,
)
from thriftseg.types import Clip, LabelKind


@dataclass
class PropagationOutcome:
    """What became of one task.

    Attributes:
        written: Labels that were stored.
        failures: One line per label that could not be made.
        lost: Objects that some label has lost.
        empty: Whether the annotated frame has no object.
        agreement: Agreement with manual labels by offset, where target frames have any.
    """

    written: int = 0
    failures: list[str] = field(default_factory=list)
    lost: set[int] = field(default_factory=set)
    empty: bool = False
    agreement: dict[int, Agreement] = field(default_factory=dict)


class PropagationJob(LabelJob[PropagationTask, PropagationOutcome]):
    """Labels the targets of one annotated frame.

    A frame that cannot be read ends its direction of time: the labels before it are kept, the others are failures.
    Frames that the clip does not have are passed over.

    Args:
        dataset: The data set.
        propagator: Carries the objects.
        root: Folder of the label store.
        source: Name of the labels in the store.
        object_unit: What counts as one object.
        min_area: Smallest object of the unit "component", in pixels.
        save_objects: Whether to store object ids too.
        rank: Name of this machine among several that write without knowing of each other.

    Raises:
        ConfigError: There is no such unit of objects, or `min_area` is below 1.
    """

    def __init__(
        self,
        dataset: VideoDataset,
        propagator: Propagator,
        root: Path,
        source: str,
        *,
        object_unit: ObjectUnit = "class",
        min_area: int = MIN_COMPONENT,
        save_objects: bool = False,
        rank: int | None = None,
    ) -> None:
        check_unit(object_unit, min_area)
        self._dataset, self._propagator = dataset, propagator
        self._root, self._source, self._rank = root, source, rank
        self._unit, self._min_area, self._save_objects = object_unit, min_area, save_objects
        self._store = LabelStore(root, source, dataset.taxonomy)

    @property
    def generator(self) -> str:
        """What the rows name as the maker of the labels."""
        return f"propagate/{self._propagator.name}"

    @property
    def arguments(self) -> dict[str, Any]:
        """Settings that the labels depend on."""
        area = {"min_area": self._min_area} if self._unit == "component" else {}
        return {**self._propagator.arguments, "object_unit": self._unit, **area}

    def start(self, device: str, writer: str | None) -> None:
        """Prepare a process."""
        if isinstance(self._propagator, MovesToDevice):
            self._propagator.to(device)
        parts = [str(part) for part in (self._rank, writer) if part is not None]
        self._store = LabelStore(self._root, self._source, self._dataset.taxonomy, writer="-".join(parts) or None)

    def finish(self) -> None:
        """Merge what the processes wrote, unless machines that nobody waits for may still be writing."""
        if self._rank is None:
            self._store.consolidate()

    def __call__(self, task: PropagationTask) -> PropagationOutcome:
        """Label the targets of one annotated frame."""
        outcome = PropagationOutcome()
        try:
            label, objects = self._read_objects(task)
        except ThriftsegError as error:
            outcome.failures += [_failure(task, target, error) for target in task.targets]
            return outcome
        outcome.empty = not objects.objects
        if task.annotated in task.targets:
            self._store_annotated(task, label, objects)
            outcome.written += 1
        for direction in (1, -1):
            self._walk(task, objects, direction, outcome)
        return outcome

    def _read_objects(self, task: PropagationTask) -> tuple[UInt8Array, ObjectMap]:
        label = self._dataset.read_label(task.clip, task.annotated)
        instances = None
        if self._unit == "instance":
            instances = self._dataset.read_instances(task.clip, task.annotated)
            if instances is None:
                raise DatasetError(
                    "no instance ids for this frame",
                    path=task.clip.labels[task.annotated],
                    fix="choose --object_unit class or component",
                )
        return label, objects_of(label, instances, self._unit, self._dataset.taxonomy.thing_ids, self._min_area)

    def _walk(self, task: PropagationTask, objects: ObjectMap, direction: int, outcome: PropagationOutcome) -> None:
        targets = [n for n in task.targets if (n - task.annotated) * direction > 0]
        if not targets:
            return
        farthest = max(targets, key=lambda n: abs(n - task.annotated))
        low, high = sorted((task.annotated, farthest))
        way = sorted((n for n in task.clip.frames if low <= n <= high), reverse=direction < 0)
        frames = _Frames(self._dataset, task.clip, way, objects.ids.shape)
        open_targets = set(targets)
        for number, step in zip(way[1:], self._steps(objects, frames), strict=False):
            if number in open_targets:
                self._store_step(task, objects, number, step, outcome)
                open_targets.remove(number)
        if frames.fault is not None:
            outcome.failures += [_failure(task, target, frames.fault) for target in sorted(open_targets)]

    def _store_annotated(self, task: PropagationTask, label: UInt8Array, objects: ObjectMap) -> None:
        self._write(task, task.annotated, label, 1.0, LabelKind.MANUAL)

    def _steps(self, objects: ObjectMap, frames: _Frames) -> Iterator[Propagated]:
        if not frames.readable:
            return iter(())
        if objects.objects:
            return (step.decide() for step in self._propagator.probabilities(objects, frames))
        return (Propagated(objects.ids, 0.0) for _ in islice(frames, 1, None))  # there is nothing to follow

    def _store_step(
        self, task: PropagationTask, objects: ObjectMap, number: int, step: Propagated, outcome: PropagationOutcome
    ) -> None:
        label, logged = objects.to_label(step.ids), logged_objects(objects, step)
        self._store.object_log.write(task.clip.video, number, logged)
        if self._save_objects:
            self._store.object_log.write_ids(task.clip.video, number, step.ids, len(objects.objects))
        self._write(task, number, label, step.confidence, LabelKind.PROPAGATED)
        outcome.written += 1
        outcome.lost |= {item.id for item in logged if item.lost}
        if number in task.clip.labels:
            self._compare(task, number, label, outcome)

    def _compare(self, task: PropagationTask, number: int, label: UInt8Array, outcome: PropagationOutcome) -> None:
        try:
            truth = self._dataset.read_label(task.clip, number)
        except DatasetError:
            return  # the label stands without it; a run that starts from this frame will report the file
        offset = round(task.clip.offset_of(task.annotated, number))
        outcome.agreement[offset] = Agreement.of(truth, label, self._dataset.taxonomy.num_classes)

    def _write(self, task: PropagationTask, number: int, label: UInt8Array, confidence: float, kind: LabelKind) -> None:
        self._store.write(
            task.clip.video,
            number,
            label,
            kind=kind,
            generator=self.generator,
            arguments=self.arguments,
            parents=self._parents(task, number),
            confidence=confidence,
        )

    def _parents(self, task: PropagationTask, number: int) -> list[str]:
        """Human actions that the label of a target descends from."""
        return [action_id(MANUAL, self._dataset.name, task.clip.video, task.annotated)]


class _Frames:
    """Frames of a clip one after the other, up to the first that cannot be used.

    They end there instead of raising, so that propagators that read ahead still give the labels before it.

    Attributes:
        fault: Why they ended early.
    """

    def __init__(self, dataset: VideoDataset, clip: Clip, numbers: list[int], size: tuple[int, ...]) -> None:
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
        LoggedObject(item.id, item.train_id, item.instance, int(pixels[item.id]), _rounded(step.scores, item.id))
        for item in objects.objects
    ]


def _rounded(scores: Mapping[int, float], number: int) -> float | None:
    return round(float(scores[number]), 6) if number in scores else None


def _failure(task: PropagationTask, target: int, error: ThriftsegError) -> str:
    return f"{task.clip.video}/{target:06d} (from frame {task.annotated}): {error.headline}"
