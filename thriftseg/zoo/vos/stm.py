"""STM: a memory of past frames and masks that every pixel of a new frame reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thriftseg.errors import ConfigError
from thriftseg.zoo.blocks.backbones import fetching_weights, init_classifier
from thriftseg.zoo.network import IDENTITY, IMAGENET
from thriftseg.zoo.registry import register_network
from thriftseg.zoo.vos.aggregation import aggregate
from thriftseg.zoo.vos.memory import Memory
from thriftseg.zoo.vos.network import MemoryNetwork
from thriftseg.zoo.vos.objects import ObjectRows
from thriftseg.zoo.vos.padding import SplitPadding
from thriftseg.zoo.vos.reader import MemoryReader, Similarity

BACKBONES = ("resnet18", "resnet34", "resnet50", "resnet101")

MASK_GAIN = 4.0
"""Kernels of masks start this much larger than He normal; at 1, few values of a random network tell of the mask."""


Pyramid = tuple[Tensor, ...]
"""Feature maps of an encoder at strides 4, 8 and, for a memory of that stride, 16."""


class _Encoder(nn.Module):
    """A ResNet up to the stride of the memory that normalises its frames itself.

    Args:
        backbone: Name of a ResNet of torchvision.
        pretrained: Start from ImageNet weights.
        stride: Stride of the memory.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: str, pretrained: bool, stride: int) -> None:
        super().__init__()
        from torchvision.models import get_model

        if backbone not in BACKBONES:
            raise ConfigError(f"unknown backbone {backbone!r}", expected=", ".join(BACKBONES))
        with fetching_weights(backbone, "https://download.pytorch.org/models", pretrained):
            resnet: Any = get_model(backbone, weights="IMAGENET1K_V1" if pretrained else None)
        self.conv1, self.bn1 = resnet.conv1, resnet.bn1
        self.layer1, self.layer2 = resnet.layer1, resnet.layer2
        self.layer3 = resnet.layer3 if stride == 16 else None
        self.register_buffer("mean", torch.tensor(IMAGENET.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET.std).view(1, 3, 1, 1))
        layers = (self.layer1, self.layer2, self.layer3)
        self.out_channels = [_out_channels(layer) for layer in layers if layer is not None]

    def stem(self, frame: Tensor) -> Tensor:
        """First convolution of a frame with values in [0, 1]."""
        convolved: Tensor = self.conv1((frame - self.mean) / self.std)
        return convolved

    def pyramid(self, stem: Tensor) -> Pyramid:
        """Feature maps from the result of the first convolution."""
        normalised = self.bn1(stem)
        if stem.device.type == "cpu":  # PyTorch vectorises the maximum over channels only if they are stored last
            normalised = normalised.contiguous(memory_format=torch.channels_last)
        pooled = F.max_pool2d(normalised, kernel_size=3, stride=2, padding=1).contiguous()
        stride4 = self.layer1(F.relu(pooled))  # ReLU after the maximum: same values, a smaller map
        stride8 = self.layer2(stride4)
        return (stride4, stride8) if self.layer3 is None else (stride4, stride8, self.layer3(stride8))


class QueryEncoder(_Encoder):
    """Encodes a frame."""

    def forward(self, frame: Tensor) -> Pyramid:
        """Encode (B, 3, H, W), padded to multiples of the stride."""
        return self.pyramid(self.stem(frame))


class MemoryEncoder(_Encoder):
    """Encodes a frame with the mask of one object and that of all others.

    The first convolution of the frame is computed once for all objects.

    Args:
        backbone: Name of a ResNet of torchvision.
        pretrained: Start from ImageNet weights; those of the two mask convolutions are random.
        stride: Stride of the memory.
    """

    def __init__(self, backbone: str, pretrained: bool, stride: int) -> None:
        super().__init__(backbone, pretrained, stride)
        self.conv1_mask = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
        self.conv1_others = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
        for conv in (self.conv1_mask, self.conv1_others):
            nn.init.normal_(conv.weight, std=MASK_GAIN * (2 / (49 * 64)) ** 0.5)

    def forward(self, frame: Tensor, masks: Tensor, rows: ObjectRows) -> Tensor:
        """Encode frames and masks.

        Args:
            frame: (B, 3, H, W), padded to multiples of the stride s.
            masks: (B, N, H, W).
            rows: The M objects.

        Returns:
            (M, C, H / s, W / s).
        """
        mask = rows.gather(masks)
        together = rows.scatter(mask, len(frame)).sum(dim=1)
        others = (rows.spread(together) - mask).clamp(0, 1)
        weight = torch.cat([self.conv1_mask.weight, self.conv1_others.weight], dim=1)  # sum of two convolutions as one
        of_masks = F.conv2d(torch.stack([mask, others], dim=1), weight, stride=2, padding=3)
        return self.pyramid(rows.spread(self.stem(frame)) + of_masks)[-1]


