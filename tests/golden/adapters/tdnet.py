"""TDNet: streams of the two PSPNet variants, pairs of frames for the FANet variant."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor

from thriftseg.zoo import TDNet, TDNetFANet, TDNetPSP

MODELS = ("td4_psp18", "td2_psp50", "td2_fanet18")


def build(config: dict[str, Any], shapes: dict[str, tuple[int, ...]]) -> TDNet:
    """A network of the shapes of the authors' entries; their class picks the backbone."""
    backbone = config["backbone"].split()[0]
    options: dict[str, Any] = {
        "kv_stride": config["kv_stride"],
        "layer_norm_size": shapes["layer_norm1.ln.weight"],
        "warm_up": "no_attention",
    }
    if "head1.conv_out.weight" in shapes:
        return TDNetFANet(shapes["head1.conv_out.weight"][0], backbone, **options).eval()
    num_paths: Any = config["path_num"]
    return TDNetPSP(shapes["head1.conv5.4.weight"][0], backbone, num_paths, **options).eval()


def run(network: TDNet, inputs: dict[str, Tensor], golden: dict[str, Any]) -> dict[str, Tensor]:
    """Logits of every frame that the authors segment, from a frame on path `start_path`."""
    frames = [inputs[f"frame{t}"] for t in range(len(inputs))]
    start = golden["config"]["start_path"]
    if isinstance(network, TDNetFANet):
        return _pairs(network, frames, start)
    return _stream(network, frames, start)


def _stream(network: TDNet, frames: list[Tensor], start: int) -> dict[str, Tensor]:
    outputs, state = {}, network.start(first_index=start)
    for t, frame in enumerate(frames):
        outputs[f"logits_t{t}"], state = network.step(frame, state)
    return outputs


def _pairs(network: TDNet, frames: list[Tensor], start: int) -> dict[str, Tensor]:
    pairs = enumerate(itertools.pairwise(frames))
    return {f"logits_t{t + 1}": network(torch.stack(pair, dim=1), first_index=start + t) for t, pair in pairs}
