"""Exported networks: thread time of a step of onnxruntime, and of compiled torch, against torch; random weights."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.measure import Item, Outcome, medians, one_thread
from thriftseg.zoo import OnnxStream, StreamState, create_model, export_onnx

SIZE = (256, 512)
CLASSES = 19
NETWORKS = ("deeplabv3plus_mobilenetv2", "pspnet_resnet18", "tmanet_r18", "td2_fanet18")


def exported(name: str) -> Outcome:
    """A step in the midst of a video by onnxruntime over one by torch, with equal logits."""
    torch.manual_seed(0)
    network: Any = create_model(name, CLASSES)
    frames = torch.rand(4, 1, 3, *SIZE)
    clip = network.preprocessing(torch.rand(2, network.past_frames + 1, 3, *SIZE))
    with torch.no_grad():  # statistics of the batch norms as after training: untrained, single pixels hang on rounding
        for index in range(10 * network.num_phases):
            network.train()(clip, first_index=index)
    network.eval()

    def step(frame: Tensor, state: StreamState) -> tuple[Tensor, StreamState]:
        return network.step(network.preprocessing(frame), state)

    with tempfile.TemporaryDirectory() as folder, one_thread(), torch.inference_mode():
        files = [Path(folder) / name for name in ("fast.onnx", "small.onnx")]
        for path in files:
            export_onnx(network, path, SIZE, share_weights=path is files[1])
        streams: list[Any] = [*map(OnnxStream, files)]
        states = [stream.start() for stream in streams]
        before = network.start()
        for frame in frames[:-1]:
            states = [stream.step(frame, state)[1] for stream, state in zip(streams, states, strict=True)]
            before = step(frame, before)[1]
        steps = [partial(stream.step, frames[-1], state) for stream, state in zip(streams, states, strict=True)]
        steps += [partial(each, frames[-1], before) for each in (step, torch.compile(step, dynamic=False))]
        expected = steps[2]()[0]
        for each in steps:
            torch.testing.assert_close(each()[0], expected, atol=1e-3 * float(expected.abs().max()), rtol=0)
        times = medians(9, *steps)
    names = ("onnxruntime", "with shared weights", "torch", "compiled")
    rates = [f"{name} {1e3 * t:.0f} ms, {1 / t:.2f} frames/s" for name, t in zip(names, times, strict=True)]
    ratios = f"shared weights / torch {times[1] / times[2]:.2f}, compiled / torch {times[3] / times[2]:.2f}"
    return Outcome(times[0] / times[2], "; ".join([*rates, ratios]))


ITEMS = [
    Item(
        f"exported_{name}",
        f"{name} step {SIZE[0]}x{SIZE[1]}: onnxruntime (weights not shared) / torch",
        partial(exported, name),
        at_most=1.0,
    )
    for name in NETWORKS
]
