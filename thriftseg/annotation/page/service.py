"""All that the page asks for, without HTTP: what there is to see, actions of people, proposals, propagation, queues."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import msgspec

from thriftseg.annotation.page.dataset_work import DatasetWork
from thriftseg.annotation.page.frame_state import patch_of
from thriftseg.annotation.page.in_work import FramesInWork, PageAction
from thriftseg.annotation.page.leases import Leases
from thriftseg.annotation.page.propagation import BackgroundPropagation
from thriftseg.annotation.page.proposals import MaskProposals, Question
from thriftseg.annotation.page.refusals import Busy, Conflict, NotFound, PageError
from thriftseg.annotation.page.timeline import Timeline
from thriftseg.annotation.page.work import Place, QueueItem, Work
from thriftseg.arrays import UInt16Array
from thriftseg.stores import FrameVerdict
from thriftseg.taxonomies import Color

_OKABE_ITO: tuple[Color, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
"""Colours that people with any colour vision can tell apart; Okabe and Ito, "Color Universal Design", 2008."""


@dataclass(frozen=True)
class PageOptions:
    """How the page counts and greets.

    Attributes:
        person: Name of who annotates, where nobody says otherwise.
        pause: Seconds after which a pause is not counted as work.

    Example:
        >>> import numpy as np
        >>> import tempfile
        >>> from thriftseg.datasets import Folder, write_label_png
        >>> with tempfile.TemporaryDirectory() as root:
        ...     _ = Path(root, "classes.yaml").write_text("classes: [road, car]")
        ...     write_label_png(f"{root}/val/drive/frames/7.png", np.zeros((4, 6), np.uint8))
        ...     work = DatasetWork(Folder(root), ["val"], Path(root, "labels"), "drawn", "flow")
        ...     shown = PageService(work, options=PageOptions("Ann", pause=60)).describe()
        >>> shown["person"], shown["pause_s"], [each["name"] for each in shown["classes"]]
        ('Ann', 60, ['road', 'car'])
    """

    person: str = ""
    pause: float = 20.0


class PageService:
    """What the page asks for; any number of threads may call it.

    Args:
        work: What the page shows.
        proposals: Answers clicks, where there is a prompter.
        propagation: Carries labels to other frames, where there is a data set.
        options: How it counts and greets.
    """

    def __init__(
        self,
        work: Work,
        proposals: MaskProposals | None = None,
        propagation: BackgroundPropagation | None = None,
        options: PageOptions | None = None,
    ) -> None:
        self.work, self.leases = work, Leases()
        self._proposals, self._propagation, self._options = proposals, propagation, options or PageOptions()
        self._in_work = FramesInWork(work)
        self._timeline = Timeline(work, self._in_work)
        self._lock = threading.RLock()
        self._queue_of: dict[str, str] = {}
        self._name = uuid.uuid4().hex

    def describe(self) -> dict[str, Any]:
        """What there is to work on."""
        work, options = self.work, self._options
        classes = work.taxonomy.classes
        method = self._propagation and self._propagation.method.name
        with self._lock:
            return {
                "version": self._timeline.work_version,
                "server": self._name,
                "title": work.title,
                "kind": work.kind,
                "dataset": work.dataset,
                "person": options.person,
                "pause_s": options.pause,
                "classes": [
                    {
                        "id": each.train_id,
                        "name": each.name,
                        "color": each.color,
                        "safe_color": color,
                        "thing": each.has_instances,
                    }
                    for each, color in zip(classes, _safe_colors(), strict=False)
                ],
                "prompter": {"name": self._proposals.prompter.name} if self._proposals else None,
                "propagator": {"name": method} if method else None,
                "queues": [each._asdict() for each in work.queues],
                "videos": [
                    {"id": each.name, "frames": len(each.numbers), "height": each.size[0], "width": each.size[1]}
                    for each in work.videos
                ],
            }

    def require_name(self, server: str | None) -> None:
        """Make sure that a request is about the frames of this server, which are numbered.

        Raises:
            Busy: It is about those of a server before.
        """
        if server not in (None, self._name):
            raise Busy("the server was started anew", fix="look again at what there is to work on")

    def video(self, video: int) -> dict[str, Any]:
        """The frames of a video."""
        with self._at((video, 0)):
            states = self._timeline.states(video)
            leases = self.leases.of_others("")
            objects = self.work.drawn_objects(video) if isinstance(self.work, DatasetWork) else []
            return {
                "numbers": self.work.videos[video].numbers,
                "states": "".join(state for state, _ in states),
                "confidence": [confidence for _, confidence in states],
                "leases": {str(place): person for (owner, place), person in leases.items() if owner == video},
                "objects": objects,
            }

    def changes(self, since: int, session: str) -> dict[str, Any]:
        """What has changed; counts as a sign of life of the session."""
        with self._lock:
            self.leases.renew(session)
            alive = self.leases.sessions
            self._queue_of = {each: name for each, name in self._queue_of.items() if each in alive}
            self._timeline.refresh()
            job = None
            if self._propagation is not None and isinstance(self.work, DatasetWork):
                job = self._propagation.job(self.work.made.store)
            return {
                "version": self._timeline.version,
                "work_version": self._timeline.work_version,
                "server": self._name,
                "frames": self._timeline.since(since),
                "leases": [[*place, person] for place, person in self.leases.of_others(session).items()],
                "job": job,
                "message": None,
            }

    def image(self, place: Place) -> Path:
        """File of a frame."""
        with self._at(place):
            return self.work.image(place)

    def label(self, place: Place) -> bytes:
        """What a frame looks like: bytes of the header as uint32, the header as JSON, object ids as uint16."""
        with self._at(place):
            header, ids = self._header(place)
        encoded = msgspec.json.encode(header)
        return len(encoded).to_bytes(4, "little") + encoded + ids.astype("<u2").tobytes()

    def open(self, place: Place, session: str, person: str) -> dict[str, Any]:
        """Lease a frame, and tell what it looks like without its pixels.

        Raises:
            Conflict: Another session has it.
        """
        with self._at(place):
            held = self.leases.holds(place, session)
            self.leases.take(place, session, person)
            try:
                self._in_work.pin(place)
                return {**self._header(place)[0], "version": self._in_work.version(place, session)}
            except Exception:
                if not held:  # what could not be opened is not closed by anybody
                    self.leases.end(session, place)
                raise

    def close(self, place: Place, session: str) -> dict[str, Any]:
        """Give a frame back."""
        with self._at(place):
            self.leases.end(session, place)
            return {}

    def leave(self, session: str) -> dict[str, Any]:
        """End a session."""
        with self._lock:
            self.leases.end(session)
            self._queue_of.pop(session, None)
            return {}

    def act(
        self, place: Place, session: str, person: str, actions: Sequence[PageAction], version: str | None = None
    ) -> dict[str, Any]:
        """Do actions; they are on disk when this returns.

        Args:
            place: The frame.
            session: Who does them.
            person: The same for people.
            actions: The actions.
            version: Of the frame as it was opened; whatever it is now if unset.

        Raises:
            Conflict: The session does not have the frame.
            Outdated: The frame is of another version.
            PatchError: An action does not fit.
        """
        with self._at(place):
            self._in_work.require_version(place, session, version, actions)
            self._require_lease(place, session, actions)
            acknowledged = self._in_work.act(place, actions, session, person)
            self._timeline.touch(place)
            return {"acknowledged": acknowledged}

    def finish(
        self,
        place: Place,
        session: str,
        person: str,
        verdict: FrameVerdict,
        action: PageAction,
        version: str | None = None,
    ) -> dict[str, Any]:
        """End the work on a frame; it is stored when this returns.

        Raises:
            Conflict: The session does not have the frame, or the frame takes no such answer.
            Outdated: The frame is not of the version given.
        """
        with self._at(place):
            self._in_work.require_version(place, session, version, [action])
            self._require_lease(place, session, [action])
            self._in_work.finish(place, action, session, person, verdict)
            state = self._timeline.touch(place)
        return {"state": state, "next": self._next(session, place)}

    def prompt(self, session: str, place: Place, question: Question) -> dict[str, Any]:
        """Mask of an object, see `MaskProposals.answer`.

        Raises:
            NotFound: There is no prompter.
        """
        if self._proposals is None:
            raise NotFound("there is no prompter here", fix="draw with the other tools")
        mask, score = self._proposals.answer(session, self.image(place), question)
        return {"patch": patch_of(mask), "score": score}

    def propagate(self, video: int, first: int, last: int) -> dict[str, Any]:
        """Begin to carry drawn labels to frames of a video.

        Raises:
            Conflict: That is being done already.
            NotFound: Nothing is propagated here.
        """
        with self._at((video, first)), self._at((video, last)):
            work, propagation = self.work, self._propagation
            if propagation is None or not isinstance(work, DatasetWork):
                raise NotFound("nothing is propagated here")
            if first > last:
                raise PageError("the last frame comes before the first", found=f"{first}..{last}")
            work.look()
            propagation.start(video, work.propagation(video, first, last), work.made.store)
            return {}

    def stop(self) -> dict[str, Any]:
        """End what runs in the background."""
        with self._lock:
            if self._propagation is not None:
                self._propagation.cancel()
            return {}

    def lock_object(self, place: Place, number: int, locked: bool) -> dict[str, Any]:
        """Lock an object of a stored label, or unlock it.

        Raises:
            Conflict: There is no such object, or the frame is being drawn.
        """
        with self._at(place):
            if self._in_work.has(place):
                raise Conflict("the frame is being drawn", fix="finish it first")
            self.work.lock_object(place, number, locked)
            self._in_work.pin(place)
            self._timeline.touch(place)
            return {}

    def queue(self, name: str, session: str) -> dict[str, Any]:
        """Entries of a queue, which the session then works through.

        Raises:
            NotFound: There is no such queue.
            Busy: It is still being computed.
        """
        if name not in {each.id for each in self.work.queues}:
            raise NotFound("no such queue", found=name)
        with self._lock:
            self.leases.renew(session)
            self._queue_of[session] = name
        return {"items": self._items(name, session)}

    def _items(self, name: str, session: str) -> list[QueueItem]:
        with self._lock:
            self._timeline.refresh()
            taken = self.leases.of_others(session)
        return [item for item in self.work.queue(name) if item[:2] not in taken]

    def _next(self, session: str, place: Place) -> Place | None:
        name = self._queue_of.get(session)
        if name is None:
            return None
        try:
            items = [item[:2] for item in self._items(name, session) if item[:2] != place]
        except PageError:
            return None
        after = [item for item in items if item > place] if name == "list" else []
        return next(iter(after or items), None)

    def _require_lease(self, place: Place, session: str, actions: Sequence[PageAction]) -> None:
        if not self.leases.holds(place, session) and not all(self._in_work.knows(action.id) for action in actions):
            raise Conflict("the frame is not open in this window", fix="open it again")

    def _header(self, place: Place) -> tuple[dict[str, Any], UInt16Array]:
        start, state = self._in_work.start_and_state(place)
        status, confidence = self._timeline.state(place)
        height, width = state.ids.shape
        header = {
            "height": height,
            "width": width,
            "state": status,
            "origin": "work" if self._in_work.has(place) else start.origin,
            "confidence": confidence,
            "objects": [
                {"id": number, "class": train_id, "locked": number in start.locked}
                for number, train_id in state.classes.items()
            ],
            "region": start.region,
            "task": start.task,
        }
        return header, state.ids

    @contextmanager
    def _at(self, place: Place) -> Iterator[None]:
        """Nobody else's turn, at a frame that exists."""
        with self._lock:
            video, number = place
            if not 0 <= video < len(self.work.videos) or not 0 <= number < len(self.work.videos[video].numbers):
                raise NotFound("no such frame", found=f"frame {number} of video {video}")
            self._in_work.unpin_all_but(self.leases.places)
            yield


def _safe_colors() -> Iterator[Color]:
    """Colours for people with any colour vision; further rounds are darker."""
    for number, color in enumerate(cycle(_OKABE_ITO)):
        share = 1 / (1 + 0.45 * (number // len(_OKABE_ITO)))
        red, green, blue = (round(share * value) for value in color)
        yield red, green, blue
