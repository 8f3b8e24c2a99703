"""Image encoders of other libraries, one error for weights that cannot be fetched, and layers behind encoders."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from thriftseg.errors import CheckpointError, ConfigError
from thriftseg.zoo.network import IMAGENET, Preprocessing
from thriftseg.zoo.weights.licences import tell_terms

OutputStride = Literal[8, 16]
OWN_STRIDE = 32
TIMM_PREFIX = "tu-"
SMP_LICENCE = "MIT"
NVIDIA_PREFIX = "mit_b"
NVIDIA_LICENCE = "NVIDIA Source Code License (non-commercial)"

_PROBE_SIZE = (64, 96)


@dataclass(frozen=True)
class EncoderSource:
    """Where an encoder and its ImageNet weights come from.

    Attributes:
        library_name: What segmentation_models_pytorch calls the encoder.
        url: Address of the weights.
        has_weights: Whether there are any.
        preprocessing: Normalisation of the frames that the weights were trained with.
        licence: Licence that the library states for the weights; `None` where it states none.
        restricted_code: Whether that is the licence of its code, too, which its library took over from others.
        fixed_size: Whether timm builds it for one frame size if nothing else is said.
    """

    library_name: str
    url: str
    has_weights: bool
    preprocessing: Preprocessing = IMAGENET
    licence: str | None = None
    restricted_code: bool = False
    fixed_size: bool = False

    @property
    def of_timm(self) -> bool:
        """Whether it is a model of timm."""
        return self.library_name.startswith(TIMM_PREFIX)


def encoder_source(backbone: str) -> EncoderSource:
    """Look up an encoder, without building or fetching anything.

    Args:
        backbone: Name of an encoder of segmentation_models_pytorch, such as "resnet18", or of a model of timm, such as
            "tu-convnext_tiny"; "tu-" may be left out where the first library has no encoder of that name.

    Raises:
        ConfigError: No such encoder.

    Example:
        >>> encoder_source("mobilenetv4_conv_small").library_name
        'tu-mobilenetv4_conv_small'
    """
    from segmentation_models_pytorch.encoders import encoders

    if not isinstance(backbone, str):
        raise ConfigError("backbone", expected="the name of an encoder", found=backbone)
    if backbone in encoders:
        weights = encoders[backbone]["pretrained_settings"].get("imagenet", {})
        of_nvidia = backbone.startswith(NVIDIA_PREFIX)
        return EncoderSource(
            backbone,
            f"https://huggingface.co/{weights.get('repo_id', '')}",
            has_weights=bool(weights),
            licence=NVIDIA_LICENCE if of_nvidia else None,
            restricted_code=of_nvidia,
        )
    import timm

    name = backbone.removeprefix(TIMM_PREFIX)
    # Names with a scheme, such as hf-hub:, would be fetched by timm: `is_model` knows none of them.
    if not timm.is_model(name) or ("." in name and not timm.is_model_pretrained(name)):
        raise _unknown(backbone, [*encoders], timm.list_models())
    found: Any = timm.get_pretrained_cfg(name)
    library_name = f"{TIMM_PREFIX}{name}"
    if found is None:
        return EncoderSource(library_name, f"https://huggingface.co/{backbone}", has_weights=False)
    return EncoderSource(
        library_name,
        f"https://huggingface.co/{found.hf_hub_id}",
        timm.is_model_pretrained(name),
        Preprocessing(mean=found.mean, std=found.std),
        found.license,
        fixed_size=bool(found.fixed_input_size),
    )


def licensed_start(arguments: Mapping[str, Any]) -> tuple[str, str] | None:
    """The encoder or the weights that a network starts from, with the licence.

    Args:
        arguments: Constructor arguments of the network.

    Returns:
        What it is, and the licence of its weights, or of its code where that is no free one; `None` where nothing is
        stated, or the weights are random and the code is free.

    Example:
        >>> licensed_start({"backbone": "tu-hiera_tiny_224", "pretrained": True})
        ('the encoder tu-hiera_tiny_224', 'cc-by-nc-4.0')
    """
    backbone, licence = arguments.get("backbone"), arguments.get("weights_licence")
    if isinstance(licence, str):
        return "weights from elsewhere", licence
    if not isinstance(backbone, str) or "pretrained" not in arguments:
        return None
    if not arguments["pretrained"] and not backbone.startswith(NVIDIA_PREFIX):
        return None
    with suppress(ConfigError):  # networks of other packages have encoders of their own
        found = encoder_source(backbone).licence
        return None if found is None else (f"the encoder {backbone}", found)
    return None


def create_encoder(backbone: str, pretrained: bool, output_stride: OutputStride | None = None) -> Any:
    """Build an encoder of segmentation_models_pytorch or, through it, of timm.

    Without pre-trained weights the encoder keeps the initialisation of its library (He normal for ResNets).

    Args:
        backbone: Name of the encoder, see `encoder_source`.
        pretrained: Fetch ImageNet weights through the library.
        output_stride: Stride of the last feature map, for which late stages are dilated; its own, 32, by default.

    Returns:
        A module that maps (B, 3, H, W), where H and W are multiples of the last stride, to a list of feature maps at
        strides 1, 2, 4, 8, ...; their numbers of channels are `out_channels`, 0 for a stride that has no map.

    Raises:
        ConfigError: No such encoder, no weights of it, the output stride is neither 8 nor 16, or the encoder cannot be
            dilated, has no maps of these strides, or takes frames of one size only.
        CheckpointError: The weights cannot be fetched.
    """
    source = encoder_source(backbone)
    if pretrained or source.restricted_code:
        tell_terms(f"the encoder {backbone}", source.licence)
    if pretrained and not source.has_weights:
        raise ConfigError(f"there are no ImageNet weights of {backbone}", fix="set pretrained to false")
    if output_stride not in (None, 8, 16):
        raise ConfigError("wrong output stride", expected="8 or 16", found=output_stride)
    if not pretrained:
        return _checked_encoder(source, backbone, output_stride)
    with torch.random.fork_rng(devices=[]):  # what is no encoder is refused before anything is fetched
        _checked_encoder(source, backbone, output_stride)
    with fetching_weights(backbone, source.url, pretrained):
        return _encoder(source, output_stride, pretrained)


def _checked_encoder(source: EncoderSource, backbone: str, output_stride: OutputStride | None) -> Any:
    """An encoder with random weights that has the maps which decoders read."""
    try:
        encoder = _encoder(source, output_stride)
        if source.of_timm:
            _check_maps(encoder, output_stride or OWN_STRIDE)
    except Exception as error:  # a thousand models fail in their own ways
        if output_stride is not None:
            _checked_encoder(source, backbone, None)
            raise ConfigError(
                f"{backbone} cannot be dilated to output stride {output_stride}",
                fix="set output_stride to null, or choose a head that reads all strides, such as FPN",
            ) from error
        raise ConfigError(
            f"{backbone} is no encoder for DeepLabV3+ and its like",
            expected="feature maps at strides 4, 8, 16 and 32 of frames of any size",
            found=f"{type(error).__name__} {error}".strip(),
            fix="choose one with stages, such as tu-convnext_tiny, or for a plain ViT a network such as eomt_small",
        ) from error
    return encoder


def _encoder(source: EncoderSource, output_stride: OutputStride | None, pretrained: bool = False) -> Any:
    from segmentation_models_pytorch.encoders import get_encoder

    weights: Any = (True if source.of_timm else "imagenet") if pretrained else None
    settings: dict[str, Any] = {"weights": weights, "output_stride": output_stride or OWN_STRIDE}
    if source.fixed_size:
        with suppress(TypeError):  # the Swin transformers of timm take any size if they are told so
            return get_encoder(source.library_name, **settings, strict_img_size=False)
    return get_encoder(source.library_name, **settings)


@torch.no_grad()
def _check_maps(encoder: Any, output_stride: int) -> None:
    height, width = _PROBE_SIZE
    maps = encoder.eval()(torch.zeros(1, 3, height, width))
    encoder.train()
    found = [tuple(features.shape[-2:]) for features in maps]
    strides = [min(2**stage, output_stride) for stage in range(6)]
    if found != [(height // stride, width // stride) for stride in strides]:
        sizes = ", ".join("x".join(map(str, size)) for size in found)
        raise ValueError(f"maps of {sizes} from a frame of {height}x{width}")


def _unknown(backbone: str, names: list[str], timm_names: list[str]) -> ConfigError:
    prefix = TIMM_PREFIX if backbone.startswith(TIMM_PREFIX) else ""
    known = timm_names if prefix else [*names, *timm_names]
    close = difflib.get_close_matches(backbone.removeprefix(prefix), known, n=3, cutoff=0.6)
    return ConfigError(
        f"unknown backbone {backbone!r}",
        expected="tu-<name of a model of timm>" if prefix else "resnet18, resnet34, resnet101, mobilenet_v2, ...",
        fix=f"did you mean {', '.join(prefix + name for name in close)}?" if close else None,
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


@contextmanager
def fetching_weights(backbone: str, url: str, pretrained: bool) -> Iterator[None]:
    """Turn whatever goes wrong while weights are fetched into one `CheckpointError`.

    Args:
        backbone: Name of the network whose weights are fetched.
        url: Where they come from.
        pretrained: Whether anything is fetched at all; if not, errors pass unchanged.

    Example:
        >>> try:
        ...     with fetching_weights("resnet18", "https://host.org/resnet18", pretrained=True):
        ...         raise OSError("no route to host")
        ... except CheckpointError as error:
        ...     print(error.fix)
        go online once so that https://host.org/resnet18 is cached, or set pretrained to false
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
