"""One video in memory: its frames, and the flow between adjacent ones."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from thriftseg.arrays import BoolArray, Float32Array
from thriftseg.datamodules.transforms import write_planar
from thriftseg.datasets import VideoDataset, resize_frame
from thriftseg.flow import FlowStore, consistency_mask_np
from thriftseg.progress import progress_bar
from thriftseg.resources import available_cpus
from thriftseg.types import Clip, Size

FLOW_STEPS = 64
"""Steps per pixel of flow in memory; those of `FlowStore`, so nothing is lost."""


class Pair(NamedTuple):
    """Two adjacent frames, by their places in the video; a frame without neighbours is paired with itself.

    Attributes:
        previous: Place of frame t-1.
        current: Place of frame t.
    """

    previous: int
    current: int

    @property
    def adjacent(self) -> bool:
        """Whether these are two frames."""
        return self.previous != self.current


class CheckedFlow(NamedTuple):
    """Flow from a frame to the one before it.

    Attributes:
        steps: (2, H, W) int16, in 1 / `FLOW_STEPS` of a pixel; 0 where it is not known.
        mask: (H, W) bool, where it passes the forward-backward check.
    """

    steps: Tensor
    mask: Tensor

    def in_pixels(self) -> tuple[Float32Array, BoolArray]:
        """Flow (2, H, W) in pixels, and the mask (H, W)."""
        return (self.steps.float() / FLOW_STEPS).numpy(), self.mask.numpy()


def pairs_of(clip: Clip) -> list[Pair]:
    """All pairs of frames that are one step apart, in playing order, and frames without neighbours by themselves.

    Example:
        >>> frames = dict.fromkeys([3, 4, 5, 9])
        >>> [tuple(pair) for pair in pairs_of(Clip("drive", frames))]
        [(0, 1), (1, 2), (3, 3)]
    """
    numbers = sorted(clip.frames)
    follows = [second - first == clip.frame_step for first, second in itertools.pairwise(numbers)]
    before, after = [False, *follows], [*follows, False]
    pairs = [Pair(place - 1, place) for place in range(len(numbers)) if before[place]]
    alone = [Pair(place, place) for place in range(len(numbers)) if not before[place] and not after[place]]
    return sorted(pairs + alone, key=lambda pair: pair.current)


@dataclass(frozen=True)
class LoadedVideo:
    """A video at its working size. It takes eight bytes per pixel and frame.

    Attributes:
        clip: The clip.
        numbers: Native numbers of its frames, in playing order.
        frames: (N, 3, H, W) uint8 RGB.
        pairs: See `pairs_of`.
        flow: By place of the later frame of each pair, the flow to the earlier one.
    """

    clip: Clip
    numbers: tuple[int, ...]
    frames: Tensor
    pairs: tuple[Pair, ...]
    flow: dict[int, CheckedFlow]

    @property
    def size(self) -> Size:
        """Height and width."""
        return self.frames.shape[-2], self.frames.shape[-1]

    def window(self, place: int, past_frames: int) -> Tensor:
        """A frame and those before it, (T, 3, H, W), oldest first; a missing one repeats the next newer frame."""
        number = self.numbers[place]
        wanted = [*self.clip.past(number, past_frames), number]
        return self.frames[[self.numbers.index(each) for each in wanted]]


def load_video(
    dataset: VideoDataset, clip: Clip, size: Size | None, store: FlowStore, progress: bool = True
) -> LoadedVideo:
    """Decode a video, and estimate or read its flow in both directions.

    Args:
        dataset: Reads the frames.
        clip: The clip.
        size: Working height and width; `None` keeps that of the files.
        store: Keeps the flow, and estimates what it does not have.
        progress: Whether to show a progress bar.

    Raises:
        DatasetError: A frame is missing or unreadable, or stored flow is damaged.
    """
    numbers, pairs = tuple(sorted(clip.frames)), tuple(pairs_of(clip))
    frames = _decode(dataset, clip, numbers, size or dataset.clip_size(clip))
    with progress_bar(progress) as bar:
        flow = dict(bar.track(_flows(clip, numbers, frames, pairs, store), len(pairs), description="optical flow"))
    return LoadedVideo(clip, numbers, frames, pairs, flow)


def _decode(dataset: VideoDataset, clip: Clip, numbers: Sequence[int], size: Size) -> Tensor:
    frames = torch.empty((len(numbers), 3, *size), dtype=torch.uint8)

    def decode(place: int) -> None:
        write_planar(resize_frame(dataset.read_frame(clip, numbers[place]), size), frames[place].numpy())

    with ThreadPoolExecutor(min(8, available_cpus())) as pool:
        list(pool.map(decode, range(len(numbers))))
    return frames


def _flows(
    clip: Clip, numbers: Sequence[int], frames: Tensor, pairs: Sequence[Pair], store: FlowStore
) -> Iterator[tuple[int, CheckedFlow]]:
    """By place of the later frame of each pair, the flow to the earlier one."""
    for pair in pairs:
        if pair.adjacent:
            images = (np.ascontiguousarray(frames[place].permute(1, 2, 0).numpy()) for place in pair)
            both = store.both(clip.video, numbers[pair.previous], numbers[pair.current], *images)
            yield pair.current, check_flow(*both)
        else:
            nothing = torch.zeros(2, *frames.shape[-2:], dtype=torch.int16)
            yield pair.current, CheckedFlow(nothing, torch.zeros(frames.shape[-2:], dtype=torch.bool))


def check_flow(backward: Float32Array, forward: Float32Array) -> CheckedFlow:
    """Keep the backward flow and where it passes the forward-backward check.

    Args:
        backward: Flow t -> t-1, (2, H, W), NaN where it is not known.
        forward: Flow t-1 -> t, of the same shape.
    """
    mask = consistency_mask_np(backward, forward)
    steps = np.rint(np.nan_to_num(backward) * FLOW_STEPS).astype(np.int16)
    return CheckedFlow(torch.from_numpy(steps), torch.from_numpy(mask))