class KeyValue(nn.Module):
    """Two 3x3 convolutions: an address and what is stored there.

    Args:
        in_channels: Channels of the encoder.
        key_channels: Channels of the address.
        value_channels: Channels of what is stored.
    """

    def __init__(self, in_channels: int, key_channels: int, value_channels: int) -> None:
        super().__init__()
        self.key = nn.Conv2d(in_channels, key_channels, kernel_size=3, padding=1)
        self.value = nn.Conv2d(in_channels, value_channels, kernel_size=3, padding=1)
        _init_linear(self)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Key and value of (B, C, h, w)."""
        return self.key(features), self.value(features)


class ValueHead(nn.Module):
    """One 3x3 convolution: the value that is stored, where another network makes the addresses.

    Args:
        in_channels: Channels of the encoder.
        value_channels: Channels of what is stored.
    """

    def __init__(self, in_channels: int, value_channels: int) -> None:
        super().__init__()
        self.value = nn.Conv2d(in_channels, value_channels, kernel_size=3, padding=1)
        _init_linear(self)

    def forward(self, features: Tensor) -> Tensor:
        """Value of (B, C, h, w)."""
        value: Tensor = self.value(features)
        return value


class ResidualBlock(nn.Module):
    """Pre-activation residual block without batch norm.

    Args:
        channels: Channels of input and output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, kernel_size=3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, h, w) to the same shape."""
        residual: Tensor = self.conv2(F.relu(self.conv1(F.relu(features))))
        return features + residual


class Refinement(nn.Module):
    """Doubles the resolution of object maps with the help of a frame's finer features.

    Args:
        skip_channels: Channels of the frame's features.
        channels: Channels of the object maps.
    """

    def __init__(self, skip_channels: int, channels: int) -> None:
        super().__init__()
        self.conv_skip = nn.Conv2d(skip_channels, channels, kernel_size=3, padding=1)
        self.skip_block = ResidualBlock(channels)
        self.block = ResidualBlock(channels)

    def forward(self, skip: Tensor, coarse: Tensor, rows: ObjectRows) -> Tensor:
        """Refine.

        Args:
            skip: (B, S, 2h, 2w) of the frames, processed once for all objects.
            coarse: (M, C, h, w) of the objects.
            rows: The M objects.

        Returns:
            (M, C, 2h, 2w).
        """
        of_frame = rows.spread(self.skip_block(self.conv_skip(skip)))
        enlarged = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
        refined: Tensor = self.block(of_frame + enlarged)
        return refined


class Decoder(nn.Module):
    """Turns what the objects read from the memory into two logits per object and pixel.

    Args:
        value_channels: Channels of memory and query values.
        skip_channels: Channels of the frame's features at stride 4 and, for a memory at stride 16, at stride 8.
        channels: Width of the decoder.
    """

    def __init__(self, value_channels: int, skip_channels: Sequence[int], channels: int) -> None:
        super().__init__()
        self.compress = nn.Conv2d(2 * value_channels, channels, kernel_size=3, padding=1)
        self.block = ResidualBlock(channels)
        self.refine8 = Refinement(skip_channels[1], channels) if len(skip_channels) == 2 else None
        self.refine4 = Refinement(skip_channels[0], channels)
        self.classifier = nn.Conv2d(channels, 2, kernel_size=3, padding=1)
        _init_linear(self)
        for module in self.modules():  # He normal inside residual blocks, whose ends are damped
            if isinstance(module, ResidualBlock):
                nn.init.kaiming_normal_(module.conv1.weight, nonlinearity="relu")
                nn.init.normal_(module.conv2.weight, std=0.1 * (2 / module.conv2.weight[0].numel()) ** 0.5)
        init_classifier(self.classifier)

    def forward(self, read: Tensor, value: Tensor, frame: Pyramid, rows: ObjectRows) -> Tensor:
        """Decode.

        Args:
            read: (M, Cv, h, w) from the memory.
            value: (B, Cv, h, w) of the frame.
            frame: Features of the frame.
            rows: The M objects.

        Returns:
            (M, 2, sh, sw) for a memory of stride s, not object and object.
        """
        maps = self.block(self._compress(read, value, rows))
        if self.refine8 is not None:
            maps = self.refine8(frame[1], maps, rows)
        maps = self.refine4(frame[0], maps, rows)
        logits = self.classifier(F.relu(maps))
        return F.interpolate(logits, scale_factor=4, mode="bilinear", align_corners=False)

    def _compress(self, read: Tensor, value: Tensor, rows: ObjectRows) -> Tensor:
        """`self.compress` of [read, value] as the sum of two convolutions, that of the frame once for all objects."""
        of_memory, of_frame = self.compress.weight.chunk(2, dim=1)
        shared = F.conv2d(value, of_frame, self.compress.bias, padding=1)
        return F.conv2d(read, of_memory, padding=1) + rows.spread(shared)


@register_network("stm_r50", backbone="resnet50")
@register_network(
    "stm_r18",
    backbone="resnet18",
    key_channels=64,
    value_channels=256,
    decoder_channels=64,
    shared_keys=True,
    similarity="l2",
    stride=8,
    remember_previous=False,
)
class STM(MemoryNetwork):
    """STM [0]: each pixel attends to all pixels of the remembered frames and masks.

    A memory encoder sees frame, mask of an object and mask of all other objects; a query encoder sees the frame
    alone. What a pixel reads from the memory by scaled dot products is decoded to an object probability, and the
    objects are softly aggregated. `stm_r50` has the architecture of the released code [1] and loads its weights;
    `stm_r18` is a small one of our own for small frames, which learns from scratch: it compares keys as STCN [2] does
    and, like that, remembers every fifth frame but not the previous one.

    All objects of a batch go through the network in one pass; whatever depends on the frame only (query encoder,
    first memory convolution of the image, skip branches of the decoder) is computed once. Frames are padded to
    multiples of the stride by zeros, split on both sides. They are RGB in [0, 1]: the encoders normalise them.

    Random initialisation: the encoders keep that of torchvision (He normal), keys and values preserve variance, the
    decoder is He normal with damped residual branches, its classifier small normal (std 0.01). Both encoders and both
    key convolutions start alike: attention then begins by comparing what frames look like, else by chance.

    This is an independent implementation under the licence of this package. The code and the weights of [1] are
    published under CC BY-NC-SA 4.0: weights imported from there, and what is derived from them, keep that licence.

    [0] Oh, Lee, Xu, Kim, Video Object Segmentation using Space-Time Memory Networks, ICCV 2019.
    [1] https://github.com/seoungwugoh/STM
    [2] Cheng, Tai, Tang, Rethinking Space-Time Networks with Improved Memory Coverage for Efficient Video Object
        Segmentation, NeurIPS 2021, https://github.com/hkchengrex/STCN.

    Args:
        backbone: ResNet of torchvision for both encoders: resnet18, resnet34, resnet50 or resnet101.
        pretrained: Start both encoders from ImageNet weights, fetched by torchvision; otherwise random.
        key_channels: Channels of the memory's addresses.
        value_channels: Channels of what the memory stores.
        decoder_channels: Width of the decoder.
        memory_every: Remember every such frame.
        max_memory_frames: Largest number of remembered frames; see `Memory` for what is forgotten first. The default
            holds every frame that [1] keeps of a DAVIS video.
        shared_keys: Whether keys of the memory are made of the frame alone, as those of the query are and by the same
            layers [2]; otherwise of frame and masks, by layers of their own, as in [0].
        similarity: How keys are compared, see `MemoryReader`: "dot" as in [0], "l2" as in [2].
        stride: Stride of the memory, 16 or, for small frames, 8; the encoders end there.
        remember_previous: Remember the previous frame as well, as in [0]; otherwise, as in [2], errors are carried on
            from every `memory_every`-th frame only.

    Raises:
        ConfigError: Unknown backbone, similarity or stride, or the memory has no room for two frames.
        CheckpointError: The ImageNet weights cannot be fetched.

    Example:
        >>> network = STM("resnet18", decoder_channels=8)
        >>> masks = torch.zeros(2, 3, 45, 60)
        >>> logits = network(torch.rand(2, 3, 3, 45, 60), masks, num_objects=torch.tensor([1, 3]))
        >>> logits.shape
        torch.Size([2, 3, 4, 45, 60])
    """

    preprocessing = IDENTITY

    def __init__(
        self,
        backbone: str = "resnet50",
        pretrained: bool = False,
        key_channels: int = 128,
        value_channels: int = 512,
        decoder_channels: int = 256,
        memory_every: int = 5,
        max_memory_frames: int = 32,
        shared_keys: bool = False,
        similarity: Similarity = "dot",
        stride: int = 16,
        remember_previous: bool = True,
    ) -> None:
        super().__init__(memory_every, max_memory_frames, remember_previous)
        if stride not in (8, 16):
            raise ConfigError("stride of the memory", expected="8 or 16", found=stride)
        self.backbone, self.size_multiple = backbone, stride
        self.memory_encoder = MemoryEncoder(backbone, pretrained, stride)
        self.query_encoder = QueryEncoder(backbone, pretrained, stride)
        *skips, top = self.query_encoder.out_channels
        self.memory_head: KeyValue | ValueHead = (
            ValueHead(top, value_channels) if shared_keys else KeyValue(top, key_channels, value_channels)
        )
        self.query_head = KeyValue(top, key_channels, value_channels)
        self.reader = MemoryReader(similarity)
        self.decoder = Decoder(value_channels, skips, decoder_channels)
        # The path of the query starts with the weights of the memory's, wherever both have them.
        self.query_encoder.load_state_dict(self.memory_encoder.state_dict(), strict=False)
        if isinstance(self.memory_head, KeyValue):
            self.query_head.key.load_state_dict(self.memory_head.key.state_dict())

    def memorise(self, frame: Tensor, masks: Tensor, rows: ObjectRows) -> tuple[Tensor, ...]:
        """Key (M, key_channels, h, w) and value (M, value_channels, h, w); see `MemoryNetwork.memorise`."""
        padding = self._padding(frame)
        padded = padding.pad(frame)
        features = self.memory_encoder(padded, padding.pad(masks.to(frame.dtype)), rows)
        if isinstance(self.memory_head, ValueHead):
            of_frame, value = self.query_head.key(self.query_encoder(padded)[-1]), self.memory_head(features)
            return rows.spread(of_frame).expand(len(value), -1, -1, -1), value
        key, value = self.memory_head(features)
        return key, value

    def segment(self, frame: Tensor, memory: Memory) -> Tensor:
        """See `MemoryNetwork.segment`."""
        padding, rows = self._padding(frame), memory.rows
        pyramid = self.query_encoder(padding.pad(frame))
        key, value = self.query_head(pyramid[-1])
        keys, values = memory.features()
        read = self.reader(rows.spread(key), keys, values, memory.unknown(frame.device))
        logits = padding.crop(self.decoder(read, value, pyramid, rows))
        objects = logits.float().softmax(dim=1)[:, 1]
        return aggregate(rows.scatter(objects, len(frame)))

    def official_key(self, key: str) -> str | None:
        """See `Network.official_key`; only STM with ResNet-50 has a checkpoint of its authors."""
        if self.backbone != "resnet50":
            return super().official_key(key)
        for theirs, ours in _OFFICIAL_NAMES:
            key = key.replace(theirs, ours)
        return key

    def _padding(self, frame: Tensor) -> SplitPadding:
        return SplitPadding.to_multiple(frame.shape[-2], frame.shape[-1], self.size_multiple)


# Applied in this order to every entry of the authors' checkpoint.
_OFFICIAL_NAMES = (
    ("Encoder_M.conv1_m.", "memory_encoder.conv1_mask."),
    ("Encoder_M.conv1_o.", "memory_encoder.conv1_others."),
    ("Encoder_M.", "memory_encoder."),
    ("Encoder_Q.", "query_encoder."),
    (".res2.", ".layer1."),
    (".res3.", ".layer2."),
    (".res4.", ".layer3."),
    ("KV_M_r4.", "memory_head."),
    ("KV_Q_r4.", "query_head."),
    (".Key.", ".key."),
    (".Value.", ".value."),
    ("Decoder.", "decoder."),
    ("decoder.convFM.", "decoder.compress."),
    ("decoder.RF3.", "decoder.refine8."),
    ("decoder.RF2.", "decoder.refine4."),
    (".convFS.", ".conv_skip."),
    (".ResFS.", ".skip_block."),
    (".ResMM.", ".block."),
    (".pred2.", ".classifier."),
)


def _out_channels(layer: nn.Sequential) -> int:
    """Channels that a stage of a ResNet returns."""
    *_, last = (module for module in layer[-1].children() if isinstance(module, nn.BatchNorm2d))
    return int(last.num_features)


def _init_linear(module: nn.Module) -> None:
    """Convolutions that preserve variance: larger keys would make the attention one-hot from the start."""
    for child in module.modules():
        if isinstance(child, nn.Conv2d):
            nn.init.kaiming_normal_(child.weight, nonlinearity="linear")
            nn.init.zeros_(child.bias)  # type: ignore[arg-type]
