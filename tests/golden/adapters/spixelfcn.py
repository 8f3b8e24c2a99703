"""SpixelFCN, with outputs of the modules that have the authors' names."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from thriftseg.zoo import SpixelFCN

MODELS = ("spixelfcn",)

TAPS = ("conv0b", "conv4b", "deconv3", "conv3_1", "deconv0", "conv0_1")


def build(config: dict[str, Any], shapes: dict[str, tuple[int, ...]]) -> SpixelFCN:
    return SpixelFCN().eval()


def run(network: SpixelFCN, inputs: dict[str, Tensor], golden: dict[str, Any]) -> dict[str, Tensor]:
    outputs: dict[str, Tensor] = {}
    for name in TAPS:
        network.get_submodule(name).register_forward_hook(
            lambda _, __, output, name=name: outputs.__setitem__(name, output)
        )
    return {"probabilities": network(inputs["frames"]), **outputs}
