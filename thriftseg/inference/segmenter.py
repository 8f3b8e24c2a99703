"""Frames to label maps: the one place that turns what a network says into train ids."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from thriftseg.arrays import UInt8Array
from thriftseg.datasets import ClipReader, resize_frame
from thriftseg.errors import ConfigError, DatasetError
from thriftseg.inference.checkpoints import LoadedNetwork
from thriftseg.inference.devices import choose_device
from thriftseg.inference.frame_source import FrameSource
from thriftseg.types import Clip
from thriftseg.zoo import (
    SemanticNetwork,
    SlidingWindow,
    StreamState,
    WholeImage,
    inference_record,
    mean_of_windows,
    weights_digest,
)


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What a network says about B frames, on its device. It works at h x w, the frames are of H x W.

    Attributes:
        logits: (B, C, h, w).
        size: H and W.
        features: (B, D, h / s, w / s), see `SemanticNetwork.features`; `None` where they were not asked for.

    Example:
        >>> logits = torch.tensor([2.0, 0.0]).view(1, 2, 1, 1)
        >>> found = Segmentation(logits, size=(1, 2))
        >>> found.label_map().tolist(), round(found.confidence.min().item(), 4)
        ([[0, 0]], 0.8808)
    """

    logits: Tensor
    size: tuple[int, int]
    features: Tensor | None = None

    @property
    def labels(self) -> Tensor:
        """Most probable train ids, (B, H, W) uint8."""
        return resize_maps(self.logits, self.size).argmax(dim=1).to(torch.uint8)

    @property
    def confidence(self) -> Tensor:
        """Probability of the labels, (B, H, W) float32 in [0, 1]."""
        return resize_maps(self.logits, self.size).float().softmax(dim=1).amax(dim=1)

    @property
    def probabilities(self) -> Tensor:
        """(B, C, h, w) float32."""
        return self.logits.float().softmax(dim=1)

    def label_map(self) -> UInt8Array:
        """The labels of a single frame, (H, W) uint8."""
        label: UInt8Array = self.labels[0].cpu().numpy()
        return label


