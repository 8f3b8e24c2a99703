"""The one reader of JSON, JSON lines, YAML, CSV and XML.

A file has a schema: a type that stands beside the code that uses its content, such as a `Record`, a data class, a typed
dictionary, or lists and dictionaries of these. What does not fit is one line of error with the file, the place in it,
what was expected and what was found. Only regular files are read, of a bounded size and depth; numbers are finite,
integers fit 64 bits, and text is UTF-8.
"""

from __future__ import annotations

import csv
import inspect
import io
import json
import math
import os
import re
import stat
import zipfile
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar, cast
from xml.etree import ElementTree
from xml.parsers import expat

import msgspec
import numpy as np
import yaml
from msgspec import Meta

from thriftseg.arrays import AnyArray
from thriftseg.errors import DatasetError, ThriftsegError
from thriftseg.limits import DEPTH, ENTRIES, FILE_BYTES
from thriftseg.shards import read_packed

Content = TypeVar("Content")
Fault = type[ThriftsegError]

_LEAST, _MOST = -(2**63), 2**63 - 1
_LARGEST = float(np.finfo(np.float64).max)

Integer = Annotated[int, Meta(ge=_LEAST, le=_MOST)]
"""For `lax` schemas, where a text may be a number of any size; what is no text is within this range anyway."""
Finite = Annotated[float, Meta(ge=-_LARGEST, le=_LARGEST)]
"""For `lax` schemas, where a text may be "nan"; what is no text is finite anyway."""
Count = Annotated[int, Meta(ge=0, le=_MOST)]
Amount = Annotated[float, Meta(ge=0, le=_LARGEST)]
Share = Annotated[float, Meta(ge=0, le=1)]
FileName = Annotated[str, Meta(pattern=r"\A(?:[^\0/]{0,255}/)*[^\0/]{0,255}\Z", min_length=1, max_length=4096)]
"""Text that becomes part of a path."""
Number = int | float
"""Any number, which is written back as it was: 1 as 1, and 1.0 as 1.0."""
Digits = Annotated[str, Meta(pattern=r"\A[0-9]{1,18}\Z")]
"""Text that stands for a number and may begin with zeros."""

