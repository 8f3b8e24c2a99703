"""The file in a round's folder that says what was asked, and where the person notes the working time."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thriftseg.annotation.people.images import ImageTask
from thriftseg.atomic import write_bytes
from thriftseg.errors import DatasetError
from thriftseg.parsing import load_json, located
from thriftseg.taxonomies import Taxonomy, hex_color

TASK_FILE, INSTRUCTIONS = "task.json", "instructions.md"

_SCHEMA = 1
_NOTES = {"seconds": None, "done": False}


@dataclass(frozen=True)
class Note:
    """What a person notes about a task.

    Attributes:
        seconds: Working time, where it was measured.
        done: Whether the answer is finished although it may be empty.
    """

    seconds: float | None
    done: bool

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Note:
        """Read a note; the file says `located`.

        Raises:
            ValueError: A value is of another kind.
        """
        seconds, done = row.get("seconds"), row.get("done", False)
        if seconds is not None and (isinstance(seconds, bool) or not 0 <= float(seconds) < math.inf):
            raise ValueError(f"seconds {seconds!r}, expected 0 or more, or null")
        if not isinstance(done, bool):
            raise ValueError(f"done {done!r}, expected true or false")
        return cls(None if seconds is None else float(seconds), done)


def open_task_file(folder: Path, exchange: str, tasks: Sequence[ImageTask], taxonomy: Taxonomy) -> dict[str, Note]:
    """What the person has noted so far; the file is written when there is none yet.

    Args:
        folder: Folder of the round.
        exchange: How the labels are exchanged.
        tasks: The tasks.
        taxonomy: The class table.

    Returns:
        Notes by name of the task.

    Raises:
        DatasetError: The file is malformed, or of other tasks than these.
    """
    path = folder / TASK_FILE
    wanted = {task.name: task.to_dict() for task in tasks}
    header = {
        "schema": _SCHEMA,
        "exchange": exchange,
        "taxonomy": f"{taxonomy.name} version {taxonomy.version}",
    }
    if not path.exists():
        classes = [{"id": row.train_id, "name": row.name, "color": hex_color(row.color)} for row in taxonomy.classes]
        content = {**header, "classes": classes, "tasks": [{**row, **_NOTES} for row in wanted.values()]}
        write_bytes(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
    content = load_json(path)
    with located(path, "the file"):
        rows = {str(row["name"]): row for row in content["tasks"]}
        for key, value in header.items():
            if content[key] != value:
                raise other_run(path, "other labels", f"{key} {value}", f"{key} {content[key]}")
        asked = {name: {key: row[key] for key in row if key not in _NOTES} for name, row in rows.items()}
        differing = sorted(name for name in asked.keys() | wanted.keys() if asked.get(name) != wanted.get(name))
        if differing:
            found = f"{len(asked)} tasks, of which {len(differing)} differ, first {differing[0]}"
            raise other_run(path, "other labels", f"{len(wanted)} tasks", found)
    notes = {}
    for name, row in rows.items():
        with located(path, f"task {name!r}"):
            notes[name] = Note.of(row)
    return notes


def other_run(path: Path, asked: str, expected: object, found: object) -> DatasetError:
    """The error about a task file that asks a person for something else than the run does."""
    return DatasetError(
        f"this folder asks for {asked} than the run does",
        path=path,
        expected=expected,
        found=found,
        fix="run with the settings that it was made with, or move the folder away to ask anew",
    )
