"""Image encoders of other libraries, one error for weights that cannot be fetched, and layers behind encoders."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from torch import nn

from thriftseg.errors import CheckpointError, ConfigError

OutputStride = Literal[8, 16]
OWN_STRIDE = 32


def create_encoder(backbone: str, pretrained: bool, output_stride: OutputStride | None = None) -> Any:
    """Build an encoder of segmentation_models_pytorch.

    Without pre-trained weights the encoder keeps the initialisation of its library (He normal for ResNets).

    Args:
        backbone: Name of the encoder, such as "resnet18" or "mobilenet_v2".
        pretrained: Fetch ImageNet weights through the library.
        output_stride: Stride of the last feature map, for which late stages are dilated; its own, 32, by default.

    Returns:
        A module that maps (B, 3, H, W) to a list of feature maps at strides 1, 2, 4, 8, ...; their numbers of
        channels are `out_channels`.

    Raises:
        ConfigError: No such encoder, or the output stride is neither 8 nor 16.
        CheckpointError: The weights cannot be fetched.
    """
    from segmentation_models_pytorch.encoders import get_encoder

    url = check_backbone(backbone, output_stride or 16, pretrained)
    with fetching_weights(backbone, url, pretrained):
        return get_encoder(
            backbone, weights="imagenet" if pretrained else None, output_stride=output_stride or OWN_STRIDE
        )


def create_timm_model(name: str, pretrained: bool, **options: Any) -> Any:
    """Build the stages of a network of timm, without its classifier.

    Args:
        name: What timm calls it.
        pretrained: Fetch weights through timm; otherwise its own initialisation.
        options: Passed on to `timm.create_model`.

    Raises:
        CheckpointError: The weights cannot be fetched.
    """
    import timm

    source = timm.get_pretrained_cfg(name)
    architecture = name.partition(".")[0]
    with fetching_weights(architecture, f"https://huggingface.co/{source.hf_hub_id if source else name}", pretrained):
        return timm.create_model(name, pretrained=pretrained, features_only=True, **options)


def check_backbone(backbone: str, output_stride: int, pretrained: bool) -> str:
    """Check an encoder of segmentation_models_pytorch, and tell where its weights come from.

    Args:
        backbone: Name of the encoder.
        output_stride: Stride of its last feature map.
        pretrained: Whether it shall have ImageNet weights.

    Returns:
        Address of the ImageNet weights.

    Raises:
        ConfigError: No such encoder, no ImageNet weights of it, or the output stride is neither 8 nor 16.
    """
    from segmentation_models_pytorch.encoders import encoders

    if backbone not in encoders:
        raise ConfigError(f"unknown backbone {backbone!r}", expected="resnet18, resnet34, resnet101, mobilenet_v2, ...")
    settings = encoders[backbone]["pretrained_settings"]
    if pretrained and "imagenet" not in settings:
        raise ConfigError(f"there are no ImageNet weights of {backbone}", fix="set pretrained to false")
    if output_stride not in (8, 16):
        raise ConfigError("wrong output stride", expected="8 or 16", found=output_stride)
    return f"https://huggingface.co/{settings.get('imagenet', {}).get('repo_id', '')}"


@contextmanager
def fetching_weights(backbone: str, url: str, pretrained: bool) -> Iterator[None]:
    """Turn whatever goes wrong while weights are fetched into one `CheckpointError`.

    Args:
        backbone: Name of the network whose weights are fetched.
        url: Where they come from.
        pretrained: Whether anything is fetched at all; if not, errors pass unchanged.
    """
    try:
        yield
    except Exception as error:  # hub, network and file errors share no base class
        if not pretrained:
            raise
        raise CheckpointError(
            f"ImageNet weights of {backbone} cannot be fetched ({type(error).__name__})",
            fix=f"go online once so that {url} is cached, or set pretrained to false",
        ) from error


def init_decoder(module: nn.Module) -> None:
    """He normal convolutions, unit batch norms, and zero biases."""
    for child in module.modules():
        if isinstance(child, nn.Conv2d):
            nn.init.kaiming_normal_(child.weight, mode="fan_out", nonlinearity="relu")
            if child.bias is not None:
                nn.init.zeros_(child.bias)
        elif isinstance(child, nn.BatchNorm2d):
            nn.init.ones_(child.weight)
            nn.init.zeros_(child.bias)


def init_classifier(layer: nn.Conv2d | nn.Linear) -> None:
    """Small normal weights and zero bias, so that training starts from nearly equal class probabilities."""
    nn.init.normal_(layer.weight, std=0.01)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def conv_bn_relu(in_channels: int, out_channels: int, kernel_size: int = 1) -> nn.Sequential:
    """Convolution of unchanged size, batch norm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def classifier_head(in_channels: int, channels: int, num_classes: int, dropout: float) -> nn.Sequential:
    """3x3 convolution, dropout and a 1x1 classifier, initialised."""
    classifier = nn.Conv2d(channels, num_classes, kernel_size=1)
    head = nn.Sequential(conv_bn_relu(in_channels, channels, kernel_size=3), nn.Dropout2d(dropout), classifier)
    init_decoder(head)
    init_classifier(classifier)
    return head
