"""The `thriftseg` command; every command is a thin wrapper of a function callable from Python."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thriftseg.lazy import face

if TYPE_CHECKING:
    from thriftseg.cli.main import entry_point

__getattr__, __dir__, __all__ = face(__name__)