_MARK = b"\xef\xbb\xbf"
_BRACKETS = b'"[]{}'
_NO_BRACKETS = bytes(set(range(256)) - set(_BRACKETS))
_STEPS = np.array([(byte in b"[{") - (byte in b"]}") for byte in range(256)], np.int8)
_PART = 1 << 20
_LONG_NUMBER = re.compile(rb"[0-9]{20}|9[2-9][0-9]{17}")  # what may be beyond 2**63, unlike a time in nanoseconds
_NINETEEN, _DIGITS_ALIKE = b"0" * 19, bytes.maketrans(b"123456789", b"000000000")
_BEFORE_INTEGERS = {b"", *(bytes([byte]) for byte in b"[,:- \t\r\n")}
_LONGEST_SHOWN, _MOST_SHOWN = 80, 8
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of what stands in files of our own: an entry that the class does not have is an error.

    Example:
        >>> class Box(Record, frozen=True):
        ...     width: int
        ...     name: str = "box"
        >>> decode_json(b'{"width": 3}', Box, "box.json").to_json()
        {'width': 3, 'name': 'box'}
        >>> try:
        ...     decode_json(b'{"width": 3, "height": 4}', Box, "box.json")
        ... except DatasetError as error:
        ...     print(error)
        box.json: malformed at $; found an unknown entry height
    """

    def to_json(self) -> dict[str, Any]:
        """Attributes by name; records among them likewise."""
        return {name: _plain(value) for name, value in msgspec.structs.asdict(self).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.to_json() if isinstance(value, Record) else value


class _Origin(NamedTuple):
    """Where content comes from, and how to complain about it."""

    path: str | Path
    fault: Fault
    fix: str | None = None

    def error(self, problem: str, expected: object = None, found: object = None) -> ThriftsegError:
        return self.fault(problem, path=self.path, expected=expected, found=found, fix=self.fix)


@contextmanager
def located(path: Path, place: str) -> Iterator[None]:
    """Turn what goes wrong on a malformed entry into one line that names the file and the place.

    Example:
        >>> try:
        ...     with located(Path("boxes.json"), "box 3"):
        ...         {}["width"]
        ... except DatasetError as error:
        ...     print(error)
        boxes.json: box 3 has no 'width'
    """
    try:
        yield
    except KeyError as error:
        raise DatasetError(f"{place} has no {error}", path=path) from error
    except (TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise DatasetError(f"{place} is malformed", path=path, found=str(error)) from error


def read_bytes(path: str | Path, *, fault: Fault = DatasetError) -> bytes:
    """Content of a file, on the disk or in a shard (see `thriftseg.shards`).

    Args:
        path: A regular file; pipes and devices are not opened.
        fault: Kind of error.

    Raises:
        ThriftsegError: It is missing, unreadable, too large or no regular file.

    Example:
        >>> from thriftseg.errors import ConfigError
        >>> try:
        ...     read_bytes("nowhere/frames.txt", fault=ConfigError)
        ... except ConfigError as error:
        ...     print(error)
        nowhere/frames.txt: no such file
    """
    try:
        status = os.stat(path)  # noqa: PTH116 - `Path` would normalise the path that the error names
        if not stat.S_ISREG(status.st_mode):
            found = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or device"
            raise fault("cannot be read", path=path, expected="a file", found=found)
        FILE_BYTES.check(status.st_size, path, fault=fault)
        return Path(path).read_bytes()
    except FileNotFoundError:
        packed = read_packed(path)
        if packed is None:
            raise fault("no such file", path=path) from None
        return packed
    except (OSError, ValueError) as error:  # a ValueError is about NUL in the path
        raise fault("cannot be read", path=path, found=getattr(error, "strerror", None) or error) from error


def read_text(path: str | Path, *, fault: Fault = DatasetError) -> str:
    """Text of a file in UTF-8, with or without a byte order mark.

    Args:
        path: A regular file.
        fault: Kind of error.

    Raises:
        ThriftsegError: It cannot be read (see `read_bytes`), or is not UTF-8.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "classes.txt")
        ...     _ = path.write_text("road", encoding="utf-8-sig")  # with a byte order mark, as some editors write it
        ...     read_text(path)
        'road'
    """
    content = read_bytes(path, fault=fault).removeprefix(_MARK)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise fault("is not UTF-8", path=path, found=_not_utf8(error)) from error


def read_lines(path: str | Path, *, fault: Fault = DatasetError) -> list[str]:
    r"""Lines of a text, without white space around them and without those that are empty then.

    Args:
        path: A regular file.
        fault: Kind of error.

    Raises:
        ThriftsegError: It cannot be read (see `read_text`), or has NUL in it.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "train.txt")
        ...     _ = path.write_text("clip_1 \n\n clip_2")
        ...     read_lines(path)
        ['clip_1', 'clip_2']
    """
    lines = [line.strip() for line in read_text(path, fault=fault).splitlines()]
    for number, line in enumerate(lines, start=1):
        if "\0" in line:
            raise fault("is no text", path=path, found=f"a character NUL in line {number}")
    return [line for line in lines if line]


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
    return cast("Content", _from_json(content.removeprefix(_MARK), schema, _Origin(path, fault, fix), "", lax))


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
    content = read_bytes(path, fault=fault).removeprefix(_MARK)
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
    origin, place = _Origin(path, fault, fix), f"line {number}"
    if not inspect.isfunction(schema):
        return cast("Content", _from_json(line, schema, origin, place))
    row = _from_json(line, dict[str, Any], origin, place)
    return cast("Content", _converted(row, schema(row), origin, place))


def read_yaml(
    path: str | Path,
    schema: type[Content],
    *,
    fault: Fault = DatasetError,
    fix: str | None = None,
    lax: bool = False,
    nan: bool = False,
) -> Content:
    """Read a YAML file of plain values.

    Args:
        path: A regular file.
        schema: What it holds.
        fault: Kind of error.
        fix: What to do about a malformed file.
        lax: As in `read_json`.
        nan: As in `check`.

    Raises:
        ThriftsegError: It cannot be read (see `read_text`), is no YAML, is nested too deeply, repeats too much by
            aliases, or does not fit.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "classes.yaml")
        ...     _ = path.write_text("classes: [road, car]")
        ...     read_yaml(path, dict[str, list[str]])
        {'classes': ['road', 'car']}
    """
    return decode_yaml(read_text(path, fault=fault), schema, path, fault=fault, fix=fix, lax=lax, nan=nan)


def decode_yaml(
    text: str,
    schema: type[Content],
    path: str | Path,
    *,
    fault: Fault = DatasetError,
    fix: str | None = None,
    lax: bool = False,
    nan: bool = False,
) -> Content:
    """Read YAML that is no file; see `read_yaml`.

    Args:
        text: The YAML.
        schema: What it holds.
        path: What it is called in messages.
        fault: Kind of error.
        fix: What to do about a malformed text.
        lax: As in `read_json`.
        nan: As in `check`.

    Raises:
        ThriftsegError: It is no YAML, is nested too deeply, repeats too much by aliases, or does not fit.

    Example:
        >>> decode_yaml("{lr: 0.01, steps: 300}", dict[str, float], "--trainer")
        {'lr': 0.01, 'steps': 300.0}
    """
    origin = _Origin(path, fault, fix)
    try:
        _check_events(text, origin)
        value = yaml.load(text, _LOADER)  # noqa: S506 # nosec B506 - a safe one
    except yaml.YAMLError as error:
        raise origin.error("is not YAML", found=" ".join(str(error).split())) from error
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:  # as of dates without months
        raise origin.error("is not YAML", found=f"{type(error).__name__}: {error}") from error
    return check(value, schema, path, fault=fault, fix=fix, lax=lax, nan=nan)


def read_csv(
    path: str | Path,
    schema: type[Content],
    columns: Collection[str] | None,
    *,
    fault: Fault = DatasetError,
    fix: str | None = None,
) -> dict[int, Content]:
    r"""Read a table whose cells are separated by commas or, where its first line has none, by semicolons.

    Args:
        path: A regular file.
        schema: What a row holds, by column; cells may be numbers, and empty ones count as absent.
        columns: Columns that the first line has to name; `None` where there is no such line and rows are lists.
        fault: Kind of error.
        fix: What to do about a malformed file.

    Returns:
        Rows by line, from 1; empty lines are left out.

    Raises:
        ThriftsegError: It cannot be read (see `read_text`), lacks a column, or a row does not fit.

    Example:
        >>> import tempfile
        >>> class Frame(Record, frozen=True):
        ...     video: str
        ...     frame: int
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "frames.csv")
        ...     _ = path.write_text("video;frame\nclip_1;3\n\nclip_2;4")
        ...     read_csv(path, Frame, ("video", "frame"))  # by line
        {2: Frame(video='clip_1', frame=3), 4: Frame(video='clip_2', frame=4)}
    """
    text, origin = read_text(path, fault=fault), _Origin(path, fault, fix)
    head = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=";" if ";" in head and "," not in head else ",")
    found, numbers = {}, _number_columns(schema)
    try:
        names = [] if columns is None else [name.strip() for name in next(reader, [])]
        if columns is not None and not set(columns) <= set(names):
            raise origin.error("lacks a column", ", ".join(columns), ", ".join(names) or "nothing")
        for row in reader:
            cells = zip(names or range(len(row)), map(str.strip, row), strict=False)
            values = {name: _number(cell) if name in numbers else cell for name, cell in cells if cell or not names}
            if row:
                content = values if names else [*values.values()]
                found[reader.line_num] = _converted(content, schema, origin, f"line {reader.line_num}", lax=True)
    except csv.Error as error:
        raise origin.error(f"line {reader.line_num} is no CSV", found=error) from error
    return found


def _number_columns(schema: Any) -> set[str | int]:
    """Columns of a table that hold numbers, by name or, where rows are lists, by position."""
    kind = msgspec.inspect.type_info(schema)
    fields = enumerate(getattr(kind, "fields", ()))
    return {
        position if getattr(kind, "array_like", False) else field.encode_name
        for position, field in fields
        for each in getattr(field.type, "types", (field.type,))
        if isinstance(each, msgspec.inspect.IntType | msgspec.inspect.FloatType)
    }


def _number(cell: str) -> str | int | float:
    """The number that a cell holds; the text where it is none."""
    try:
        return int(cell)
    except ValueError:
        pass
    try:
        return float(cell)
    except ValueError:
        return cell


def decode_arrays(
    content: bytes, path: str | Path, *names: str, fault: Fault = DatasetError, fix: str | None = None
) -> list[AnyArray]:
    """Arrays in the content of an `.npz` file or, without names, the one of an `.npy` file; pickles are refused.

    Args:
        content: What the file holds.
        path: The file.
        names: Names of the arrays.
        fault: Kind of error.
        fix: What to do about a damaged file.

    Raises:
        ThriftsegError: It holds no such arrays, or too large ones.

    Example:
        >>> file = io.BytesIO()
        >>> np.savez(file, hours=np.array([1.0, 2.5]), clicks=np.array([3, 4]))
        >>> [clicks] = decode_arrays(file.getvalue(), "curve.npz", "clicks")
        >>> clicks.tolist()
        [3, 4]
    """
    origin = _Origin(path, fault, fix)
    try:
        if not names:
            return [np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)]
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [archive.getinfo(f"{name}.npy") for name in names]
            FILE_BYTES.check(sum(member.file_size for member in members), path, fault=fault)
            return [
                np.lib.format.read_array(io.BytesIO(archive.read(member)), allow_pickle=False) for member in members
            ]
    except ThriftsegError:
        raise
    except Exception as error:  # a parser fed with arbitrary bytes can fail in any way
        raise origin.error("holds no such arrays", ", ".join(names) or None, error) from error


def read_xml(path: str | Path) -> ElementTree.Element:
    """Root element of an XML file, which may not define entities.

    Raises:
        DatasetError: It cannot be read (see `read_bytes`), is no XML, is nested too deeply or has a document type.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "boxes.xml")
        ...     _ = path.write_text('<track label="car"><box frame="3"/><box frame="4"/></track>')
        ...     track = read_xml(path)
        >>> track.get("label"), [box.get("frame") for box in track]
        ('car', ['3', '4'])
    """
    content, origin = read_bytes(path), _Origin(path, DatasetError)
    builder, parser, depth = ElementTree.TreeBuilder(), expat.ParserCreate(), 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        DEPTH.check(depth, path, fault=origin.fault)
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    def refuse(*_: Any) -> None:
        raise origin.error("has a document type, which could define entities", "XML without <!DOCTYPE ...>")

    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = builder.data, refuse
    try:
        parser.Parse(content, True)
        return builder.close()
    except (expat.ExpatError, LookupError, ValueError, AssertionError) as error:
        raise origin.error("is not XML", found=error) from error


def dump_xml(root: ElementTree.Element) -> bytes:
    """Content of an XML file.

    Example:
        >>> track = ElementTree.Element("track", label="car")
        >>> _ = ElementTree.SubElement(track, "box", frame="3")
        >>> dump_xml(track).decode().splitlines()[1:]
        ['<track label="car">', '  <box frame="3" />', '</track>']
    """
    ElementTree.indent(root)
    content: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return content


def check(
    value: Any,
    schema: type[Content],
    path: str | Path,
    place: str = "",
    *,
    fault: Fault = DatasetError,
    fix: str | None = None,
    lax: bool = False,
    nan: bool = False,
) -> Content:
    """Compare plain values from elsewhere, such as a checkpoint, with a schema.

    Args:
        value: Dictionaries, lists and plain values.
        schema: What it should be.
        path: File that it comes from.
        place: Where in the file.
        fault: Kind of error.
        fix: What to do about it.
        lax: As in `read_json`.
        nan: Take numbers that are not finite, where the schema says nothing else.

    Returns:
        The value, with its parts as the schema wants them.

    Raises:
        ThriftsegError: It does not fit, has too many entries, is nested too deeply, or holds a number that is not
            finite or an integer beyond 64 bits.

    Example:
        >>> check({"video": "a", "frames": [1, "2"]}, dict[str, str | list[int]], "a.ckpt", "data")
        Traceback (most recent call last):
        thriftseg.errors.DatasetError: a.ckpt: data is malformed at $.frames[1]; expected int; found '2'
    """
    origin = _Origin(path, fault, fix)
    _refuse_odd(value, origin, place, nan)
    return cast("Content", _converted(value, schema, origin, place, lax))


@cache
def _decoder(schema: Any, lax: bool) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(schema, strict=not lax)


def _from_json(content: bytes, schema: Any, origin: _Origin, place: str, lax: bool = False) -> Any:
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
    _refuse_odd(value, origin, place)
    return _converted(value, schema, origin, place, lax)


def _may_hold_large_integers(content: bytes) -> bool:
    if _NINETEEN not in content.translate(_DIGITS_ALIKE):  # several times faster than the search
        return False
    found = (match.start() for match in _LONG_NUMBER.finditer(content))
    return any(content[max(0, start - 1) : start] in _BEFORE_INTEGERS for start in found)


def _no_json(content: bytes, origin: _Origin, place: str) -> ThriftsegError:
    def refuse(word: str) -> None:
        raise ValueError(f"{word}, which is no number of JSON")

    found = "a number that is too large, or half of a surrogate pair"
    try:
        json.loads(content.decode(), parse_constant=refuse)
    except UnicodeDecodeError as error:
        found = _not_utf8(error)
    except ValueError as error:
        found = str(error).partition("; use sys.")[0]
    return origin.error(f"{place} is not JSON".lstrip(), found=found)


def _not_utf8(error: UnicodeDecodeError) -> str:
    return f"byte {error.object[error.start]:#04x} at position {error.start}, which is not UTF-8"


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


def _check_events(text: str, origin: _Origin) -> None:
    """Refuse YAML that is nested too deeply, or becomes too much where aliases repeat what they stand for."""
    anchors: dict[str, tuple[float, float]] = {}  # entries and depth; infinite inside of what is anchored
    parents: list[tuple[str | None, float, float]] = [(None, 0, 0)]
    for event in yaml.parse(text, _LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            parents.append((event.anchor, 1, 0))
            DEPTH.check(len(parents) - 1, origin.path, fault=origin.fault)
            if event.anchor is not None:
                anchors[event.anchor] = math.inf, math.inf
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, entries, depth = parents.pop()
            depth += 1
            if anchor is not None:
                anchors[anchor] = entries, depth
        elif isinstance(event, yaml.AliasEvent):
            entries, depth = anchors.get(str(event.anchor), (1, 0))
        elif isinstance(event, yaml.ScalarEvent):
            entries, depth = 1, 0
        else:
            continue
        anchor, before, deepest = parents[-1]
        parents[-1] = anchor, before + entries, max(deepest, depth)
        ENTRIES.check(before + entries, origin.path, fault=origin.fault)
        DEPTH.check(len(parents) - 1 + depth, origin.path, fault=origin.fault)


def _refuse_odd(value: Any, origin: _Origin, place: str, nan: bool = False) -> None:
    """Refuse what is too large or too deep, and values that JSON does not have."""
    left: list[tuple[Any, tuple[Any, ...]]] = [(value, ())]
    entries, deepest, most = 0, DEPTH.value, ENTRIES.value
    while left:
        item, trail = left.pop()
        entries += 1
        if isinstance(item, Mapping):
            left.extend((each, (*trail, key)) for key, each in item.items())
            left.extend((key, (*trail, key)) for key in item)
        elif isinstance(item, list | tuple | set | frozenset):
            left.extend((each, (*trail, position)) for position, each in enumerate(item))
        elif isinstance(item, float) and not nan and not math.isfinite(item):
            raise origin.error(_at(place, trail), "a finite number", item)
        elif isinstance(item, int) and not _LEAST <= item <= _MOST:
            raise origin.error(_at(place, trail), "an integer of 64 bits", f"one of {item.bit_length()}")
        elif isinstance(item, str) and not item.isascii() and item != item.encode(errors="replace").decode():
            raise origin.error(_at(place, trail), "text", f"{_shown(item)} with half of a surrogate pair")
        if len(trail) > deepest:
            DEPTH.check(len(trail), origin.path, fault=origin.fault)
        if len(left) + entries > most:
            ENTRIES.check(len(left) + entries, origin.path, fault=origin.fault)


def _converted(value: Any, schema: Any, origin: _Origin, place: str, lax: bool = False) -> Any:
    try:
        return msgspec.convert(value, schema, strict=not lax, str_keys=True)
    except msgspec.ValidationError as error:
        trail, expected, found = _explained(error, value, schema, lax)
        raise origin.error(_at(place, trail), expected, found) from None
    except ThriftsegError as error:  # of a class that checks its values
        raise origin.error(f"{_at(place, ())}: {error.problem}", error.expected, error.found) from error


def _at(place: str, trail: tuple[Any, ...]) -> str:
    """What is wrong, and where.

    Example:
        >>> _at("line 3", ("cost", "seconds")), _at("", ("frames", 0, "two words"))
        ('line 3 is malformed at $.cost.seconds', "malformed at $.frames[0]['two words']")
    """
    steps = [f".{step}" if isinstance(step, str) and step.isidentifier() else f"[{_shown(step)}]" for step in trail]
    return f"{place} is malformed at ${''.join(steps)}" if place else f"malformed at ${''.join(steps)}"


def _explained(
    error: msgspec.ValidationError, value: Any, schema: Any, lax: bool
) -> tuple[tuple[Any, ...], str | None, str]:
    """Place, expectation and finding; the message of msgspec has neither keys of dictionaries nor values."""
    text, _, place = str(error).partition(" - at ")
    of_key, _, path = place.rpartition("`$")
    found, trail = value, list[Any]()
    for name, position in re.findall(r"\.([^.[`]+)|\[(\d+|\.\.\.)\]", path + "[...]" * bool(of_key)):
        key = name or (_first_bad_key(found, value, schema, lax) if position == "..." else int(position))
        try:
            found = found[key]
        except (LookupError, TypeError):
            break
        trail.append(key)
    if of_key and trail:
        found = trail.pop()
    if text.startswith("Invalid enum value"):
        words = ", ".join(map(repr, _words(msgspec.inspect.type_info(schema), trail)))
        return (*trail,), f"one of {words}", _shown(found)
    expected = re.sub(r", got .*$|^Expected |`|\\\\[AZ]", "", text)
    if text.startswith("Object missing"):
        return (*trail,), f"an entry {expected.rpartition(' ')[2]}", _shown(found)
    if text.startswith("Object contains"):
        return (*trail,), None, f"an unknown entry {expected.rpartition(' ')[2]}"
    return (*trail,), expected if text.startswith("Expected") else None, _shown(found)


def _words(kind: Any, trail: list[Any]) -> Iterator[Any]:
    """What a literal at a place may be."""
    for each in getattr(kind, "types", ()):  # of a union
        yield from _words(each, trail)
    if not trail:
        yield from getattr(kind, "values", ())
        return
    named = {field.encode_name: field.type for field in getattr(kind, "fields", ())}
    inner = named.get(trail[0], getattr(kind, "item_type", getattr(kind, "value_type", None)))
    if inner is not None:
        yield from _words(inner, trail[1:])


def _first_bad_key(part: Any, value: Any, schema: Any, lax: bool) -> Any:
    """Of a dictionary inside of a value that does not fit, the key at which the conversion stops."""

    def fails(count: int) -> bool:
        part.clear()
        part.update(items[:count])
        try:
            msgspec.convert(value, schema, strict=not lax, str_keys=True)
        except msgspec.ValidationError:
            return True
        return False

    if not isinstance(part, dict):
        return None
    items = list(part.items())
    try:
        return items[min(bisect_left(range(len(items)), True, key=lambda last: fails(last + 1)), len(items) - 1)][0]
    finally:
        fails(len(items))


def _shown(value: Any) -> str:
    """A value in few characters.

    Example:
        >>> _shown([1, 2]), _shown({"a": 1}), _shown("b" * 1000)[-4:]
        ('a list of 2', 'a mapping of a', "...'")
    """
    if isinstance(value, Mapping):
        names = [str(name)[:_LONGEST_SHOWN] for name in list(value)[:_MOST_SHOWN]]
        return f"a mapping of {', '.join(names) or 'nothing'}" + ", ..." * (len(value) > _MOST_SHOWN)
    if isinstance(value, list | tuple | set | frozenset):
        return f"a list of {len(value)}"
    if isinstance(value, str) and len(value) > _LONGEST_SHOWN:
        return repr(f"{value[:_LONGEST_SHOWN]}...")
    return repr(value) if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"
