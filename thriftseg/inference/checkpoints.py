"""Networks read back from a checkpoint by its path alone, with what it says about them."""

from __future__ import annotations

import functools
import inspect
import pickle
import re
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import torch

from thriftseg.errors import CheckpointError, ConfigError
from thriftseg.parsing import check
from thriftseg.taxonomies import LabelClass, Taxonomy, distinct_color
from thriftseg.zoo import (
    CARD_SUFFIX,
    ONNX_SUFFIX,
    WEIGHTS_SUFFIX,
    CheckpointNotes,
    DataNote,
    Network,
    ObjectRecord,
    OnnxNetwork,
    SemanticNetwork,
    SlidingWindow,
    VOSNetwork,
    WholeImage,
    check_weights,
    inference_from_record,
    inference_record,
    load,
    names_a_path,
    rebuild,
    tell_restrictions,
)

METADATA_KEY = "thriftseg"

_KINDS: dict[type, str] = {SemanticNetwork: "semantic network", VOSNetwork: "network for video object segmentation"}
RANDOM_STATES_KEY = "random_states"
"""Key of checkpoints that holds the states of random generators, one entry per process."""

_HEAVY = {
    *("state_dict", "optimizer_states", "lr_schedulers", "callbacks", "loops", "current_model_state"),
    RANDOM_STATES_KEY,
}
_IMPORT_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")

NetworkType = TypeVar("NetworkType", bound=Network)


@dataclass(frozen=True)
class LoadedNetwork:
    """A network for inference, and what its weights tell about it.

    Attributes:
        network: The network with its weights, in evaluation mode.
        class_names: Class names in train order; empty when the checkpoint does not know them.
        taxonomy: Name of the class table the network was trained on.
        palette: RGB colour of every class; empty when the checkpoint does not know them.
        eval_size: Height and width that frames were resized to in evaluation; `None` keeps their own.
        inference: How frames were segmented in evaluation.
        metadata: Everything else the checkpoint records (version, epoch, step, hyper-parameters, state of the
            datamodule with mixture table and annotation cost), or the card of published weights.

    Example:
        >>> load_weights("deeplabv3plus_mobilenetv2.synthetic_manual").class_table.palette[:2]
        [(128, 64, 128), (244, 35, 232)]
    """

    network: SemanticNetwork
    class_names: tuple[str, ...] = ()
    taxonomy: str | None = None
    palette: tuple[tuple[int, int, int], ...] = ()
    eval_size: tuple[int, int] | None = None
    inference: WholeImage | SlidingWindow = field(default_factory=WholeImage)
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def data_state(self) -> dict[str, Any]:
        """What the datamodule noted: class table and mixture; empty where the checkpoint has nothing of it."""
        for value in self.metadata.values():
            if isinstance(value, Mapping) and "mixture" in value and "taxonomy" in value:
                return dict(value)
        return {}

    @property
    def labels(self) -> dict[str, Any]:
        """Table, cost and digest of the labels the network was trained on; empty where they are not known."""
        return dict(self.data_state.get("mixture") or self.metadata.get("labels") or {})

    @property
    def notes(self) -> dict[str, Any]:
        """What an exported file should say of the network beside the names of its classes, for `zoo.export_onnx`."""
        return {
            "taxonomy": self.taxonomy,
            "palette": list(self.palette),
            "eval_size": self.eval_size,
            "inference": inference_record(self.inference),
            "labels": self.labels or None,
            "teacher": self.metadata.get("teacher"),
            "licences": self.metadata.get("licences"),
        }

    @property
    def class_table(self) -> Taxonomy:
        """Names and colours of the classes, made up where they are not known."""
        names = self.class_names or [f"class {index}" for index in range(self.network.num_classes)]
        colors = self.palette or [distinct_color(index) for index in range(len(names))]
        version = int(self.data_state.get("taxonomy", {}).get("version", 1))
        rows = (LabelClass(index, name, index, colors[index]) for index, name in enumerate(names))
        return Taxonomy(self.taxonomy or "unknown", version, tuple(rows))


def cost_of_labels(notes: Mapping[str, Any]) -> dict[str, float]:
    """Hours and clicks of the labels that a published network descends from, those of its teacher included.

    Args:
        notes: The card, with the `labels` of the network and what is known of its `teacher`.

    Returns:
        `hours` and `clicks`; empty where the labels are not known.

    Example:
        >>> labels, teacher = {"cost": {"seconds": 7200, "clicks": 9}}, {"added_cost": {"hours": 1}}
        >>> cost_of_labels({"labels": labels, "teacher": teacher})
        {'hours': 3.0, 'clicks': 9.0}
    """
    if not notes.get("labels"):
        return {}
    own, added = notes["labels"]["cost"], (notes.get("teacher") or {}).get("added_cost", {})
    return {
        "hours": float(own["seconds"] / 3600 + added.get("hours", 0)),
        "clicks": float(own["clicks"] + added.get("clicks", 0)),
    }


