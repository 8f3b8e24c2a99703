"""The journal of a page on which people annotate: one row per action, on disk before the page counts it as done.

`<root>/<source>/journal.jsonl` lies beside the labels that come of it. Together with the label that a frame started
from, the patches of its rows tell what the frame looks like now, so that nothing is lost when the server is killed; and
their seconds tell what every label has cost.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, to_builtins

from thriftseg.costs import AnnotationCost
from thriftseg.parsing import Count, FileName, Record
from thriftseg.stores.manifest import Manifest

_SCHEMA = 1
_KEEP, _MOST_ID = -1, 2**16 - 1

Tool = Literal[
    "open", "click", "box", "polygon", "brush", "eraser", "fill", "ignore", "class", "delete", "undo", "redo", "finish"
]
"""What an action was done with; "open" and "finish" begin and end the work on a frame."""

FrameVerdict = Literal["drawn", "accept", "reject", "lock", "unlock", "absent"]
"""How the work on a frame ended: a label was drawn, a machine label judged, or the object asked for is not there."""

ObjectId = Annotated[int, Meta(ge=1, le=_MOST_ID)]
TrainId = Annotated[int, Meta(ge=0, le=254)]
Seconds = Annotated[float, Meta(ge=0, le=1e12)]
Tally = Annotated[int, Meta(ge=0, le=10**6)]  # sums of them are numbers, too
Name = Annotated[str, Meta(min_length=1, max_length=200)]
Run = Annotated[int, Meta(ge=_KEEP, le=2**31 - 1)]


class Patch(Record, frozen=True):
    """New values of the pixels in a box of an object map.

    Attributes:
        x: First column.
        y: First row.
        width: Columns.
        height: Rows.
        runs: Value, count, value, count, ... row by row inside the box; -1 = as it was, 0 = no object.

    Example:
        >>> import numpy as np
        >>> patch = Patch(x=1, y=0, width=2, height=2, runs=(7, 1, -1, 1, 7, 2))
        >>> np.repeat(patch.runs[::2], patch.runs[1::2]).reshape(patch.height, patch.width).tolist()
        [[7, -1], [7, 7]]
    """

    x: Count
    y: Count
    width: Count
    height: Count
    runs: tuple[Run, ...] = ()


class JournalAction(Record, frozen=True, omit_defaults=True):
    """What a person did on a frame.

    Attributes:
        id: Chosen by the page; a row whose id is known already counts once.
        tool: What it was done with.
        start: When it began, in seconds since 1970.
        end: When it ended, in the same way.
        seconds: Active time since the action before, without long pauses.
        object: Object that it was about.
        train_id: Class of that object.
        clicks: Clicks of the prompter and boxes among them.
        vertices: Corners of polygons.
        strokes: Strokes of brush and eraser.
        objects: Id and train id of objects that are new, or have another class now; of all objects for "open".
        patch: What became of the pixels.

    Example:
        >>> action = JournalAction("a1", "polygon", start=100.0, end=109.0, seconds=6.5, train_id=13, vertices=5)
        >>> action.end - action.start - action.seconds  # a long pause, which costs nothing
        2.5
    """

    id: Name
    tool: Tool
    start: Seconds
    end: Seconds
    seconds: Seconds = 0.0
    object: ObjectId | None = None
    train_id: TrainId | None = None
    clicks: Tally = 0
    vertices: Tally = 0
    strokes: Tally = 0
    objects: tuple[tuple[ObjectId, TrainId], ...] = ()
    patch: Patch | None = None


class JournalRow(JournalAction, frozen=True, kw_only=True):
    """One action of a person in the journal.

    Attributes:
        session: The window of the browser.
        person: Who did it.
        video: Identifier of the clip.
        frame: Native frame number.
        verdict: For "finish".
        origin: For "open": source of the label that the frame started from; empty for an empty frame.
        sha256: For "open": digest of the object map that the frame started from.
        points: For clicks that are themselves the answer to a task: column, row, and whether they are on the object.

    Example:
        >>> undone = JournalRow("a1", "undo", 100.0, 101.0, session="s1", person="Ann", video="drive", frame=30)
        >>> sorted(undone.to_json())
        ['end', 'frame', 'id', 'person', 'schema', 'session', 'start', 'tool', 'video']
    """

    session: Name
    person: Annotated[str, Meta(max_length=200)]
    video: FileName
    frame: Count
    verdict: FrameVerdict | None = None
    origin: str = ""
    sha256: str | None = None
    points: tuple[tuple[Count, Count, bool], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The row as it stands in the journal, without what has its default."""
        row: dict[str, Any] = to_builtins(self)
        return {"schema": _SCHEMA, **row}


class AnnotationJournal:
    """The journal of one source of labels, or of one folder of tasks; one server at a time writes to it.

    Args:
        folder: Folder of the source.

    Attributes:
        path: The file.

    Example:
        >>> import tempfile
        >>> journal = AnnotationJournal(Path(tempfile.mkdtemp()))
        >>> row = JournalRow("a1", "brush", 100.0, 104.0, 3.5, session="s1", person="Ann", video="drive", frame=30)
        >>> journal.append([row])
        >>> journal.append([row])
        >>> [(each.tool, each.seconds) for each in journal.read()]
        [('brush', 3.5)]
    """

    def __init__(self, folder: Path) -> None:
        self._lines = Manifest(folder, stem="journal")
        self.path = self._lines.path

    def append(self, rows: Iterable[JournalRow]) -> None:
        """Add rows and wait until they are on disk."""
        self._lines.append(row.to_json() for row in rows)

    def read(self) -> list[JournalRow]:
        """All rows in the order of their writing; of several with one id the first.

        Raises:
            LabelStoreError: The file is damaged or of an unknown version.
        """
        rows: dict[str, JournalRow] = {}
        for row in self._lines.read(JournalRow, _SCHEMA):
            rows.setdefault(row.id, row)
        return [*rows.values()]


def measured_cost(rows: Iterable[JournalRow]) -> AnnotationCost:
    """What the label of a frame cost by the rows of its journal.

    Example:
        >>> work = {"session": "s1", "person": "Ann", "video": "drive", "frame": 30}
        >>> drawn = JournalRow("a1", "polygon", 100.0, 109.0, 6.5, vertices=5, **work)
        >>> cost = measured_cost([drawn, JournalRow("a2", "finish", 109.0, 110.0, 1.0, verdict="drawn", **work)])
        >>> cost.seconds, cost.clicks, cost.masks
        (7.5, 5, 1)
    """
    rows = list(rows)
    return AnnotationCost(
        seconds=round(sum(row.seconds for row in rows), 3),
        masks=int(any(row.verdict == "drawn" for row in rows)),
        clicks=sum(row.clicks + row.vertices for row in rows),
        class_clicks=len({each for row in rows if row.tool != "open" for each, _ in row.objects}),
        absent=int(any(row.verdict == "absent" for row in rows)),
        strokes=sum(row.strokes for row in rows),
    )
