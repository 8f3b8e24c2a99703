"""The file in which a person decides about labels: a table that any editor or spreadsheet opens.

    decision,video,frame,object,class,confidence,ignored,right,lost
    lock,0016E5,007961,,,0.412,0.38,,pole
    reject,0016E5,007963,5,car,0.291,0.44,,

`decision` is accept, reject, lock or nothing; a row without `object` is about the whole frame. Further columns only
inform.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from thriftseg.atomic import write_bytes
from thriftseg.errors import ConfigError
from thriftseg.stores import VERDICTS, Verdict

COLUMNS = ("decision", "video", "frame", "object", "class", "confidence", "ignored", "right", "lost")

_NEEDED = ("decision", "video", "frame")


@dataclass(frozen=True)
class DecisionLine:
    """One decision of the file.

    Attributes:
        line: Line of the file, from 1.
        verdict: The decision.
        video: Identifier of the clip.
        frame: Native frame number.
        object: Number in the object log of the frame, `None` for the whole frame.
    """

    line: int
    verdict: Verdict
    video: str
    frame: int
    object: int | None = None


def write_decisions(path: str | Path, rows: Iterable[Mapping[str, str]]) -> Path:
    """Write a file to be edited.

    Args:
        path: The file; one that is there already is not replaced.
        rows: Cells by column of `COLUMNS`; absent ones stay empty.

    Raises:
        ConfigError: The file is there already.
    """
    path = Path(path)
    if path.exists():
        raise ConfigError(
            "the file of decisions is there already", path=path, fix="choose another name, or apply it (--apply true)"
        )
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(path, stream.getvalue().encode())
    return path


def read_decisions(path: str | Path) -> list[DecisionLine]:
    """Read the decisions of a file, in its order; rows without one are left out.

    Columns may be separated by semicolons instead of commas.

    Raises:
        ConfigError: The file is missing or no table, or a line has an unknown word or no frame.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("cannot read the decisions", path=path, found=str(error)) from error
    head = text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text), delimiter="," if "," in head else ";")
    columns = reader.fieldnames or ()
    if not set(_NEEDED) <= set(columns):
        raise ConfigError(
            "no file of decisions", path=path, expected="the columns " + ", ".join(_NEEDED), found=", ".join(columns)
        )
    lines = [_parse({key: value or "" for key, value in row.items() if key}, reader.line_num, path) for row in reader]
    return [line for line in lines if line is not None]


def _parse(row: Mapping[str, str], line: int, path: Path) -> DecisionLine | None:
    word, number, item = (row.get(name, "").strip() for name in ("decision", "frame", "object"))
    if not word:
        return None
    if word.lower() not in VERDICTS:
        raise line_error("no such decision", line, path, expected=", ".join(VERDICTS) + " or nothing", found=repr(word))
    for name, value in (("frame", number), ("object", item or "0")):
        if not value.isdecimal():
            raise line_error(f"no number of {name}", line, path, expected="digits", found=repr(value))
    verdict = cast("Verdict", word.lower())
    return DecisionLine(line, verdict, row["video"].strip(), int(number), int(item) if item else None)


def line_error(problem: str, line: int, path: Path, *, expected: object = None, found: object = None) -> ConfigError:
    """What is wrong with a line of the file."""
    return ConfigError(f"line {line}: {problem}", path=path, expected=expected, found=found)
