"""Methods by name: classes behind one protocol, imported when one of them is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from thriftseg.errors import ConfigError


class MethodTable:
    """Classes by the name of their method.

    Args:
        kind: What the methods are, for messages.
        homes: Full path of each class by method.

    Example:
        >>> table = MethodTable("propagator", {"flow": "thriftseg.labels.propagation.propagators.flow.FlowPropagator"})
        >>> table.create("flow", beta=1.0).arguments["beta"]
        1.0
    """

    def __init__(self, kind: str, homes: Mapping[str, str]) -> None:
        self.kind = kind
        self.homes = homes

    def find(self, method: str) -> type[Any]:
        """The class of a method.

        Raises:
            ConfigError: There is no such method.
        """
        if method not in self.homes:
            raise ConfigError(f"no such {self.kind}", expected=", ".join(self.homes), found=repr(method))
        module, _, name = self.homes[method].rpartition(".")
        found: type[Any] = getattr(import_module(module), name)
        return found

    def create(self, method: str, **settings: Any) -> Any:
        """Build a method by name.

        Raises:
            ConfigError: There is no such method, or it does not take one of the arguments.
        """
        found = self.find(method)
        try:
            return found(**settings)
        except TypeError as error:
            raise ConfigError(f"wrong settings of the {self.kind} {method!r}", found=str(error)) from error
