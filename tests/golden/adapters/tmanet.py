"""TMANet as its authors run it: no padding, one past frame per memory position, oldest first."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thriftseg.zoo.tmanet import TMANet

MODELS = ("tmanet_r18", "tmanet_r34", "tmanet_r50", "tmanet_r101")

STRUCTURE = {"strides": [1, 2, 1, 1], "dilations": [1, 1, 2, 4], "contract_dilation": True}
"""What is fixed in this package."""


def build(config: dict[str, Any], shapes: dict[str, tuple[int, ...]]) -> TMANet:
    """Network for the authors' configuration and entries.

    Raises:
        ValueError: The configuration is of another structure.
    """
    for name, value in STRUCTURE.items():
        if config.get(name, value) != value:
            raise ValueError(f"TMANet with {name} {config[name]}, expected {value}")
    depth = re.fullmatch(r"ResNetV1c-(\d+)", config["backbone"])
    if depth is None:
        raise ValueError(f"TMANet with backbone {config['backbone']}, expected ResNetV1c-<depth>")
    return TMANet(
        num_classes=shapes["decode_head.conv_seg.weight"][0],
        depth=int(depth[1]),
        memory_frames=config["sequence_num"],
        key_channels=config["key_channels"],
        value_channels=config["value_channels"],
        head_channels=config["head_channels"],
        align_corners=config["align_corners"],
        auxiliary="auxiliary_head.conv_seg.weight" in shapes,
    ).eval()


def run(network: TMANet, inputs: dict[str, Tensor], golden: dict[str, Any]) -> dict[str, Tensor]:
    """Logits at the size of the frames, auxiliary logits at stride 8, and maps inside the network."""
    memory = [inputs[f"memory{position}"] for position in range(network.past_frames)]
    clip = torch.stack([*memory, inputs["query"]], dim=1)
    with record(network) as outputs:
        logits = network.compute_logits(clip)
    outputs["logits"] = F.interpolate(
        logits, size=clip.shape[-2:], mode="bilinear", align_corners=network.align_corners
    )
    if network.auxiliary_head is not None:
        outputs["aux_logits"] = network.auxiliary_head(outputs["query/backbone.layer3"])
    return outputs


@contextmanager
def record(network: TMANet) -> Iterator[dict[str, Tensor]]:
    """Outputs of inner modules under the authors' names."""
    outputs: dict[str, Tensor] = {}
    handles = []

    def keep(name: str, module: nn.Module, per_memory: bool = False) -> None:
        def hook(module: nn.Module, args: Any, output: Tensor) -> None:
            outputs[name] = torch.cat([outputs.get(name, output[None][:0]), output[None]]) if per_memory else output

        handles.append(module.register_forward_hook(hook))

    encoder, memory, head = network.encoder, network.memory, network.head
    for name, stage in {"stem": encoder.act1, **{f"layer{i}": encoder[f"layer{i}"] for i in range(1, 5)}}.items():
        keep(f"query/backbone.{name}", stage)  # the query is encoded after the memory frames
    for kind in ("key", "value"):
        keep(f"seg/decode_head.query_{kind}_conv", getattr(memory, f"query_{kind}"))
        for projection in getattr(memory, f"memory_{kind}"):
            keep(f"seg/decode_head.memory_{kind}_conv", projection, per_memory=True)
    keep("seg/decode_head.memory_module", memory)
    keep("seg/decode_head.bottleneck", head[0])
    keep("seg/decode_head.conv_seg", head[2])
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
