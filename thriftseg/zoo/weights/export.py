"""Export to ONNX, checked by running the exported file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from thriftseg.atomic import write_bytes
from thriftseg.errors import CheckpointError, ConfigError
from thriftseg.zoo.network import Network, SemanticNetwork
from thriftseg.zoo.pspnet import GridPooling
from thriftseg.zoo.vos.network import MemoryNetwork
from thriftseg.zoo.vos.slots import SlotStream
from thriftseg.zoo.weights.onnx_graph import FrameShape, GraphBuilder, ShapeRange, Stream, advance, example_inputs
from thriftseg.zoo.weights.onnx_stream import OnnxStream, encode_onnx, require_onnx

DEFAULT_SIZE = (512, 1024)
TOLERANCE = 1e-3

_Size = tuple[int, int]


@dataclass(frozen=True)
class ExportReport:
    """An exported file and its distance from torch.

    Attributes:
        path: The ONNX file.
        size: Height and width of its frames, the usual ones where there are several.
        bytes: Its size.
        frames: Number of random frames that were streamed through both.
        max_difference: Largest difference between onnxruntime and torch over these frames: of logits, or for networks
            that follow objects of probabilities, since logits of sure pixels hang on the last digit.
        max_logit: Largest absolute logit, or probability, over these frames.
        equal_classes: Share of the pixels whose class or object is the same.

    Example:
        >>> report = ExportReport(Path("net.onnx"), (64, 96), 2_500_000, 3, 1e-05, max_logit=8.0, equal_classes=1.0)
        >>> str(report).partition("frames: ")[2]
        'values up to 8 differ by at most 1e-05, 100.000 % of the classes equal'
    """

    path: Path
    size: _Size
    bytes: int
    frames: int
    max_difference: float
    max_logit: float
    equal_classes: float

    def __str__(self) -> str:
        return (
            f"{self.path}: {self.size[0]}x{self.size[1]}, {self.bytes / 1e6:.1f} MB; against torch on {self.frames} "
            f"random frames: values up to {self.max_logit:.3g} differ by at most {self.max_difference:.2g}, "
            f"{100 * self.equal_classes:.3f} % of the classes equal"
        )


def export_onnx(
    network: Network,
    path: str | Path,
    size: _Size = DEFAULT_SIZE,
    *,
    min_size: _Size | None = None,
    max_size: _Size | None = None,
    batch: int = 1,
    min_batch: int | None = None,
    max_batch: int | None = None,
    objects: int = 1,
    memory_frames: int | None = None,
    share_weights: bool = True,
    check_frames: int | None = None,
    class_names: Sequence[str] = (),
    notes: Mapping[str, Any] | None = None,
    tolerance: float = TOLERANCE,
) -> ExportReport:
    """Export one step of a network and check the file by streaming frames through it with onnxruntime.

    The graph takes `frames`, (B, 3, H, W) float32 RGB in [0, 1], normalises them itself and returns `logits`,
    (B, num_classes, H, W). Where the network remembers past frames, the memory goes in and comes out: the graph takes
    the tensors of the stream's state and `place`, () int64, which tells what of them is used, and returns `next_place`
    and a `next_...` for each tensor. A video begins with place 0 and zeros, of which sides that vary may be 1; after
    each frame, what came out goes in again. The file says in its metadata what `OnnxNote` lists.

    A network that follows objects also takes `masks`, (1, N, H, W), and `given`, (1, N) bool: the masks that are given
    on a frame, for objects that appear or are corrected. It returns logits (1, 1 + N, H, W), background first.

    Args:
        network: A semantic network, or one that follows objects.
        path: ONNX file to write; it only appears when it agrees with torch.
        size: Height and width of the frames.
        min_size: Smallest height and width; `size` by default.
        max_size: Largest height and width; `size` by default.
        batch: Number of frames, of as many videos.
        min_batch: Smallest number of frames; `batch` by default.
        max_batch: Largest number of frames; `batch` by default.
        objects: Most objects of a network that follows them.
        memory_frames: Most frames that such a network remembers; by default as it would.
        share_weights: Store once what the graphs of the first and of later frames have in common; otherwise the file is
            two or three times as large, and onnxruntime somewhat faster on a CPU, as it rearranges weights of a single
            graph.
        check_frames: Frames to stream at each size of the check; by default a few more than the memory has forms.
        class_names: Names to store as a JSON list in the file's metadata, under `class_names`.
        notes: What else of `OnnxNote` is known, in plain values.
        tolerance: Largest difference that is accepted, as a share of the largest absolute logit.

    Returns:
        Size of the file and its distance from torch.

    Raises:
        ConfigError: onnx or onnxruntime is missing, the network is of another kind or cannot be exported for such
            sizes, or these are not in order.
        CheckpointError: The exported file disagrees with torch.

    Example:
        >>> from thriftseg.zoo import SpixelFCN
        >>> try:
        ...     export_onnx(SpixelFCN(), "net.onnx", size=(64, 96))
        ... except ConfigError as error:
        ...     print(error)
        only networks that segment, or follow objects by a memory of frames, are exported; found SpixelFCN (superpixels)
    """
    require_onnx()
    sizes = (min_size or size, size, max_size or size)
    batches = (min_batch or batch, batch, max_batch or batch)
    shapes = ShapeRange(*(FrameShape(number, *sides) for number, sides in zip(batches, sizes, strict=True)))
    path, training = Path(path), network.training
    try:
        stream = _stream(network.eval(), shapes, objects, memory_frames)
        builder = GraphBuilder(network, stream, shapes)
        note = {
            "network": type(network).__name__,
            "num_classes": getattr(network, "num_classes", 0),
            "past_frames": getattr(network, "past_frames", 0),
            "num_phases": getattr(network, "num_phases", 1),
            **dict(zip(("batch", "height", "width"), zip(*shapes, strict=True), strict=True)),
            "extras": builder.extras,
            "state": builder.state,
            "class_names": list(class_names),
            **(notes or {}),
        }
        model = builder.build(share_weights)
        model.metadata_props.add(key="class_names", value=json.dumps(list(class_names)))
        content = encode_onnx(model, note)
        frames = check_frames or len(builder.states) + (stream.policy.every if isinstance(stream, SlotStream) else 2)
        report = _compare(network, stream, OnnxStream(path, content), shapes.examples, frames)
        if not report.max_difference <= tolerance * report.max_logit:
            raise CheckpointError(
                "the exported network disagrees with torch",
                path=path,
                expected=f"logits within {tolerance:g} of {report.max_logit:.3g}",
                found=f"{report.max_difference:.3g}",
                fix="export another size, or accept it with a larger tolerance",
            )
        write_bytes(path, content)
        return report
    finally:
        network.train(training)


def _stream(network: Network, shapes: ShapeRange, objects: int, memory_frames: int | None) -> Stream:
    """What is streamed, if there is anything and the shapes suit it."""
    for low, usual, high in zip(*shapes, strict=True):
        if not 1 <= low <= usual <= high:
            raise ConfigError(
                "no such frame size or number of frames",
                expected="numbers above 0, and smallest <= usual <= largest",
                found=f"{low}, {usual}, {high}",
            )
    if isinstance(network, MemoryNetwork):
        if (shapes.least.batch, shapes.most.batch) != (1, 1):
            found = f"{shapes.least.batch} to {shapes.most.batch} frames at once"
            problem = f"{type(network).__name__} is exported for one video, whose objects are its rows"
            raise ConfigError(problem, found=found, fix="leave out batch, min_batch and max_batch")
        return SlotStream(network, objects, memory_frames)
    if not isinstance(network, SemanticNetwork):
        raise ConfigError(
            "only networks that segment, or follow objects by a memory of frames, are exported",
            found=f"{type(network).__name__} ({network.kind})",
        )
    for name, module in network.named_modules():
        grid = isinstance(module, nn.AdaptiveAvgPool2d) and not isinstance(module, GridPooling)
        if grid and module.output_size not in (1, (1, 1)) and any(shapes.varies[1:]):
            raise ConfigError(
                f"{type(network).__name__} cannot be exported for several sizes",
                found=f"{name} pools to a grid of {module.output_size} cells, of a size that has to be known",
                fix="give one size, without min_size and max_size",
            )
    return network


@torch.inference_mode()
def _compare(
    network: Network, stream: Stream, exported: OnnxStream, shapes: Sequence[FrameShape], count: int
) -> ExportReport:
    """Stream the same random frames through torch and onnxruntime, at each of some shapes."""
    rows = []
    for shape in shapes:
        state, other = stream.start(), exported.start()
        for number in range(count):
            inputs = example_inputs(stream, shape, number)
            expected, state = advance(network, stream, state, inputs)
            frames, *extras = inputs.values()
            found, other = exported.step(frames, other, *extras)
            if isinstance(stream, SlotStream):
                expected, found = expected.softmax(1), found.softmax(1)
            equal = (found.argmax(1) == expected.argmax(1)).float().mean()
            rows.append(torch.stack([(found - expected).abs().max(), expected.abs().max(), equal]))
    difference, largest, equal = torch.stack(rows).unbind(1)
    return ExportReport(
        path=Path(exported.path),
        size=shapes[0][1:],
        bytes=exported.bytes,
        frames=len(rows),
        max_difference=float(difference.max()),
        max_logit=float(largest.max()),
        equal_classes=float(equal.mean()),
    )
