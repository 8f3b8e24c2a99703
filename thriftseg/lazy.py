"""Faces: what a room offers to the others, imported when it is used, because libraries take seconds to load.

A face is the `__init__.py` of a room. It imports each public name once, under `if TYPE_CHECKING:`, where type checkers
and editors read it, and `face` makes those lines the table from which names are loaded on demand.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path


def face(
    package: str, moved: Mapping[str, str] | None = None
) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """Make `__getattr__` (PEP 562), `__dir__` and `__all__` of a room from the imports written in its face.

    Args:
        package: Its `__name__`.
        moved: Full path of what this room offered in earlier versions, by its old name; not part of `__all__`.

    Example:
        >>> find, listing, names = face("thriftseg.drawing")
        >>> find("blend").__module__, "blend" in names
        ('thriftseg.drawing.overlay', True)
    """
    source = Path(str(sys.modules[package].__file__)).read_text(encoding="utf-8")
    homes = {
        alias.name: str(node.module)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith(package)
        for alias in node.names
    }
    old = {name: path.rpartition(".") for name, path in (moved or {}).items()}

    def find(name: str) -> object:
        if homes.get(name) == package:
            return import_module(f"{package}.{name}")
        if name in homes:
            module, attribute = homes[name], name
        elif name in old:
            module, _, attribute = old[name]
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(module), attribute)
        setattr(sys.modules[package], name, value)
        return value

    for name, module in homes.items():
        if module == f"{package}.{name}":
            find(name)  # a function named like its file: once that is imported, the package would offer the file
    return find, lambda: sorted(homes), sorted(homes)
