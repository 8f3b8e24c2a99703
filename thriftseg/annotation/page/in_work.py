"""Frames that people are drawing: every action is in the journal before it counts, and the journal tells it all again.

What a frame started from is kept in a file of its own, so that its patches can be replayed whatever becomes of the
label it was made from.
"""

from __future__ import annotations

import hashlib
import uuid
import zlib
from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np

from thriftseg.annotation.page.frame_state import FrameState
from thriftseg.annotation.page.refusals import Conflict, Outdated, PatchError
from thriftseg.annotation.page.work import FrameStart, Place, Work
from thriftseg.atomic import write_bytes
from thriftseg.datasets import encode_label_png, read_label_png
from thriftseg.errors import LabelStoreError
from thriftseg.parsing import read_bytes
from thriftseg.stores import FrameVerdict, JournalAction, JournalRow, TrainId
from thriftseg.types import Frame

_REMEMBERED = 8  # states of frames, 4 MB each at 1024x2048


class PageAction(JournalAction, frozen=True):
    """An action as the page sends it.

    Attributes:
        object: Object that it was about; 0 or `None` for none.
        train_id: Class of that object.
    """

    object: Annotated[int, msgspec.Meta(ge=0, le=2**16 - 1)] | None = None
    train_id: TrainId | None = msgspec.field(default=None, name="class")

    def row(self, session: str, person: str, frame: Frame, verdict: FrameVerdict | None = None) -> JournalRow:
        """The row of the journal about it.

        Raises:
            PatchError: It is no action on a frame.
        """
        values = msgspec.structs.asdict(self)
        if verdict is not None:
            values["tool"] = "finish"
        elif self.tool in ("open", "finish"):
            raise PatchError("the work on a frame begins and ends by requests of their own", found=self.tool)
        values["object"] = self.object or None
        return JournalRow(session=session, person=person, video=frame[0], frame=frame[1], verdict=verdict, **values)


