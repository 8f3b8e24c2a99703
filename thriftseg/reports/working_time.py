"""How long people worked on labels, by the journal of the page, beside what the cost models say of the same labels."""

from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from rich import box
from rich.table import Table

from thriftseg.annotation import TaskWork
from thriftseg.atomic import write_bytes
from thriftseg.costs import PolygonCost, PublishedCost
from thriftseg.datasets import ClipReader
from thriftseg.errors import ConfigError, LabelStoreError
from thriftseg.reports.tables.terminal import print_table
from thriftseg.stores import AnnotationJournal, JournalRow, LabelStore, store_root
from thriftseg.taxonomies import Taxonomy
from thriftseg.types import Frame

NO_CLASS = "-"
"""Name of actions that are about no class, such as opening a frame."""

_GROUP_COLUMNS = ("labels", "seconds", "mean", "median", "clicks", "vertices", "strokes")


@dataclass(frozen=True)
class TimeGroup:
    """Actions that have something in common.

    Attributes:
        by: "tool", "class", "person", "verdict" or "all".
        name: The tool, class, person or verdict.
        labels: Labels that such actions were part of.
        seconds: Active seconds.
        mean: Mean of the seconds per label.
        median: Median of the seconds per label.
        clicks: Clicks of the prompter, and boxes.
        vertices: Corners of polygons.
        strokes: Strokes of brush and eraser.

    Example:
        >>> who = {"session": "s", "person": "Ann", "video": "drive", "frame": 3}
        >>> rows = [JournalRow(f"a{place}", "brush", place, place + 1, 6.5, strokes=2, **who) for place in range(2)]
        >>> group = TimeGroup.of("tool", "brush", rows)
        >>> group.labels, group.seconds, group.strokes
        (1, 13.0, 4)
    """

    by: str
    name: str
    labels: int
    seconds: float
    mean: float
    median: float
    clicks: int
    vertices: int
    strokes: int

    @classmethod
    def of(cls, by: str, name: str, rows: Iterable[JournalRow]) -> TimeGroup:
        """The group of some actions."""
        rows, spent = list(rows), defaultdict[Frame, float](float)
        for row in rows:
            spent[row.video, row.frame] += row.seconds
        seconds = sum(spent.values())
        counts = (sum(getattr(row, each) for row in rows) for each in ("clicks", "vertices", "strokes"))
        return cls(by, name, len(spent), seconds, seconds / len(spent), median(spent.values()), *counts)


@dataclass(frozen=True)
class TimedLabel:
    """A label that a person drew.

    Attributes:
        video: Identifier of the clip.
        frame: Native frame number.
        seconds: Active seconds that were measured.
        polygon: Seconds by `PolygonCost`.
        published: Seconds by `PublishedCost`; `None` where no time is published for the data set.

    Example:
        >>> label = TimedLabel("drive", 3, seconds=45.0, polygon=60.0, published=None)
        >>> label.name, label.seconds / label.polygon
        ('drive/000003', 0.75)
    """

    video: str
    frame: int
    seconds: float
    polygon: float
    published: float | None

    @property
    def name(self) -> str:
        """`video/number`."""
        return f"{self.video}/{self.frame:06d}"


