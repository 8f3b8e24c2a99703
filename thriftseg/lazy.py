"""Names of a package that are imported when they are used, because what they need takes seconds to load."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module


def lazy_names(package: str, homes: Mapping[str, str]) -> Callable[[str], object]:
    """Make the `__getattr__` of a package (PEP 562).

    Args:
        package: Its `__name__`.
        homes: The module below the package that each name lives in.

    Example:
        >>> find = lazy_names("thriftseg", {"ThriftsegError": "errors"})
        >>> find("ThriftsegError").__name__
        'ThriftsegError'
    """

    def find(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{homes[name]}"), name)

    return find
