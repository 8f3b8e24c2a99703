"""PSPNet on a dilated encoder."""

from __future__ import annotations

from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thriftseg.errors import ConfigError
from thriftseg.zoo.blocks.backbones import (
    OWN_STRIDE,
    classifier_head,
    conv_bn_relu,
    create_encoder,
    encoder_source,
    init_decoder,
)
from thriftseg.zoo.blocks.batch_norm import tolerate_single_value
from thriftseg.zoo.blocks.symbolic import is_symbolic
from thriftseg.zoo.network import SemanticNetwork
from thriftseg.zoo.registry import register_network


class GridPooling(nn.AdaptiveAvgPool2d):
    """Mean over the cells of a grid of fixed sides, also in an export for maps of several sizes.

    Example:
        >>> features = torch.rand(1, 2, 5, 7)
        >>> means = average_rows(5, 3, features) @ features @ average_rows(7, 3, features).mT
        >>> torch.allclose(GridPooling(3)(features), means, atol=1e-6)
        True
    """

    def forward(self, input: Tensor) -> Tensor:
        """Pool (B, C, h, w) to (B, C, `output_size`, `output_size`)."""
        height, width = input.shape[-2:]
        if not is_symbolic(height + width):
            return super().forward(input)
        side = cast(int, self.output_size)
        return average_rows(height, side, input) @ input @ average_rows(width, side, input).mT


def average_rows(length: int, cells: int, like: Tensor) -> Tensor:
    """Matrix that takes the means of `torch.nn.AdaptiveAvgPool1d`.

    Args:
        length: Number of values.
        cells: Number of means.
        like: Tells type and device.

    Returns:
        (`cells`, `length`), rows of sum 1.
    """
    cell, place = torch.arange(cells, device=like.device)[:, None], torch.arange(length, device=like.device)
    start, end = cell * length // cells, ((cell + 1) * length + cells - 1) // cells
    return ((place >= start) & (place < end)).to(like.dtype) / (end - start)


class PyramidPooling(nn.Module):
    """Pools a map to a few coarse grids, enlarges these, and lays them next to it.

    Args:
        in_channels: Channels of the map.
        channels: Channels of each pooled branch.
        bins: Side lengths of the grids.
    """

    def __init__(self, in_channels: int, channels: int, bins: tuple[int, ...] = (1, 2, 3, 6)) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(GridPooling(size), *conv_bn_relu(in_channels, channels)) for size in bins
        )
        self.out_channels = in_channels + channels * len(bins)
        self._blocks = [in_channels] + [channels] * len(bins)

    def forward(self, features: Tensor) -> Tensor:
        """Append the pooled branches: (B, C, h, w) -> (B, `out_channels`, h, w)."""
        size = features.shape[-2:]
        pooled = [
            F.interpolate(branch(features), size=size, mode="bilinear", align_corners=False) for branch in self.branches
        ]
        return torch.cat([features, *pooled], dim=1)

    def channel_groups(self, groups: int) -> list[list[int]]:
        """Cut the map, and each pooled branch, into groups of consecutive channels.

        Args:
            groups: Number of groups.

        Returns:
            For each group its channels of the output.

        Raises:
            ConfigError: There are fewer channels than groups.

        Example:
            >>> PyramidPooling(4, 2, bins=(1, 2)).channel_groups(2)
            [[0, 1, 4, 6], [2, 3, 5, 7]]
        """
        if not 1 <= groups <= min(self._blocks):
            raise ConfigError("wrong number of channel groups", expected=f"1 to {min(self._blocks)}", found=groups)
        blocks = torch.arange(self.out_channels).split(self._blocks)
        return [
            torch.cat(parts).tolist() for parts in zip(*(block.tensor_split(groups) for block in blocks), strict=True)
        ]


