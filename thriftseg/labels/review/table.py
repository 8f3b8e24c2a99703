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

import msgspec

from thriftseg.atomic import write_bytes
from thriftseg.errors import ConfigError
from thriftseg.parsing import Digits, check, read_csv
from thriftseg.stores import Verdict

COLUMNS = ("decision", "video", "frame", "object", "class", "confidence", "ignored", "right", "lost")


class _Row(msgspec.Struct):
    decision: Verdict
    video: str
    frame: Digits
    object: Digits | None = None


@dataclass(frozen=True)
class DecisionLine:
    """One decision of the file.

    Attributes:
        line: Line of the file, from 1; `None` where there is no file.
        verdict: The decision.
        video: Identifier of the clip.
        frame: Native frame number.
        object: Number in the object log of the frame, `None` for the whole frame.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     rows = [{"video": "0016E5", "frame": f"{number:06d}"} for number in (7961, 7962, 7963)]
        ...     rows = [rows[0] | {"decision": "lock"}, rows[1], rows[2] | {"decision": "reject", "object": "5"}]
        ...     lines: list[DecisionLine] = read_decisions(write_decisions(Path(folder, "decisions.csv"), rows))
        >>> [(each.line, each.verdict, each.frame, each.object) for each in lines]
        [(2, 'lock', 7961, None), (4, 'reject', 7963, 5)]
    """

    line: int | None
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

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = write_decisions(Path(folder, "decisions.csv"), [{"video": "0016E5", "frame": "007961"}])
        ...     path.read_text().splitlines()
        ['decision,video,frame,object,class,confidence,ignored,right,lost', ',0016E5,007961,,,,,,']
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
    rows = read_csv(path, dict[str, str], ("decision", "video", "frame"), fault=ConfigError)
    found = []
    for line, cells in rows.items():
        if "decision" in cells:  # what else stands in rows without one does not matter
            cells["decision"] = cells["decision"].lower()
            row = check(cells, _Row, path, f"line {line}", fault=ConfigError, lax=True)
            item = None if row.object is None else int(row.object)
            found.append(DecisionLine(line, row.decision, row.video, int(row.frame), item))
    return found


def line_error(
    problem: str, line: int | None, path: Path | None, *, expected: object = None, found: object = None
) -> ConfigError:
    """What is wrong with a line of the file."""
    place = "" if line is None else f"line {line}: "
    return ConfigError(f"{place}{problem}", path=path, expected=expected, found=found)
