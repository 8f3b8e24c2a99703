"""From frames to counts: the work of one process, on one second of video at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from thriftseg.arrays import AnyArray, Int64Array, UInt8Array
from thriftseg.datasets import read_frame
from thriftseg.errors import DatasetError
from thriftseg.flow import FlowStore
from thriftseg.metrics import Rule, TemporalConsistency, VoidRule, boundary_counts, boundary_width, confusion_matrix
from thriftseg.reports.scoring.label_maps import LabelMapReader
from thriftseg.reports.scoring.pairing import PairedVideo


@dataclass(frozen=True)
class FrameTask:
    """The files of one frame.

    Attributes:
        number: Native number.
        pred: Prediction.
        truth: True label, if the frame is scored against one.
        frame: Picture, if there is one.
        before: The frame before, if the pair is scored.
    """

    number: int
    pred: Path
    truth: Path | None = None
    frame: Path | None = None
    before: FrameTask | None = None


@dataclass(frozen=True)
class Block:
    """One second of a video.

    Attributes:
        video: Position of the video.
        name: Name of the video.
        index: Second, from the first frame of the video.
        frames: What to do, in playing order.
    """

    video: int
    name: str
    index: int
    frames: tuple[FrameTask, ...]


@dataclass
class BlockCounts:
    """Sums over one block.

    Attributes:
        video: Position of the video.
        index: Second.
        frames: Scored frames.
        pairs: Scored pairs of adjacent frames.
        confusion: (C, C + 1) pixels by true and predicted class.
        boundary: (3, C) boundary pixels: both, true, predicted.
        consistency: (C, C + 1) pixels by class of the warped and of the actual prediction.
    """

    video: int
    index: int
    confusion: Int64Array
    boundary: Int64Array
    consistency: Int64Array
    frames: int = 0
    pairs: int = 0

    @classmethod
    def empty(cls, video: int, index: int, num_classes: int) -> BlockCounts:
        """Counts of nothing."""
        matrix = (num_classes, num_classes + 1)
        return cls(
            video, index, np.zeros(matrix, np.int64), np.zeros((3, num_classes), np.int64), np.zeros(matrix, np.int64)
        )


def cut_into_blocks(
    position: int,
    video: PairedVideo,
    fps: float,
    scored: Sequence[int],
    pairs: Sequence[int],
) -> Iterator[Block]:
    """Cut a video into blocks of one second.

    Args:
        position: Position of the video.
        video: The video.
        fps: Native frame numbers per second.
        scored: Numbers of the frames to compare with their label.
        pairs: Numbers of the frames to compare with the frame before.
    """
    seconds: dict[int, list[FrameTask]] = defaultdict(list)
    with_label, with_pair = set(scored), set(pairs)
    for number in sorted(with_label | with_pair):
        previous = number - video.step
        paired = number in with_pair
        task = FrameTask(
            number=number,
            pred=video.predictions[number],
            truth=video.labels[number] if number in with_label else None,
            frame=video.frames.get(number),
            before=FrameTask(previous, video.predictions[previous], frame=video.frames[previous]) if paired else None,
        )
        seconds[int((number - video.first) / fps)].append(task)
    for index, frames in seconds.items():
        yield Block(position, video.name, index, tuple(frames))


@dataclass(frozen=True)
class ClassRule:
    """How classes are compared with the truth.

    Attributes:
        boundary: Width of the boundary in pixels, or its share of the diagonal below 1; 0 leaves Boundary-IoU out.
        void: Rule for boundary pixels without a true class.
    """

    boundary: float = 0
    void: VoidRule = "ignore_after"

    def count(self, pred: UInt8Array, target: UInt8Array, counts: BlockCounts) -> None:
        """Add one frame."""
        num_classes = len(counts.confusion)
        of_pred, of_target = torch.from_numpy(pred)[None], torch.from_numpy(target)[None]
        counts.confusion += confusion_matrix(of_pred, of_target, num_classes).numpy()
        if self.boundary:
            width = boundary_width(self.boundary, *target.shape) if self.boundary < 1 else int(self.boundary)
            counts.boundary += boundary_counts(of_pred, of_target, num_classes, width, self.void).numpy()


@dataclass
class Seen:
    """A frame in memory.

    Attributes:
        task: Its files.
        ids: Predicted train ids, (H, W).
    """

    task: FrameTask
    ids: UInt8Array

    @cached_property
    def frame(self) -> UInt8Array:
        """The picture, read when it is asked for the first time."""
        if self.task.frame is None:
            raise ValueError(f"frame {self.task.number} has no picture")
        frame = read_frame(self.task.frame)
        check_size(self.ids, self.task.pred, frame, self.task.frame)
        return frame


@dataclass(frozen=True)
class PairRule:
    """How the predictions of adjacent frames are compared.

    Attributes:
        flow: Flow between the frames.
        rule: Rule of temporal consistency.
    """

    flow: FlowStore
    rule: Rule = "thriftseg"

    def count(self, video: str, last: Seen, seen: Seen, num_classes: int) -> Int64Array:
        """Counts (C, C + 1) of one pair."""
        check_size(seen.ids, seen.task.pred, last.ids, last.task.pred)
        frames = last.frame, seen.frame
        flows = torch.from_numpy(self.flow.both(video, last.task.number, seen.task.number, *frames))
        consistency = TemporalConsistency(num_classes, rule=self.rule)
        consistency.update(torch.from_numpy(seen.ids)[None], torch.from_numpy(last.ids)[None], flows[:1], flows[1:])
        counts: Int64Array = consistency.confusion.numpy()
        return counts


@dataclass(frozen=True)
class BlockCounter:
    """Reads the frames of a block and counts.

    Attributes:
        truth: Reads true labels.
        pred: Reads predictions.
        classes: What to count of classes.
        pairs: What to count of pairs.
    """

    truth: LabelMapReader
    pred: LabelMapReader
    classes: ClassRule | None = None
    pairs: PairRule | None = None

    def __call__(self, block: Block) -> BlockCounts:
        """Count a block.

        Raises:
            DatasetError: A file is unreadable, holds unknown ids, or sizes differ.
        """
        counts = BlockCounts.empty(block.video, block.index, self.pred.taxonomy.num_classes)
        last: Seen | None = None
        with _one_torch_thread():
            for task in block.frames:
                seen = Seen(task, self.pred.read(task.pred))
                self._compare(seen, counts)
                self._follow(block.name, last, seen, counts)
                last = seen
        return counts

    def _compare(self, seen: Seen, counts: BlockCounts) -> None:
        truth = seen.task.truth
        if self.classes is not None and truth is not None:
            target = self.truth.read(truth)
            check_size(seen.ids, seen.task.pred, target, truth)
            self.classes.count(seen.ids, target, counts)
            counts.frames += 1

    def _follow(self, video: str, last: Seen | None, seen: Seen, counts: BlockCounts) -> None:
        before = seen.task.before
        if self.pairs is not None and before is not None:
            if last is None or last.task.number != before.number:
                last = Seen(before, self.pred.read(before.pred))
            counts.consistency += self.pairs.count(video, last, seen, len(counts.confusion))
            counts.pairs += 1


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Every core has a process of its own to work for."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def check_size(one: AnyArray, path: Path, other: AnyArray, other_path: Path) -> None:
    """Refuse maps of different size.

    Raises:
        DatasetError: They differ.
    """
    if one.shape[:2] != other.shape[:2]:
        raise DatasetError(
            "sizes differ",
            path=path,
            expected=f"{other.shape[1]}x{other.shape[0]} as {other_path}",
            found=f"{one.shape[1]}x{one.shape[0]}",
            fix="resize the predictions with the nearest neighbour before scoring",
        )
