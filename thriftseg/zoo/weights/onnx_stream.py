"""Exported networks, run by onnxruntime: any of them as a stream, and semantic ones as networks."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thriftseg.errors import CheckpointError, ConfigError
from thriftseg.parsing import check, decode_json, read_bytes
from thriftseg.zoo.network import SemanticNetwork
from thriftseg.zoo.streaming import StreamState
from thriftseg.zoo.weights.notes import OnnxNote
from thriftseg.zoo.weights.onnx_join import FRAMES, LOGITS, NEXT, PLACE

ONNX_SUFFIX = ".onnx"
_NOTE = "thriftseg"
_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
_TYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(bool)": np.bool_}


def require_onnx() -> None:
    """See to it that the packages for ONNX are there.

    Raises:
        ConfigError: Some are missing.
    """
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"ONNX needs {', '.join(missing)}", fix="pip install 'thriftseg[export]'")


def encode_onnx(model: Any, note: Mapping[str, Any]) -> bytes:
    """A file of a model and of what is known about it.

    Args:
        model: The ONNX model.
        note: What `OnnxNote` has, but for the hash of the graph.
    """
    import msgspec

    graph: bytes = model.SerializeToString()
    record = msgspec.json.encode({**note, "graph_sha256": hashlib.sha256(graph).hexdigest()}).decode()
    return graph + _note(record)  # messages that follow each other are one


def _note(record: str) -> bytes:
    from onnx import ModelProto

    return bytes(ModelProto(metadata_props=[{"key": _NOTE, "value": record}]).SerializeToString())


@dataclass(frozen=True)
class OnnxState(StreamState):
    """Memory of an exported network between two frames of a video.

    Attributes:
        place: Number of the form of the memory.
        memory: Tensors, in the order of the file.
        shape: Number, height and width of the frames; `None` before the first.
    """

    place: int
    memory: tuple[Tensor, ...]
    shape: tuple[int, int, int] | None = None


class OnnxStream:
    """A file that `export_onnx` wrote, run by onnxruntime on the CPU.

    Args:
        path: The file.
        content: What is in it; read from there by default.

    Attributes:
        note: What the file says of itself, checked.
        card: The same as plain values.
        bytes: Size of the file.

    Raises:
        ConfigError: A package for ONNX is missing.
        CheckpointError: The file is missing, no ONNX, not exported by this package, or was changed since.

    Example:
        >>> try:
        ...     OnnxStream("net.onnx", b"no graph")
        ... except CheckpointError as error:
        ...     print(error)
        net.onnx: not an ONNX file, or damaged; fix: copy it again
    """

    def __init__(self, path: str | Path, content: bytes | None = None) -> None:
        require_onnx()
        self.path = path
        content = read_bytes(path, fault=CheckpointError) if content is None else content
        self.bytes = len(content)
        self.card = _card(content, path)
        self.note = check(self.card, OnnxNote, path, "the note of the export", fault=CheckpointError)
        self._session = _session(content, path)
        expected = {FRAMES, *self.note.extras, *self.note.state}, {LOGITS, *(NEXT + name for name in self.note.state)}
        self._inputs = {value.name: value for value in self._session.get_inputs()}
        self._outputs = [value.name for value in self._session.get_outputs()]
        found = self._inputs.keys() - {PLACE}, {*self._outputs} - {NEXT + PLACE}
        if found != expected or any(value.type not in _TYPES for value in self._inputs.values()):
            raise CheckpointError(
                "the graph has other inputs and outputs than its note says",
                path=path,
                expected=", ".join(sorted(expected[0] | expected[1])),
                found=", ".join(sorted(found[0] | found[1])),
            )

    def start(self) -> OnnxState:
        """The state before the first frame: place 0, and zeros that only tell their types."""
        memory = []
        for name in self.note.state:
            sides = [side if isinstance(side, int) else 1 for side in self._inputs[name].shape]
            memory.append(torch.from_numpy(np.zeros(sides, _TYPES[self._inputs[name].type])))
        return OnnxState(0, tuple(memory))

    def step(self, frames: Tensor, state: StreamState, *extras: Tensor) -> tuple[Tensor, OnnxState]:
        """The next frame of a video.

        Args:
            frames: (B, 3, H, W) RGB float in [0, 1].
            state: From `start` or from the previous step; it is not changed.
            extras: What the note names, such as masks and which of them are given.

        Returns:
            Logits (B, C, H, W), and the new state.

        Raises:
            ConfigError: The frames are of another shape than the file takes, or than those before.
            CheckpointError: onnxruntime cannot run the file.
        """
        if not isinstance(state, OnnxState):
            raise ConfigError("state of another network", expected="OnnxState", found=type(state).__name__)
        shape = self._checked(frames, state)
        names = (FRAMES, *self.note.extras, *self.note.state)
        feed: dict[str, Any] = {
            name: tensor.detach().cpu().contiguous().numpy()
            for name, tensor in zip(names, (frames, *extras, *state.memory), strict=True)
        }
        if PLACE in self._inputs:
            feed[PLACE] = np.array(state.place, np.int64)
        try:
            found = dict(zip(self._outputs, self._session.run(self._outputs, feed), strict=True))
        except Exception as error:  # onnxruntime has errors of its own
            raise CheckpointError("cannot be run", path=self.path, found=_first_line(error)) from error
        memory = tuple(torch.from_numpy(found[NEXT + name]) for name in self.note.state)
        logits = torch.from_numpy(found[LOGITS]).to(frames.device)
        return logits, OnnxState(int(found.get(NEXT + PLACE, 0)), memory, shape)

    def _checked(self, frames: Tensor, state: OnnxState) -> tuple[int, int, int]:
        note = self.note
        if frames.ndim != 4 or frames.shape[1] != 3:
            raise ConfigError("wrong shape of a frame", expected="(B, 3, H, W)", found=tuple(frames.shape))
        shape = (frames.shape[0], frames.shape[2], frames.shape[3])
        ranges = (note.batch, note.height, note.width)
        if not all(low <= size <= high for size, (low, _, high) in zip(shape, ranges, strict=True)):
            expected = " x ".join(str(low) if low == high else f"{low} to {high}" for low, _, high in ranges)
            raise ConfigError(
                "the network was exported for other frames",
                path=self.path,
                expected=f"number x height x width of {expected}",
                found=" x ".join(map(str, shape)),
                fix=f"resize them to {note.height[1]} x {note.width[1]}, or export the network for these",
            )
        if state.shape is not None and state.shape != shape:
            raise ConfigError(
                "the frames before this one were of another shape",
                expected=" x ".join(map(str, state.shape)),
                found=" x ".join(map(str, shape)),
                fix="call start() before each video",
            )
        return shape


class OnnxNetwork(SemanticNetwork):
    """A semantic network that `export_onnx` wrote, run by onnxruntime on the CPU wherever the frames are.

    It normalises frames itself. It streams, and `forward` streams the frames of a clip; it is not trained.

    Args:
        path: The file.

    Raises:
        ConfigError: A package for ONNX is missing.
        CheckpointError: The file is no such network, or damaged; see `OnnxStream`.

    Example:
        >>> try:
        ...     OnnxNetwork.check_record({"path": "net.onnx"})
        ... except CheckpointError as error:
        ...     print(error)
        the record of an OnnxNetwork names a file; found net.onnx; fix: store the network that was exported
    """

    digest: Tensor
    stream: OnnxStream

    def __init__(self, path: str) -> None:
        self.__dict__["stream"] = stream = OnnxStream(path)
        if stream.note.num_classes < 1:
            raise CheckpointError("does not hold a semantic network", path=path, found=stream.note.network)
        super().__init__(stream.note.num_classes)
        self.past_frames, self.num_phases = stream.note.past_frames, stream.note.num_phases
        # The state of the module tells which file it is.
        self.register_buffer("digest", torch.tensor([*bytes.fromhex(stream.note.graph_sha256)], dtype=torch.uint8))

    @classmethod
    def check_record(cls, arguments: Mapping[str, Any]) -> None:
        """Refuse a record, which names a file to read; see `Network.check_record`."""
        found, fix = arguments.get("path"), "store the network that was exported"
        raise CheckpointError(f"the record of an {cls.__name__} names a file", found=found, fix=fix)

    def start(self) -> OnnxState:
        """See `SemanticNetwork.start`."""
        return self.stream.start()

    def step(self, frame: Tensor, state: StreamState) -> tuple[Tensor, OnnxState]:
        """See `SemanticNetwork.step`, and `OnnxStream.step` for its errors."""
        return self.stream.step(frame, state)

    def compute_logits(self, frames: Tensor, **phase: int) -> Tensor:
        """See `SemanticNetwork.compute_logits`."""
        first, *_ = clip = frames.unbind(1)
        state = self.start()
        for frame in (*[first] * phase.get("first_index", 0), *clip):  # frames before the clip lead to its phase
            logits, state = self.step(frame, state)
        return logits


def _card(content: bytes, path: str | Path) -> dict[str, Any]:
    """The note of a file, whose graph is the one that was written with it."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from onnx import ModelProto

    try:
        properties = ModelProto.FromString(content).metadata_props
    except (DecodeError, ValueError) as error:  # a ValueError is about text that is no UTF-8
        raise CheckpointError("not an ONNX file, or damaged", path=path, fix="copy it again") from error
    named = [entry.value for entry in properties if entry.key == _NOTE]
    records = [value for value in named if isinstance(value, str)]  # bytes where it is no UTF-8
    if len(records) != 1:
        raise CheckpointError(
            "not a network that this package exported",
            path=path,
            expected=f"one {_NOTE!r} in the metadata of the file",
            found=f"{len(records)}",
            fix="export the network with `thriftseg zoo export`",
        )
    card = decode_json(records[0].encode(), dict[str, Any], path, fault=CheckpointError)
    graph = content.removesuffix(_note(records[0]))
    found = hashlib.sha256(graph).hexdigest()
    if len(graph) == len(content) or found != card.get("graph_sha256"):
        raise CheckpointError(
            "the graph is not the one that was exported: the file is damaged, or another program changed it",
            path=path,
            expected=f"SHA-256 {card.get('graph_sha256')}",
            found=found,
            fix="copy or export it again",
        )
    return card


def _session(content: bytes, path: str | Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has errors of its own
        raise CheckpointError("onnxruntime cannot read it", path=path, found=_first_line(error)) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
