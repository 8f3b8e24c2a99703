"""JSON and JSON lines."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np

from thriftseg.errors import DatasetError, ThriftsegError
from thriftseg.limits import DEPTH
from thriftseg.parsing.files import MARK, not_utf8, read_bytes
from thriftseg.parsing.schemas import Content, Fault, Origin, converted, refuse_odd

_BRACKETS = b'"[]{}'
_NO_BRACKETS = bytes(set(range(256)) - set(_BRACKETS))
_STEPS = np.array([(byte in b"[{") - (byte in b"]}") for byte in range(256)], np.int8)
_PART = 1 << 20
_LONG_NUMBER = re.compile(rb"[0-9]{20}|9[2-9][0-9]{17}")  # what may be beyond 2**63, unlike a time in nanoseconds
_NINETEEN, _DIGITS_ALIKE = b"0" * 19, bytes.maketrans(b"123456789", b"000000000")
_BEFORE_INTEGERS = {b"", *(bytes([byte]) for byte in b"[,:- \t\r\n")}


def read_json(
    path: str | Path,
    schema: type[Content],
    *,
    fault: Fault = DatasetError,
    fix: str | None = None,
    lax: bool = False,
) -> Content:
    """Read a JSON file.

    Args:
        path: A regular file.
        schema: What it holds.
        fault: Kind of error.
        fix: What to do about a malformed file.
        lax: Take 3.0 and "3" for 3 and so on, as files of other tools have them.

    Raises:
        ThriftsegError: It cannot be read (see `read_bytes`), is no JSON, is nested too deeply or does not fit.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "clicks.json")
        ...     _ = path.write_text('{"x": [3, "4"]}')
        ...     read_json(path, dict[str, list[int]], lax=True)
        {'x': [3, 4]}
    """
    return decode_json(read_bytes(path, fault=fault), schema, path, fault=fault, fix=fix, lax=lax)


def decode_json(
    content: bytes,
    schema: type[Content],
    path: str | Path,
    *,
    fault: Fault = DatasetError,
    fix: str | None = None,
    lax: bool = False,
) -> Content:
    """Read JSON that is no file; see `read_json`.

    Args:
        content: The JSON.
        schema: What it holds.
        path: What it is called in messages.
        fault: Kind of error.
        fix: What to do about malformed content.
        lax: As in `read_json`.

    Raises:
        ThriftsegError: It is no JSON, is nested too deeply or does not fit.

    Example:
        >>> decode_json(b"[1, 2]", list[int], "answer")
        [1, 2]
        >>> try:
        ...     decode_json(b'[1, "two"]', list[int], "answer", fix="ask again")
        ... except DatasetError as error:
        ...     print(error)
        answer: malformed at $[1]; expected int; found 'two'; fix: ask again
    """
    return cast("Content", from_json(content.removeprefix(MARK), schema, Origin(path, fault, fix), "", lax))


def read_json_lines(
    path: str | Path,
    schema: type[Content] | Callable[[dict[str, Any]], type[Content]],
    *,
    fault: Fault = DatasetError,
    fix: str | None = None,
    torn: bool = False,
) -> list[Content]:
    r"""Read a file with one JSON value per line.

    Args:
        path: A regular file.
        schema: What a line holds, or a function that tells it from the mapping in the line.
        fault: Kind of error.
        fix: What to do about a malformed line.
        torn: Leave out what follows the last end of a line, since a crash left it.

    Raises:
        ThriftsegError: It cannot be read (see `read_bytes`), or a line is no JSON, is nested too deeply or does not
            fit.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "journal.jsonl")
        ...     _ = path.write_text('{"frame": 1}\n{"frame": 2}\n{"fra')  # the program was killed
        ...     read_json_lines(path, dict[str, int], torn=True)
        [{'frame': 1}, {'frame': 2}]
    """
    content = read_bytes(path, fault=fault).removeprefix(MARK)
    complete = content.rfind(b"\n") + 1 if torn else len(content)
    lines = content[:complete].removesuffix(b"\n").split(b"\n") if complete else []
    return [parse_line(line, number, schema, path, fault, fix) for number, line in enumerate(lines, start=1)]


def parse_line(
    line: bytes,
    number: int,
    schema: type[Content] | Callable[[dict[str, Any]], type[Content]],
    path: str | Path,
    fault: Fault = DatasetError,
    fix: str | None = None,
) -> Content:
    """The JSON value in one line of a file; see `read_json_lines`.

    Args:
        line: The line.
        number: Its number in the file, from 1.
        schema: What it holds, or a function that tells it from the mapping in the line.
        path: The file.
        fault: Kind of error.
        fix: What to do about a malformed line.

    Raises:
        ThriftsegError: It is no JSON, is nested too deeply or does not fit.

    Example:
        >>> parse_line(b'{"frame": 2}', 7, dict[str, int], "journal.jsonl")
        {'frame': 2}
        >>> try:
        ...     parse_line(b'{"frame": 2.5}', 7, dict[str, int], "journal.jsonl")
        ... except DatasetError as error:
        ...     print(error)
        journal.jsonl: line 7 is malformed at $.frame; expected int; found 2.5
    """
    origin, place = Origin(path, fault, fix), f"line {number}"
    if not inspect.isfunction(schema):
        return cast("Content", from_json(line, schema, origin, place))
    row = from_json(line, dict[str, Any], origin, place)
    return cast("Content", converted(row, schema(row), origin, place))


@cache
def _decoder(schema: Any, lax: bool) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(schema, strict=not lax)


def from_json(content: bytes, schema: Any, origin: Origin, place: str, lax: bool = False) -> Any:
    """A JSON text as its schema wants it."""
    if content.count(b"[") + content.count(b"{") > DEPTH.value:
        DEPTH.check(_depth_of(content), origin.path, fault=origin.fault)
    try:
        if not _may_hold_large_integers(content):
            return _decoder(schema, lax).decode(content)
    except msgspec.ValidationError:
        pass  # below it is read again to tell what is wrong
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _no_json(content, origin, place) from error
    try:
        value = _decoder(Any, False).decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _no_json(content, origin, place) from error
    refuse_odd(value, origin, place)
    return converted(value, schema, origin, place, lax)


def _may_hold_large_integers(content: bytes) -> bool:
    if _NINETEEN not in content.translate(_DIGITS_ALIKE):  # several times faster than the search
        return False
    found = (match.start() for match in _LONG_NUMBER.finditer(content))
    return any(content[max(0, start - 1) : start] in _BEFORE_INTEGERS for start in found)


def _no_json(content: bytes, origin: Origin, place: str) -> ThriftsegError:
    def refuse(word: str) -> None:
        raise ValueError(f"{word}, which is no number of JSON")

    found = "a number that is too large, or half of a surrogate pair"
    try:
        json.loads(content.decode(), parse_constant=refuse)
    except UnicodeDecodeError as error:
        found = not_utf8(error)
    except ValueError as error:
        found = str(error).partition("; use sys.")[0]
    return origin.error(f"{place} is not JSON".lstrip(), found=found)


def _depth_of(content: bytes) -> int:
    """How deeply a JSON text is nested."""
    marks = content.replace(rb"\\", b"").replace(rb"\"", b"").translate(None, _NO_BRACKETS)
    depth = quotes = deepest = 0
    for start in range(0, len(marks), _PART):
        part = np.frombuffer(marks[start : start + _PART], np.uint8)
        opened = np.cumsum(part == ord('"')) + quotes
        levels = np.cumsum(_STEPS[part] * (opened % 2 == 0), dtype=np.int64) + depth
        depth, quotes, deepest = int(levels[-1]), int(opened[-1]), max(deepest, int(levels.max()))
    return deepest
