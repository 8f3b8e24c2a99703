"""TDNet with FANets: two small networks with fast attention take turns over the frames of a video."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thriftseg.errors import ConfigError
from thriftseg.zoo.blocks.backbones import init_classifier, init_decoder
from thriftseg.zoo.blocks.batch_norm import PooledBatchNorm2d
from thriftseg.zoo.registry import register_network
from thriftseg.zoo.tdnet.blocks import Path, create_resnet
from thriftseg.zoo.tdnet.network import TDNet, WarmUp, rename

SHALLOW = ("resnet18", "resnet34")
SMOOTH_CHANNELS = 128
_OFFICIAL_LEVELS = ("ffm_32", "ffm_16", "ffm_8", "ffm_4")
_OFFICIAL_UNUSED = {("ffm_32", "smooth"), ("ffm_8", "smooth"), ("ffm_4", "up")}
_OFFICIAL_FUSION = {
    f"{theirs}.{layer}": f"{ours}.{index}"
    for theirs, ours in {
        "w_qs": "attention.query",
        "w_ks": "attention.key",
        "w_vs": "attention.value",
        "latlayer3": "attention.lateral",
        "up": "reduce",
        "smooth": "smooth",
    }.items()
    for index, layer in enumerate(("conv", "bn"))
}
_OFFICIAL_HEAD = {"conv.conv": "0", "conv.bn": "1", "conv_out": "3"}


class FastAttention(nn.Module):
    """Attention without softmax between all positions of a map, at a cost linear in their number [0].

    `y = q (k^T v)` with queries and keys of unit length, neither scaled nor divided by the number of positions; then a
    1x1 convolution, and the map itself is added.

    [0] Hu et al., Real-time Semantic Segmentation with Fast Attention, RA-L 2021.

    Args:
        channels: Channels of the map.
        key_channels: Channels of queries and keys.

    Example:
        >>> FastAttention(8)(torch.randn(2, 8, 5, 7)).shape
        torch.Size([2, 8, 5, 7])
    """

    def __init__(self, channels: int, key_channels: int = 32) -> None:
        super().__init__()
        self.query = _conv_bn(channels, key_channels)
        self.key = _conv_bn(channels, key_channels)
        self.value = _conv_bn_leaky(channels, channels)
        self.lateral = _conv_bn_leaky(channels, channels)

    def forward(self, features: Tensor) -> Tensor:
        """Attend: (B, C, h, w) to the same shape."""
        query = F.normalize(self.query(features).flatten(2), dim=1)
        key = F.normalize(self.key(features).flatten(2), dim=1)
        summary = self.value(features).flatten(2) @ key.mT
        attended: Tensor = self.lateral((summary @ query).unflatten(2, features.shape[2:]))
        return attended + features


class Fusion(nn.Module):
    """One level of the decoder: attends to its map and adds what comes from the coarser level.

    Args:
        channels: Channels of the level's map.
        reduce: Make a map of half the channels for the next finer level. Its 1x1 convolution pads, so that it grows by
            a border.
        smooth: Make an output map with 128 channels.
    """

    def __init__(self, channels: int, reduce: bool, smooth: bool) -> None:
        super().__init__()
        self.attention = FastAttention(channels)
        self.reduce = _conv_bn_leaky(channels, channels // 2, padding=1) if reduce else None
        self.smooth = _conv_bn_leaky(channels, SMOOTH_CHANNELS, kernel_size=3, padding=1) if smooth else None

    def forward(self, features: Tensor, coarser: Tensor | None) -> Tensor:
        """Fuse (B, C, h, w) with the coarser level's reduced map (B, C, h', w')."""
        fused: Tensor = self.attention(features)
        return fused if coarser is None else fused + _resize(coarser, fused)


