"""DeepLabV3+ as built by segmentation_models_pytorch."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from thriftseg.zoo.blocks.backbones import check_backbone, fetching_weights
from thriftseg.zoo.blocks.batch_norm import tolerate_single_value
from thriftseg.zoo.network import IMAGENET, SemanticNetwork
from thriftseg.zoo.registry import register_network


@register_network("deeplabv3plus_resnet18", backbone="resnet18")
@register_network("deeplabv3plus_resnet34", backbone="resnet34")
@register_network("deeplabv3plus_resnet101", backbone="resnet101")
@register_network("deeplabv3plus_mobilenetv2", backbone="mobilenet_v2")
class DeepLabV3Plus(SemanticNetwork):
    """DeepLabV3+ [0] of segmentation_models_pytorch [1]: separable ASPP and a decoder at stride 4.

    The number of parameters and the speed are those of [1], not the paper's. The pooled branch of the ASPP
    normalises with running statistics when a training batch holds a single image (`PooledBatchNorm2d`). Random
    initialisation is that of [1]: He for encoder and decoder, Glorot for the classifier.

    [0] Chen et al., Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation, ECCV 2018.
    [1] https://github.com/qubvel-org/segmentation_models.pytorch

    Args:
        num_classes: Number of classes.
        backbone: Name of an encoder of [1].
        pretrained: Start from ImageNet weights, fetched by [1]; otherwise random.
        output_stride: Stride of the encoder's last feature map.
        decoder_channels: Channels of ASPP and decoder.
        dropout: Share of the ASPP's output channels dropped in training.

    Raises:
        ConfigError: Unknown backbone, output stride or number of classes.
        CheckpointError: The ImageNet weights cannot be fetched.

    Example:
        >>> import torch
        >>> network = DeepLabV3Plus(num_classes=5, backbone="resnet18", decoder_channels=16).eval()
        >>> network(torch.zeros(1, 3, 45, 60)).shape
        torch.Size([1, 5, 45, 60])
    """

    preprocessing = IMAGENET
    align_corners = True  # as the final enlargement of [1]

    def __init__(
        self,
        num_classes: int,
        backbone: str = "resnet18",
        pretrained: bool = False,
        output_stride: Literal[8, 16] = 16,
        decoder_channels: int = 256,
        dropout: float = 0.5,
    ) -> None:
        super().__init__(num_classes)
        from segmentation_models_pytorch import DeepLabV3Plus as Model

        url = check_backbone(backbone, output_stride, pretrained)
        with fetching_weights(backbone, url, pretrained):
            model = Model(
                encoder_name=backbone,
                encoder_weights="imagenet" if pretrained else None,
                encoder_output_stride=output_stride,
                decoder_channels=decoder_channels,
                decoder_aspp_dropout=dropout,
                classes=num_classes,
                upsampling=1,
            )
        tolerate_single_value(model.decoder)
        self.size_multiple = output_stride
        self.encoder, self.decoder, self.classifier = model.encoder, model.decoder, model.segmentation_head

    def compute_features(self, frames: Tensor, **phase: int) -> Tensor:
        """Map of the decoder, (B, `decoder_channels`, H / 4, W / 4); see `SemanticNetwork.compute_features`."""
        features: Tensor = self.decoder(self.encoder(frames[:, -1]))
        return features

    def classify(self, features: Tensor, **phase: int) -> Tensor:
        """See `SemanticNetwork.classify`."""
        logits: Tensor = self.classifier(features)
        return logits
