"""Blocks that the networks of TDNet share: what a path remembers of a frame, and how the next frame reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thriftseg.errors import ConfigError
from thriftseg.zoo.blocks.backbones import create_timm_model, init_decoder
from thriftseg.zoo.blocks.batch_norm import PooledBatchNorm2d

KEY_CHANNELS = 64

BACKBONES = {"resnet18": "resnet18.tv_in1k", "resnet34": "resnet34.tv_in1k", "resnet50": "resnet50s.gluon_in1k"}
"""Encoders by name, and what timm calls them with the weights that fit."""

FrameMemory = tuple[Tensor, Tensor, Tensor]
"""Query (B, M, 64), key (B, M, 64) and value (B, M, V) of a past frame, at M positions."""


class Encoding(nn.Module):
    """Query, key and value of every position of a map.

    Args:
        in_channels: Channels of the map.
        value_channels: Channels of the value.
    """

    def __init__(self, in_channels: int, value_channels: int) -> None:
        super().__init__()
        self.query = _projection(in_channels)
        self.key = _projection(in_channels)
        self.value = nn.Conv2d(in_channels, value_channels, kernel_size=1)
        init_decoder(self)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Encode the frame to segment.

        Args:
            features: (B, C, h, w).

        Returns:
            Queries (B, h * w, 64) and values (B, V, h, w).
        """
        return as_tokens(self.query(features)), self.value(features)

    def memorise(self, features: Tensor, stride: int) -> FrameMemory:
        """Encode a past frame, at few positions, for the frames that follow.

        Args:
            features: (B, C, h, w).
            stride: Distance between the rows and between the columns that are kept.

        Returns:
            Query, key and value at M = ceil(h / stride) * ceil(w / stride) positions.
        """
        sparse = features[..., ::stride, ::stride]
        return as_tokens(self.query(sparse)), as_tokens(self.key(sparse)), as_tokens(self.value(sparse))


class Propagation(nn.Module):
    """Attention [0] of the positions of a frame to the remembered ones of the frame before it.

    `softmax(q k^T / 8) v`, followed by a linear map, which is applied to the few values instead of the many results:
    the same, as the map is linear.

    [0] Vaswani et al., Attention is all you need, NeurIPS 2017.

    Args:
        channels: Channels of the values.
        dropout: Share of the attention weights, and of the results, dropped in training.
    """

    def __init__(self, channels: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, channels, kernel_size=1)
        self.dropout = nn.Dropout(dropout)
        nn.init.kaiming_normal_(self.project.weight, nonlinearity="linear")
        nn.init.zeros_(self.project.bias)  # type: ignore[arg-type]

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend.

        Args:
            query: (B, N, 64).
            key: (B, M, 64).
            value: (B, M, V).

        Returns:
            (B, N, V).
        """
        weights = torch.softmax((query * KEY_CHANNELS**-0.5) @ key.mT, dim=-1)
        projected = F.linear(value, self.project.weight.flatten(1))
        result: Tensor = self.dropout(self.dropout(weights) @ projected + self.project.bias)
        return result


class SpatialLayerNorm(nn.Module):
    """Normalises each channel over its positions; then scales and shifts.

    Scale and shift are per channel, or per position if a size is given, which binds the network to that size.

    Args:
        channels: Channels of the map.
        size: Height and width that the map must have, or `None` for any.

    Example:
        >>> SpatialLayerNorm(8)(torch.randn(2, 8, 5, 7)).mean(dim=(2, 3)).abs().max() < 1e-5
        tensor(True)
    """

    def __init__(self, channels: int, size: tuple[int, int] | None = None) -> None:
        super().__init__()
        shape = size or (channels, 1, 1)
        self.weight = nn.Parameter(torch.ones(shape))
        self.bias = nn.Parameter(torch.zeros(shape))

    def forward(self, features: Tensor) -> Tensor:
        """Normalise (B, C, h, w)."""
        return F.layer_norm(features, features.shape[-2:]) * self.weight + self.bias


class Path(nn.Module):
    """One of the sub-networks that take turns over the frames of a video, with all that it alone uses.

    Args:
        subnetwork: Maps a frame (B, 3, H, W) to the map (B, `channels`, h, w) that is encoded, and to an intermediate
            map.
        channels: Channels of the map that is encoded.
        value_channels: Channels of the values.
        past_frames: Number of past frames that are read.
        layer_norm_size: Size of the map that the layer norm is bound to, or `None` for any.
        head: Maps values to logits.
        auxiliary_head: Maps the intermediate map to logits.
    """

    def __init__(
        self,
        subnetwork: nn.Module,
        channels: int,
        value_channels: int,
        past_frames: int,
        layer_norm_size: tuple[int, int] | None,
        head: nn.Sequential,
        auxiliary_head: nn.Module | None,
    ) -> None:
        super().__init__()
        self.subnetwork = subnetwork
        self.encoding = Encoding(channels, value_channels)
        self.propagations = nn.ModuleList(Propagation(value_channels) for _ in range(past_frames))
        self.norm = SpatialLayerNorm(value_channels, layer_norm_size)
        self.head = head
        self.auxiliary_head = auxiliary_head

    def recall(self, queries: Tensor, memory: Sequence[FrameMemory]) -> Tensor:
        """Read the past frames at the positions of the current one.

        The oldest frame's values go to the positions of the next one, are added to the values there, and so on.

        Args:
            queries: (B, N, 64) of the current frame.
            memory: Of the past frames, oldest first; as many as there are propagations.

        Returns:
            (B, N, V).
        """
        targets = [query for query, _, _ in memory[1:]] + [queries]
        carried = queries.new_zeros(())
        for propagate, target, (_, key, value) in zip(self.propagations, targets, memory, strict=True):
            carried = propagate(target, key, value + carried)
        return carried

    def classify(self, values: Tensor) -> Tensor:
        """Logits (B, num_classes, h, w) from values (B, V, h, w)."""
        logits: Tensor = self.head(self.norm(values))
        return logits

    def fuse(self, values: Tensor) -> Tensor:
        """Map that the last layer of the head reads, (B, D, h, w), from values (B, V, h, w)."""
        fused: Tensor = self.head[:-1](self.norm(values))
        return fused


def create_resnet(backbone: str, pretrained: bool, **options: Any) -> Any:
    """ResNet of timm without its classifier; the one with 50 layers has the deep stem 64-64-128.

    Args:
        backbone: resnet18, resnet34 or resnet50.
        pretrained: Start from ImageNet weights, fetched by timm.
        options: Passed on to `timm.create_model`.

    Raises:
        ConfigError: Unknown backbone.
        CheckpointError: The ImageNet weights cannot be fetched.
    """
    if backbone not in BACKBONES:
        raise ConfigError(f"unknown backbone {backbone!r}", expected=", ".join(BACKBONES))
    return create_timm_model(BACKBONES[backbone], pretrained, **options)


def as_tokens(features: Tensor) -> Tensor:
    """Positions of a map in a row: (B, C, h, w) to (B, h * w, C)."""
    return features.flatten(2).mT


def _projection(in_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, KEY_CHANNELS, kernel_size=1),
        PooledBatchNorm2d(KEY_CHANNELS),
        nn.LeakyReLU(0.01, inplace=True),
        nn.Conv2d(KEY_CHANNELS, KEY_CHANNELS, kernel_size=1),
    )