def resize_maps(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (B, C, h, w) at another height and width, bilinear.

    Example:
        >>> resize_maps(torch.tensor([[[[0.0, 4.0]]]]), (1, 4)).tolist()
        [[[[0.0, 1.0, 3.0, 4.0]]]]
    """
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return F.interpolate(maps.float(), size=size, mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class VideoState:
    """What is remembered between two frames of a video.

    Attributes:
        size: Height and width of the frames; `None` before the first.
        windows: State of each part of a frame that the network sees one by one.

    Example:
        >>> class TwoGreys(SemanticNetwork):
        ...     def compute_logits(self, frames): return frames[:, -1, :2]
        >>> segment = FrameSegmenter(TwoGreys(num_classes=2), device="cpu")
        >>> found, state = segment.step(np.zeros((60, 90, 3), np.uint8), segment.start())
        >>> segment.start().size, state.size, len(state.windows)
        (None, (60, 90), 1)
    """

    size: tuple[int, int] | None = None
    windows: tuple[StreamState, ...] = ()


class FrameSegmenter:
    """Segments video frame by frame, or single frames of it with the past frames that the network needs.

    Both ways give the same labels. In a stream each frame is encoded once, and memory does not grow with the video. A
    network whose parts take turns over the frames takes the part that belongs to the place of a frame in its video.

    Args:
        network: A network, or what `load_weights` gives, which also knows how it was evaluated.
        inference: Whole image or sliding window; by default as in that evaluation, else the whole image.
        resize: Height and width that the network works at; by default as in that evaluation, else those of the
            frames. Logits are enlarged to the size of the frame, so label maps always have that.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, ..., where the network is moved and set to evaluation mode; `None`
            leaves it where it is and as it is, as in the hands of a trainer.

    Raises:
        ConfigError: There is no such device.

    Example:
        >>> from thriftseg.inference import load_weights
        >>> segment = FrameSegmenter(load_weights("deeplabv3plus_mobilenetv2.synthetic_manual"), device="cpu")
        >>> video = np.zeros((2, 60, 90, 3), np.uint8)
        >>> [label.shape for label in segment(video)]
        [(60, 90), (60, 90)]
    """

    def __init__(
        self,
        network: SemanticNetwork | LoadedNetwork,
        inference: WholeImage | SlidingWindow | None = None,
        resize: tuple[int, int] | None = None,
        device: str | torch.device | None = "auto",
    ) -> None:
        if isinstance(network, LoadedNetwork):
            inference, resize = inference or network.inference, resize or network.eval_size
            network = network.network
        if resize is not None and min(resize) < 1:
            raise ConfigError("size to work at", expected="height and width above 0", found=f"{resize[0]}x{resize[1]}")
        self.network, self.inference, self.resize = network, inference or WholeImage(), resize
        if device is None:
            self.device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
        else:
            self.to(device)

    @property
    def record(self) -> dict[str, Any]:
        """What the label maps depend on beside the frames, in plain values."""
        return {
            "network": type(self.network).__name__,
            "weights": weights_digest(self.network),
            "inference": inference_record(self.inference),
            "resize": list(self.resize) if self.resize else None,
        }

    def to(self, device: str | torch.device) -> Self:
        """Move the network to a device, in evaluation mode.

        Raises:
            ConfigError: There is no such device.
        """
        self.device = choose_device(device)
        self.network.to(self.device).eval()
        return self

    def __call__(self, frames: str | Path | Iterable[UInt8Array]) -> Iterator[UInt8Array]:
        """Segment the frames of a video in playing order, each when its label map is asked for.

        Args:
            frames: Folder of PNG or JPEG frames, one picture, a video file, or frames (H, W, 3) uint8 RGB: an array
                (T, H, W, 3) or (H, W, 3), a list, or whatever else can be iterated, such as a camera.

        Yields:
            Train ids, (H, W) uint8.

        Raises:
            DatasetError: A file is missing or unreadable, or a frame has another shape or type.
        """
        if isinstance(frames, str | Path):
            frames = (frame.image for frame in FrameSource(frames))
        elif isinstance(frames, np.ndarray):
            frames = frames.reshape(-1, *frames.shape[-3:])
        state = self.start()
        for frame in frames:
            found, state = self.step(frame, state)
            yield found.label_map()

    def start(self) -> VideoState:
        """The state before the first frame of a video."""
        return VideoState()

    @torch.inference_mode()
    def step(self, frame: UInt8Array, state: VideoState) -> tuple[Segmentation, VideoState]:
        """Segment the next frame of a video.

        Args:
            frame: (H, W, 3) uint8 RGB.
            state: From `start` or from the previous step; it is not changed.

        Returns:
            What the network says about the frame, and the new state.

        Raises:
            DatasetError: The frame is of another shape, type or size.
        """
        if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            found = f"{frame.shape} {frame.dtype}" if isinstance(frame, np.ndarray) else type(frame).__name__
            raise DatasetError("not a frame", expected="an array (H, W, 3) of uint8, RGB", found=found)
        size = (frame.shape[0], frame.shape[1])
        if state.size is not None and state.size != size:
            raise DatasetError(
                "a frame differs in size from those before it",
                expected=f"{state.size[1]}x{state.size[0]}",
                found=f"{size[1]}x{size[0]}",
                fix="call start() before each video",
            )
        logits, windows = self._advance(self.network.preprocessing(self._tensor([frame])[:, 0]), state.windows)
        return Segmentation(logits, size), VideoState(size, windows)

    @torch.inference_mode()
    def frame(self, reader: ClipReader[Any], clip: Clip, number: int, *, features: bool = False) -> Segmentation:
        """Segment one frame of a clip, as the stream of the whole clip would.

        Args:
            reader: Reads the frames.
            clip: The clip.
            number: Native number of the frame.
            features: Whether to tell the features too.

        Raises:
            ConfigError: The network does not tell its features.
            DatasetError: A frame cannot be read.
        """
        images = [reader.read_frame(clip, each) for each in (*clip.past(number, self.network.past_frames), number)]
        found = self.batch(self._tensor(images), [list(clip.frames).index(number)], features=features)
        return Segmentation(found.logits, (images[-1].shape[0], images[-1].shape[1]), found.features)

    def batch(self, frames: Tensor, positions: Sequence[int], *, features: bool = False) -> Segmentation:
        """Segment the last frame of each clip, as the streams of their videos would.

        Clips of one phase pass through the network together.

        Args:
            frames: (B, T, 3, h, w) RGB in [0, 1] with T = `past_frames` + 1; where the video is younger than that, its
                first frame is repeated.
            positions: Place of each last frame in its video, from 0.
            features: Whether to tell the features too; those of a sliding window are those of the whole frame.

        Raises:
            ConfigError: The frames have another shape, or the network does not tell its features.
        """
        groups: dict[int, list[int]] = {}
        for row, position in enumerate(positions):
            start = position - self.network.past_frames
            groups.setdefault(start if start < 0 else start % self.network.num_phases, []).append(row)
        frames = self.network.preprocessing(frames)
        parts = [
            self._together(frames[rows] if len(groups) > 1 else frames, start, features)
            for start, rows in groups.items()
        ]
        size = (frames.shape[-2], frames.shape[-1])
        if len(parts) == 1:
            return Segmentation(parts[0][0], size, parts[0][1])
        order = torch.tensor([row for rows in groups.values() for row in rows]).argsort()
        return Segmentation(
            torch.cat([logits for logits, _ in parts])[order],
            size,
            torch.cat([found for _, found in parts if found is not None])[order] if features else None,
        )

    def follow(self, frames: Tensor, position: int, state: VideoState | None = None) -> tuple[Segmentation, VideoState]:
        """Segment the last frame of a clip as `batch` does, and remember it for the next frame of the video.

        Args:
            frames: (1, T, 3, h, w), as for `batch`.
            position: As for `batch`.
            state: From the frame before, if there was one: the frames before the last are then not looked at.

        Returns:
            What the network says about the frame, and the new state.

        Raises:
            ConfigError: The network does not resume a stream; see `SemanticNetwork.can_resume`.
        """
        size = (frames.shape[-2], frames.shape[-1])
        if state is None:
            past = self.network.preprocessing(frames[:, :-1])
            state = VideoState(size, self._resume(past, position - self.network.past_frames))
        logits, windows = self._advance(self.network.preprocessing(frames[:, -1]), state.windows)
        return Segmentation(logits, size), VideoState(size, windows)

    def _resume(self, past: Tensor, start: int) -> tuple[StreamState, ...]:
        """States after the past frames of a clip; where the video is younger than those, it is streamed."""
        states: tuple[StreamState, ...] = ()
        if start < 0:
            for frame in past[:, -start:].unbind(1):
                _, states = self._advance(frame, states)
            return states
        parts = self.inference.windows(past.shape[-2], past.shape[-1])
        return tuple(self.network.resume(past[..., rows, columns], start) for rows, columns in parts)

    def _tensor(self, images: Sequence[UInt8Array]) -> Tensor:
        """Images (H, W, 3) at the working size, (1, T, 3, h, w) RGB in [0, 1]."""
        size = self.resize or (images[0].shape[0], images[0].shape[1])
        pixels = torch.from_numpy(np.stack([resize_frame(image, size) for image in images]))
        return pixels.to(self.device).permute(0, 3, 1, 2)[None].float() / 255

    def _advance(self, frame: Tensor, states: tuple[StreamState, ...]) -> tuple[Tensor, tuple[StreamState, ...]]:
        """Logits of the next normalised frame (B, 3, h, w), each part of it streamed as a video of its own."""
        parts = self.inference.windows(frame.shape[-2], frame.shape[-1])
        outputs = [
            self.network.step(frame[..., rows, columns], state)
            for (rows, columns), state in zip(parts, states or [self.network.start()] * len(parts), strict=True)
        ]
        logits = mean_of_windows([logits for logits, _ in outputs], parts, frame, self.network.num_classes)
        return logits, tuple(state for _, state in outputs)

    def _together(self, frames: Tensor, start: int, features: bool) -> tuple[Tensor, Tensor | None]:
        """Logits and features of normalised clips whose first frames have one place or phase in their videos."""
        phase = {"first_index": start} if self.network.num_phases > 1 else {}
        if start < 0:  # the rule for the first frames of a video is that of the stream
            logits, _ = self._advance(frames[:, -1], self._resume(frames[:, :-1], start))
        elif features and isinstance(self.inference, WholeImage):
            return self.network.logits_and_features(frames, **phase)
        else:
            logits = self.inference(self.network, frames, start)
        return logits, self.network.features(frames, **phase) if features else None
