"""Making and storing the masks of boxes: frame by frame, or video by video where objects are learned first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from thriftseg.arrays import UInt8Array
from thriftseg.costs import CostModel
from thriftseg.datasets import Box, PixelBox, VOSClip, VOSDataset, pixel_box, write_label_png
from thriftseg.errors import ConfigError, DatasetError, ThriftsegError
from thriftseg.labels.boxes.masks import MANUAL, ObjectMask, compose_masks, ignore_boxes
from thriftseg.labels.boxes.segmenters import BoxSegmenter, LearnsOneMask
from thriftseg.labels.boxes.settings import BoxSettings, drawn_frame
from thriftseg.labels.boxes.sources import BoxSource, seed_of
from thriftseg.labels.boxes.table import MaskRow, MaskTable, recordable
from thriftseg.labels.jobs.engine import LabelJob
from thriftseg.labels.propagation.propagators.protocol import MovesToDevice
from thriftseg.metrics import present_ious
from thriftseg.stores import ActionRow, LabelStore, action_id
from thriftseg.taxonomies import OBJECT_IDS
from thriftseg.types import IGNORE_INDEX, LabelKind


@dataclass(frozen=True)
class BoxTask:
    """Frames of one video to be labelled.

    Attributes:
        clip: The video.
        numbers: Native frame numbers.
    """

    clip: VOSClip
    numbers: tuple[int, ...]


@dataclass
class BoxOutcome:
    """What became of one task.

    Attributes:
        written: Labels that were stored.
        failures: One line per label that could not be made.
    """

    written: int = 0
    failures: list[str] = field(default_factory=list)


class _Boxes(NamedTuple):
    given: Mapping[int, Box]
    valid: dict[int, PixelBox]


class BoxJob(LabelJob[BoxTask, BoxOutcome]):
    """Labels frames from the boxes in them.

    A frame that cannot be read is a failure of its own; with fine-tuning it is one of its whole video, as the frame in
    the middle depends on all of them.

    Args:
        dataset: The data set.
        root: Folder of the label store.
        source: Name of the labels in the store.
        segmenter: Makes the masks.
        boxes: Gives the boxes.
        settings: What is done beside that.

    Raises:
        ConfigError: The method cannot be fine-tuned.
    """

    def __init__(
        self,
        dataset: VOSDataset,
        root: Path,
        source: str,
        segmenter: BoxSegmenter,
        boxes: BoxSource,
        settings: BoxSettings,
    ) -> None:
        if settings.finetune and not isinstance(segmenter, LearnsOneMask):
            raise ConfigError(f"{segmenter.name} cannot be fine-tuned", fix="choose box2seg, or leave --finetune out")
        self._dataset, self._root, self._source = dataset, root, source
        self._segmenter, self._boxes_from, self._settings = segmenter, boxes, settings
        self._open(None)

    @property
    def generator(self) -> str:
        """What the rows name as the maker of the labels."""
        return f"boxes/{self._segmenter.name}"

    @property
    def arguments(self) -> dict[str, Any]:
        """Settings that the labels depend on."""
        tuning = (
            self._segmenter.tuning_arguments
            if self._settings.finetune and isinstance(self._segmenter, LearnsOneMask)
            else {}
        )
        return {
            **self._segmenter.arguments,
            **self._boxes_from.arguments,
            **tuning,
            **self._settings.arguments,
        }

    def prepare(self) -> LabelStore:
        """The store, free of what a killed run left behind.

        Raises:
            LabelStoreError: It holds labels that were made in another way.
        """
        self.finish()
        self._store.refresh()
        self._store.require_recipe(self.generator, self.arguments)
        return self._store

    def start(self, device: str, writer: str | None) -> None:
        """Prepare a process."""
        if isinstance(self._segmenter, MovesToDevice):
            self._segmenter.to(device)
        self._open(writer)

    def finish(self) -> None:
        """Merge what the processes wrote."""
        LabelStore(self._root, self._source, OBJECT_IDS).consolidate()
        MaskTable(self._store.folder).consolidate()

    def __call__(self, task: BoxTask) -> BoxOutcome:
        """Label the frames of a task."""
        outcome = BoxOutcome()
        learned: dict[int, list[ObjectMask]] = {}
        drawn: dict[int, int] = {}
        try:
            if self._settings.finetune:
                learned, drawn = self._learn_objects(task)
        except ThriftsegError as error:
            outcome.failures += [_failure(task.clip, number, error) for number in task.numbers]
            return outcome
        for number in task.numbers:
            try:
                boxes = self._boxes(task.clip, number)
                masks = learned[number] if self._settings.finetune else self._segment(task.clip, number, boxes)
                self._store_frame(task.clip, number, boxes, masks, drawn)
                outcome.written += 1
            except ThriftsegError as error:
                outcome.failures.append(_failure(task.clip, number, error))
        return outcome

    def _open(self, writer: str | None) -> None:
        self._store = LabelStore(self._root, self._source, OBJECT_IDS, writer=writer)
        self._table = MaskTable(self._store.folder, writer)

    def _boxes(self, clip: VOSClip, number: int) -> _Boxes:
        given, size = self._boxes_from.boxes(clip, number), self._dataset.clip_size(clip)
        if any(not 0 < object_id < IGNORE_INDEX for object_id in given):
            raise DatasetError(
                f"ids of frame {number} of {clip.video} do not fit a label", expected="1 to 254", found=max(given)
            )
        found = {object_id: pixel_box(box, size) for object_id, box in given.items()}
        return _Boxes(given, {object_id: box for object_id, box in found.items() if box is not None})

    def _segment(self, clip: VOSClip, number: int, boxes: _Boxes) -> list[ObjectMask]:
        return self._segmenter.segment(self._dataset.read_frame(clip, number), boxes.valid)

    def _learn_objects(self, task: BoxTask) -> tuple[dict[int, list[ObjectMask]], dict[int, int]]:
        """Masks by frame, and the frame of each object whose mask was drawn."""
        tracks: dict[int, dict[int, PixelBox]] = {}
        for number in self._boxes_from.numbers(task.clip):
            for object_id, box in self._boxes(task.clip, number).valid.items():
                tracks.setdefault(object_id, {})[number] = box
        masks: dict[int, list[ObjectMask]] = {number: [] for number in task.numbers}
        drawn: dict[int, int] = {}
        for object_id, track in tracks.items():
            drawn[object_id] = self._choose(task.clip, object_id, track)
            for number, mask in self._learn(task, object_id, track, drawn[object_id]).items():
                masks[number].append(mask)
        return masks, drawn

    def _choose(self, clip: VOSClip, object_id: int, track: Mapping[int, PixelBox]) -> int:
        numbers = [number for number in track if number in clip.labels]
        if not numbers:
            raise DatasetError(f"object {object_id} of {clip.video} has no drawn mask", fix="leave --finetune out")
        seed = seed_of(self._settings.seed, clip.video, object_id, "frame")
        return drawn_frame(numbers, self._settings.finetune or "middle", seed)

    def _learn(self, task: BoxTask, object_id: int, track: Mapping[int, PixelBox], drawn: int) -> dict[int, ObjectMask]:
        """Masks of one object by frame, from a method that has learned the drawn one and is then thrown away."""
        clip, segmenter = task.clip, self._segmenter
        mask = self._dataset.read_object_mask(clip, drawn, object_id)
        if not (mask == 1).any():
            raise DatasetError(f"the mask does not have object {object_id}", path=clip.labels[drawn])
        found = {drawn: ObjectMask(object_id, MANUAL, np.where(mask == 1, np.uint8(255), np.uint8(0)))}
        others = [number for number in task.numbers if number in track and number != drawn]
        if others and isinstance(segmenter, LearnsOneMask):
            seed = seed_of(self._settings.seed, clip.video, object_id)
            tuned = segmenter.fine_tuned(self._dataset.read_frame(clip, drawn), mask, seed)
            for number in others:
                (found[number],) = tuned.segment(self._dataset.read_frame(clip, number), {object_id: track[number]})
        return {number: mask for number, mask in found.items() if number in task.numbers}

    def _store_frame(
        self, clip: VOSClip, number: int, boxes: _Boxes, masks: Sequence[ObjectMask], drawn: Mapping[int, int]
    ) -> None:
        ids = compose_masks(masks, self._dataset.clip_size(clip))
        rows = self._rows(clip, number, boxes, masks, ids)
        bad = {row.object: boxes.valid[row.object] for row in rows if self._settings.is_bad(row)}
        rows = [replace(row, kept=row.kept and row.object not in bad) for row in rows]
        scores = [row.confidence for row in rows if row.kept and row.confidence is not None]
        if self._settings.keep_soft:
            self._store_soft(clip, number, masks, (ids.shape[0], ids.shape[1]))
        self._table.write(rows)
        self._store.write(
            clip.video,
            number,
            ignore_boxes(ids, bad),
            kind=LabelKind.BOXES,
            generator=self.generator,
            arguments=self.arguments,
            parents=self._record_actions(clip, number, boxes, drawn),
            confidence=float(np.mean(scores)) if scores else None,
            space="object_id",
        )

    def _rows(
        self, clip: VOSClip, number: int, boxes: _Boxes, masks: Sequence[ObjectMask], ids: UInt8Array
    ) -> list[MaskRow]:
        ious = self._ious(clip, number, boxes, ids)
        found = {mask.id: mask for mask in masks}
        rows = []
        for object_id, box in boxes.given.items():
            mask = found.get(object_id)
            row = MaskRow(
                video=clip.video,
                frame=number,
                object=object_id,
                box=recordable(box),
                status="invalid_box" if mask is None else "mask" if mask.area else "empty",
                source="" if mask is None else mask.source,
                area=int(np.count_nonzero(ids == object_id)),
                confidence=None if mask is None or mask.score is None else round(mask.score, 6),
                iou=ious.get(object_id),
                kept=mask is not None and mask.area > 0,
            )
            rows.append(row)
        return rows

    def _ious(self, clip: VOSClip, number: int, boxes: _Boxes, ids: UInt8Array) -> dict[int, float]:
        """IoU of the objects that the truth has; empty where there is no truth."""
        if number not in clip.labels:
            return {}
        truth = self._dataset.read_mask(clip, number)
        found, iou = present_ious(ids, np.where(truth > IGNORE_INDEX, 0, truth).astype(np.uint8), list(boxes.given))
        return {int(key): round(float(value), 6) for key, value in zip(found, iou, strict=True)}

    def _record_actions(self, clip: VOSClip, number: int, boxes: _Boxes, drawn: Mapping[int, int]) -> tuple[str, ...]:
        """Note the boxes and drawn masks that a label descends from, each once for all labels of all sources."""
        model, prefix = CostModel.named("polygon"), self._boxes_from.action
        work = [(f"{prefix}.{object_id}", number, model.box()) for object_id in boxes.valid]
        work += [(f"mask.{key}", drawn[key], model.mask()) for key in boxes.valid if key in drawn]
        actions = [
            ActionRow(action_id(name, self._dataset.name, clip.video, frame), self._source, clip.video, frame, cost)
            for name, frame, cost in work
        ]
        for action in actions:
            if action.id not in self._store.actions:
                self._store.record_action(action)
        return tuple(action.id for action in actions)

    def _store_soft(self, clip: VOSClip, number: int, masks: Sequence[ObjectMask], size: tuple[int, int]) -> None:
        for mask in masks:
            soft: UInt8Array = np.zeros(size, np.uint8)
            soft[mask.pixels] = mask.levels
            path = self._store.path_of(clip.video, number)
            write_label_png(path.with_suffix(f".{mask.id}.soft.png"), soft)


def _failure(clip: VOSClip, number: int, error: ThriftsegError) -> str:
    return f"{clip.video}/{number:06d}: {error.headline}"
