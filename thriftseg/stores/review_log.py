"""Decisions of people about stored labels, and notes on labels made again from a correction: `reviews.jsonl`.

Rows only get added, like those of the manifest, and of several decisions on one frame or object the last holds. A label
that is made again is a new label, so what was decided about the old one holds no longer, except that locked objects
stay locked: every row therefore carries how often the label had been made again when it was written.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from thriftseg.parsing import Count, Record
from thriftseg.stores.manifest import Manifest
from thriftseg.types import Frame

Verdict = Literal["accept", "reject", "lock"]
"""Use a label, do not use it, or use it and never change it."""

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

_SCHEMA = 1


class ReviewedObject(Record, frozen=True):
    """An object of one frame, as it was when somebody decided about it.

    Attributes:
        id: Number in the object log of the frame.
        train_id: Its class.
        height: Rows of the frame.
        width: Columns of the frame.
        counts: Its pixels, as compressed run lengths of COCO.

    Example:
        >>> from thriftseg.regions import decode_counts
        >>> car = ReviewedObject(id=2, train_id=13, height=4, width=6, counts="92207")
        >>> sum(decode_counts(car.counts)[1::2]), Decision("drive", 30, "lock", object=car).key
        (4, ('drive', 30, 2))
    """

    id: Count
    train_id: Count
    height: Count
    width: Count
    counts: str


class Decision(Record, frozen=True):
    """A decision about a frame, or about one object in it.

    Attributes:
        video: Identifier of the clip.
        frame: Native frame number.
        verdict: The decision.
        remade: How often the label had been made again.
        object: The object, `None` for the whole frame.

    Example:
        >>> decisions = [Decision("drive", 30, "accept"), Decision("drive", 30, "reject")]
        >>> {decision.key: decision.verdict for decision in decisions}  # the last one holds
        {('drive', 30, None): 'reject'}
    """

    video: str
    frame: Count
    verdict: Verdict
    remade: Count = 0
    object: ReviewedObject | None = None

    @property
    def key(self) -> tuple[str, int, int | None]:
        """Video, frame and object that it is about."""
        return self.video, self.frame, None if self.object is None else self.object.id


class Remade(Record, frozen=True):
    """Note that a label was made again.

    Attributes:
        video: Identifier of the clip.
        frame: Native frame number.
        remade: How often, this time included.
        source: Source of the correction it was made from.
        corrected: Native number of the corrected frame.
        sha256: Digest of the corrected label.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     log = ReviewLog(Path(folder))
        ...     log.add([Decision("drive", 30, "reject"), Remade("drive", 30, 1, "drawn", corrected=28, sha256="ab")])
        ...     log.read().rejected, log.read().times_remade("drive", 30)
        (frozenset(), 1)
    """

    video: str
    frame: Count
    remade: Count
    source: str
    corrected: Count
    sha256: str


@dataclass(frozen=True)
class Reviews:
    """The decisions and notes that hold now.

    Attributes:
        decisions: Decisions by video, frame number and number of the object, `None` for the whole frame.
        remade: The last note on each label that was made again.

    Example:
        >>> decisions = [Decision("drive", 30, "reject"), Decision("drive", 33, "lock")]
        >>> reviews = Reviews({decision.key: decision for decision in decisions}, remade={})
        >>> reviews.rejected, ("drive", 33) in reviews.locked, reviews.times_remade("drive", 30)
        (frozenset({('drive', 30)}), True, 0)
    """

    decisions: Mapping[tuple[str, int, int | None], Decision]
    remade: Mapping[Frame, Remade]

    @cached_property
    def rejected(self) -> frozenset[Frame]:
        """Frames whose labels are not to be used."""
        return frozenset(key[:2] for key, item in self.decisions.items() if key[2] is None and item.verdict == "reject")

    @cached_property
    def locked(self) -> frozenset[Frame]:
        """Frames whose labels must stay as they are."""
        return frozenset(key[:2] for key, item in self.decisions.items() if key[2] is None and item.verdict == "lock")

    def of_objects(self, video: str, number: int) -> list[Decision]:
        """Decisions about objects of a frame, by number of the object."""
        return self._of_objects.get((video, number), [])

    def locked_objects(self, video: str, number: int) -> list[ReviewedObject]:
        """Objects whose pixels in a frame must stay as they are."""
        decisions = self.of_objects(video, number)
        return [item.object for item in decisions if item.object is not None and item.verdict == "lock"]

    def times_remade(self, video: str, number: int) -> int:
        """How often a label was made again."""
        note = self.remade.get((video, number))
        return 0 if note is None else note.remade

    @cached_property
    def _of_objects(self) -> dict[Frame, list[Decision]]:
        found: dict[Frame, list[Decision]] = defaultdict(list)
        about_objects = [item for item in self.decisions.values() if item.object is not None]
        for item in sorted(about_objects, key=lambda item: item.key[2] or 0):
            found[item.video, item.frame].append(item)
        return found


class ReviewLog:
    """The reviews of one source; any number of processes may add to them.

    Args:
        folder: Folder of the source.
        writer: Name of this process when several write at the same time, else `None`.

    Attributes:
        path: The file that holds the rows when nobody is writing.

    Example:
        >>> import tempfile
        >>> log = ReviewLog(Path(tempfile.mkdtemp()))
        >>> log.add([Decision("drive", 30, "reject")])
        >>> log.read().rejected
        frozenset({('drive', 30)})
    """

    def __init__(self, folder: Path, writer: str | None = None) -> None:
        self._lines = Manifest(folder, writer, stem="reviews")
        self.path = self._lines.path

    def add(self, rows: Iterable[Decision | Remade]) -> None:
        """Add rows and wait until they are on disk."""
        lines = list(map(_line_of, rows))
        if lines:
            self._lines.append(lines)

    def read(self) -> Reviews:
        """The decisions and notes that hold now.

        Raises:
            LabelStoreError: The file is damaged or of an unknown version.
        """
        rows = self._lines.read(_kind_of, _SCHEMA)
        notes = [row for row in rows if isinstance(row, Remade)]
        remade = {(row.video, row.frame): row for row in sorted(notes, key=lambda row: row.remade)}
        times = {frame: note.remade for frame, note in remade.items()}
        decisions = {row.key: row for row in rows if isinstance(row, Decision)}
        for key, row in list(decisions.items()):
            locks_object = row.object is not None and row.verdict == "lock"
            if not locks_object and row.remade != times.get((row.video, row.frame), 0):
                del decisions[key]
        return Reviews(decisions, remade)

    def consolidate(self) -> None:
        """Merge the files of all writers into one sorted one. No other writer may be at work."""
        reviews = self.read()
        rows: list[Decision | Remade] = [*reviews.decisions.values(), *reviews.remade.values()]
        self._lines.consolidate(map(_line_of, rows), len(rows))


def _kind_of(row: Mapping[str, Any]) -> type[Decision | Remade]:
    return Decision if "verdict" in row else Remade


def _line_of(row: Decision | Remade) -> dict[str, Any]:
    return {"schema": _SCHEMA, **row.to_json()}
