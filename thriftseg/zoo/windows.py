"""Whole-image and sliding-window inference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from thriftseg.errors import ConfigError
from thriftseg.zoo.network import SemanticNetwork


def predict_whole(network: SemanticNetwork, frames: Tensor, first_index: int = 0) -> Tensor:
    """Segment whole frames in one pass.

    Args:
        network: The network, in the mode the caller wants (usually `eval`).
        frames: (B, T, 3, H, W) or (B, 3, H, W), normalised.
        first_index: Place in the video of the first of the T frames, for networks with several phases.

    Returns:
        Logits, (B, num_classes, H, W).
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
    """
    _check(crop, stride)
    height, width = frames.shape[-2:]
    rows, columns = list(_spans(height, crop[0], stride[0])), list(_spans(width, crop[1], stride[1]))
    if len(rows) == len(columns) == 1:
        return predict_whole(network, frames, first_index)
    total = frames.new_zeros(frames.shape[0], network.num_classes, height, width, dtype=torch.float32)
    views = frames.new_zeros(height, width, dtype=torch.float32)
    for row in rows:
        for column in columns:
            total[..., row, column] += predict_whole(network, frames[..., row, column], first_index)
            views[row, column] += 1
    return total / views


@dataclass(frozen=True)
class WholeImage:
    """Inference protocol: the whole frame in one pass; see `predict_whole`."""

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
        _check(self.crop, self.step)

    @property
    def step(self) -> tuple[int, int]:
        """The stride in use."""
        return self.stride or (-(-self.crop[0] * 2 // 3), -(-self.crop[1] * 2 // 3))

    def __call__(self, network: SemanticNetwork, frames: Tensor, first_index: int = 0) -> Tensor:
        """Segment frames: (B, T, 3, H, W) or (B, 3, H, W) normalised -> logits (B, num_classes, H, W)."""
        return predict_sliding(network, frames, self.crop, self.step, first_index)


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


def inference_from_record(record: Mapping[str, Any] | None) -> WholeImage | SlidingWindow:
    """The recorded protocol; one of a user's own is not built, since that would run code that the file names.

    Args:
        record: What `inference_record` or a checkpoint holds; a whole image where it names no protocol of ours.

    Raises:
        ConfigError: The windows would leave gaps.
    """
    room, _, name = str((record or {}).get("class_path", "")).rpartition(".")
    if record is None or name != SlidingWindow.__name__ or not room.startswith("thriftseg.zoo"):
        return WholeImage()
    (height, width), stride = record["init_args"]["crop"], record["init_args"].get("stride")
    return SlidingWindow((height, width), (stride[0], stride[1]) if stride else None)


def _check(crop: tuple[int, int], stride: tuple[int, int]) -> None:
    if not all(0 < step <= side for side, step in zip(crop, stride, strict=True)):
        raise ConfigError(
            "windows would leave gaps", expected="0 < stride <= crop", found=f"crop {crop}, stride {stride}"
        )


def _spans(length: int, crop: int, stride: int) -> Iterator[slice]:
    """Overlapping slices of `crop` that cover 0 to `length`."""
    start = 0
    while start + crop < length:
        yield slice(start, start + crop)
        start += stride
    yield slice(max(length - crop, 0), length)
