"""The file in a round's folder that says what was asked, and where the person notes the working time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from thriftseg.annotation.people.images import ImageTask
from thriftseg.atomic import write_bytes
from thriftseg.errors import DatasetError
from thriftseg.parsing import Amount, Record, check, read_json
from thriftseg.taxonomies import Taxonomy, hex_color

TASK_FILE, INSTRUCTIONS = "task.json", "instructions.md"

_SCHEMA = 1
_NOTES = {"seconds": None, "done": False}


class Note(Record, frozen=True):
    """What a person notes about a task.

    Attributes:
        seconds: Working time, where it was measured.
        done: Whether the answer is finished although it may be empty.
    """

    seconds: Amount | None = None
    done: bool = False


class _TaskFile(msgspec.Struct):
    schema: int
    exchange: str
    taxonomy: str
    tasks: list[dict[str, Any]]


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
    found = read_json(path, _TaskFile)
    for key, value in header.items():
        if (other := getattr(found, key)) != value:
            raise other_run(path, "other labels", f"{key} {value}", f"{key} {other}")
    rows = {str(row.get("name")): row for row in found.tasks}
    asked = {name: {key: row[key] for key in row if key not in _NOTES} for name, row in rows.items()}
    differing = sorted(name for name in asked.keys() | wanted.keys() if asked.get(name) != wanted.get(name))
    if differing:
        instead = f"{len(asked)} tasks, of which {len(differing)} differ, first {differing[0]}"
        raise other_run(path, "other labels", f"{len(wanted)} tasks", instead)
    noted = {name: {key: row[key] for key in row if key in _NOTES} for name, row in rows.items()}
    return {name: check(values, Note, path, f"task {name!r}") for name, values in noted.items()}


def write_notes(path: Path, notes: Mapping[str, Any], name: str | None = None) -> None:
    """Note something in a task file, as a person would who edits it.

    Args:
        path: The file, which holds one task, or several.
        notes: New values of entries, JSON values only.
        name: Name of the task, where there are several.

    Raises:
        DatasetError: The file is malformed, or has no such task.
    """
    content = read_json(path, dict[str, Any])
    rows = [content]
    if name is not None:
        content["tasks"] = tasks = check(content.get("tasks"), list[dict[str, Any]], path, "tasks")
        rows = [row for row in tasks if row.get("name") == name]
    if not rows:
        raise DatasetError(f"no task {name!r}", path=path, fix="delete the folder to start anew")
    rows[0].update(notes)
    write_bytes(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())


def other_run(path: Path, asked: str, expected: object, found: object) -> DatasetError:
    """The error about a task file that asks a person for something else than the run does."""
    return DatasetError(
        f"this folder asks for {asked} than the run does",
        path=path,
        expected=expected,
        found=found,
        fix="run with the settings that it was made with, or move the folder away to ask anew",
    )
