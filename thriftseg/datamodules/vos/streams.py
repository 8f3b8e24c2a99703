"""Whole videos for evaluation, read frame by frame, each by exactly one process."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from thriftseg.arrays import Int32Array, UInt8Array
from thriftseg.datamodules.transforms import write_planar
from thriftseg.datasets import VOSClip, VOSDataset, resize_frame, shard
from thriftseg.types import IGNORE_INDEX, VOSFrame

READ_AHEAD = 2
"""Frames that are read while the network is busy."""


class VideoStream:
    """A video that is read while it is iterated over; see `types.VOSVideo`.

    Frames are read up to the last one that needs a prediction. An object is given on the frame that introduces it,
    alone: other objects of that mask are left out, ignored pixels are kept.

    Args:
        dataset: Reader of the video.
        clip: The video.
        resize: Shorter side of the frames; `None` keeps the size of the files. Truth always has the size of the files.
        truth: Read the masks of the scored frames.

    Attributes:
        video: Name of the video.
        size: Height and width of its files.
        seen: Whether the category of each object occurs in training, where the data set tells.
    """

    def __init__(self, dataset: VOSDataset, clip: VOSClip, resize: int | None = None, truth: bool = True) -> None:
        self.dataset, self.clip, self.resize, self._truth = dataset, clip, resize, truth
        self.video = clip.video

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the files."""
        return self.dataset.clip_size(self.clip)

    @property
    def seen(self) -> Mapping[int, bool]:
        """Whether the category of each object occurs in training; empty where that is not known."""
        known = getattr(self.dataset, "seen", None)
        return known(self.clip) if known is not None and self.clip.listed else {}

    def __iter__(self) -> Iterator[VOSFrame]:
        """The frames in playing order; the next ones are read in the background."""
        introduced = self.dataset.introductions(self.clip)
        last = max(self.clip.scored)
        ahead: deque[Future[VOSFrame]] = deque()
        with ThreadPoolExecutor(1) as reader:
            for number in (number for number in self.clip.frames if number <= last):
                ahead.append(reader.submit(self._frame, number, introduced.get(number, ())))
                if len(ahead) > READ_AHEAD:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()

    def _frame(self, number: int, ids: tuple[int, ...]) -> VOSFrame:
        image = self.dataset.read_frame(self.clip, number)
        height, width = image.shape[:2]
        factor = self.resize / min(height, width) if self.resize else 1.0
        size = round(height * factor), round(width * factor)
        planar = np.empty((3, *size), np.uint8)
        write_planar(resize_frame(image, size), planar)
        scored = number in self.clip.scored
        has_truth = self._truth and scored and number in self.clip.labels
        mask = self.dataset.read_mask(self.clip, number) if ids or has_truth else None
        return VOSFrame(
            name=self.clip.frame_name(number),
            image=torch.from_numpy(planar),
            given=_given(mask, ids, size) if mask is not None and ids else None,
            ids=ids,
            scored=scored,
            truth=torch.from_numpy(mask) if mask is not None and has_truth else None,
        )


class NoVideo:
    """A video without frames, for a process that has fewer videos than another.

    A distributed module synchronises its buffers in every step, so all processes take equally many.

    Attributes:
        video: Empty.
        size: Of no frame.
        seen: Empty.
    """

    video = ""
    size = (0, 0)
    seen: Mapping[int, bool] = {}

    def __iter__(self) -> Iterator[VOSFrame]:
        """Nothing."""
        return iter(())


class VideoStreams(Dataset[VideoStream | NoVideo]):
    """The videos of one process: a contiguous share, none dropped or repeated, filled up with `NoVideo`.

    Args:
        videos: All videos.
        rank: This process.
        world_size: Number of processes.
    """

    def __init__(self, videos: Sequence[VideoStream], rank: int = 0, world_size: int = 1) -> None:
        longest = -(-len(videos) // world_size)
        own = shard(videos, rank, world_size)
        self.videos: list[VideoStream | NoVideo] = [*own, *(NoVideo() for _ in range(longest - len(own)))]

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> VideoStream | NoVideo:
        """A video, of which nothing is read yet."""
        return self.videos[index]


def _given(mask: UInt8Array | Int32Array, ids: tuple[int, ...], size: tuple[int, int]) -> Tensor:
    """Ids of the new objects alone, and ignored pixels, (H, W) int64 of the working size, nearest pixel."""
    kept = np.where(np.isin(mask, [*ids, IGNORE_INDEX]), mask, 0)
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.int64) for new, old in zip(size, mask.shape, strict=True)
    )
    return torch.from_numpy(kept[rows[:, None], columns[None]].astype(np.int64))
