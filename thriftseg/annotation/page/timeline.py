"""The states of all frames, and which of them have changed since a page looked last."""

from __future__ import annotations

import time

from thriftseg.annotation.page.in_work import FramesInWork
from thriftseg.annotation.page.work import Place, Work


class Timeline:
    """States of frames.

    Args:
        work: What the page shows.
        in_work: What is being drawn.

    Attributes:
        version: Counted up with every change.
        work_version: The same for the list of videos.
        rest: How many times as long as it takes to read what others have written, it is not read again.
    """

    def __init__(self, work: Work, in_work: FramesInWork) -> None:
        self._work, self._in_work = work, in_work
        self._states: list[list[tuple[str, int]]] = []
        self._changed: dict[Place, int] = {}
        self._rests_until, self.rest = 0.0, 5.0
        self.version, self.work_version = 1, 0
        self._look()

    def states(self, video: int) -> list[tuple[str, int]]:
        """State and confidence of the frames of a video."""
        return self._states[video]

    def state(self, place: Place) -> tuple[str, int]:
        """State and confidence of a frame as they are now."""
        state, confidence = self._work.status(place)
        return ("w" if self._in_work.has(place) else state), confidence

    def touch(self, place: Place) -> str:
        """Note that something was done about a frame, and return its state."""
        now = self.state(place)
        if self._states[place[0]][place[1]] != now:
            self.version += 1
            self._states[place[0]][place[1]] = now
            self._changed[place] = self.version
        return now[0]

    def refresh(self) -> None:
        """Look for what others have written, unless that was done a moment ago."""
        started = time.monotonic()
        if started >= self._rests_until and self._work.refresh():
            self._look()
            now = time.monotonic()
            self._rests_until = now + self.rest * (now - started)

    def since(self, version: int) -> list[tuple[int, int, str, int]]:
        """Video, place, state and confidence of the frames that have changed after a version."""
        changed = [place for place, when in self._changed.items() if when > version]
        return [(*place, *self._states[place[0]][place[1]]) for place in sorted(changed)]

    def _look(self) -> None:
        found = [
            [self.state((number, place)) for place in range(len(video.numbers))]
            for number, video in enumerate(self._work.videos)
        ]
        if [len(video) for video in found] != [len(video) for video in self._states]:
            self.work_version += 1
            self.version += 1
            self._changed.clear()
        else:
            changed = [
                (video, place)
                for video, (new, old) in enumerate(zip(found, self._states, strict=True))
                if new != old
                for place in range(len(new))
                if new[place] != old[place]
            ]
            if changed:
                self.version += 1
                self._changed |= dict.fromkeys(changed, self.version)
        self._states = found
