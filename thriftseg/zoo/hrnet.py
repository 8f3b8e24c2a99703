"""HRNet with the segmentation head of its authors."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thriftseg.errors import ConfigError
from thriftseg.zoo.blocks.backbones import conv_bn_relu, create_timm_model, init_classifier, init_decoder
from thriftseg.zoo.network import IMAGENET, SemanticNetwork
from thriftseg.zoo.registry import register_network

WIDTHS = (18, 30, 32, 40, 44, 48, 64)


@register_network("hrnet_w18", width=18)
@register_network("hrnet_w48", width=48)
class HRNet(SemanticNetwork):
    """HRNetV2 [0]: the four branches of timm's [1] last stage, joined at stride 4, and a 1x1 head.

    The joined map has 15 times `width` channels: 270 for W18, 720 for W48. The classification part of [1] is not
    built. Random initialisation: the branches keep that of [1] (He normal), the head is He normal, its classifier small
    normal (std 0.01).

    [0] Wang et al., Deep High-Resolution Representation Learning for Visual Recognition, TPAMI 2020.
    [1] https://github.com/huggingface/pytorch-image-models

    Args:
        num_classes: Number of classes.
        width: Channels of the finest branch, as in the names of [1].
        small: Take the variant of [1] with few blocks (`hrnet_w18_small`, whose finest branch has 16 channels);
            only with width 18.
        pretrained: Start from ImageNet weights, fetched by [1]; otherwise random.

    Raises:
        ConfigError: There is no HRNet of this width, or no small one.
        CheckpointError: The ImageNet weights cannot be fetched.

    Example:
        >>> network = HRNet(num_classes=5, small=True).eval()
        >>> network.features(torch.zeros(1, 3, 45, 60)).shape
        torch.Size([1, 240, 12, 15])
    """

    preprocessing = IMAGENET
    size_multiple = 32

    def __init__(self, num_classes: int, width: int = 18, small: bool = False, pretrained: bool = False) -> None:
        super().__init__(num_classes)
        if width not in WIDTHS or (small and width != 18):
            raise ConfigError(
                "no such HRNet",
                expected=f"width {', '.join(map(str, WIDTHS))}; small only with width 18",
                found=f"width {width}{', small' if small else ''}",
            )
        variant = f"hrnet_w{width}_small" if small else f"hrnet_w{width}"
        # The last stage itself, not the modules that widen its branches for classification (`feature_location`).
        self.encoder = create_timm_model(variant, pretrained, feature_location="", out_indices=(1, 2, 3, 4))
        self.feature_channels: int = sum(self.encoder.feature_info.channels())
        self.fuse = conv_bn_relu(self.feature_channels, self.feature_channels)
        self.classifier = nn.Conv2d(self.feature_channels, num_classes, kernel_size=1)
        init_decoder(self.fuse)
        init_classifier(self.classifier)

    def compute_features(self, frames: Tensor, **phase: int) -> Tensor:
        """The joined branches, (B, `feature_channels`, H / 4, W / 4); see `SemanticNetwork.compute_features`."""
        finest, *coarser = self.encoder(frames[:, -1])
        size = finest.shape[-2:]
        enlarged = [F.interpolate(branch, size=size, mode="bilinear", align_corners=False) for branch in coarser]
        return torch.cat([finest, *enlarged], dim=1)

    def classify(self, features: Tensor, **phase: int) -> Tensor:
        """See `SemanticNetwork.classify`."""
        logits: Tensor = self.classifier(self.fuse(features))
        return logits
