"""Names of the networks, and building them by name or from a constructor record."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, TypeVar

from thriftseg.errors import CheckpointError, ConfigError
from thriftseg.zoo.blocks.backbones import licensed_start
from thriftseg.zoo.network import Network, import_path
from thriftseg.zoo.undrawn import Undrawn
from thriftseg.zoo.weights.licences import NOT_STATED, tell_terms

OWN_LICENCE = "Apache-2.0"
ENTRY_POINTS = "thriftseg.networks"
"""Group of entry points by which an installed package offers its networks to records."""

NetworkClass = TypeVar("NetworkClass", bound=type[Network])


@dataclass(frozen=True)
class _Entry:
    network_class: type[Network]
    arguments: Mapping[str, Any]


_entries: dict[str, _Entry] = {}


def register_network(name: str, **arguments: Any) -> Callable[[NetworkClass], NetworkClass]:
    """Class decorator: make a network buildable by name.

    Args:
        name: `<family>_<variant>`, unique.
        arguments: Constructor arguments that this name fixes.

    Raises:
        ConfigError: The name is taken.

    Example:
        >>> from thriftseg.zoo import STM
        >>> try:
        ...     register_network("stm_r18")(STM)
        ... except ConfigError as error:
        ...     print(error)
        network name 'stm_r18' is taken; found STM
    """
    if name in _entries:
        raise ConfigError(f"network name {name!r} is taken", found=_entries[name].network_class.__qualname__)

    def register(network_class: NetworkClass) -> NetworkClass:
        _entries[name] = _Entry(network_class, arguments)
        return network_class

    return register


def list_models(kind: str | None = None) -> list[str]:
    """Sorted names of the networks.

    Args:
        kind: Only networks of this kind, such as "semantic".

    Example:
        >>> "pspnet_resnet18" in list_models(kind="semantic")
        True
    """
    return sorted(name for name, entry in _entries.items() if kind in (None, entry.network_class.kind))


def create_model(name: str, num_classes: int | None = None, **arguments: Any) -> Any:
    """Build a network by name.

    Args:
        name: One of `list_models()`.
        num_classes: Number of classes, for semantic networks.
        arguments: Further constructor arguments of the network, such as `pretrained=True`.

    Returns:
        A `Network` in training mode, of the kind that `list_models(kind=...)` tells.

    Raises:
        ConfigError: The name is unknown, the network does not take one of the arguments, or lacks its number of
            classes.

    Example:
        >>> network = create_model("deeplabv3plus_mobilenetv2", num_classes=11)
        >>> network.record["class_path"]
        'thriftseg.zoo.DeepLabV3Plus'
    """
    if name not in _entries:
        close = difflib.get_close_matches(name, _entries, n=3, cutoff=0.5)
        fix = f"did you mean {', '.join(close)}?" if close else f"choose from {', '.join(list_models())}"
        raise ConfigError(f"unknown network {name!r}", fix=fix)
    entry = _entries[name]
    taken = inspect.signature(entry.network_class).parameters
    options = [key for key in taken if key not in {"num_classes", *entry.arguments}]
    for key in arguments:
        if key not in options:
            raise ConfigError(f"network {name!r} has no option {key!r}", expected=", ".join(options))
    if num_classes is not None:
        arguments["num_classes"] = num_classes
    takes_classes = "num_classes" in taken
    if takes_classes != (num_classes is not None):
        raise ConfigError(f"network {name!r} {'needs a' if takes_classes else 'takes no'} number of classes")
    return entry.network_class(**entry.arguments, **arguments)


def rebuild(record: Mapping[str, Any]) -> Any:
    """Build a network from its constructor record, without fetching pre-trained weights.

    A record may come from anywhere, so nothing is imported by a name in it: its class is one of this package, one that
    the program has imported itself, or one that an installed package declares as an entry point of the group
    `thriftseg.networks`. The weights are whatever the memory holds: load the state
    that was stored next to the record.

    Args:
        record: `{"class_path": ..., "init_args": ...}`, as in `Network.record`.

    Returns:
        A `Network` of the recorded class.

    Raises:
        CheckpointError: The record is damaged or names files, or its class is no network that is known, or takes other
            arguments.

    Example:
        >>> record = {"class_path": "thriftseg.zoo.STM", "init_args": {"backbone": "resnet18", "decoder_channels": 8}}
        >>> rebuild(record).record["init_args"]["decoder_channels"]
        8
        >>> try:
        ...     rebuild({"class_path": "os.system", "init_args": {"command": "rm -r data"}})
        ... except CheckpointError as error:
        ...     print(error.problem)
        the recorded class is no network that is known here
    """
    network_class = _resolve(record)
    arguments = dict(record.get("init_args", {}))
    network_class.check_record(arguments)
    start = licensed_start(arguments)
    if start is not None:
        tell_terms(*start)
    if "pretrained" in arguments:
        arguments["pretrained"] = False
    try:
        with Undrawn():
            return network_class(**arguments)
    except TypeError as error:
        raise CheckpointError(
            f"{record['class_path']} cannot be built from its recorded arguments",
            expected=", ".join(inspect.signature(network_class).parameters),
            found=", ".join(arguments),
            fix="use the version of the package that wrote the checkpoint",
        ) from error


def code_licence_of(name: str) -> str:
    """Licences of the code that computes a network: of its package, and of the library that it is an adapter to.

    Args:
        name: One of `list_models()`.

    Example:
        >>> [code_licence_of(name) for name in ("pspnet_resnet18", "deeplabv3plus_resnet18", "unheard_of")]
        ['Apache-2.0', 'Apache-2.0, MIT', 'not stated']
    """
    if name not in _entries:
        return NOT_STATED
    network_class = _entries[name].network_class
    ours = network_class.__module__.partition(".")[0] == __name__.partition(".")[0]
    licences = [OWN_LICENCE if ours else NOT_STATED, network_class.library_licence or ""]
    return ", ".join(dict.fromkeys(filter(None, licences)))


def architectures_of(network: Network) -> list[str]:
    """Names that build networks like this one: of its class, and fixing as many of its arguments as any name does.

    Example:
        >>> architectures_of(create_model("pspnet_resnet18", 11))
        ['pspnet_resnet18']
        >>> architectures_of(create_model("pspnet", 11, backbone="tu-test_resnet"))
        ['pspnet']
    """
    fitting = {
        name: entry.arguments
        for name, entry in sorted(_entries.items())
        if entry.network_class is type(network)
        and all(_holds(network.init_args.get(key), value) for key, value in entry.arguments.items())
    }
    return [
        name for name, fixed in fitting.items() if not any(fixed.items() < more.items() for more in fitting.values())
    ]


def _holds(given: Any, fixed: Any) -> bool:
    if isinstance(given, Mapping) and isinstance(fixed, Mapping):
        return fixed.items() <= given.items()
    return bool(given == fixed)


def _resolve(record: Mapping[str, Any]) -> type[Network]:
    path = str(record.get("class_path") or "no class_path")
    found = _known_classes().get(path)
    if found is None:
        _import_declared(package=path.partition(".")[0])
        found = _known_classes().get(path)
    if found is None:
        raise CheckpointError(
            "the recorded class is no network that is known here",
            expected="a subclass of thriftseg.zoo.Network",
            found=path,
            fix=f"import its module before the file is read, or declare it as an entry point of {ENTRY_POINTS!r}",
        )
    return found


def _known_classes() -> dict[str, type[Network]]:
    """The networks that are imported, by the paths that records may name them by."""
    classes: list[type[Network]] = [Network]
    for known in classes:
        classes += known.__subclasses__()
    return {path: cls for cls in classes for path in (import_path(cls), f"{cls.__module__}.{cls.__qualname__}")}


def _import_declared(package: str) -> None:
    """Import the networks that an installed package declares."""
    for entry in entry_points(group=ENTRY_POINTS):
        if entry.module.partition(".")[0] == package:
            try:
                entry.load()
            except (ImportError, AttributeError) as error:
                raise CheckpointError(f"the networks of {package} cannot be imported", found=error) from error