class FramesInWork:
    """What is being drawn; calls may not overlap.

    Args:
        work: What the page shows.

    Raises:
        LabelStoreError: The journal is damaged.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._known: set[str] = set()
        self._past: dict[Frame, list[JournalRow]] = defaultdict(list)
        self._rows: dict[Frame, list[JournalRow]] = {}
        self._states: dict[Frame, FrameState] = {}
        self._starts: dict[Place, FrameStart] = {}
        self._begun_from: dict[Frame, int] = {}
        for row in work.journal.read():
            self._note(row)

    def has(self, place: Place) -> bool:
        """Whether something was drawn that is not finished."""
        return self._frame(place) in self._rows

    def knows(self, action: str) -> bool:
        """Whether an action is in the journal."""
        return action in self._known

    def pin(self, place: Place) -> None:
        """Keep what a frame starts from as it is now, for the person who looks at it and is about to draw."""
        self._starts[place] = self._work.start(place)

    def unpin_all_but(self, places: Collection[Place]) -> None:
        """Let go of what was kept for people who have left."""
        self._starts = {place: start for place, start in self._starts.items() if place in places}

    def start(self, place: Place) -> FrameStart:
        """What a frame starts from."""
        return self._starts[place] if place in self._starts else self._work.start(place)

    def state(self, place: Place) -> FrameState:
        """What a frame looks like now; see `start_and_state`."""
        return self.start_and_state(place)[1]

    def start_and_state(self, place: Place) -> tuple[FrameStart, FrameState]:
        """What a frame starts from, and what it looks like now.

        Raises:
            LabelStoreError: What it started from is gone.
        """
        frame, start = self._frame(place), self.start(place)
        if frame not in self._rows:
            return start, start.state
        if frame not in self._states:
            self._remember(frame, self._replayed(frame, place))
        return start, self._states[frame]

    def version(self, place: Place, session: str) -> str:
        """What tells whether a session may go on from what it saw: what the frame started from, and who else acted."""
        frame = self._frame(place)
        if frame not in self._rows:
            begun_from = _digest(self.start(place).state)
        else:
            if frame not in self._begun_from:
                self._begun_from[frame] = _digest(self._first(frame, place))
            begun_from = self._begun_from[frame]
        rows = [*self._past.get(frame, ()), *self._rows.get(frame, ())]
        last = next((row.id for row in reversed(rows) if row.session != session), "")
        return f"{begun_from:08x}{last}"

    def require_version(self, place: Place, session: str, version: str | None, actions: Sequence[PageAction]) -> None:
        """Make sure that new actions go on from what the frame is.

        Raises:
            Outdated: They were made on what it was before.
        """
        if version is None or all(action.id in self._known for action in actions):
            return
        if version != self.version(place, session):
            raise Outdated("this frame has changed since it was opened in this window", fix="look at it as it is now")

    def act(self, place: Place, actions: Sequence[PageAction], session: str, person: str) -> list[str]:
        """Do actions and put them into the journal; those that are known already are passed over.

        Returns:
            Their ids.

        Raises:
            PatchError: A patch does not fit.
            Conflict: The frame is locked.
        """
        frame = self._frame(place)
        new = {action.id: action for action in actions if action.id not in self._known}
        if new:
            if self._work.status(place)[0] == "l":
                raise Conflict("the label of this frame is locked", fix="unlock it first")
            rows = [action.row(session, person, frame) for action in new.values()]
            state = self._changed(place, rows)
            opening = [] if frame in self._rows else [self._open(place, rows[0])]
            self._work.journal.append([*opening, *rows])
            for row in [*opening, *rows]:
                self._note(row)
            self._remember(frame, state)
        return [action.id for action in actions]

    def finish(self, place: Place, action: PageAction, session: str, person: str, verdict: FrameVerdict) -> None:
        """End the work on a frame: store what was drawn, or what was decided about its label.

        Raises:
            PatchError: The patch of the action does not fit.
            Conflict: The frame takes no such answer.
        """
        if action.id in self._known:
            return
        frame = self._frame(place)
        row = action.row(session, person, frame, verdict)
        state = self._changed(place, [row])
        if verdict in ("drawn", "absent"):
            if self._work.status(place)[0] == "l":
                raise Conflict("the label of this frame is locked", fix="unlock it first")
            rows = [*self._past.get(frame, ()), *self._rows.get(frame, ()), row]
            self._work.finish(place, state, rows)
        else:
            if frame in self._rows and not state.shows_the_same_as(self._first(frame, place)):
                raise Conflict("something was drawn on this frame", fix="finish the drawing, or undo it first")
            self._work.decide(place, verdict)
        self._work.journal.append([row])  # last, so that a frame is unfinished until all of it is stored
        self._note(row)
        self._states.pop(frame, None)
        self._starts.pop(place, None)
        self._file(frame).unlink(missing_ok=True)

    def _changed(self, place: Place, rows: Sequence[JournalRow]) -> FrameState:
        """What a frame will look like after some rows."""
        start, state = self.start_and_state(place)
        state = state.copy()
        classes = self._work.taxonomy.num_classes
        for row in rows:
            for number, train_id in row.objects:
                if train_id >= classes:
                    raise PatchError("no such class", expected=f"0..{classes - 1}", found=train_id)
                state.classes[number] = train_id
            if row.patch is not None:
                state.apply(row.patch, start.locked)
        return state

    def _open(self, place: Place, first: JournalRow) -> JournalRow:
        """Keep what a frame starts from, and note that."""
        start, frame = self.start(place), self._frame(place)
        digest = None
        if start.state.ids.any():
            content = encode_label_png(start.state.ids)
            write_bytes(self._file(frame), content)
            digest = hashlib.sha256(content).hexdigest()
        objects = tuple(start.state.classes.items())
        return JournalRow(
            uuid.uuid4().hex,
            "open",
            first.start,
            first.start,
            session=first.session,
            person=first.person,
            video=frame[0],
            frame=frame[1],
            objects=objects,
            origin=start.source,
            sha256=digest,
        )

    def _replayed(self, frame: Frame, place: Place) -> FrameState:
        state = self._first(frame, place)
        for row in self._rows[frame]:
            state.classes.update(row.objects)
            if row.patch is not None:
                state.apply(row.patch)
        return state

    def _first(self, frame: Frame, place: Place) -> FrameState:
        """What an unfinished frame started from."""
        opened = self._rows[frame][0]
        if opened.sha256 is None:
            return FrameState(FrameState.empty(self._work.videos[place[0]].size).ids, dict(opened.objects))
        path = self._file(frame)
        if hashlib.sha256(read_bytes(path, fault=LabelStoreError)).hexdigest() != opened.sha256:
            raise LabelStoreError("not what the frame started from", path=path, fix="draw the frame again")
        return FrameState(np.asarray(read_label_png(path), np.uint16), dict(opened.objects))

    def _note(self, row: JournalRow) -> None:
        frame = row.video, row.frame
        self._known.add(row.id)
        if row.verdict is None:
            self._rows.setdefault(frame, []).append(row)
        else:
            done = [*self._rows.pop(frame, ()), row]
            self._begun_from.pop(frame, None)
            self._past[frame] += [msgspec.structs.replace(each, patch=None) for each in done]

    def _remember(self, frame: Frame, state: FrameState) -> None:
        self._states.pop(frame, None)
        self._states[frame] = state
        if len(self._states) > _REMEMBERED:
            del self._states[next(iter(self._states))]

    def _frame(self, place: Place) -> Frame:
        video = self._work.videos[place[0]]
        return video.name, video.numbers[place[1]]

    def _file(self, frame: Frame) -> Path:
        return self._work.folder / frame[0] / f"{frame[1]:06d}.png"


def _digest(state: FrameState) -> int:
    return zlib.crc32(repr(sorted(state.classes.items())).encode(), zlib.crc32(np.ascontiguousarray(state.ids).data))
