"""Making and storing the masks of boxes: frame by frame, or video by video where objects are learned first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from msgspec.structs import replace

from thriftseg.arrays import UInt8Array
from thriftseg.costs import CostModel
from thriftseg.datasets import Box, PixelBox, VOSClip, VOSDataset, pixel_box, write_label_png
from thriftseg.errors import ConfigError, DatasetError, ThriftsegError
from thriftseg.labels.boxes.masks import DRAWN, ObjectMask, compose_masks, ignore_boxes, ignore_doubtful
from thriftseg.labels.boxes.segmenters import BoxSegmenter, LearnsOneMask, SeesMotion
from thriftseg.labels.boxes.settings import BoxSettings, drawn_frame
from thriftseg.labels.boxes.sources import BoxSource, seed_of
from thriftseg.labels.boxes.table import MaskRow, MaskTable, recordable
from thriftseg.labels.jobs.job import FrameJob, LabelOutcome, LabelTask
from thriftseg.metrics import present_ious
from thriftseg.stores import ActionRow, LabelStore, action_id
from thriftseg.types import IGNORE_INDEX, LabelKind


@dataclass(frozen=True)
class BoxTask(LabelTask):
    """Frames of one video that are labelled in one go."""

    clip: VOSClip


class _Boxes(NamedTuple):
    given: Mapping[int, Box]
    valid: dict[int, PixelBox]


class BoxJob(FrameJob[BoxTask]):
    """Labels frames from the boxes in them.

    A frame that cannot be read is a failure of its own; with fine-tuning it is one of its whole video, as the frame in
    the middle depends on all of them.

    Args:
        dataset: The data set.
        store: Where the labels go.
        segmenter: Makes the masks.
        boxes: Gives the boxes.
        settings: What is done beside that.

    Raises:
        ConfigError: The method cannot be fine-tuned.
    """

    dataset: VOSDataset

    def __init__(
        self,
        dataset: VOSDataset,
        store: LabelStore,
        segmenter: BoxSegmenter,
        boxes: BoxSource,
        settings: BoxSettings,
    ) -> None:
        tuning: Mapping[str, Any] = {}
        if settings.finetune:
            if not isinstance(segmenter, LearnsOneMask):
                raise ConfigError(
                    f"{segmenter.name} cannot be fine-tuned", fix="choose box2seg, or leave --finetune out"
                )
            tuning = segmenter.tuning_arguments
        super().__init__(
            dataset,
            store,
            f"boxes/{segmenter.name}",
            {**segmenter.arguments, **boxes.arguments, **tuning, **settings.arguments},
            method=segmenter,
            description=f"boxes ({segmenter.name})",
        )
        self._segmenter, self._boxes_from, self._settings = segmenter, boxes, settings
        self._learned: dict[int, list[ObjectMask]] = {}
        self._drawn: dict[int, int] = {}

    def open(self, writer: str | None = None) -> None:
        """Open the store and the table of masks."""
        super().open(writer)
        self.table = MaskTable(self.store.folder, writer)

    def finish(self) -> None:
        """Merge what the processes wrote."""
        super().finish()
        MaskTable(self.store.folder).consolidate()

    def label(self, task: BoxTask) -> LabelOutcome:
        """Label the frames of a task."""
        if self._settings.finetune:
            try:
                self._learned, self._drawn = self._learn_objects(task)
            except ThriftsegError as error:
                outcome = LabelOutcome()
                outcome.fail(task, task.targets, error)
                return outcome
        return super().label(task)

    def make(self, task: BoxTask, number: int) -> None:
        """Make and store the label of a frame, and the rows of its masks."""
        clip, boxes = task.clip, self._boxes(task.clip, number)
        if self._settings.finetune:
            masks = self._learned[number]
        else:
            frame = self.dataset.read_frame(clip, number)
            if isinstance(self._segmenter, SeesMotion):
                masks = self._segmenter.segment_moving(frame, boxes.valid, self._beside(clip, number))
            else:
                masks = self._segmenter.segment(frame, boxes.valid)
        height, width = self.dataset.clip_size(clip)
        ids = compose_masks(masks, (height, width))
        rows = self._rows(clip, number, boxes, masks, ids)
        bad = {row.object: boxes.valid[row.object] for row in rows if self._settings.is_bad(row)}
        empty = {row.object: boxes.valid[row.object] for row in rows if row.status == "empty"}
        rows = [replace(row, kept=row.kept and row.object not in bad) for row in rows]
        scores = [row.confidence for row in rows if row.kept and row.confidence is not None]
        for mask in masks if self._settings.keep_soft else ():
            soft: UInt8Array = np.zeros((height, width), np.uint8)
            soft[mask.pixels] = mask.levels
            write_label_png(self.store.path_of(clip.video, number).with_suffix(f".{mask.id}.soft.png"), soft)
        self.table.write(rows)
        actions = self._actions(clip, number, boxes)
        parents = [action.id for action in actions]
        confidence = float(np.mean(scores)) if scores else None
        label = ignore_doubtful(ignore_boxes(ids, bad | empty), masks)
        self.write(task, number, label, LabelKind.BOXES, parents, confidence, actions)

    def _beside(self, clip: VOSClip, number: int) -> UInt8Array | None:
        """The next frame or, failing that, the one before."""
        for other in (number + clip.frame_step, number - clip.frame_step):
            if other in clip.frames:
                with suppress(ThriftsegError):  # one that cannot be read is listed when its own label is made
                    return self.dataset.read_frame(clip, other)
        return None

    def _boxes(self, clip: VOSClip, number: int) -> _Boxes:
        given, size = self._boxes_from.boxes(clip, number), self.dataset.clip_size(clip)
        if any(not 0 < object_id < IGNORE_INDEX for object_id in given):
            raise DatasetError(
                f"ids of frame {number} of {clip.video} do not fit a label", expected="1 to 254", found=max(given)
            )
        found = {object_id: pixel_box(box, size) for object_id, box in given.items()}
        return _Boxes(given, {object_id: box for object_id, box in found.items() if box is not None})

    def _learn_objects(self, task: BoxTask) -> tuple[dict[int, list[ObjectMask]], dict[int, int]]:
        """Masks by frame, and the frame of each object whose mask was drawn."""
        tracks: dict[int, dict[int, PixelBox]] = {}
        for number in self._boxes_from.numbers(task.clip):
            for object_id, box in self._boxes(task.clip, number).valid.items():
                tracks.setdefault(object_id, {})[number] = box
        masks: dict[int, list[ObjectMask]] = {number: [] for number in task.targets}
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
        mask = self.dataset.read_object_mask(clip, drawn, object_id)
        if not (mask == 1).any():
            raise DatasetError(f"the mask does not have object {object_id}", path=clip.labels[drawn])
        found = {drawn: ObjectMask(object_id, DRAWN, np.where(mask == 1, np.uint8(255), np.uint8(0)))}
        others = [number for number in task.targets if number in track and number != drawn]
        if others and isinstance(segmenter, LearnsOneMask):
            seed = seed_of(self._settings.seed, clip.video, object_id)
            tuned = segmenter.fine_tuned(self.dataset.read_frame(clip, drawn), mask, seed)
            for number in others:
                (found[number],) = tuned.segment(self.dataset.read_frame(clip, number), {object_id: track[number]})
        return {number: mask for number, mask in found.items() if number in task.targets}

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
        truth = self.dataset.read_mask(clip, number)
        found, iou = present_ious(ids, np.where(truth > IGNORE_INDEX, 0, truth).astype(np.uint8), list(boxes.given))
        return {int(key): round(float(value), 6) for key, value in zip(found, iou, strict=True)}

    def _actions(self, clip: VOSClip, number: int, boxes: _Boxes) -> list[ActionRow]:
        """The boxes and drawn masks that a label descends from, each the same for all labels of all sources."""
        model, prefix = CostModel.named("polygon"), self._boxes_from.action  # both models have the same times
        work = [(f"{prefix}.{object_id}", number, model.box()) for object_id in boxes.valid]
        work += [(f"mask.{key}", self._drawn[key], model.mask()) for key in boxes.valid if key in self._drawn]
        return [
            ActionRow(action_id(name, self.dataset.name, clip.video, frame), self.store.source, clip.video, frame, cost)
            for name, frame, cost in work
        ]
