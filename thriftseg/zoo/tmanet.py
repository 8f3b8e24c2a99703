"""TMANet: every position of a frame attends to all positions of the frames before it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thriftseg.errors import ConfigError
from thriftseg.zoo.blocks.backbones import classifier_head, conv_bn_relu, create_timm_model, init_decoder
from thriftseg.zoo.network import IMAGENET, SemanticNetwork
from thriftseg.zoo.registry import register_network
from thriftseg.zoo.streaming import StreamState

DEPTHS = (18, 34, 50, 101, 152)
SHALLOW = (18, 34)
"""Depths whose blocks have two 3x3 convolutions; there are no ImageNet weights of these with the deep stem."""

OFFICIAL_NAMES = (
    (r"^backbone\.stem\.7\.", "encoder.bn1."),
    (r"^backbone\.stem\.", "encoder.conv1."),
    (r"^backbone\.", "encoder."),
    (r"^decode_head\.query_(key|value)_conv\.", r"memory.query_\1."),
    (r"^decode_head\.memory_(key|value)_conv\.(\d+)\.(\d+)\.", r"memory.memory_\1.\3.\2."),
    (r"^decode_head\.bottleneck\.", "head.0."),
    (r"^auxiliary_head\.convs\.0\.", "auxiliary_head.0."),
    (r"^(?:decode_|(auxiliary_))head\.conv_seg\.", r"\1head.2."),
    (r"\.conv\.", ".0."),
    (r"\.bn\.", ".1."),
)
"""Substitutions that lead, one after the other, from a name in the authors' checkpoint to the name here."""


@dataclass(frozen=True)
class FeatureMemory(StreamState):
    """Memory of a TMANet between two frames of a video.

    Attributes:
        features: Last feature maps of the encoder, (B, C, h, w), oldest first; at most `past_frames`.
    """

    features: tuple[Tensor, ...] = ()


def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    r"""Mean of the values under the weights \( \mathrm{softmax}_m(q_n \cdot k_m) \), which are not scaled.

    The matrix of weights is never stored: the values are cut into slices as wide as the keys, since the fused
    kernels of torch want equal widths. These sum in float32 for half-precision inputs too.

    Args:
        queries: (B, N, C).
        keys: (B, M, C).
        values: (B, M, D).

    Returns:
        (B, N, D).

    Example:
        >>> queries, keys, values = torch.rand(1, 5, 4), torch.rand(1, 6, 4), torch.rand(1, 6, 10)
        >>> weights = (queries @ keys.mT).softmax(-1)
        >>> torch.allclose(attend(queries, keys, values), weights @ values, atol=1e-6)
        True
    """
    width, channels = keys.shape[-1], values.shape[-1]
    slices = F.pad(values, (0, -channels % width)).unflatten(-1, (-1, width)).transpose(1, 2)
    shared = (-1, slices.shape[1], -1, -1)
    means = F.scaled_dot_product_attention(
        queries.unsqueeze(1).expand(shared), keys.unsqueeze(1).expand(shared), slices, scale=1.0
    )
    return means.transpose(1, 2).flatten(2)[..., :channels]


class TemporalMemoryAttention(nn.Module):
    """Lays next to what a frame shows what the frames before it show at similar places.

    Each position in time has its own projections to keys and values, and one softmax runs over all places of all past
    frames.

    Args:
        in_channels: Channels of the feature maps.
        key_channels: Channels of queries and keys.
        value_channels: Channels of values.
        memory_frames: Number of past frames.
    """

    def __init__(self, in_channels: int, key_channels: int, value_channels: int, memory_frames: int) -> None:
        super().__init__()
        self.query_key = _projection(in_channels, key_channels)
        self.query_value = _projection(in_channels, value_channels)
        self.memory_key = nn.ModuleList(_projection(in_channels, key_channels) for _ in range(memory_frames))
        self.memory_value = nn.ModuleList(_projection(in_channels, value_channels) for _ in range(memory_frames))
        self.out_channels = 2 * value_channels
        init_decoder(self)

    def forward(self, window: Sequence[Tensor]) -> Tensor:
        """Attend from the last feature map to those before it.

        Args:
            window: `memory_frames` + 1 feature maps (B, `in_channels`, h, w), oldest first.

        Returns:
            (B, `out_channels`, h, w): the values of the last frame, then those recalled from the past frames.
        """
        *past, current = window
        value = self.query_value(current)
        recalled = attend(
            _tokens([self.query_key(current)]),
            _tokens(project(features) for project, features in zip(self.memory_key, past, strict=True)),
            _tokens(project(features) for project, features in zip(self.memory_value, past, strict=True)),
        )
        return torch.cat([value, recalled.mT.unflatten(-1, value.shape[-2:])], dim=1)


