"""Methods by name: classes behind one protocol, imported when one of them is asked for."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Protocol, runtime_checkable

from thriftseg.errors import ConfigError


@runtime_checkable
class Licensed(Protocol):
    """A method whose weights somebody licensed; labels made with it say so, and networks trained on them.

    Example:
        >>> class Mine:
        ...     licence = "cc-by-nc-4.0"
        >>> isinstance(Mine(), Licensed), isinstance(object(), Licensed)
        (True, False)
    """

    @property
    def licence(self) -> str | None:
        """Name of the licence of the weights, such as "apache-2.0"; `None` where it is not known."""


class MethodTable:
    """Classes by the name of their method: ours, and those that installed packages declare as entry points.

    Args:
        kind: What the methods are, for messages.
        group: Group of the entry points.
        homes: Full path of each class of ours by method. A package cannot take their names.

    Example:
        >>> table = MethodTable("propagator", "thriftseg.propagators", {"days": "datetime.timedelta"})
        >>> table.create("days", hours=1).seconds
        3600
    """

    def __init__(self, kind: str, group: str, homes: Mapping[str, str]) -> None:
        self.kind, self.group, self.homes = kind, group, homes

    @property
    def names(self) -> list[str]:
        """All methods, ours first."""
        return list(dict.fromkeys([*self.homes, *sorted(entry_points(group=self.group).names)]))

    def find(self, method: str) -> type[Any]:
        """The class of a method.

        Raises:
            ConfigError: There is no such method, or the package that declares it cannot be imported.
        """
        if method not in self.names:
            raise ConfigError(f"no such {self.kind}", expected=", ".join(self.names), found=repr(method))
        if method in self.homes:
            module, _, name = self.homes[method].rpartition(".")
            found: type[Any] = getattr(import_module(module), name)
            return found
        (entry, *_) = entry_points(group=self.group, name=method)
        try:
            declared: type[Any] = entry.load()
        except Exception as error:  # the code of others, which runs when it is imported
            raise ConfigError(
                f"the {self.kind} {method!r} cannot be imported", path=entry.value, found=error
            ) from error
        return declared

    def takes(self, method: str, setting: str) -> bool:
        """Whether the class of a method has an argument.

        Raises:
            ConfigError: There is no such method.
        """
        try:
            taken = inspect.signature(self.find(method)).parameters
        except ValueError:  # written in C
            return False
        return setting in taken or any(each.kind == inspect.Parameter.VAR_KEYWORD for each in taken.values())

    def known(self, method: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Those of some settings that the class of a method has arguments for.

        Raises:
            ConfigError: There is no such method.
        """
        return {name: value for name, value in settings.items() if self.takes(method, name)}

    def has_weights(self, method: str) -> bool:
        """Whether a method is a network, whose class takes `weights`.

        Raises:
            ConfigError: There is no such method.
        """
        return self.takes(method, "weights")

    def create(self, method: str, weights: Any = None, **settings: Any) -> Any:
        """Build a method by name.

        Args:
            method: Its name.
            weights: Weights of a network.
            settings: Further arguments of its class.

        Raises:
            ConfigError: There is no such method, it does not take one of the arguments, or weights are given to one
                that has none.
        """
        if weights is not None:
            if not self.has_weights(method):
                raise ConfigError(f"{method} has no weights", found=f"--weights {weights}", fix="leave them out")
            settings["weights"] = weights
        found = self.find(method)
        try:
            return found(**settings)
        except TypeError as error:
            raise ConfigError(f"wrong settings of the {self.kind} {method!r}", found=str(error)) from error
