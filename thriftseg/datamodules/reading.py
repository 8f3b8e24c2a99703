"""Decoded frames and labels of clips, with size checks and an optional cache in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from thriftseg.arrays import UInt8Array
from thriftseg.datasets import VideoDataset, read_label_png
from thriftseg.errors import DatasetError
from thriftseg.stores import is_given, read_given
from thriftseg.types import IGNORE_INDEX, Clip, ClipFrame, Frame, TrainingSample


class ClipDecoder:
    """Reads frames and labels, remembering those that were preloaded.

    Preload before worker processes are forked: they then share the arrays of their parent.

    Args:
        dataset: The data set that reads its own files.
    """

    def __init__(self, dataset: VideoDataset) -> None:
        self.dataset = dataset
        self._frames: dict[Frame, UInt8Array] = {}
        self._labels: dict[tuple[str, str, int], UInt8Array] = {}

    def preload(self, frames: Iterable[ClipFrame], samples: Iterable[TrainingSample], threads: int = 2) -> None:
        """Decode frames, and the label maps of samples, into memory."""
        wanted = {(clip.video, number): clip for clip, number in frames}
        labelled = {(s.source, s.clip.video, s.number): s for s in samples if s.points is None}
        with ThreadPoolExecutor(threads) as pool:
            missing = [key for key in wanted if key not in self._frames]
            decoded = pool.map(lambda key: self.dataset.read_frame(wanted[key], key[1]), missing)
            self._frames.update(zip(missing, decoded, strict=True))
            unread = [key for key in labelled if key not in self._labels]
            self._labels.update(zip(unread, pool.map(lambda key: self._read_label(labelled[key]), unread), strict=True))

    def frame(self, clip: Clip, number: int) -> UInt8Array:
        """Frame (H, W, 3), RGB; the data set checks that a clip's frames have one size."""
        cached = self._frames.get((clip.video, number))
        return self.dataset.read_frame(clip, number) if cached is None else cached

    def frames(self, clip: Clip, numbers: Sequence[int]) -> list[UInt8Array]:
        """Frames of one clip; a repeated number is decoded once."""
        decoded = {number: self.frame(clip, number) for number in dict.fromkeys(numbers)}
        return [decoded[number] for number in numbers]

    def label(self, sample: TrainingSample, frame: UInt8Array) -> UInt8Array:
        """Label map (H, W) of a sample whose label is not kept as points.

        Raises:
            DatasetError: The label has another size than the frame.
        """
        label = self._labels.get((sample.source, sample.clip.video, sample.number))
        label = self._read_label(sample) if label is None else label
        if label.shape != frame.shape[:2]:
            raise DatasetError(
                "label and frame differ in size",
                path=sample.label or sample.clip.labels.get(sample.number),
                expected=f"{frame.shape[0]}x{frame.shape[1]}",
                found=f"{label.shape[0]}x{label.shape[1]}",
                fix="make labels at the size of the frames",
            )
        return label

    def _read_label(self, sample: TrainingSample) -> UInt8Array:
        if is_given(sample.source, sample.clip):
            return read_given(self.dataset, sample)
        if sample.label is None:
            raise DatasetError(
                f"sample {sample.id} of source {sample.source!r} has neither a label file nor points",
                fix="generate the labels of this source again",
            )
        label = read_label_png(sample.label)  # which other programs may have written over
        taxonomy = self.dataset.taxonomy
        wrong = label[(label >= taxonomy.num_classes) & (label != IGNORE_INDEX)]
        if wrong.size:
            raise DatasetError(
                f"train ids outside the class table {taxonomy.name!r}",
                path=sample.label,
                expected=f"0..{taxonomy.num_classes - 1} or {IGNORE_INDEX}",
                found=int(wrong[0]),
                fix="generate the labels of this source again",
            )
        return label.astype(np.uint8, copy=False)
