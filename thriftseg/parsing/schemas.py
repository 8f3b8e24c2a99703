"""What a file should hold, and one line of error where it does not."""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar, cast

import msgspec
import numpy as np
from msgspec import Meta

from thriftseg.errors import DatasetError, ThriftsegError
from thriftseg.limits import DEPTH, ENTRIES

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
_LONGEST_SHOWN, _MOST_SHOWN = 80, 8


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of what stands in files of our own: an entry that the class does not have is an error.

    Example:
        >>> from thriftseg.parsing import decode_json
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


class Origin(NamedTuple):
    """Where content comes from, and how to complain about it."""

    path: str | Path
    fault: Fault
    fix: str | None = None

    def error(self, problem: str, expected: object = None, found: object = None) -> ThriftsegError:
        """A complaint."""
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
    origin = Origin(path, fault, fix)
    refuse_odd(value, origin, place, nan)
    return cast("Content", converted(value, schema, origin, place, lax))


def refuse_odd(value: Any, origin: Origin, place: str, nan: bool = False) -> None:
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
            raise origin.error(_at(place, trail), "text", f"{shown(item)} with half of a surrogate pair")
        if len(trail) > deepest:
            DEPTH.check(len(trail), origin.path, fault=origin.fault)
        if len(left) + entries > most:
            ENTRIES.check(len(left) + entries, origin.path, fault=origin.fault)


def converted(value: Any, schema: Any, origin: Origin, place: str, lax: bool = False) -> Any:
    """A plain value as its schema wants it."""
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
    steps = [f".{step}" if isinstance(step, str) and step.isidentifier() else f"[{shown(step)}]" for step in trail]
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
        return (*trail,), f"one of {words}", shown(found)
    expected = re.sub(r", got .*$|^Expected |`|\\\\[AZ]", "", text)
    if text.startswith("Object missing"):
        return (*trail,), f"an entry {expected.rpartition(' ')[2]}", shown(found)
    if text.startswith("Object contains"):
        return (*trail,), None, f"an unknown entry {expected.rpartition(' ')[2]}"
    return (*trail,), expected if text.startswith("Expected") else None, shown(found)


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


def shown(value: Any) -> str:
    """A value in few characters.

    Example:
        >>> shown([1, 2]), shown({"a": 1}), shown("b" * 1000)[-4:]
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
