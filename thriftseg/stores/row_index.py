"""An index of JSON lines, so that a file of many rows is opened without reading them.

Beside `<name>.jsonl` lies `<name>.jsonl.index`, an SQLite table that says which row begins at which byte. It is only
ever replaced as a whole, and made again where it is missing or does not fit.
"""

from __future__ import annotations

import codecs
import os
import shutil
import sqlite3
import weakref
from collections.abc import Callable, Collection, ItemsView, Iterator, Mapping, ValuesView
from contextlib import closing, suppress
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from thriftseg.atomic import partial_path
from thriftseg.errors import LabelStoreError
from thriftseg.parsing import parse_line, read_bytes

Parsed = TypeVar("Parsed")
Key = tuple[str, int]
"""What tells a row from the others of its table."""

INDEXED_FROM = 2**22
"""Bytes of rows from which on they are put into the index; fewer are held in memory."""
FIX = "delete this line and generate the labels again; complete frames are kept"
"""What to do about a malformed row."""

_VERSION = 1
_ENDS = 2**16  # bytes at each end of the indexed part that tell whether it is still the same
_ROWS_AT_ONCE, _ROWS_AHEAD, _USUAL_LINE = 10_000, 16, 2048


class Entry(NamedTuple):
    """How a row is found.

    Attributes:
        table: Name of the table it belongs to.
        key: Tells it from the others there; of equal ones the later row counts.
        fact: What it shares with many others, to be known without reading them all.
    """

    table: str
    key: Key
    fact: str


class RowTable(Mapping[Key, Parsed]):
    """The rows of one table: old ones on disk, found by the index, and recent ones in memory, which replace those.

    Args:
        name: Name of the table.
        index: Finds the old rows.
        recent: The others.
        hidden: Keys that are left out.
    """

    def __init__(
        self, name: str, index: RowIndex, recent: dict[Key, Parsed], hidden: Collection[Key] = frozenset()
    ) -> None:
        self._name, self._index, self._recent, self._hidden = name, index, recent, hidden

    def __getitem__(self, key: Key) -> Parsed:
        if key not in self._hidden:
            if key in self._recent:
                return self._recent[key]
            row: Parsed | None = self._index.find(self._name, key)
            if row is not None:
                return row
        raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        if not isinstance(key, tuple) or key in self._hidden:
            return False
        return key in self._recent or self._index.has(self._name, key)

    def __iter__(self) -> Iterator[Key]:
        yield from (key for key in self._index.keys(self._name) if key not in self._hidden)
        yield from self._unindexed()

    def __len__(self) -> int:
        hidden = sum(self._index.has(self._name, key) for key in self._hidden)
        return self._index.count(self._name) + sum(1 for _ in self._unindexed()) - hidden

    def items(self) -> ItemsView[Key, Parsed]:
        """Keys and rows, in the order of the file."""
        return _Items(self)

    def values(self) -> ValuesView[Parsed]:
        """Rows, in the order of the file."""
        return _Values(self)

    def in_order(self) -> Iterator[tuple[Key, Parsed]]:
        """Keys and rows, in the order of the file."""
        for key, row in self._index.rows(self._name):
            if key not in self._hidden:
                yield key, self._recent.get(key, row)
        yield from ((key, self._recent[key]) for key in self._unindexed())

    def named(self, names: Collection[str]) -> dict[str, list[Parsed]]:
        """Rows whose key begins with one of these words, by that word and in the order of the numbers."""
        found = {name: dict(self._index.rows(self._name, name)) for name in names}
        for key, row in self._recent.items():
            if key[0] in found:
                found[key[0]][key] = row
        return {name: [rows[key] for key in sorted(rows) if key not in self._hidden] for name, rows in found.items()}

    def without(self, hidden: Collection[Key]) -> RowTable[Parsed]:
        """The same rows but for some."""
        return RowTable(self._name, self._index, self._recent, hidden) if hidden else self

    def add(self, key: Key, row: Parsed) -> None:
        """Take in a row that was appended to the file."""
        self._recent[key] = row

    def _unindexed(self) -> Iterator[Key]:
        return (key for key in self._recent if key not in self._hidden and not self._index.has(self._name, key))


class _Items(ItemsView[Key, Parsed]):
    _mapping: RowTable[Parsed]

    def __iter__(self) -> Iterator[tuple[Key, Parsed]]:
        return self._mapping.in_order()


