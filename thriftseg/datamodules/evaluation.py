"""Videos in playing order for evaluation, cut into contiguous parts for several processes."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import Dataset

from thriftseg.datamodules.packed import Packed
from thriftseg.datamodules.reading import ClipDecoder
from thriftseg.datamodules.transforms import write_planar
from thriftseg.datasets import resize_frame, resize_label, shard
from thriftseg.flow import DIS, FlowStore
from thriftseg.stores import MANUAL
from thriftseg.types import IGNORE_INDEX, Clip, ClipFrame, LabelKind, Size, TrainingSample

Pairs = Literal["labelled", "all", "off"]


@dataclass(frozen=True)
class StreamItem:
    """One frame of an evaluation stream.

    Attributes:
        clip: The clip it belongs to.
        number: Native frame number.
        scored: Its label counts, here and on no other rank.
        paired: The item before it in the stream is the frame before it in the video, and the pair counts.
        source: Source of its label.
        padding: It repeats a frame so that every rank has equally many items; nothing about it counts.
    """

    clip: Clip
    number: int
    scored: bool = False
    paired: bool = False
    source: str = MANUAL
    padding: bool = False

    @property
    def labelled(self) -> bool:
        """Whether the frame has a label to score by."""
        return not self.padding and self.number in self.clip.labels


def build_stream(clips: Sequence[Clip], pairs: Pairs = "labelled", source: str = MANUAL) -> list[StreamItem]:
    """The frames that evaluation needs, in playing order.

    Args:
        clips: Clips of a split, with the labels to score by.
        pairs: Which pairs of adjacent frames count for temporal consistency: those that end at a labelled frame, all,
            or none. Frames that neither carry a label nor belong to a counted pair are left out.
        source: Source of these labels.
    """
    stream = []
    for clip in clips:
        numbers = set(clip.frames) if pairs == "all" else set(clip.labels)
        ends = {number for number in numbers if pairs != "off" and number - clip.frame_step in clip.frames}
        previous = None
        for number in sorted(numbers | {number - clip.frame_step for number in ends}):
            paired = number in ends and previous == number - clip.frame_step
            stream.append(StreamItem(clip, number, number in clip.labels, paired, source))
            previous = number
    return stream


def shard_stream(items: Sequence[StreamItem], rank: int, world_size: int) -> list[StreamItem]:
    """This rank's contiguous part of a stream.

    A pair belongs to the rank that owns its second frame. If the first frame belongs to the rank before, it is
    repeated here as a lead-in that is not scored. All ranks get equally many items, at least one: ranks that would
    fall short get padding, because a distributed module synchronises its buffers in every forward pass.
    """
    shards = []
    for part in range(world_size):
        positions = shard(range(len(items)), part, world_size)
        owned = [items[position] for position in positions]
        if owned and owned[0].paired:
            owned.insert(0, replace(items[positions[0] - 1], scored=False, paired=False))
        shards.append(owned)
    length = max(1, *(len(shard) for shard in shards))
    own = shards[rank]
    filler = replace(own[-1] if own else items[0], scored=False, paired=False, padding=True)
    return own + [filler] * (length - len(own))


class StreamFrames(Dataset[dict[str, Any]]):
    """The items of a stream, decoded, with optical flow for counted pairs.

    Args:
        reader: Reads frames and labels.
        items: This rank's items.
        past_frames: Frames before the one to segment.
        size: Height and width to evaluate at; `None` keeps that of the files.
        flow: Flow between adjacent frames; by default that of DIS, which is not kept.
    """

    def __init__(
        self,
        reader: ClipDecoder,
        items: Sequence[StreamItem],
        *,
        past_frames: int = 0,
        size: Size | None = None,
        flow: FlowStore | None = None,
    ) -> None:
        self.reader, self.items = reader, Packed(items)
        self.past_frames, self.size, self.flow = past_frames, size, flow or FlowStore(None, DIS())

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Item of a batch: uint8 frames and label, float16 `flow` (2, 2, H, W) backward and forward."""
        item = self.items[index]
        clip, number = item.clip, item.number
        numbers = [*clip.past(number, self.past_frames), number]
        before = [number - clip.frame_step] if item.paired else []
        images = self.reader.frames(clip, before + numbers)
        resized = [resize_frame(image, self.size) if self.size else image for image in images]
        height, width = resized[-1].shape[:2]
        label = np.full((height, width), IGNORE_INDEX, dtype=np.uint8)
        if item.labelled:
            label = resize_label(self.reader.label(_sample(item), images[-1]), (height, width))
        flow = np.zeros((2, 2, height, width), dtype=np.float16)
        if item.paired:
            flow = self.flow.both(clip.video, before[0], number, resized[0], resized[-1]).astype(np.float16)
        frames = torch.empty((len(numbers), 3, height, width), dtype=torch.uint8)
        for image, out in zip(resized[len(before) :], frames.numpy(), strict=True):
            write_planar(image, out)
        return {
            "frames": frames,
            "label": torch.from_numpy(label),
            "scored": item.scored,
            "labelled": item.labelled,
            "paired": item.paired,
            "flow": torch.from_numpy(flow),
            "video": clip.video,
            "number": number,
            "position": bisect_left(sorted(clip.frames), number),
            "id": f"{clip.video}/{number:06d}",
        }

    def needed_frames(self) -> Iterator[ClipFrame]:
        """Every frame that an item asks for."""
        for item in self.items:
            yield item.clip, item.number
            for number in item.clip.past(item.number, max(self.past_frames, int(item.paired))):
                yield item.clip, number

    def labelled_samples(self) -> list[TrainingSample]:
        """The labelled items as samples."""
        return [_sample(item) for item in self.items if item.labelled]


def _sample(item: StreamItem) -> TrainingSample:
    label = item.clip.labels[item.number]
    return TrainingSample(item.clip, item.number, item.number, item.source, LabelKind.MANUAL, label=label)
