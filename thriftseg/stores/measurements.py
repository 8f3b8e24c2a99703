"""Figures that took reading files, remembered until those files change."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from thriftseg.atomic import write_bytes
from thriftseg.errors import DatasetError, ThriftsegError
from thriftseg.parsing import read_json
from thriftseg.shards import stamp_of


class MeasurementCache:
    """Measured values by name in one JSON file, each with a stamp of what it was measured from.

    A cache that is damaged, or was written under another header, counts as empty. One that cannot be written is given
    up silently: that costs time at the next start, nothing else.

    Args:
        path: The JSON file; `None` remembers nothing beyond this object.
        header: Plain values that all entries depend on, such as a version and settings.
        kind: What a value is.

    Example:
        >>> cache = MeasurementCache(None, {"schema": 1}, float)
        >>> cache.add("frame", [1, 2], 0.5)
        >>> cache.get("frame", [1, 2]), cache.get("frame", [1, 3])
        (0.5, None)
    """

    def __init__(self, path: Path | None, header: Mapping[str, Any], kind: type) -> None:
        self._path, self._header = path, dict(header)
        entry: Any = msgspec.defstruct("_Entry", [("stamp", Any), ("value", kind)])
        self._entry = entry
        self._entries: dict[str, Any] = {}
        content: Any = msgspec.defstruct("_Content", [*header, ("entries", dict[str, entry])])
        if path is not None:
            with suppress(ThriftsegError):
                found = read_json(path, content)
                if all(getattr(found, name) == value for name, value in header.items()):
                    self._entries = found.entries

    def get(self, name: str, stamp: Any) -> Any:
        """The value measured from what has this stamp (a plain value of JSON), or `None`."""
        entry = self._entries.get(name)
        return entry.value if entry and entry.stamp == stamp else None

    def add(self, name: str, stamp: Any, value: Any) -> None:
        """Remember a value (not `None`) in this object; `save` writes it down."""
        self._entries[name] = self._entry(stamp, value)

    def save(self) -> None:
        """Write the file in full or not at all."""
        if self._path is None:
            return
        content = msgspec.json.encode({**self._header, "entries": self._entries}, order="sorted")
        try:
            write_bytes(self._path, content)
        except OSError:
            return


def file_stamp(path: Path) -> list[int]:
    """What tells that a file is still the same, on the disk or in a shard.

    Raises:
        DatasetError: There is no such file.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "7.png")
        ...     stamps = [file_stamp(path) for content in (b"1", b"12") if path.write_bytes(content)]
        >>> stamps[0] == stamps[1]
        False
    """
    stamp = stamp_of(path)
    if stamp is None:
        raise DatasetError("no such file", path=path)
    return [*stamp]
