"""CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection
from pathlib import Path
from typing import Any

import msgspec

from thriftseg.errors import DatasetError
from thriftseg.parsing.files import read_text
from thriftseg.parsing.schemas import Content, Fault, Origin, converted


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
        >>> from thriftseg.parsing import Record
        >>> class Frame(Record, frozen=True):
        ...     video: str
        ...     frame: int
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "frames.csv")
        ...     _ = path.write_text("video;frame\nclip_1;3\n\nclip_2;4")
        ...     read_csv(path, Frame, ("video", "frame"))  # by line
        {2: Frame(video='clip_1', frame=3), 4: Frame(video='clip_2', frame=4)}
    """
    text, origin = read_text(path, fault=fault), Origin(path, fault, fix)
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
                found[reader.line_num] = converted(content, schema, origin, f"line {reader.line_num}", lax=True)
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