class _Values(ValuesView[Parsed]):
    _mapping: RowTable[Parsed]

    def __iter__(self) -> Iterator[Parsed]:
        return (row for _, row in self._mapping.in_order())


class _Opened(NamedTuple):
    """An index in use, and the file of rows that it is about."""

    process: int
    connection: sqlite3.Connection
    file: int

    def line(self, start: int) -> bytes:
        """The line that begins at a byte, without its end."""
        line = os.pread(self.file, _USUAL_LINE, start)
        while b"\n" not in line and (more := os.pread(self.file, len(line), start + len(line))):
            line += more
        return line.partition(b"\n")[0].removeprefix(codecs.BOM_UTF8)


class RowIndex:
    """Where the rows of a file begin, as far as an index beside it says.

    Args:
        path: The file of rows.
        schema: What a row is.

    Attributes:
        end: Byte behind the last indexed row.
        lines: Lines before it.
    """

    def __init__(self, path: Path, schema: Any) -> None:
        self._path, self._schema = path, schema
        self._opened: _Opened | None = None
        self._near: dict[tuple[str, str, int], tuple[int, int]] = {}  # places of the row asked for and of the next ones
        self.end = self.lines = 0

    def load(self, entry_of: Callable[[Any], Entry]) -> None:
        """Take the index of the file into use; it is made or continued where many rows are not in it."""
        if not self._path.is_file():
            read_bytes(self._path, fault=LabelStoreError)  # says what is wrong
        with suppress(sqlite3.Error, OSError):
            self._open()
        if self._path.stat().st_size - self.end > INDEXED_FROM:
            with suppress(sqlite3.Error, OSError):  # a folder that nobody may write to: the rows stay in memory
                self._extend(entry_of)

    def facts(self) -> set[str]:
        """What the indexed rows say besides."""
        return {fact for (fact,) in self._ask("SELECT fact FROM facts")}

    def count(self, table: str) -> int:
        """Number of indexed rows."""
        return sum(count for (count,) in self._ask("SELECT number FROM counts WHERE name = ?", table))

    def has(self, table: str, key: Key) -> bool:
        """Whether a row is indexed."""
        return self._place(table, key) is not None

    def find(self, table: str, key: Key) -> Any:
        """An indexed row, `None` without one."""
        place = self._place(table, key)
        return None if place is None else self._row(*place)

    def keys(self, table: str) -> Iterator[Key]:
        """Keys of indexed rows in the order of the file."""
        return self._ask("SELECT first, second FROM rows WHERE name = ? ORDER BY start", table)

    def rows(self, table: str, first: str | None = None) -> Iterator[tuple[Key, Any]]:
        """Indexed rows in the order of the file, or those whose key begins with a word by its second part."""
        query = "SELECT first, second, start, line FROM rows WHERE name = ? "
        if first is None:
            found = self._ask(query + "ORDER BY start", table)
        else:
            found = self._ask(query + "AND first = ? ORDER BY second", table, first)
        return (((word, number), self._row(start, line)) for word, number, start, line in found)

    def lines_behind(self) -> Iterator[tuple[int, Any]]:
        """Rows that are not indexed, each with the byte behind it."""
        end, number = self.end, self.lines
        try:
            stream = self._path.open("rb")
        except OSError:
            read_bytes(self._path, fault=LabelStoreError)  # says what is wrong
            raise
        with stream:
            stream.seek(end)
            for line in stream:
                if not line.endswith(b"\n"):  # torn by a crash
                    return
                end, number = end + len(line), number + 1
                content = line[:-1].removeprefix(codecs.BOM_UTF8) if number == 1 else line[:-1]
                yield end, parse_line(content, number, self._schema, self._path, LabelStoreError, FIX)

    def _ask(self, query: str, *values: str | int) -> Iterator[Any]:
        """Rows of a query; a connection must not be used by another process than that which opened it."""
        if self._opened is not None and self._opened.process != os.getpid():
            self._opened = None
            self._open()
            if self._opened is None:
                raise LabelStoreError("rows were rewritten while they were read", path=self._path, fix="try again")
        return iter(()) if self._opened is None else self._opened.connection.execute(query, values)

    def _place(self, table: str, key: Key) -> tuple[int, int] | None:
        """Where an indexed row begins, and which line it is."""
        first, second = key
        near = self._near
        if (table, first, second) not in near:
            query = "SELECT second, start, line FROM rows WHERE name = ? AND first = ? AND second >= ? "
            query += "ORDER BY second LIMIT ?"
            found = self._ask(query, table, first, second, _ROWS_AHEAD)
            self._near = near = {(table, first, number): (start, line) for number, start, line in found}
        return near.get((table, first, second))

    def _row(self, start: int, number: int) -> Any:
        """The row that begins at a byte."""
        line = self._opened.line(start) if self._opened is not None else b""
        return parse_line(line, number, self._schema, self._path, LabelStoreError, FIX)

    def _open(self) -> None:
        """Take the index into use if it fits the file."""
        index = index_of(self._path)
        if not index.is_file():
            return
        connection = sqlite3.connect(f"{index.absolute().as_uri()}?immutable=1", uri=True, check_same_thread=False)
        file = os.open(self._path, os.O_RDONLY)
        weakref.finalize(self, _close, connection, file)
        version, end, lines, size_and_time, digest = connection.execute("SELECT * FROM file").fetchone()
        status = os.fstat(file)
        same = f"{status.st_size} {status.st_mtime_ns}" == size_and_time
        if version == _VERSION and (same or status.st_size > end) and _digest_of_ends(file, end) == digest:
            self._opened, self.end, self.lines = _Opened(os.getpid(), connection, file), end, lines
            self._near = {}

    def _extend(self, entry_of: Callable[[Any], Entry]) -> None:
        """Index the rows that are not yet, in a copy that then takes the place of the index."""
        index = index_of(self._path)
        temporary = partial_path(index)
        try:
            if self.end:
                shutil.copyfile(index, temporary)
            with closing(sqlite3.connect(temporary, isolation_level=None)) as connection:
                connection.executescript(_TABLES)
                status = self._path.stat()
                end, lines = self._insert(connection, entry_of)
                with self._path.open("rb") as stream:
                    digest = _digest_of_ends(stream.fileno(), end)
                connection.execute("INSERT INTO counts SELECT name, count(*) FROM rows GROUP BY name")
                entry = (_VERSION, end, lines, f"{status.st_size} {status.st_mtime_ns}", digest)
                connection.execute("INSERT INTO file VALUES (?, ?, ?, ?, ?)", entry)
                connection.execute("COMMIT")
            with temporary.open("rb") as stream:
                os.fsync(stream.fileno())
            temporary.replace(index)
        finally:
            temporary.unlink(missing_ok=True)
        self._open()

    def _insert(self, connection: sqlite3.Connection, entry_of: Callable[[Any], Entry]) -> tuple[int, int]:
        """Index rows; returns the byte behind them and the number of lines before it."""
        rows, start, lines, facts = self.lines_behind(), self.end, self.lines, set[str]()
        while chunk := list(islice(rows, _ROWS_AT_ONCE)):
            found = []
            for end, row in chunk:
                entry = entry_of(row)
                lines += 1
                found.append((start, lines, entry.table, *entry.key))
                facts.add(entry.fact)
                start = end
            connection.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?, ?)", found)
        connection.executemany("INSERT OR IGNORE INTO facts VALUES (?)", [(fact,) for fact in facts])
        return start, lines


_TABLES = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
BEGIN;
CREATE TABLE IF NOT EXISTS rows (start INTEGER PRIMARY KEY, line INTEGER, name TEXT, first TEXT, second INTEGER);
CREATE UNIQUE INDEX IF NOT EXISTS by_key ON rows (name, first, second);
CREATE TABLE IF NOT EXISTS facts (fact TEXT PRIMARY KEY);
DROP TABLE IF EXISTS counts;
CREATE TABLE counts (name TEXT PRIMARY KEY, number INTEGER);
DROP TABLE IF EXISTS file;
CREATE TABLE file (version INTEGER, end INTEGER, lines INTEGER, stamp TEXT, digest BLOB);
"""


def index_of(path: Path) -> Path:
    """Where the index of a file of rows lies."""
    return path.with_name(f"{path.name}.index")


def _digest_of_ends(file: int, end: int) -> bytes:
    length = min(end, _ENDS)
    return blake2b(os.pread(file, length, 0) + os.pread(file, length, end - length), digest_size=16).digest()


def _close(connection: sqlite3.Connection, file: int) -> None:
    connection.close()
    os.close(file)