@register_network("pspnet")
@register_network("pspnet_resnet18", backbone="resnet18")
@register_network("pspnet_resnet34", backbone="resnet34")
@register_network("pspnet_resnet101", backbone="resnet101")
@register_network("pspnet_mobilenetv2", backbone="mobilenet_v2")
class PSPNet(SemanticNetwork):
    """PSPNet [0]: pyramid pooling (1, 2, 3, 6) on an encoder of [1] dilated to output stride 8.

    Unlike the PSPNet of [1], which stops after the encoder's second stage, this one uses the whole encoder, the
    convolutions of the last two stages dilated by 2 and 4. On a CPU, output stride 16 trains nearly three times as
    fast. The branch that pools to a single value normalises with running statistics when a training batch holds a
    single image (`PooledBatchNorm2d`). Random initialisation: the encoder keeps that of [1], the head is He normal, the
    classifiers are small normal (std 0.01).

    [0] Zhao et al., Pyramid Scene Parsing Network, CVPR 2017.
    [1] https://github.com/qubvel-org/segmentation_models.pytorch

    Args:
        num_classes: Number of classes.
        backbone: Name of an encoder of [1], or of a model of timm with feature maps, such as "tu-convnext_tiny".
        pretrained: Start from ImageNet weights, fetched by [1]; otherwise random.
        output_stride: Stride of the encoder's last feature map and of the logits; `None` leaves it at 32, which suits
            encoders that cannot be dilated, such as most transformers.
        decoder_channels: Channels of each pooled branch and of the fused map; a quarter of the encoder's by default.
        dropout: Share of the fused channels dropped in training.
        auxiliary: Add a head on the encoder's third stage; `forward_with_auxiliary` returns its logits as
            "auxiliary". Train such a network through that method, or the head gets no gradient.

    Raises:
        ConfigError: Unknown backbone, output stride or number of classes, or a backbone without feature maps.
        CheckpointError: The ImageNet weights cannot be fetched.

    Example:
        >>> network = PSPNet(num_classes=5, backbone="resnet18", decoder_channels=16, auxiliary=True).eval()
        >>> logits, auxiliary = network.forward_with_auxiliary(torch.zeros(1, 3, 45, 60))
        >>> logits.shape == auxiliary["auxiliary"].shape == (1, 5, 45, 60)
        True
    """

    def __init__(
        self,
        num_classes: int,
        backbone: str = "resnet18",
        pretrained: bool = False,
        output_stride: Literal[8, 16] | None = 8,
        decoder_channels: int | None = None,
        dropout: float = 0.1,
        auxiliary: bool = False,
    ) -> None:
        super().__init__(num_classes)
        self.encoder = create_encoder(backbone, pretrained, output_stride)
        self.preprocessing = encoder_source(backbone).preprocessing
        self.size_multiple = output_stride or OWN_STRIDE
        *_, middle, last = self.encoder.out_channels
        channels = decoder_channels or last // 4
        self.pyramid = PyramidPooling(last, channels)
        self.head = classifier_head(self.pyramid.out_channels, channels, num_classes, dropout)
        self.auxiliary_head = classifier_head(middle, max(middle // 4, 1), num_classes, dropout) if auxiliary else None
        init_decoder(self.pyramid)
        tolerate_single_value(self.pyramid)

    def compute_features(self, frames: Tensor, **phase: int) -> Tensor:
        """The fused map, (B, `decoder_channels`, H / s, W / s); see `SemanticNetwork.compute_features`."""
        return self._fuse(self.encoder(frames[:, -1]))

    def classify(self, features: Tensor, **phase: int) -> Tensor:
        """See `SemanticNetwork.classify`."""
        logits: Tensor = self.head[-1](features)
        return logits

    def compute_outputs(self, frames: Tensor, **phase: int) -> tuple[Tensor, dict[str, Tensor]]:
        """See `SemanticNetwork.compute_outputs`; the third stage's logits are "auxiliary"."""
        features = self.encoder(frames[:, -1])
        logits, head = self.classify(self._fuse(features)), self.auxiliary_head
        return logits, {} if head is None else {"auxiliary": head(features[-2])}

    def forward_groups(self, frames: Tensor, groups: int = 2, gain: float = 1.0) -> tuple[Tensor, list[Tensor]]:
        """Segment with all channels and with each group of them alone, to teach grouped sub-networks [2].

        The encoder's map and each pooled branch are cut into groups of consecutive channels. The head's convolution is
        linear, so the maps that the groups alone make add up to the one that the head normalises (`group_maps`).

        [2] Hu et al., Temporally Distributed Networks for Fast Video Semantic Segmentation, CVPR 2020.

        Args:
            frames: As for `forward`.
            groups: Number of groups.
            gain: Factor on the map of each group before it is normalised.

        Returns:
            The logits of `low_resolution_logits`, and those of each group, of the same shape.

        Raises:
            ConfigError: There are fewer channels than groups.
        """
        clip = self._clip(frames)
        maps = self.group_maps(clip[:, -1], groups)
        fused = [torch.stack(maps).sum(dim=0), *(gain * part for part in maps)]
        after_convolution = nn.Sequential(*self.head[0][1:], *self.head[1:])  # type: ignore[index]
        logits, *others = [self._at_stride(after_convolution(each), clip, frames) for each in fused]
        return logits, others

    def group_maps(self, frame: Tensor, groups: int) -> list[Tensor]:
        """Share of each group of channels in the map that the head normalises first.

        Args:
            frame: (B, 3, H, W) normalised; H and W are multiples of `size_multiple`.
            groups: Number of groups.

        Returns:
            For each group (B, channels of the head, H / s, W / s), where s is the output stride.

        Raises:
            ConfigError: There are fewer channels than groups.
        """
        features = self.pyramid(self.encoder(frame)[-1])
        convolution: Any = self.head[0][0]  # type: ignore[index]
        return [
            F.conv2d(features[:, channels], convolution.weight[:, channels], padding=convolution.padding)
            for channels in self.pyramid.channel_groups(groups)
        ]

    def _fuse(self, maps: list[Tensor]) -> Tensor:
        """Map that the classifier reads, from the encoder's maps."""
        fused: Tensor = self.head[:-1](self.pyramid(maps[-1]))
        return fused
