"""Append-only JSON lines that survive a kill at any moment, written by any number of processes.

A folder holds `manifest.jsonl` and, while several writers are at work, one `manifest.<writer>.jsonl` each. A line
counts once its newline is on disk; what follows the last newline was torn by a crash and does not count.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from thriftseg.atomic import named_in_errors, write_bytes
from thriftseg.errors import LabelStoreError

Row = dict[str, Any]


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
    """

    def __init__(self, folder: Path, writer: str | None = None, stem: str = "manifest") -> None:
        self._folder, self._stem = folder, stem
        self.path = folder / f"{stem}.jsonl"
        self._own = self.path if writer is None else folder / f"{stem}.{writer}.jsonl"
        self._repaired = False

    def read(self) -> list[Row]:
        """Complete rows of all writers; those of single writers come after the common ones.

        Raises:
            LabelStoreError: A complete line is no JSON object.
        """
        rows = []
        for path in self._files():
            complete, _, _torn = path.read_bytes().rpartition(b"\n")
            lines = complete.split(b"\n") if complete else []
            rows += [_parse_line(line, path, number) for number, line in enumerate(lines, start=1)]
        return rows

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows and wait until they are on disk."""
        lines = "".join(f"{canonical(row)}\n" for row in rows).encode()
        self._folder.mkdir(parents=True, exist_ok=True)
        if not self._repaired and self._own.is_file():
            content = self._own.read_bytes()
            complete = content.rfind(b"\n") + 1
            if complete < len(content):
                os.truncate(self._own, complete)
        self._repaired = True
        with named_in_errors(self._own), self._own.open("ab") as stream:
            stream.write(lines)
            stream.flush()
            os.fsync(stream.fileno())

    def consolidate(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Replace all files by a single sorted one that holds `rows`. No other writer may be at work."""
        lines = sorted(canonical(row) for row in rows)
        files = self._files()
        if not files and not lines:
            return
        write_bytes(self.path, "".join(f"{line}\n" for line in lines).encode())
        for path in files:
            if path != self.path:
                path.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        main = [self.path] if self.path.is_file() else []
        return main + sorted(self._folder.glob(f"{self._stem}.*.jsonl"))


def check_schema(
    row: Mapping[str, Any],
    schema: int,
    name: str,
    path: Path,
    fix: str = "use the thriftseg version that wrote it, or generate the labels again",
) -> None:
    """Refuse a row of another version.

    Args:
        row: The row.
        schema: The version that is read.
        name: What the file is called in the message.
        path: The file.
        fix: What to do about rows of other versions.

    Raises:
        LabelStoreError: It is of another version, or tells none.
    """
    if row.get("schema") != schema:
        raise LabelStoreError(
            f"{name} of an unknown version",
            path=path,
            expected=f"schema {schema}",
            found=f"schema {row.get('schema')!r}",
            fix=fix,
        )


def _parse_line(line: bytes, path: Path, number: int) -> Row:
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    if not isinstance(row, dict):
        raise LabelStoreError(
            f"line {number} of the manifest is damaged",
            path=path,
            expected="a JSON object",
            found=line[:40].decode(errors="replace"),
            fix="delete this line and generate the labels again; complete frames are kept",
        )
    return row