@register_network("tmanet_r18", depth=18)
@register_network("tmanet_r50", depth=50)
@register_network("tmanet_r101", depth=101)
class TMANet(SemanticNetwork):
    """TMANet [0, 1]: temporal memory attention on a ResNet V1c of output stride 8.

    The defaults are those of the authors' Cityscapes model; their CamVid model has `memory_frames=4` and
    `align_corners=False`. The encoder is that of timm [2] with a stem of three 3x3 convolutions; as in [1], the first
    block of a dilated stage keeps the dilation of the stage before, and only the first convolution of the blocks of
    ResNet-18 and -34 is dilated. In training, the encoder's batch statistics are taken over all frames of the window at
    once, where [1] runs frame by frame. Random initialisation: the encoder keeps that of [2] (He normal, residual
    branches start at zero), the rest is He normal, the classifiers are small normal (std 0.01).

    With `align_corners`, frames are padded to sides of 8 k + 1 (65, 129, 769, ...), whose outermost pixels lie on the
    outermost cells of the map; without, to multiples of 8. [1] never pads but stretches the logits, so results are
    equal at these sizes and differ at others.

    A stream encodes every frame once and keeps the encoder's last feature map of the past frames.

    [0] Wang et al., Temporal Memory Attention for Video Semantic Segmentation, ICIP 2021.
    [1] https://github.com/wanghao9610/TMANet
    [2] https://github.com/huggingface/pytorch-image-models

    Args:
        num_classes: Number of classes.
        depth: Depth of the ResNet: 18, 34, 50, 101 or 152.
        memory_frames: Number of past frames, `past_frames` of the network.
        key_channels: Channels of queries and keys.
        value_channels: Channels of values.
        head_channels: Channels of the map before the classifier.
        align_corners: Convention of the final bilinear enlargement.
        dropout: Share of the channels before the classifiers dropped in training.
        auxiliary: Add a head on the encoder's third stage; `forward_with_auxiliary` returns its logits as
            "auxiliary". Train such a network through that method, or the head gets no gradient.
        pretrained: Start from ImageNet weights, fetched by [2]; otherwise random.

    Raises:
        ConfigError: There is no ResNet of this depth, no ImageNet weights of it, or a number is out of range.
        CheckpointError: The ImageNet weights cannot be fetched.

    Example:
        >>> network = TMANet(num_classes=5, depth=18).eval()
        >>> network(torch.zeros(1, 3, 3, 45, 60)).shape
        torch.Size([1, 5, 45, 60])
        >>> state = network.start()
        >>> for frame in torch.zeros(4, 1, 3, 45, 60):
        ...     logits, state = network.step(frame, state)
        >>> len(state.features)
        2
    """

    preprocessing = IMAGENET
    size_multiple = 8
    can_resume = True

    def __init__(
        self,
        num_classes: int,
        depth: int = 50,
        memory_frames: int = 2,
        key_channels: int = 64,
        value_channels: int = 256,
        head_channels: int = 512,
        align_corners: bool = True,
        dropout: float = 0.1,
        auxiliary: bool = False,
        pretrained: bool = False,
    ) -> None:
        super().__init__(num_classes)
        if memory_frames < 1:
            raise ConfigError("wrong number of memory frames", expected="1 or more", found=memory_frames)
        self.past_frames = memory_frames
        self.align_corners = align_corners
        self.size_remainder = int(align_corners)
        self.encoder = _create_encoder(depth, pretrained)
        middle, last = self.encoder.feature_info.channels()
        self.memory = TemporalMemoryAttention(last, key_channels, value_channels, memory_frames)
        self.head = classifier_head(self.memory.out_channels, head_channels, num_classes, dropout)
        self.auxiliary_head = classifier_head(middle, middle // 4, num_classes, dropout) if auxiliary else None

    def compute_features(self, frames: Tensor, **phase: int) -> Tensor:
        """The map after the attention, (B, `head_channels`, h, w); see `SemanticNetwork.compute_features`."""
        return self._fuse(self._encode(frames)[1].unbind(1))

    def classify(self, features: Tensor, **phase: int) -> Tensor:
        """See `SemanticNetwork.classify`."""
        logits: Tensor = self.head[-1](features)
        return logits

    def compute_outputs(self, frames: Tensor, **phase: int) -> tuple[Tensor, dict[str, Tensor]]:
        """See `SemanticNetwork.compute_outputs`; the third stage's logits are "auxiliary"."""
        middle, last = self._encode(frames)
        logits, head = self.classify(self._fuse(last.unbind(1))), self.auxiliary_head
        return logits, {} if head is None else {"auxiliary": head(middle[:, -1])}

    def start(self) -> FeatureMemory:
        """The state before the first frame of a video."""
        return FeatureMemory()

    def step(self, frame: Tensor, state: StreamState) -> tuple[Tensor, FeatureMemory]:
        """Segment the next frame of a video; see `SemanticNetwork.step`.

        Raises:
            ConfigError: The state is of another network or of frames of another size, or the frame has another shape.
        """
        if not isinstance(state, FeatureMemory):
            raise ConfigError("state of another network", expected="FeatureMemory", found=type(state).__name__)
        if frame.ndim != 4 or frame.shape[1] != 3:
            raise ConfigError("wrong shape of a frame", expected="(B, 3, H, W)", found=tuple(frame.shape))
        clip = self._pad(frame.unsqueeze(1))
        current = self._encode(clip)[1][:, 0]
        if state.features and state.features[-1].shape != current.shape:
            raise ConfigError(
                "the frames before this one were of another size",
                expected=f"feature maps of {tuple(state.features[-1].shape)}",
                found=tuple(current.shape),
                fix="call start() before each video",
            )
        seen = (*state.features, current)
        window = seen[:1] * (self.past_frames + 1 - len(seen)) + seen
        return self._enlarge(self.classify(self._fuse(window)), clip, frame), FeatureMemory(window[1:])

    def resume(self, past: Tensor, first_index: int = 0) -> FeatureMemory:
        """See `SemanticNetwork.resume`."""
        return FeatureMemory(self._encode(self._pad(past))[1].unbind(1))

    def official_key(self, key: str) -> str | None:
        """See `Network.official_key`; the auxiliary head is used only if this network has one."""
        if key.startswith("auxiliary_head.") and self.auxiliary_head is None:
            return None
        for pattern, replacement in OFFICIAL_NAMES:
            key = re.sub(pattern, replacement, key)
        return key

    def _at_stride(self, features: Tensor, clip: Tensor, frames: Tensor) -> Tensor:
        return features  # less than a cell is padded

    def _encode(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        """Maps of the third and the fourth stage, (B, T, C, h, w); in evaluation frame by frame, as a stream does."""
        if not self.training:
            middles, lasts = zip(*(self.encoder(frame) for frame in clip.unbind(1)), strict=True)
            return torch.stack(middles, dim=1), torch.stack(lasts, dim=1)
        middle, last = self.encoder(clip.flatten(0, 1))
        return middle.unflatten(0, clip.shape[:2]), last.unflatten(0, clip.shape[:2])

    def _fuse(self, window: Sequence[Tensor]) -> Tensor:
        """Map that the classifier reads, from the encoder's last maps."""
        fused: Tensor = self.head[:-1](self.memory(window))
        return fused


def _create_encoder(depth: int, pretrained: bool) -> Any:
    """ResNet V1c that returns the maps of its third and its fourth stage."""
    if depth not in DEPTHS:
        raise ConfigError("no ResNet of this depth", expected=", ".join(map(str, DEPTHS)), found=depth)
    options: dict[str, Any] = {"out_indices": (3, 4), "output_stride": 8}
    if depth not in SHALLOW:
        return create_timm_model(f"resnet{depth}c", pretrained, **options)
    if pretrained:
        raise ConfigError(f"there are no ImageNet weights of ResNet-{depth} V1c", fix="set pretrained to false")
    encoder = create_timm_model(f"resnet{depth}", pretrained, stem_width=32, stem_type="deep", **options)
    for name, module in encoder.named_modules():
        if name.endswith(".conv2") and isinstance(module, nn.Conv2d):  # only first convolutions are dilated
            module.dilation = module.padding = (1, 1)
    return encoder


def _projection(in_channels: int, channels: int) -> nn.Sequential:
    return nn.Sequential(conv_bn_relu(in_channels, channels), conv_bn_relu(channels, channels, kernel_size=3))


def _tokens(maps: Iterable[Tensor]) -> Tensor:
    """Positions of (B, C, h, w) maps, one map after the other: (B, T h w, C)."""
    return torch.cat([features.flatten(2).mT for features in maps], dim=1).contiguous()
