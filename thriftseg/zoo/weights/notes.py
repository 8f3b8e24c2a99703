"""What cards of published weights and checkpoints of training say, as far as anything relies on it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from thriftseg.parsing import Amount, Count, FileName

_Byte = Annotated[int, Meta(ge=0, le=255)]
_Side = Annotated[int, Meta(ge=1, le=2**16)]
_Mean = Annotated[float, Meta(ge=-1e6, le=1e6)]
_Deviation = Annotated[float, Meta(ge=1e-6, le=1e6)]
_Size = tuple[_Side, _Side]
_Color = tuple[_Byte, _Byte, _Byte]


class _Arguments(msgspec.Struct):
    num_classes: Annotated[int, Meta(le=255)] | None = None


class ObjectRecord(msgspec.Struct):
    """An object as a config names it, such as a network; of its arguments only what decides on memory is looked at.

    Example:
        >>> record = {"class_path": "thriftseg.zoo.STM", "init_args": {"num_classes": 5, "backbone": "resnet18"}}
        >>> msgspec.convert(record, ObjectRecord).init_args.num_classes
        5
    """

    class_path: str
    init_args: _Arguments = msgspec.field(default_factory=_Arguments)


class _Samples(msgspec.Struct):
    source: str
    samples: Count


class _Cost(msgspec.Struct):
    seconds: Amount
    clicks: Count


class LabelsNote(msgspec.Struct):
    """The labels that a network was trained on."""

    dataset: str
    table: list[_Samples]
    cost: _Cost
    digest: str | None = None
    licences: list[str] = msgspec.field(default_factory=list)


class _AddedCost(msgspec.Struct):
    hours: Amount = 0.0
    clicks: Amount = 0.0


class TeacherNote(msgspec.Struct):
    """The teacher of a network."""

    added_cost: _AddedCost = msgspec.field(default_factory=_AddedCost)
    licences: list[str] = msgspec.field(default_factory=list)


class _Step(msgspec.Struct):
    what: str
    name: str
    licence: str


class _Licences(msgspec.Struct):
    weights: str = ""
    lineage: list[_Step] = msgspec.field(default_factory=list)


class _Class(msgspec.Struct):
    name: str
    color: _Color


class _Classes(msgspec.Struct):
    name: str
    version: Count
    classes: list[_Class]


class _Preprocessing(msgspec.Struct):
    mean: tuple[_Mean, _Mean, _Mean]
    std: tuple[_Deviation, _Deviation, _Deviation]
    channel_order: Literal["rgb", "bgr"]


class _File(msgspec.Struct):
    file: FileName
    sha256: str
    bytes: Count


class Card(msgspec.Struct):
    """The JSON file beside weights."""

    network: ObjectRecord
    weights: _File
    preprocessing: _Preprocessing
    inference: ObjectRecord | None = None
    eval_size: _Size | None = None
    taxonomy: _Classes | None = None
    labels: LabelsNote | None = None
    teacher: TeacherNote | None = None
    licences: _Licences | None = None


class NetworkNotes(msgspec.Struct):
    """What a checkpoint of training says about its network."""

    class_names: list[str] | None = None
    taxonomy: str | None = None
    palette: list[_Color] | None = None
    eval_size: _Size | None = None
    inference: ObjectRecord | None = None
    cost: dict[str, Amount] = msgspec.field(default_factory=dict)
    teacher: TeacherNote | None = None


_Range = tuple[_Side, _Side, _Side]


class OnnxNote(msgspec.Struct):
    """What an exported network says of itself in the metadata of its file.

    Attributes:
        network: Class of the network.
        graph_sha256: Hash of the file without this note.
        num_classes: Number of classes; 0 for networks that follow objects.
        past_frames: As of the network.
        num_phases: As of the network.
        batch: Smallest, usual and largest number of frames.
        height: The same of their rows.
        width: The same of their columns.
        extras: Further inputs of a step, in order.
        state: Names of the tensors of the state, in order; each is an input, and an output with `next_` before it.
        eval_size: Height and width that frames were resized to in evaluation.
        inference: How frames were segmented in evaluation.
        class_names: In train order, where they are known.
        taxonomy: Name of the class table.
        palette: RGB colour of every class.
        labels: The labels of the network.
        teacher: The teacher of the network.
        licences: Of the weights, and of what they descend from.
    """

    network: str
    graph_sha256: str
    num_classes: Annotated[int, Meta(ge=0, le=255)]
    past_frames: Count
    num_phases: Annotated[int, Meta(ge=1, le=64)]
    batch: _Range
    height: _Range
    width: _Range
    extras: list[str] = msgspec.field(default_factory=list)
    state: list[str] = msgspec.field(default_factory=list)
    eval_size: _Size | None = None
    inference: ObjectRecord | None = None
    class_names: list[str] = msgspec.field(default_factory=list)
    taxonomy: str | None = None
    palette: list[_Color] = msgspec.field(default_factory=list)
    labels: LabelsNote | None = None
    teacher: TeacherNote | None = None
    licences: _Licences | None = None


class _Version(msgspec.Struct):
    version: Count = 1


class DataNote(msgspec.Struct):
    """What a checkpoint of training says about its data; nothing where it knows nothing.

    Example:
        >>> table, cost = [{"source": "drawn", "samples": 6}], {"seconds": 90.0, "clicks": 40}
        >>> labels = {"dataset": "own", "table": table, "cost": cost}
        >>> note = msgspec.convert({"mixture": labels}, DataNote)
        >>> note.mixture.table[0].samples, DataNote().mixture
        (6, None)
    """

    taxonomy: _Version = msgspec.field(default_factory=_Version)
    mixture: LabelsNote | None = None


class _Run(msgspec.Struct):
    step: int | None
    scores: dict[str, float]
    command: str | None = None


class _Callbacks(msgspec.Struct):
    RunRecord: _Run | None = None


class CheckpointNotes(msgspec.Struct):
    """A checkpoint of training.

    Example:
        >>> notes = msgspec.convert({"state_dict": {}, "thriftseg": {"class_names": ["road", "car"]}}, CheckpointNotes)
        >>> notes.thriftseg.class_names, notes.callbacks.RunRecord
        (['road', 'car'], None)
    """

    state_dict: dict[str, Any]
    hyper_parameters: dict[str, Any] = msgspec.field(default_factory=dict)
    callbacks: _Callbacks = msgspec.field(default_factory=_Callbacks)
    thriftseg: NetworkNotes = msgspec.field(default_factory=NetworkNotes)
