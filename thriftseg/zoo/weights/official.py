"""Checkpoints in the layout of a network's authors: read, check entry by entry, and load."""

from __future__ import annotations

import hashlib
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thriftseg.errors import CheckpointError
from thriftseg.zoo.network import Network
from thriftseg.zoo.registry import create_model
from thriftseg.zoo.weights.files import save_weights
from thriftseg.zoo.weights.licences import tell_terms
from thriftseg.zoo.weights.releases import Recognised, recognise

CONTAINERS = ("state_dict", "model_state", "network")
"""Entries that hold the weights where a file holds more: of an mmcv runner, of TDNet's training, of an agent."""

WRAPPER_PREFIX = "module."
"""What a data-parallel wrapper puts before every name."""

_COUNTER = "num_batches_tracked"
_NAMES_IN_FULL = 40
_EXAMPLES = 3

# Training scripts store their best score, which may be a NumPy number; reading one runs no code of the file.
# Files of NumPy 1 name the module without an underscore.
_NUMPY_NUMBERS: list[Any] = [
    np.dtype,
    *(type(np.dtype(name)) for name in ("bool", "int32", "int64", "float32", "float64")),
    *((np.float64().__reduce__()[0], f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
]


@dataclass(frozen=True)
class OfficialReport:
    """Use that a network made of the entries of a checkpoint.

    Attributes:
        loaded: Entries that the network took, by the authors' names.
        unused: Entries that the authors store and never use.
        counters: Batch counters that the checkpoint does not have, by our names; no result depends on them.

    Example:
        >>> print(OfficialReport(loaded=("conv.weight", "conv.bias"), unused=("fc.weight",)))
        2 entries loaded, 1 stored but never used
    """

    loaded: tuple[str, ...]
    unused: tuple[str, ...] = ()
    counters: tuple[str, ...] = ()

    def __str__(self) -> str:
        unused = f", {len(self.unused)} stored but never used" if self.unused else ""
        return f"{len(self.loaded)} entries loaded{unused}"


class KeyMismatchError(CheckpointError):
    """The entries of a checkpoint are not those of the network.

    Attributes:
        left_over: Entries of the checkpoint that have no place in the network, by the authors' names.
        missing: Entries of the network that the checkpoint lacks, by our names.
        differing: Entries of another shape, each with both names and shapes.

    Example:
        >>> from thriftseg.zoo import SpixelFCN
        >>> try:
        ...     load_official(SpixelFCN(), {"fc.weight": torch.zeros(1)})
        ... except KeyMismatchError as error:
        ...     print(error.left_over, len(error.missing))
        ('fc.weight',) 80
    """

    left_over: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    differing: tuple[str, ...] = ()


@dataclass
class _Placement:
    """Where the entries of a checkpoint go."""

    weights: dict[str, Tensor] = field(default_factory=dict)
    loaded: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    counters: list[str] = field(default_factory=list)
    left_over: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)


def load_official(network: Network, source: str | Path | Mapping[str, Any]) -> OfficialReport:
    """Load a checkpoint of the authors of a network.

    Every entry must have its place and every place its entry; if not, the network stays as it was.

    Args:
        network: A network with the numbers of classes, frames and channels of the checkpoint.
        source: File of the authors, or what it holds, in any layout that `weights_in` knows.

    Returns:
        What was loaded, and what was not needed.

    Raises:
        CheckpointError: The file cannot be read.
        KeyMismatchError: The entries are not those of the network; the error names them.
        ConfigError: There is no checkpoint of the authors for this network.

    Example:
        >>> from thriftseg.zoo import SpixelFCN
        >>> network = SpixelFCN()
        >>> report = load_official(network, {"state_dict": network.state_dict()})
        >>> len(report.loaded) + len(report.counters) == len(network.state_dict()), report.unused
        (True, ())
    """
    if isinstance(source, Mapping):
        return _load(network, weights_in(source), None)
    return _load(network, read_official(source), Path(source))


@dataclass(frozen=True)
class ImportReport:
    """Result of `import_checkpoint`.

    Attributes:
        path: The weight file that was written.
        arch: Name of the network.
        arguments: Constructor arguments that the weights or the caller told.
        licence: Licence that the authors put on their repository.
        entries: What became of the entries of their file.

    Example:
        >>> entries = OfficialReport(loaded=("conv.weight", "conv.bias"))
        >>> print(ImportReport(Path("qnet.safetensors"), "qnet_resnet18", {"num_bins": 20}, "MIT", entries))
        qnet.safetensors: qnet_resnet18 (num_bins=20); 2 entries loaded; licence of the weights: MIT
    """

    path: Path
    arch: str
    arguments: dict[str, Any]
    licence: str
    entries: OfficialReport

    def __str__(self) -> str:
        arguments = ", ".join(f"{name}={value}" for name, value in self.arguments.items())
        return f"{self.path}: {self.arch} ({arguments}); {self.entries}; licence of the weights: {self.licence}"


def import_checkpoint(
    arch: str, path: str | Path, out: str | Path, arguments: Mapping[str, Any] | None = None
) -> ImportReport:
    """Turn a checkpoint of a network's authors into a weight file that `thriftseg.zoo.load` reads.

    Args:
        arch: Name of the network, one of `list_models()`.
        path: File of the authors.
        out: Weight file to write, `*.safetensors`; a JSON file comes beside it.
        arguments: Constructor arguments in place of those read from the weights.

    Raises:
        CheckpointError: The file cannot be read, or its weights are of another network.
        ConfigError: No network has this name, or it does not take one of the arguments.

    Example:
        >>> import tempfile
        >>> from thriftseg.zoo import SpixelFCN
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save(SpixelFCN().state_dict(), Path(folder, "theirs.pth"))
        ...     report = import_checkpoint("spixelfcn", Path(folder, "theirs.pth"), Path(folder, "ours.safetensors"))
        >>> report.path.name, report.licence, len(report.entries.loaded)
        ('ours.safetensors', 'MIT', 94)
    """
    path, out = Path(path), Path(out)
    weights = read_official(path)
    recognised = recognise_as(arch, weights, path)
    told = {**recognised.arguments, **(arguments or {})}
    network: Network = create_model(arch, **told)
    report = _load(network, weights, path)
    release = recognised.release
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    notes = {
        "architecture": arch,
        "source": {"repository": release.repository, "file": path.name, "sha256": digest},
        "licences": {"weights": release.licence},
    }
    save_weights(network, out, notes=notes, **recognised.protocol)
    return ImportReport(out, arch, told, release.licence, report)


def recognise_as(arch: str, weights: Mapping[str, Tensor], path: str | Path | None = None) -> Recognised:
    """Tell from their shapes how the network that takes weights of its authors is built and run.

    Args:
        arch: Name of the network, one of `list_models()`.
        weights: By the authors' names, as `read_official` returns them.
        path: File named in errors.

    Raises:
        CheckpointError: The weights are of another network, or of one whose authors' names are not known here.
    """
    recognised = recognise(weights)
    if recognised is not None and recognised.arch == arch:
        return recognised
    found = f"those of {recognised.arch}" if recognised else f"such entries as {', '.join([*weights][:_EXAMPLES])}"
    fix = f"import them as {recognised.arch}" if recognised else "pass a file of the network's authors"
    raise CheckpointError(f"not the weights of the authors of {arch}", path=path, found=found, fix=fix)


def _load(network: Network, entries: Mapping[str, Tensor], path: Path | None) -> OfficialReport:
    placement = _place(network, entries)
    if placement.left_over or placement.missing or placement.differing:
        raise _mismatch(network, entries, placement, path)
    network.load_state_dict(placement.weights, strict=False)
    recognised = recognise(entries)
    if recognised is not None:
        tell_terms(f"the weights of {recognised.release.repository}", recognised.release.licence)
    return OfficialReport(tuple(placement.loaded), tuple(placement.unused), tuple(placement.counters))


def read_official(path: str | Path) -> dict[str, Tensor]:
    """Read the weights in a file of the authors without running any code it may hold.

    Args:
        path: A .safetensors file, or one that `torch.save` wrote (.pth, .pt, .pkl).

    Returns:
        Weights by the authors' names, without a `module.` prefix.

    Raises:
        CheckpointError: The file is missing, damaged, holds pickled objects, or no weights.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "theirs.pth")
        ...     torch.save({"epoch": 3, "state_dict": {"module.conv.bias": torch.ones(2)}}, path)
        ...     read_official(path)
        {'conv.bias': tensor([1., 1.])}
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(path)
    if not path.is_file():
        raise CheckpointError("no such checkpoint", path=path)
    if path.suffix != ".safetensors":
        return weights_in(_read_pickle(path), path)
    try:
        content = load_file(path)
    except (SafetensorError, OSError) as error:
        raise _damaged(path) from error
    return weights_in(content, path)


def weights_in(content: object, path: Path | None = None) -> dict[str, Tensor]:
    """Find the weights in what a file of the authors holds.

    Args:
        content: Weights by name, or a dictionary that holds them as one of `CONTAINERS`; a `module.` before the names
            is taken off.
        path: File named in errors.

    Raises:
        CheckpointError: There are no weights in it.

    Example:
        >>> list(weights_in({"epoch": 3, "state_dict": {"module.conv.weight": torch.ones(1)}}))
        ['conv.weight']
    """
    held = [content[name] for name in CONTAINERS if name in content] if isinstance(content, Mapping) else []
    weights = next((entry for entry in held if isinstance(entry, Mapping)), content)
    if not isinstance(weights, Mapping):
        raise _no_weights(path, f"a {type(content).__name__}")
    if not weights:
        raise _no_weights(path, "nothing")
    for name, value in weights.items():
        if not isinstance(value, Tensor):
            raise _no_weights(path, f"{name!r} of type {type(value).__name__}")
    plain = {name.removeprefix(WRAPPER_PREFIX): value for name, value in weights.items()}
    if len(plain) < len(weights):
        raise CheckpointError(f"holds names with and without {WRAPPER_PREFIX!r} that clash", path=path)
    return plain


def _no_weights(path: Path | None, found: str) -> CheckpointError:
    expected = f"tensors by name, or such a dictionary as {', '.join(map(repr, CONTAINERS))}"
    return CheckpointError("holds no weights", path=path, expected=expected, found=found)


def _read_pickle(path: Path) -> object:
    try:
        with torch.serialization.safe_globals(_NUMPY_NUMBERS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols, where the error says all
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # a parser fed with arbitrary bytes can fail in any way
        pickled = re.search(r"GLOBAL (\S+)", str(error))
        if pickled is None:
            raise _damaged(path) from error
        raise CheckpointError(
            "holds pickled objects, which are not loaded because they can run code",
            path=path,
            expected="tensors and plain values",
            found=pickled[1],
            fix="where the file can be trusted, save its weights alone",
        ) from error


def _damaged(path: Path) -> CheckpointError:
    return CheckpointError(
        "not a checkpoint, or cut short", path=path, found=f"{path.stat().st_size} bytes", fix="fetch it again"
    )


def _place(network: Network, entries: Mapping[str, Tensor]) -> _Placement:
    own = network.state_dict()
    placement = _Placement()
    taken: set[str] = set()
    for name, value in entries.items():
        target = network.official_key(name)
        if target is None:
            placement.unused.append(name)
            continue
        placed = placement.weights.get(target)
        if target not in own or (target in taken and (placed is None or not torch.equal(placed, value))):
            placement.left_over.append(name)
        elif value.shape != own[target].shape:
            taken.add(target)
            shapes = f"{tuple(value.shape)} where {target} has {tuple(own[target].shape)}"
            placement.differing.append(f"{name} {shapes}")
        else:
            taken.add(target)
            placement.weights[target] = value
            placement.loaded.append(name)
    absent = [name for name in own if name not in taken]
    placement.counters = [name for name in absent if name.endswith(_COUNTER)]
    placement.missing = [name for name in absent if not name.endswith(_COUNTER)]
    return placement


def _mismatch(
    network: Network, entries: Mapping[str, Tensor], placement: _Placement, path: Path | None
) -> KeyMismatchError:
    groups = {
        "left over": placement.left_over,
        "missing": placement.missing,
        "of another shape": placement.differing,
    }
    if sum(map(len, groups.values())) <= _NAMES_IN_FULL:
        listing = [f"{how}: {', '.join(names)}" for how, names in groups.items() if names]
    else:
        listing = [
            f"{how}: {len(names)} (such as {', '.join(names[:_EXAMPLES])})" for how, names in groups.items() if names
        ]
    recognised = recognise(entries)
    error = KeyMismatchError(
        f"entries do not fit this {type(network).__name__}",
        path=path,
        found="; ".join(listing),
        fix=f"they look like those of {recognised}" if recognised else None,
    )
    error.left_over, error.missing, error.differing = (tuple(names) for names in groups.values())
    return error