@dataclass(frozen=True)
class WorkingTime:
    """What `working_time` found.

    Attributes:
        source: Source of the labels.
        groups: All finished labels, by verdict, tool, class and person; the longest first of each.
        labels: Labels that were drawn and are in the store.
        unfinished: Frames that somebody has begun or gone on with, and not finished since.
        unfinished_seconds: Active seconds spent on them since, which stand nowhere else.
        gone: Labels that were drawn and are not in the store any more.

    Example:
        >>> labels = tuple(TimedLabel("drive", frame, seconds=45.0, polygon=60.0, published=None) for frame in (3, 4))
        >>> found = WorkingTime("drawn", (), labels, unfinished=2, unfinished_seconds=9.5, gone=0)
        >>> found.total.seconds, found.notes
        (90.0, ['2 frames are not finished; their 9.5 s are left out'])
    """

    source: str
    groups: tuple[TimeGroup, ...]
    labels: tuple[TimedLabel, ...]
    unfinished: int
    unfinished_seconds: float
    gone: int

    @property
    def notes(self) -> list[str]:
        """What the tables leave out."""
        notes = []
        if self.unfinished:
            notes.append(
                f"{self.unfinished} frames are not finished; their {self.unfinished_seconds:.1f} s are left out"
            )
        if self.gone:
            notes.append(f"{self.gone} labels are not in the store any more, and not compared")
        return notes

    @property
    def total(self) -> TimedLabel | None:
        """All compared labels as one; `None` where there are none."""
        if not self.labels:
            return None
        seconds, polygon = (sum(getattr(each, name) for each in self.labels) for name in ("seconds", "polygon"))
        published = [each.published for each in self.labels if each.published is not None]
        return TimedLabel("all", len(self.labels), seconds, polygon, sum(published) if published else None)

    def write(self, path: str | Path) -> Path:
        """Write the tables as CSV, Markdown or JSON, by the ending of the file.

        Raises:
            ConfigError: The file has another ending.
        """
        path = Path(path)
        writers = {".csv": self._csv, ".md": self._markdown, ".json": self._json}
        if path.suffix not in writers:
            raise ConfigError("ending of the file to write", path=path, expected=", ".join(writers), found=path.suffix)
        write_bytes(path, writers[path.suffix]().encode())
        return path

    def _csv(self) -> str:
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("by", "name", *_GROUP_COLUMNS, "polygon", "of_polygon", "published", "of_published"))
        for group in self.groups:
            writer.writerow((group.by, group.name, *_numbers(group), "", "", "", ""))
        for label in self.labels:
            spent = (1, round(label.seconds, 3), "", "", "", "", "")
            writer.writerow(("label", label.name, *spent, *_compared(label)))
        if self.total is not None:
            spent = (len(self.labels), round(self.total.seconds, 3), "", "", "", "", "")
            writer.writerow(("compared", "all", *spent, *_compared(self.total)))
        return stream.getvalue()

    def _markdown(self) -> str:
        tables = []
        for headings, rows in (_group_grid(self), _label_grid(self)):
            lines = [headings, ["---", *["---:"] * (len(headings) - 1)], *rows]
            tables.append("\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |" for cells in lines))
        return "\n\n".join([*tables, *self.notes]) + "\n"

    def _json(self) -> str:
        content: dict[str, Any] = {
            **asdict(self),
            "total": None if self.total is None else asdict(self.total),
            "notes": self.notes,
        }
        return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def working_time(dataset: ClipReader[Any], source: str = "drawn", *, store: str | Path | None = None) -> WorkingTime:
    """Sum up the journal of a source of labels.

    A label is a frame whose work was finished, with all the work until then. What was drawn is compared with the cost
    models on the very label that is in the store, whatever it started from.

    Args:
        dataset: The data set, which names the classes.
        source: Source of the label store.
        store: Folder of the label store; `labels/<dataset>` when absent.

    Raises:
        LabelStoreError: There is no journal, or it or a label is damaged.

    Example:
        >>> import tempfile
        >>> from thriftseg.datasets import CamVid
        >>> place = {"session": "s", "person": "Ann", "video": "drive", "frame": 3}
        >>> row = JournalRow("a1", "finish", 0.0, 9.0, seconds=6.5, verdict="accept", **place)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     AnnotationJournal(Path(folder, "drawn")).append([row])
        ...     found = working_time(CamVid(), store=folder)
        >>> found.groups[0].seconds, found.groups[0].labels, found.unfinished
        (6.5, 1, 0)
    """
    labels = LabelStore(store_root(store, dataset.name), source, dataset.taxonomy)
    finished, open_rows = _finished(_read(labels.folder, f"source {source!r}"))
    drawn = [frame for frame, own in finished.items() if any(row.verdict == "drawn" for row in own)]
    there = [frame for frame in drawn if labels.has(*frame)]
    found = _summed(source, finished, open_rows, dataset.taxonomy)
    compared = tuple(_compare(dataset, labels, frame, finished[frame]) for frame in sorted(there))
    return replace(found, labels=compared, gone=len(drawn) - len(there))


def task_time(folder: str | Path) -> WorkingTime:
    """Sum up the journal of a folder of tasks, which a loop or `annotate next` asked for.

    Args:
        folder: The folder.

    Raises:
        ConfigError: There are no tasks.
        LabelStoreError: There is no journal, or it is damaged.

    Example:
        >>> import tempfile
        >>> try:
        ...     with tempfile.TemporaryDirectory() as folder:
        ...         task_time(folder)
        ... except ConfigError as error:
        ...     print(error.problem)
        no tasks in this folder
    """
    taxonomy = TaskWork(folder).taxonomy
    return _summed(str(folder), *_finished(_read(Path(folder), "these tasks")), taxonomy)


def _read(folder: Path, what: str) -> list[JournalRow]:
    journal = AnnotationJournal(folder)
    rows = journal.read()
    if not rows:
        raise LabelStoreError(
            f"nobody has worked on {what} in the page",
            path=journal.path,
            fix="annotate with thriftseg annotate serve first, or give the same folder and source as there",
        )
    return rows


def _summed(
    source: str, finished: Mapping[Frame, list[JournalRow]], open_rows: Sequence[JournalRow], taxonomy: Taxonomy
) -> WorkingTime:
    return WorkingTime(
        source,
        tuple(_grouped([row for own in finished.values() for row in own], taxonomy.class_names)),
        labels=(),
        unfinished=len({(row.video, row.frame) for row in open_rows}),
        unfinished_seconds=round(sum(row.seconds for row in open_rows), 3),
        gone=0,
    )


