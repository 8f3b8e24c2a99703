"""TDNet: streams of the two PSPNet variants, pairs of frames for the FANet variant."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from thriftseg.zoo import TDNet, TDNetFANet, TDNetPSP

MODELS = ("td4_psp18", "td2_psp50", "td2_fanet18")


def build(config: dict[str, Any], shapes: dict[str, tuple[int, ...]]) -> TDNet:
    """A network for the authors' entries."""
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
    """Logits of every frame that the authors segment, and the maps inside as `t<frame>/<their module>`."""
    frames = [inputs[f"frame{t}"] for t in range(len(inputs))]
    start = golden["config"]["start_path"]
    if isinstance(network, TDNetFANet):
        return _pairs(network, frames, start)
    return _stream(network, frames, start)


def _stream(network: TDNet, frames: list[Tensor], start: int) -> dict[str, Tensor]:
    outputs, state = {}, network.start(first_index=start)
    for t, frame in enumerate(frames):
        path = state.index + 1
        with _recorded(network) as maps:
            outputs[f"logits_t{t}"], state = network.step(frame, state)
        names = (f"enc{path}.0#2", f"enc{path}.1#2", f"enc{path}.2")
        maps.update(zip(names, state.memory[-1], strict=True))
        outputs.update({f"t{t}/{name}": value for name, value in maps.items()})
    return outputs


def _pairs(network: TDNet, frames: list[Tensor], start: int) -> dict[str, Tensor]:
    outputs = {}
    for t, pair in enumerate(itertools.pairwise(frames), start=1):
        with _recorded(network) as maps:
            clip = torch.stack(pair, dim=1)
            outputs[f"logits_t{t}"] = network.strided_outputs(clip, first_index=start + t - 1)[0].at(1)
        outputs.update({f"t{t}/{name}": value for name, value in maps.items()})
    return outputs


@contextmanager
def _recorded(network: TDNet) -> Iterator[dict[str, Tensor]]:
    """What the authors' modules return, by their names; `#2` marks the second call of a module."""
    maps: dict[str, Tensor] = {}
    calls: Counter[str] = Counter()

    def record(names: list[str], output: Any) -> None:
        for name, value in zip(names, output if isinstance(output, list | tuple) else [output], strict=True):
            calls[name] += 1
            maps[name if calls[name] == 1 else f"{name}#{calls[name]}"] = value

    hooks = [
        module.register_forward_hook(lambda _, __, output, names=names: record(names, output))
        for module, names in _modules(network)
    ]
    yield maps
    for hook in hooks:
        hook.remove()
    _unfold(network, maps)


def _modules(network: TDNet) -> Iterator[tuple[nn.Module, list[str]]]:
    count = network.num_phases
    for number, path in enumerate(network.paths, start=1):
        yield path.encoding, [f"enc{number}.0", f"enc{number}.1"]
        yield path.norm, [f"layer_norm{number}"]
        yield path.head, [f"head{number}"]
        for age, propagation in enumerate(path.propagations):
            source = f"_{(number + age) % count + 1}" if count > 2 else ""
            yield propagation, [f"atn{number}{source}"]
        yield from _subnetwork_modules(path.subnetwork, number)


def _subnetwork_modules(subnetwork: Any, number: int) -> Iterator[tuple[nn.Module, list[str]]]:
    if hasattr(subnetwork, "pyramid"):
        yield subnetwork.encoder, ["intermediate", f"pretrained{number}"]
        yield subnetwork.pyramid, [f"psp{number}"]
        return
    yield subnetwork.encoder, [f"pretrained{number}.feat{stride}" for stride in (4, 8, 16, 32)]
    for level, fusion in zip((32, 16, 8, 4), subnetwork.fusions, strict=True):
        if fusion.reduce is not None:
            yield fusion.reduce, [f"ffm_{level}_{number}.up"]
        if fusion.smooth is not None:
            yield fusion.smooth, [f"ffm_{level}_{number}.smooth"]


def _unfold(network: TDNet, maps: dict[str, Tensor]) -> None:
    """Give the results of attention at all positions the shape of the map, as the authors do."""
    height, width = next(value.shape[-2:] for name, value in maps.items() if name.startswith("layer_norm"))
    for name, value in maps.items():
        if name.startswith("atn") and value.shape[1] == height * width:
            maps[name] = value.mT.unflatten(2, (height, width))