class FANetSubnetwork(nn.Module):
    """FANet [0] up to its head: a ResNet whose maps have strides 8, 16, 32 and 64, and a decoder of fast attention.

    The ResNet is that of timm with a stride of 2 in its first stage, too, and leaky ReLUs but for the last one of each
    block.

    [0] Hu et al., Real-time Semantic Segmentation with Fast Attention, RA-L 2021.

    Args:
        backbone: resnet18 or resnet34.
        pretrained: Start from ImageNet weights.

    Raises:
        ConfigError: Unknown backbone.
        CheckpointError: The ImageNet weights cannot be fetched.
    """

    channels = 2 * SMOOTH_CHANNELS
    intermediate_channels = SMOOTH_CHANNELS

    def __init__(self, backbone: str, pretrained: bool) -> None:
        super().__init__()
        if backbone not in SHALLOW:
            raise ConfigError(f"no FANet on {backbone!r} here", expected=" or ".join(SHALLOW))
        self.encoder = create_resnet(
            backbone, pretrained, act_layer=nn.LeakyReLU, norm_layer=PooledBatchNorm2d, out_indices=(1, 2, 3, 4)
        )
        for stage in (self.encoder.layer1, self.encoder.layer2, self.encoder.layer3, self.encoder.layer4):
            for block in stage:
                block.act2 = nn.ReLU(inplace=True)
        first = self.encoder.layer1[0]
        first.conv1.stride = (2, 2)
        width = first.conv2.out_channels
        first.downsample = _conv_bn(width, width, stride=2)
        init_decoder(first.downsample)
        channels = self.encoder.feature_info.channels()[::-1]
        outputs = ((True, False), (True, True), (True, False), (False, True))
        self.fusions = nn.ModuleList(
            Fusion(width, reduce, smooth) for width, (reduce, smooth) in zip(channels, outputs, strict=True)
        )
        init_decoder(self.fusions)

    def forward(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) to (B, 256, ceil(H / 8), ceil(W / 8)) and (B, 128, ceil(H / 32), ceil(W / 32))."""
        coarser, smoothed = None, []
        fusion: Any
        for fusion, features in zip(self.fusions, reversed(self.encoder(frame)), strict=True):
            fused = fusion(features, coarser)
            coarser = fusion.reduce(fused) if fusion.reduce is not None else None
            if fusion.smooth is not None:
                smoothed.append(fusion.smooth(fused))
        coarse, fine = smoothed
        return torch.cat([_resize(coarse, fine), fine], dim=1), coarse


@register_network("td2_fanet18", backbone="resnet18")
class TDNetFANet(TDNet):
    """TDNet [0] with two FANets.

    See `TDNet` for how paths take turns, how a stream works and what `first_index` means. In the size-free form
    frames are padded to multiples of 8. The keys and values of past frames are subsampled before their projection; the
    authors' training code does it afterwards, which differs in the statistics of the batch norm alone. Random
    initialisation: encoders keep that of timm [2], the rest is He normal, the classifiers small normal (std 0.01).

    To load weights of the authors, set `layer_norm_size=(96, 192)` and `warm_up="no_attention"`; such a network takes
    frames of 768x1536 alone.

    [0] Hu et al., Temporally Distributed Networks for Fast Video Semantic Segmentation, CVPR 2020.
    [1] https://github.com/feinanshan/TDNet
    [2] https://github.com/huggingface/pytorch-image-models

    Args:
        num_classes: Number of classes.
        backbone: Encoder of both paths, resnet18 or resnet34.
        pretrained: Start from ImageNet weights, fetched by [2]; otherwise random.
        kv_stride: Distance between the positions of past frames that are kept.
        layer_norm_size: Layer norm with a scale and shift per position of a map of this height and width, which binds
            the network to one size of frame; `None`: per channel, for any size.
        warm_up: What a stream does with its first frame: attend to itself as a past frame ("repeat"), or do without
            ("no_attention").
        auxiliary: Give each path a head on the smoothed map at stride 32, for `forward_with_auxiliary`.

    Raises:
        ConfigError: An argument is none of these, or the number of classes is not in 1 to 255.
        CheckpointError: The ImageNet weights cannot be fetched.

    Example:
        >>> network = TDNetFANet(num_classes=5).eval()
        >>> network(torch.zeros(1, 2, 3, 45, 60), first_index=1).shape
        torch.Size([1, 5, 45, 60])
    """

    def __init__(
        self,
        num_classes: int,
        backbone: str = "resnet18",
        pretrained: bool = False,
        kv_stride: int = 3,
        layer_norm_size: tuple[int, int] | None = None,
        warm_up: WarmUp = "repeat",
        auxiliary: bool = False,
    ) -> None:
        super().__init__(num_classes, 2, kv_stride, kv_stride, layer_norm_size, warm_up)
        channels, smooth = FANetSubnetwork.channels, FANetSubnetwork.intermediate_channels
        for _ in range(self.num_phases):
            path = Path(
                FANetSubnetwork(backbone, pretrained),
                channels,
                channels,
                self.past_frames,
                self.layer_norm_size,
                _fanet_head(channels, channels, num_classes),
                _fanet_head(smooth, smooth // 2, num_classes) if auxiliary else None,
            )
            self.paths.append(path)

    def _official_place(self, block: str, entry: str) -> str | None:
        if block == "pretrained":
            return f"subnetwork.encoder.{entry}"
        if block in _OFFICIAL_LEVELS:
            unused = (block, entry.partition(".")[0]) in _OFFICIAL_UNUSED
            level = f"subnetwork.fusions.{_OFFICIAL_LEVELS.index(block)}"
            return None if unused else f"{level}.{rename(entry, _OFFICIAL_FUSION)}"
        if block == "head":
            return f"head.{rename(entry, _OFFICIAL_HEAD)}"
        if block == "head_aux":
            unused = self._path(0).auxiliary_head is None
            return None if unused else f"auxiliary_head.{rename(entry, _OFFICIAL_HEAD)}"
        return super()._official_place(block, entry)


def _fanet_head(in_channels: int, channels: int, num_classes: int) -> nn.Sequential:
    classifier = nn.Conv2d(channels, num_classes, kernel_size=1, bias=False)
    head = nn.Sequential(*_conv_bn_leaky(in_channels, channels, kernel_size=3, padding=1), classifier)
    init_decoder(head)
    init_classifier(classifier)
    return head


def _conv_bn_leaky(in_channels: int, out_channels: int, kernel_size: int = 1, padding: int = 0) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size, padding=padding, bias=False),
        PooledBatchNorm2d(out_channels),
        nn.LeakyReLU(0.01, inplace=True),
    )


def _conv_bn(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=stride, bias=False), PooledBatchNorm2d(out_channels)
    )


def _resize(features: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(features, size=like.shape[-2:], mode="bilinear", align_corners=True)
