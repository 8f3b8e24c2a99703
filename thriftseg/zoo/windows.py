"""Whole-image and sliding-window inference."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from thriftseg.errors import CheckpointError, ConfigError
from thriftseg.parsing import check
from thriftseg.zoo.network import SemanticNetwork

Window = tuple[slice, slice]
"""Rows and columns of a part of a frame."""


def predict_whole(network: SemanticNetwork, frames: Tensor, first_index: int = 0) -> Tensor:
    """Segment whole frames in one pass.

    Args:
        network: The network, in the mode the caller wants (usually `eval`).
        frames: (B, T, 3, H, W) or (B, 3, H, W), normalised.
        first_index: Place in the video of the first of the T frames, for networks with several phases.

    Returns:
        Logits, (B, num_classes, H, W).

    Example:
        >>> class Darkness(SemanticNetwork):
        ...     def compute_logits(self, frames):
        ...         return -frames[:, -1].mean(dim=1, keepdim=True)
        >>> predict_whole(Darkness(1), torch.tensor([0.5, 2.0]).expand(1, 3, 1, 2)).tolist()
        [[[[-0.5, -2.0]]]]
    """
    logits: Tensor = network(frames, first_index=first_index) if network.num_phases > 1 else network(frames)
    return logits


def predict_sliding(
    network: SemanticNetwork, frames: Tensor, crop: tuple[int, int], stride: tuple[int, int], first_index: int = 0
) -> Tensor:
    """Segment overlapping windows and average their logits, as mmsegmentation's slide mode does.

    Windows start at multiples of the stride; the last one of a row or column is moved back to end at the border. A crop
    that is larger than the frame is cut to it, so a crop that covers the frame gives exactly `predict_whole`.

    Args:
        network: The network, in the mode the caller wants (usually `eval`).
        frames: (B, T, 3, H, W) or (B, 3, H, W), normalised.
        crop: Height and width of a window in pixels.
        stride: Vertical and horizontal step between windows in pixels, at most the crop.
        first_index: As for `predict_whole`.

    Returns:
        Mean logits over the windows that see a pixel, (B, num_classes, H, W).

    Raises:
        ConfigError: A size is not positive, or the stride exceeds the crop, which would leave gaps.

    Example:
        >>> class Mean(SemanticNetwork):
        ...     def compute_logits(self, frames):
        ...         return frames.mean(dim=(1, 2, 3, 4)).view(-1, 1, 1, 1)
        >>> frames = torch.tensor([0.0, 2.0, 4.0]).expand(1, 3, 1, 3)
        >>> predict_sliding(Mean(1), frames, crop=(1, 2), stride=(1, 1)).tolist()  # two windows with means 1 and 3
        [[[[1.0, 2.0, 3.0]]]]
    """
    return SlidingWindow(crop, stride)(network, frames, first_index)


def mean_of_windows(outputs: Iterable[Tensor], windows: Sequence[Window], frames: Tensor, num_classes: int) -> Tensor:
    """Mean logits over the windows that see a pixel.

    Args:
        outputs: Logits of each window, (B, num_classes, h, w).
        windows: The windows in the same order; together they cover the frame.
        frames: What the windows were cut from, (B, ..., H, W).
        num_classes: Number of classes.

    Returns:
        (B, num_classes, H, W); the logits as they are where one window sees the whole frame.

    Example:
        >>> outputs = [torch.full((1, 1, 1, 2), mean) for mean in (1.0, 3.0)]
        >>> windows = [(slice(0, 1), slice(0, 2)), (slice(0, 1), slice(1, 3))]
        >>> mean_of_windows(outputs, windows, torch.zeros(1, 3, 1, 3), num_classes=1).tolist()
        [[[[1.0, 2.0, 3.0]]]]
    """
    if len(windows) == 1:
        return next(iter(outputs))
    height, width = frames.shape[-2:]
    total = frames.new_zeros(frames.shape[0], num_classes, height, width, dtype=torch.float32)
    views = frames.new_zeros(height, width, dtype=torch.float32)
    for logits, (rows, columns) in zip(outputs, windows, strict=True):
        total[..., rows, columns] += logits
        views[rows, columns] += 1
    return total / views


@dataclass(frozen=True)
class WholeImage:
    """Inference protocol: the whole frame in one pass; see `predict_whole`.

    Example:
        >>> WholeImage().windows(48, 64)
        [(slice(0, 48, None), slice(0, 64, None))]
    """

    def windows(self, height: int, width: int) -> list[Window]:
        """The parts of a frame that the network sees one by one: here the whole of it."""
        return [(slice(0, height), slice(0, width))]

    def __call__(self, network: SemanticNetwork, frames: Tensor, first_index: int = 0) -> Tensor:
        """Segment frames: (B, T, 3, H, W) or (B, 3, H, W) normalised -> logits (B, num_classes, H, W)."""
        return predict_whole(network, frames, first_index)


@dataclass(frozen=True)
class SlidingWindow:
    """Inference protocol: overlapping windows with averaged logits; see `predict_sliding`.

    Args:
        crop: Height and width of a window in pixels.
        stride: Vertical and horizontal step between windows in pixels; two thirds of the crop by default.

    Raises:
        ConfigError: A size is not positive, or the stride exceeds the crop.

    Example:
        >>> SlidingWindow(crop=(769, 769)).step
        (513, 513)
    """

    crop: tuple[int, int]
    stride: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if not all(0 < step <= side for side, step in zip(self.crop, self.step, strict=True)):
            raise ConfigError(
                "windows would leave gaps", expected="0 < stride <= crop", found=f"crop {self.crop}, stride {self.step}"
            )

    @property
    def step(self) -> tuple[int, int]:
        """The stride in use."""
        return self.stride or (-(-self.crop[0] * 2 // 3), -(-self.crop[1] * 2 // 3))

    def windows(self, height: int, width: int) -> list[Window]:
        """The parts of a frame that the network sees one by one, row by row."""
        all_rows, all_columns = (
            list(_spans(*side)) for side in zip((height, width), self.crop, self.step, strict=True)
        )
        return [(rows, columns) for rows in all_rows for columns in all_columns]

    def __call__(self, network: SemanticNetwork, frames: Tensor, first_index: int = 0) -> Tensor:
        """Segment frames: (B, T, 3, H, W) or (B, 3, H, W) normalised -> logits (B, num_classes, H, W)."""
        windows = self.windows(frames.shape[-2], frames.shape[-1])
        outputs = (predict_whole(network, frames[..., rows, columns], first_index) for rows, columns in windows)
        return mean_of_windows(outputs, windows, frames, network.num_classes)


def inference_record(inference: WholeImage | SlidingWindow) -> dict[str, Any]:
    """An inference protocol in plain values, as a config names it.

    Example:
        >>> inference_record(SlidingWindow(crop=(640, 640), stride=(512, 512)))["init_args"]
        {'crop': [640, 640], 'stride': [512, 512]}
    """
    if isinstance(inference, WholeImage):
        return {"class_path": "thriftseg.zoo.WholeImage", "init_args": {}}
    init_args = {"crop": list(inference.crop), "stride": list(inference.step)}
    return {"class_path": "thriftseg.zoo.SlidingWindow", "init_args": init_args}


def inference_from_record(record: Mapping[str, Any] | None, path: str | Path) -> WholeImage | SlidingWindow:
    """The recorded protocol; one of a user's own is not built, since that would run code that the file names.

    Args:
        record: What `inference_record` or a checkpoint holds; a whole image where it names no protocol of ours.
        path: File that holds it.

    Raises:
        CheckpointError: The windows are malformed, or would leave gaps.

    Example:
        >>> record = {"class_path": "thriftseg.zoo.SlidingWindow", "init_args": {"crop": [64, 96]}}
        >>> inference_from_record(record, "own.json"), inference_from_record(None, "own.json")
        (SlidingWindow(crop=(64, 96), stride=None), WholeImage())
    """
    room, _, name = str((record or {}).get("class_path", "")).rpartition(".")
    if record is None or name != SlidingWindow.__name__ or not room.startswith("thriftseg.zoo"):
        return WholeImage()
    return check(record.get("init_args"), SlidingWindow, path, "inference", fault=CheckpointError)


def _spans(length: int, crop: int, stride: int) -> Iterator[slice]:
    """Overlapping slices of `crop` that cover 0 to `length`."""
    start = 0
    while start + crop < length:
        yield slice(start, start + crop)
        start += stride
    yield slice(max(length - crop, 0), length)
