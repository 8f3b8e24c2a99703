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

TASK_FILE = "task.json"

_SCHEMA = 1
_NOTES = {"seconds": None, "done": False}


@dataclass(frozen=True)
class Note:
    """What a person notes about a task.

    Attributes:
        seconds: Working time, where it was measured.
        done: Whether the label is finished although it may be empty.
    """

    seconds: float | None
    done: bool


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
    expected = _content(exchange, tasks, taxonomy)
    if not path.exists():
        write_bytes(path, (json.dumps(expected, indent=1, ensure_ascii=False) + "\n").encode())
    content = load_json(path)
    with located(path, "the file"):
        rows = {str(row["name"]): row for row in content["tasks"]}
        _require_same(
            path, {**content, "tasks": rows}, {**expected, "tasks": {r["name"]: r for r in expected["tasks"]}}
        )
    notes = {}
    for name, row in rows.items():
        with located(path, f"task {name!r}"):
            notes[name] = _note(row)
    return notes


def _content(exchange: str, tasks: Sequence[ImageTask], taxonomy: Taxonomy) -> dict[str, Any]:
    classes = [{"id": row.train_id, "name": row.name, "color": hex_color(row.color)} for row in taxonomy.classes]
    return {
        "schema": _SCHEMA,
        "exchange": exchange,
        "taxonomy": f"{taxonomy.name} version {taxonomy.version}",
        "classes": classes,
        "tasks": [_row(task) for task in tasks],
    }


def _row(task: ImageTask) -> dict[str, Any]:
    request = task.request
    return {
        "name": task.name,
        "video": request.video,
        "frame": request.sample.number,
        "granularity": request.granularity,
        "region": request.sample.region,
        "pixels": request.pixels,
        "box": list(request.box),
        "crop": list(task.crop),
        **_NOTES,
    }


def _require_same(path: Path, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Refuse a file of another run.

    Raises:
        DatasetError: It asks for something else.
    """
    for key in ("schema", "exchange", "taxonomy"):
        if found[key] != expected[key]:
            raise _other_run(path, f"{key} {expected[key]}", f"{key} {found[key]}")
    asked, wanted = _without_notes(found["tasks"]), _without_notes(expected["tasks"])
    differing = sorted(name for name in asked.keys() | wanted.keys() if asked.get(name) != wanted.get(name))
    if differing:
        raise _other_run(
            path, f"{len(wanted)} tasks", f"{len(asked)} tasks, of which {len(differing)} differ, first {differing[0]}"
        )


def _without_notes(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: {key: row[key] for key in row if key not in _NOTES} for name, row in rows.items()}


def _other_run(path: Path, expected: str, found: str) -> DatasetError:
    return DatasetError(
        "this folder asks for other labels than the run does",
        path=path,
        expected=expected,
        found=found,
        fix="run with the settings that it was made with, or move the folder away to ask anew",
    )


def _note(row: Mapping[str, Any]) -> Note:
    seconds, done = row.get("seconds"), row.get("done", False)
    if seconds is not None and (isinstance(seconds, bool) or not 0 <= float(seconds) < math.inf):
        raise ValueError(f"seconds {seconds!r}, expected 0 or more, or null")
    if not isinstance(done, bool):
        raise ValueError(f"done {done!r}, expected true or false")
    return Note(None if seconds is None else float(seconds), done)
