"""TDNet with PSPNets: two or four dilated ResNets take turns over the frames of a video."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thriftseg.errors import ConfigError
from thriftseg.zoo.blocks.backbones import conv_bn_relu, init_classifier, init_decoder
from thriftseg.zoo.blocks.batch_norm import tolerate_single_value
from thriftseg.zoo.pspnet import PyramidPooling
from thriftseg.zoo.registry import register_network
from thriftseg.zoo.tdnet.blocks import Path, create_resnet
from thriftseg.zoo.tdnet.network import TDNet, WarmUp, rename

_OFFICIAL_PYRAMID = {f"conv{i + 1}.{layer}": f"{i}.{layer + 1}" for i in range(4) for layer in range(2)}


class GroupedPyramidPooling(PyramidPooling):
    """Pyramid pooling that sees all channels and passes on one group of them, and of each pooled branch.

    A full pyramid has twice the channels of the map, and the head would have to read them all in every frame. Here
    a path reads one half, the next path the other; the attention between frames brings both halves together, so that
    a frame costs less than with a PSPNet but its result rests on all channels. Halving before the enlargement gives
    the same numbers as after it, on maps that are smaller.

    Args:
        in_channels: Channels of the map.
        group: Which half is passed on, 0 or 1.
    """

    def __init__(self, in_channels: int, group: int) -> None:
        super().__init__(in_channels, in_channels // 4)
        self.group = group
        tolerate_single_value(self)
        init_decoder(self)

    def forward(self, features: Tensor) -> Tensor:
        """Half of the map and of its pooled branches: (B, C, h, w) -> (B, C, h, w)."""
        size = features.shape[-2:]
        maps = (features, *(branch(features) for branch in self.branches))
        half, *pooled = (each.chunk(2, dim=1)[self.group] for each in maps)
        enlarged = [F.interpolate(coarse, size=size, mode="bilinear", align_corners=True) for coarse in pooled]
        return torch.cat([half, *enlarged], dim=1)


class PSPSubnetwork(nn.Module):
    """ResNet with output stride 8, dilated by 4, 8, 16 in the blocks of its last stage, and half of a pyramid pooling.

    Args:
        backbone: resnet18, resnet34 or resnet50.
        group: Which half of the channels is passed on, 0 or 1.
        pretrained: Start from ImageNet weights.
    """

    def __init__(self, backbone: str, group: int, pretrained: bool) -> None:
        super().__init__()
        self.encoder = create_resnet(backbone, pretrained, output_stride=8, out_indices=(3, 4))
        for block, dilation in zip(self.encoder.layer4, (4, 8, 16), strict=False):
            convolution = block.conv2 if hasattr(block, "conv3") else block.conv1
            convolution.dilation = convolution.padding = (dilation, dilation)
        middle, last = self.encoder.feature_info.channels()
        self.pyramid = GroupedPyramidPooling(last, group)
        self.channels: int = last
        self.intermediate_channels: int = middle

    def forward(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) to (B, `channels`, h, w) and (B, `intermediate_channels`, h, w)."""
        intermediate, last = self.encoder(frame)
        return self.pyramid(last), intermediate


@register_network("td4_psp18", backbone="resnet18", num_paths=4)
@register_network("td2_psp50", backbone="resnet50", num_paths=2)
class TDNetPSP(TDNet):
    """TDNet [0] with PSPNets: each path is a whole ResNet that passes half of its channels on.

    See `TDNet` for how paths take turns, how a stream works and what `first_index` means. In the size-free form
    frames are padded to sides 8k + 1, for which corner-aligned enlargement is exact: 769x1537 passes as it is. Random
    initialisation: encoders keep that of timm [2], the rest is He normal, the classifiers small normal (std 0.01).

    To load weights of the authors, set `layer_norm_size=(97, 193)` and `warm_up="no_attention"`; such a network takes
    frames of 769x1537 alone, and does not pad them.

    [0] Hu et al., Temporally Distributed Networks for Fast Video Semantic Segmentation, CVPR 2020.
    [1] https://github.com/feinanshan/TDNet
    [2] https://github.com/huggingface/pytorch-image-models

    Args:
        num_classes: Number of classes.
        backbone: Encoder of every path, one of resnet18, resnet34, resnet50 (with a stem of three 3x3 convolutions).
        num_paths: 2 or 4.
        pretrained: Start from ImageNet weights, fetched by [2]; otherwise random.
        kv_stride: Distance between the positions of past frames that are kept, in evaluation mode.
        training_kv_stride: The same in training mode.
        layer_norm_size: Layer norm with a scale and shift per position of a map of this height and width, which binds
            the network to one size of frame; `None`: per channel, for any size.
        warm_up: What a stream does before it has seen `past_frames` frames: "repeat" the oldest one, or "no_attention".
        auxiliary: Give each path a head on its encoder's third stage, for `forward_with_auxiliary`.

    Raises:
        ConfigError: An argument is none of these, or the number of classes is not in 1 to 255.
        CheckpointError: The ImageNet weights cannot be fetched.

    Example:
        >>> network = TDNetPSP(num_classes=5, num_paths=2).eval()
        >>> state = network.start()
        >>> logits, state = network.step(torch.zeros(1, 3, 45, 60), state)
        >>> logits.shape
        torch.Size([1, 5, 45, 60])
        >>> network(torch.zeros(1, 2, 3, 45, 60), first_index=1).shape
        torch.Size([1, 5, 45, 60])
    """

    size_remainder = 1

    def __init__(
        self,
        num_classes: int,
        backbone: str = "resnet18",
        num_paths: Literal[2, 4] = 4,
        pretrained: bool = False,
        kv_stride: int = 4,
        training_kv_stride: int = 3,
        layer_norm_size: tuple[int, int] | None = None,
        warm_up: WarmUp = "repeat",
        auxiliary: bool = False,
    ) -> None:
        if num_paths not in (2, 4):
            raise ConfigError("wrong number of paths", expected="2 or 4", found=num_paths)
        super().__init__(num_classes, num_paths, kv_stride, training_kv_stride, layer_norm_size, warm_up)
        for index in range(num_paths):
            subnetwork = PSPSubnetwork(backbone, index % 2, pretrained)
            channels, middle = subnetwork.channels, subnetwork.intermediate_channels
            value_channels = channels if num_paths == 4 else channels // 4
            path = Path(
                subnetwork,
                channels,
                value_channels,
                self.past_frames,
                self.layer_norm_size,
                _psp_head(value_channels, value_channels // num_paths, num_classes),
                _psp_head(middle, middle // 4, num_classes) if auxiliary else None,
            )
            self.paths.append(path)

    def _official_place(self, block: str, entry: str) -> str | None:
        if block == "pretrained":
            return None if entry.startswith("fc.") else f"subnetwork.encoder.{entry}"
        if block == "psp":
            return f"subnetwork.pyramid.branches.{rename(entry, _OFFICIAL_PYRAMID)}"
        if block == "head":
            return f"head.{entry.removeprefix('conv5.')}"
        if block == "auxlayer":
            head = self._path(0).auxiliary_head
            return None if head is None else f"auxiliary_head.{entry.removeprefix('conv5.')}"
        return super()._official_place(block, entry)


def _psp_head(in_channels: int, channels: int, num_classes: int) -> nn.Sequential:
    classifier = nn.Conv2d(channels, num_classes, kernel_size=1)
    head = nn.Sequential(*conv_bn_relu(in_channels, channels, kernel_size=3), nn.Dropout2d(0.1), classifier)
    init_decoder(head)
    init_classifier(classifier)
    return head