def print_working_time(found: WorkingTime) -> None:
    """Print the tables, and what they leave out.

    Args:
        found: What was measured.

    Example:
        >>> label = TimedLabel("drive", 3, seconds=45.0, polygon=60.0, published=None)
        >>> found = WorkingTime("drawn", (), (label,), unfinished=2, unfinished_seconds=9.5, gone=0)
        >>> print_working_time(found)  # doctest: +NORMALIZE_WHITESPACE
         label          measured s   polygon s   of it
        ───────────────────────────────────────────────
         drive/000003        45.00       60.00    0.75
         all                 45.00       60.00    0.75
        <BLANKLINE>
        note: 2 frames are not finished; their 9.5 s are left out
    """
    for headings, rows in (_group_grid(found), _label_grid(found)):
        if not rows:
            continue
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, header_style="bold")
        for place, heading in enumerate(headings):
            table.add_column(heading, justify="right" if place else "left")
        for cells in rows:
            table.add_row(*cells)
        print_table(table)
        print()
    for note in found.notes:
        print(f"note: {note}")


def _finished(rows: Sequence[JournalRow]) -> tuple[dict[Frame, list[JournalRow]], list[JournalRow]]:
    """Actions by frame up to the last that finished it, and those that no finish has followed yet."""
    frames: dict[Frame, list[JournalRow]] = defaultdict(list)
    for row in rows:
        frames[row.video, row.frame].append(row)
    finished: dict[Frame, list[JournalRow]] = {}
    remaining: list[JournalRow] = []
    for frame, own in frames.items():
        ends = [place for place, row in enumerate(own, start=1) if row.tool == "finish"]
        end = ends[-1] if ends else 0
        if end:
            finished[frame] = own[:end]
        remaining += [row for row in own[end:] if row.tool != "open"]
    return finished, remaining


def _grouped(rows: Sequence[JournalRow], class_names: Sequence[str]) -> Iterable[TimeGroup]:
    if not rows:
        return
    known = dict(enumerate(class_names))
    yield TimeGroup.of("all", "all", rows)
    last = {(row.video, row.frame): row.verdict or "" for row in rows if row.tool == "finish"}
    for by in ("verdict", "tool", "class", "person"):
        groups: dict[str, list[JournalRow]] = defaultdict(list)
        for row in rows:
            names = {
                "verdict": last[row.video, row.frame],
                "tool": row.tool,
                "class": NO_CLASS if row.train_id is None else known.get(row.train_id, str(row.train_id)),
                "person": row.person or NO_CLASS,
            }
            groups[names[by]].append(row)
        made = [TimeGroup.of(by, name, own) for name, own in groups.items()]
        yield from sorted(made, key=lambda group: (-group.seconds, group.name))


def _compare(dataset: ClipReader[Any], labels: LabelStore, frame: Frame, rows: Sequence[JournalRow]) -> TimedLabel:
    polygon = PolygonCost().manual_frame(dataset.name, labels.read(*frame, verify=True)).seconds
    published = PublishedCost()
    known = dataset.name in published.datasets
    priced = published.manual_frame(dataset.name).seconds if known else None
    return TimedLabel(*frame, sum(row.seconds for row in rows), polygon, priced)


def _group_grid(found: WorkingTime) -> tuple[list[str], list[list[str]]]:
    """Headings and cells."""
    headings = ["by", "name", "labels", "seconds", "s/label", "median s", *_GROUP_COLUMNS[4:]]
    rows = [[group.by, group.name, *map(_cell, _numbers(group))] for group in found.groups]
    return headings, rows


def _label_grid(found: WorkingTime) -> tuple[list[str], list[list[str]]]:
    """Headings and cells; without the published model where it knows no label."""
    headings = ["label", "measured s", "polygon s", "of it", "published s", "of it"]
    total = found.total
    named = [(label.name, label) for label in found.labels] + ([("all", total)] if total else [])
    shown = len(headings) if total is not None and total.published is not None else 4
    rows = [[name, _cell(label.seconds), *map(_cell, _compared(label))] for name, label in named]
    return headings[:shown], [row[:shown] for row in rows]


def _numbers(group: TimeGroup) -> list[float | int]:
    values = (getattr(group, name) for name in _GROUP_COLUMNS)
    return [round(value, 3) if isinstance(value, float) else value for value in values]


def _compared(label: TimedLabel) -> list[float | str]:
    """Modelled seconds and the share of them that was measured, for both models; empty where it is not known."""
    cells: list[float | str] = []
    for modelled in (label.polygon, label.published):
        if modelled is None:
            cells += ["", ""]
        else:
            cells += [round(modelled, 3), round(label.seconds / modelled, 4) if modelled else ""]
    return cells


def _cell(value: float | str) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)