class Unrecordable(TypeError):
    """An object whose construction cannot be written down, such as a lambda."""


def to_record(value: Any) -> Any:
    """Write an object down in plain Python types, as a config would name it.

    Networks, losses and settings become `{"class_path": ..., "init_args": ...}`. A network records its arguments;
    those of other objects are read from the attributes named like them. An object whose class only prepares the
    arguments of a base class names it in its attribute `recorded_as`.

    Args:
        value: A plain value, a container of values, an object, a class, an importable function or a
            `functools.partial` of a class.

    Raises:
        Unrecordable: A lambda, a local class, or an object that does not keep its arguments.

    Example:
        >>> to_record(functools.partial(torch.optim.SGD, lr=0.1))
        {'class_path': 'torch.optim.sgd.SGD', 'init_args': {'lr': 0.1}}
    """
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(key): to_record(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [to_record(entry) for entry in value]
    if isinstance(value, functools.partial):
        return {"class_path": _import_path(_class_of(value)), "init_args": to_record(value.keywords)}
    if isinstance(value, type):
        return {"class_path": _import_path(value), "init_args": {}}
    if inspect.isfunction(value):
        return _import_path(value)
    if isinstance(value, Network):
        return dict(value.record)
    kind = getattr(value, "recorded_as", type(value))
    return {"class_path": _import_path(kind), "init_args": to_record(_arguments_of(value, kind))}


def check_names(record: Any, path: str | Path | None = None) -> None:
    """Refuse a record that names classes or functions that the program has not imported: building it would run them.

    Args:
        record: What `to_record` wrote, from a file.
        path: The file.

    Raises:
        CheckpointError: There is such a name.

    Example:
        >>> check_names({"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}})
        >>> check_names({"network": {"class_path": "unittest.__main__.main"}})
        Traceback (most recent call last):
        thriftseg.errors.CheckpointError: names what is not imported; found unittest.__main__.main; ...
    """
    if isinstance(record, Mapping):
        record = list(record.values())
    if isinstance(record, list | tuple):
        for entry in record:
            check_names(entry, path)
    elif isinstance(record, str) and _IMPORT_PATH.fullmatch(record) and not _is_imported(record):
        fix = "import its module before the file is read, if you trust it"
        raise CheckpointError("names what is not imported", path=path, found=record, fix=fix)


def read_checkpoint(path: str | Path, map_location: str | torch.device = "cpu") -> dict[str, Any]:
    """Read a checkpoint file without running any code it may hold.

    Args:
        path: Checkpoint written by the trainer.
        map_location: Device of the tensors.

    Raises:
        CheckpointError: The file is missing, damaged, holds pickled objects, or is no checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError("no such checkpoint", path=path, fix="pass the path of a .ckpt file")
    try:
        archive = zipfile.is_zipfile(path)  # raises an error of its own at some damage
        checkpoint = torch.load(path, map_location=map_location, weights_only=True) if archive else None
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            "holds pickled objects, which are not loaded because they can run code",
            path=path,
            expected="tensors and plain values",
            fix="save it again with SemanticSegmentation",
        ) from error
    except Exception as error:  # a parser fed with arbitrary bytes can fail in any way
        raise CheckpointError("damaged checkpoint", path=path, fix="copy it again") from error
    if not archive:
        raise CheckpointError(
            "not a checkpoint, or cut short", path=path, found=f"{path.stat().st_size} bytes", fix="copy it again"
        )
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise CheckpointError("not a training checkpoint", path=path, expected="a dict with state_dict")
    notes = {name: checkpoint[name] for name in CheckpointNotes.__struct_fields__ if name in checkpoint}
    check(notes, CheckpointNotes, path, fault=CheckpointError, nan=True)
    return checkpoint


def load_weights(weights: str | Path, device: str | torch.device = "cpu") -> LoadedNetwork:
    """Load a network for inference, from published weights, from a training checkpoint, or from an exported file.

    Args:
        weights: Name, path or `hf:<organisation>/<name>` of published weights, see `zoo.load`, a checkpoint of
            `SemanticSegmentation`, or an ONNX file of `zoo.export_onnx`, which runs on the CPU.
        device: Device of the network.

    Raises:
        CheckpointError: There is no such file or name, it is damaged, or it holds no semantic network.

    Example:
        >>> loaded = load_weights("deeplabv3plus_mobilenetv2.synthetic_manual")
        >>> loaded.taxonomy, loaded.eval_size, len(loaded.class_names)
        ('cityscapes', (128, 256), 19)
    """
    if _is_exported(weights):
        return _load_exported(weights)
    if _is_of_training(weights):
        return load_network(weights, device)
    published = load(weights, device)
    taxonomy = published.taxonomy
    loaded = LoadedNetwork(
        network=_checked(published.network, SemanticNetwork, published.path),
        class_names=tuple(taxonomy.class_names) if taxonomy else (),
        taxonomy=taxonomy.name if taxonomy else None,
        palette=tuple(taxonomy.palette) if taxonomy else (),
        eval_size=published.eval_size,
        inference=published.inference,
        metadata=published.card,
    )
    _check_classes(loaded, published.path)
    return loaded


def load_for(taxonomy: Taxonomy, weights: str) -> LoadedNetwork:
    """Load a network that knows the classes of the data.

    Args:
        taxonomy: Class table of the data; where the weights do not know the names of their classes, their number has
            to be that of the table.
        weights: What the user calls the weights.

    Raises:
        CheckpointError: There are no such weights, or they hold no semantic network.
        ConfigError: The network was trained on other classes.
    """
    loaded = load_weights(weights)
    names = tuple(taxonomy.class_names)
    if loaded.class_names and loaded.class_names != names:
        expected, found = ", ".join(names), ", ".join(loaded.class_names)
    elif loaded.network.num_classes != len(names):
        expected, found = f"{len(names)} classes", str(loaded.network.num_classes)
    else:
        return loaded
    raise ConfigError("the network was trained on other classes", path=weights, expected=expected, found=found)


def load_network(path: str | Path, map_location: str | torch.device = "cpu") -> LoadedNetwork:
    """Rebuild the network of a checkpoint from the file alone.

    A network of your own has to be imported before, see `zoo.rebuild`.

    Args:
        path: Checkpoint of `SemanticSegmentation`, trained by the command line or from Python.
        map_location: Device of the network.

    Raises:
        CheckpointError: The file is damaged, names no network, or its weights belong to another one.
    """
    checkpoint = read_checkpoint(path, map_location)
    network = _checked(_network_of(checkpoint, path), SemanticNetwork, path)
    notes = checkpoint.get(METADATA_KEY, {})
    rest = {key: value for key, value in checkpoint.items() if key not in _HEAVY | {METADATA_KEY, "averaging_state"}}
    loaded = LoadedNetwork(
        network=network.to(map_location).eval(),
        class_names=tuple(notes.get("class_names") or ()),
        taxonomy=notes.get("taxonomy"),
        palette=tuple((red, green, blue) for red, green, blue in notes.get("palette") or ()),
        eval_size=(notes["eval_size"][0], notes["eval_size"][1]) if notes.get("eval_size") else None,
        inference=inference_from_record(notes.get("inference"), path),
        metadata={**rest, **notes},
    )
    _check_classes(loaded, path)
    check(loaded.data_state, DataNote, path, "the state of the data", fault=CheckpointError, nan=True)
    tell_restrictions({"labels": loaded.labels, "teacher": loaded.metadata.get("teacher")}, path)
    return loaded


def load_vos_network(path: str | Path, map_location: str | torch.device = "cpu") -> VOSNetwork:
    """Rebuild a network that follows objects from the file of a checkpoint alone; see `load_as`."""
    return load_as(path, VOSNetwork, map_location)  # type: ignore[type-abstract]


def load_as(weights: str | Path, kind: type[NetworkType], device: str | torch.device = "cpu") -> NetworkType:
    """A network of a kind, from published weights or a checkpoint of training.

    Args:
        weights: Name, path or `hf:<organisation>/<name>` of published weights, see `zoo.load`, or a checkpoint.
        kind: Class of the network, such as `zoo.QNet`.
        device: Device of the network.

    Returns:
        The network, in evaluation mode.

    Raises:
        CheckpointError: There is no such file or name, it is damaged, or it holds another network.

    Example:
        >>> load_as("deeplabv3plus_mobilenetv2.synthetic_manual", SemanticNetwork).num_classes
        19
    """
    if _is_exported(weights):
        return _checked(_load_exported(weights).network, kind, weights)
    if _is_of_training(weights):
        checkpoint = read_checkpoint(weights, device)
        network = _network_of(checkpoint, weights)
        tell_restrictions({"labels": {"licences": _licences_of_masks(checkpoint, weights)}}, weights)
    else:
        network = load(weights, device).network
    return _checked(network, kind, weights).to(device).eval()


def _licences_of_masks(checkpoint: Mapping[str, Any], path: str | Path) -> list[str]:
    """Licences of the weights that had a part in the masks, as a datamodule of masks of objects notes them."""
    noted = [value["licences"] for value in checkpoint.values() if isinstance(value, Mapping) and "licences" in value]
    named = check(noted, list[list[str]], path, "licences", fault=CheckpointError)
    return [licence for licences in named for licence in licences]


def _is_exported(weights: str | Path) -> bool:
    return names_a_path(weights) and Path(weights).suffix == ONNX_SUFFIX


def _load_exported(path: str | Path) -> LoadedNetwork:
    """A network of `zoo.export_onnx`, which sees frames of the size that it was exported for, if that is a single one.

    Raises:
        ConfigError: A package for ONNX is missing.
        CheckpointError: The file is no such network, or damaged.
    """
    network = OnnxNetwork(str(path))
    note, card = network.stream.note, network.stream.card
    sides = (note.height, note.width)
    inference = inference_from_record(card.get("inference"), path)
    if isinstance(inference, SlidingWindow) and not all(
        low <= side <= high for side, (low, _, high) in zip(inference.crop, sides, strict=True)
    ):
        inference = WholeImage()
    fixed = isinstance(inference, WholeImage) and all(low == high for low, _, high in sides)
    loaded = LoadedNetwork(
        network=network.eval(),
        class_names=tuple(note.class_names),
        taxonomy=note.taxonomy,
        palette=tuple(note.palette),
        eval_size=(note.height[1], note.width[1]) if fixed else note.eval_size,
        inference=inference,
        metadata=card,
    )
    _check_classes(loaded, path)
    tell_restrictions(card, path)
    return loaded


def _is_of_training(weights: str | Path) -> bool:
    path = Path(weights)
    return names_a_path(weights) and path.suffix not in (WEIGHTS_SUFFIX, CARD_SUFFIX) and not path.is_dir()


def _checked(network: Network, kind: type[NetworkType], path: str | Path) -> NetworkType:
    if not isinstance(network, kind):
        expected = _KINDS.get(kind, f"{kind.__name__} network")
        raise CheckpointError(f"does not hold a {expected}", path=path, found=type(network).__name__)
    return network


def _check_classes(loaded: LoadedNetwork, path: str | Path) -> None:
    for what, known in (("names", loaded.class_names), ("colours", loaded.palette)):
        if known and len(known) != loaded.network.num_classes:
            expected, found = f"{loaded.network.num_classes} classes", f"{what} of {len(known)}"
            problem = "does not describe the classes of its network"
            raise CheckpointError(problem, path=path, expected=expected, found=found)


def _network_of(checkpoint: Mapping[str, Any], path: str | Path) -> Network:
    """Rebuild the network of a checkpoint that was read, whatever it is for."""
    record = checkpoint.get("hyper_parameters", {}).get("network")
    if record is None:
        raise CheckpointError("does not name its network", path=path, expected="hyper_parameters with a network")
    check(record, ObjectRecord, path, "the record of the network", fault=CheckpointError, nan=True)
    try:
        network: Network = rebuild(record)
    except CheckpointError as error:
        raise CheckpointError(
            error.problem, path=path, expected=error.expected, found=error.found, fix=error.fix
        ) from error
    prefix = "network."
    weights = {key.removeprefix(prefix): v for key, v in checkpoint["state_dict"].items() if key.startswith(prefix)}
    plain = next((key for key, value in weights.items() if not isinstance(value, torch.Tensor)), None)
    if plain is not None:
        raise CheckpointError(f"weight {plain!r} is no tensor", path=path, found=type(weights[plain]).__name__)
    check_weights(network, weights, path)
    network.load_state_dict(weights)
    return network


def _is_imported(dotted: str) -> bool:
    """Whether a dotted name is found without importing, or means nothing that could be imported."""
    package, *attributes = dotted.split(".")
    if package not in sys.modules:
        return find_spec(package) is None
    found: Any = sys.modules[package]
    for name in attributes:
        package = f"{package}.{name}"
        found = sys.modules.get(package) or getattr(found, name, None)
    return found is not None


def _class_of(partial: functools.partial[Any]) -> type:
    """The class a partial builds; the config parser wraps it in functions of its own."""
    for candidate in (partial.func, *partial.args):
        if isinstance(candidate, type):
            return candidate
    raise Unrecordable(f"{partial} does not build a class")


def _import_path(target: Any) -> str:
    path = f"{target.__module__}.{target.__qualname__}"
    if "<" in path or target.__module__ == "__main__":
        raise Unrecordable(f"{path} cannot be imported by name")
    return path


def _arguments_of(value: object, kind: type) -> dict[str, Any]:
    arguments = {}
    for name, parameter in inspect.signature(kind).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if hasattr(value, name):
            arguments[name] = getattr(value, name)
        elif parameter.default is parameter.empty:
            raise Unrecordable(f"{kind.__name__} does not keep its argument {name!r}")
    return arguments
