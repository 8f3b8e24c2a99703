"""Append-only JSON lines that survive a kill at any moment, written by any number of processes.

A folder holds `manifest.jsonl` and, while several writers are at work, one `manifest.<writer>.jsonl` each. A line
counts once its newline is on disk; what follows the last newline was torn by a crash and does not count.

Beside a manifest of many rows lies an index, see `thriftseg.stores.row_index`.
"""

from __future__ import annotations

import inspect
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, overload

from thriftseg.atomic import named_in_errors, write_bytes
from thriftseg.errors import LabelStoreError
from thriftseg.parsing import read_bytes, read_json_lines
from thriftseg.shards import is_mirror
from thriftseg.stores.row_index import FIX, Entry, Key, RowIndex, RowTable, index_of

Row = dict[str, Any]
Parsed = TypeVar("Parsed")


def canonical(row: Mapping[str, Any]) -> str:
    """The one way a row is written: sorted keys, no spaces.

    Example:
        >>> canonical({"video": "a", "frame": 1})
        '{"frame":1,"video":"a"}'
    """
    return json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


class Manifest:
    """The rows of one folder.

    Args:
        folder: Where the files lie; made at the first write.
        writer: Name of this writer when there are several; only letters, digits and `-`.
        stem: Name of the files without writer and suffix.

    Attributes:
        path: The file that holds the rows when nobody is writing.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     manifest = Manifest(Path(folder))
        ...     manifest.append([{"video": "a", "frame": 1}])
        ...     with manifest.path.open("a") as stream:
        ...         size = stream.write('{"video": "b", "fr')  # the process was killed here
        ...     manifest.read()
        [{'frame': 1, 'video': 'a'}]
    """

    def __init__(self, folder: Path, writer: str | None = None, stem: str = "manifest") -> None:
        self._folder, self._stem = folder, stem
        self.path = folder / f"{stem}.jsonl"
        self._own = self.path if writer is None else folder / f"{stem}.{writer}.jsonl"
        self._repaired = False

    @overload
    def read(self) -> list[Row]: ...

    @overload
    def read(
        self, schema: type[Parsed] | Callable[[Row], type[Parsed]], version: int | None = None
    ) -> list[Parsed]: ...

    def read(self, schema: Any = Row, version: int | None = None) -> list[Any]:
        """Complete rows of all writers; those of single writers come after the common ones.

        Args:
            schema: What a row is, or a function that tells it from the row as a mapping; by default just a mapping.
            version: What the entry `schema` of every row has to say; rows have no such entry if unset.

        Raises:
            LabelStoreError: A complete line is no such row, or of another version.
        """
        chosen = schema if version is None else of_version(schema, version, self.path)
        return [
            row
            for path in self._files()
            for row in read_json_lines(path, chosen, fault=LabelStoreError, fix=FIX, torn=True)
        ]

    def tables(
        self, schema: Callable[[Row], type[Any]], version: int, entry_of: Callable[[Any], Entry]
    ) -> tuple[Callable[[str], RowTable[Any]], set[str]]:
        """Complete rows of all writers by their keys; of many rows only an index is read.

        Args:
            schema: As for `read`.
            version: As for `read`.
            entry_of: How a row is found.

        Returns:
            What gives the rows of a table by its name, and what rows say besides, replaced ones included.

        Raises:
            LabelStoreError: As for `read`.
        """
        chosen = of_version(schema, version, self.path)
        index = RowIndex(self.path, chosen)
        if self.path.exists():
            index.load(entry_of)
        rows = [row for _, row in index.lines_behind()] if self.path.exists() else []
        for path in self._files():
            if path != self.path:
                rows += read_json_lines(path, chosen, fault=LabelStoreError, fix=FIX, torn=True)
        recent: dict[str, dict[Key, Any]] = defaultdict(dict)
        facts = index.facts()
        for row in rows:
            entry = entry_of(row)
            recent[entry.table][entry.key] = row
            facts.add(entry.fact)
        return lambda table: RowTable(table, index, recent[table]), facts

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows and wait until they are on disk."""
        if is_mirror(self._folder):
            fix = "write to a folder on the disk (--store DIR) and make shards of it again"
            raise LabelStoreError("labels in a bucket are only read", path=self._own, fix=fix)
        lines = "".join(f"{canonical(row)}\n" for row in rows).encode()
        self._folder.mkdir(parents=True, exist_ok=True)
        if not self._repaired and self._own.exists():
            present = read_bytes(self._own, fault=LabelStoreError)
            complete = present.rfind(b"\n") + 1
            if complete < len(present):
                os.truncate(self._own, complete)
        self._repaired = False  # until the lines are there: a full disk may take half of one
        with named_in_errors(self._own), self._own.open("ab") as stream:
            stream.write(lines)
            stream.flush()
            os.fsync(stream.fileno())
        self._repaired = True

    def consolidate(self, rows: Iterable[Mapping[str, Any]], count: int) -> None:
        """Replace all files by a single sorted one that holds `rows`. No other writer may be at work.

        Args:
            rows: All rows that count; not looked at where a single sorted file holds them already.
            count: How many they are.
        """
        files = self._files()
        if (not files and not count) or (files == [self.path] and _sorted_lines(self.path) == count):
            return
        lines = sorted(canonical(row) for row in rows)
        index_of(self.path).unlink(missing_ok=True)
        write_bytes(self.path, "".join(f"{line}\n" for line in lines).encode())
        for path in files:
            if path != self.path:
                path.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        main = [self.path] if self.path.exists() else []
        return main + sorted(self._folder.glob(f"{self._stem}.*.jsonl"))


def _sorted_lines(path: Path) -> int | None:
    """Number of lines of a file that is sorted, without equal lines or a torn one; otherwise `None`."""
    before, count = b"", 0
    with path.open("rb") as stream:
        for line in stream:
            if line <= before or not line.endswith(b"\n"):
                return None
            before, count = line, count + 1
    return count


def of_version(schema: Any, version: int, path: Path) -> Callable[[Row], Any]:
    """What a row is, once its entry `schema` was compared with the version and taken away; see `Manifest.read`."""

    def chosen(row: Row) -> Any:
        found = row.pop("schema", None)
        if found != version:
            raise LabelStoreError(
                "rows of an unknown version",
                path=path,
                expected=f"schema {version}",
                found=f"schema {found!r}",
                fix="use the thriftseg version that wrote it, or generate the labels again",
            )
        return schema(row) if inspect.isfunction(schema) else schema

    return chosen
