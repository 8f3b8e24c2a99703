"""Which frame of a data set to look at next."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from thriftseg.annotation.page.dataset_frames import DatasetFrames, WatchedSource
from thriftseg.annotation.page.refusals import Busy
from thriftseg.annotation.page.work import QueueItem, QueueName
from thriftseg.errors import ThriftsegError
from thriftseg.labels import least_confident
from thriftseg.stores import LabelStore

_LONGEST = 50  # entries of a ranking
_LOOKED_AT = 300  # frames of a split that are candidates
_WHY = {".": "no label yet", "m": "machine label", "x": "rejected"}


class Queues:
    """The queues of a data set: all frames that nobody drew, doubtful machine labels, and what is worth drawing.

    Args:
        work: The data set.
        view: Loads the network that ranks what is worth drawing; looks and motion do where there is none.
    """

    names: Sequence[QueueName] = (
        QueueName("list", "Frames without a drawn label"),
        QueueName("next", "Most useful to draw next"),
        QueueName("review", "Machine labels to check, worst first"),
    )

    def __init__(self, work: DatasetFrames, view: Callable[[], Any] | None) -> None:
        self._work, self._view = work, view
        self._lock = threading.Lock()
        self._ranked: list[QueueItem] | None = None
        self._ranking: threading.Thread | None = None
        self._fault: Exception | None = None
        self._doubtful: tuple[object, list[QueueItem]] | None = None

    def items(self, name: str) -> list[QueueItem]:
        """Entries of a queue; see `Work.queue`."""
        if name == "list":
            return [
                QueueItem(video, place, 0.0, _WHY[state])
                for video, each in enumerate(self._work.videos)
                for place in range(len(each.numbers))
                if (state := self._work.status((video, place))[0]) in _WHY
            ]
        if name == "review":
            return self._review()
        return [item for item in self._next() if self._is_open(item)]

    def _review(self) -> list[QueueItem]:
        """The least confident labels, found anew when there are others."""
        work = self._work
        known = self._doubtful
        left = [item for item in known[1] if work.status(item[:2])[0] == "m"] if known else []
        if known is None or known[0] != work.made.version or not left:
            version = work.made.version
            labelled = {video for video, _ in self._stored(work.made).usable}
            splits = {work.split_of(n) for n, video in enumerate(work.videos) if video.name in labelled}
            found = [
                entry.inspected.label
                for split in sorted(splits)
                for entry in least_confident(
                    work.reader, split, work.made.store.source, store=work.root, worst=_LONGEST, progress=False
                ).labels
            ]
            items = [
                QueueItem(*work.places[label.clip.video, label.number], score, f"confidence {score:.2f}")
                for label in found
                for score in [1.0 if label.confidence is None else label.confidence]
            ]
            items = [item for item in items if work.status(item[:2])[0] == "m"]
            self._doubtful = version, sorted(items, key=lambda item: item.score)
            return self._doubtful[1]
        return left

    def _next(self) -> list[QueueItem]:
        """The ranking; started when there is none, or all of it is drawn."""
        fault, self._fault = self._fault, None
        if fault is not None:
            raise fault
        if self._ranked is not None and any(map(self._is_open, self._ranked)):
            return self._ranked
        if self._ranked == []:
            return []
        with self._lock:
            if self._ranking is None:
                self._ranking = threading.Thread(target=self._rank, daemon=True)
                self._ranking.start()
        raise Busy("looking at the frames to rank them", fix="ask again in a moment")

    def _is_open(self, item: QueueItem) -> bool:
        return self._work.status(item[:2])[0] in _WHY

    def _stored(self, watched: WatchedSource) -> LabelStore:
        """The labels of a source, read anew, as others may change those that are watched."""
        return LabelStore(self._work.root, watched.store.source, self._work.taxonomy)

    def _rank(self) -> None:
        try:
            self._ranked = sorted(self._rankings(), key=lambda item: -item.score)
        except Exception as error:  # told to the next who asks
            wrapped = error if isinstance(error, ThriftsegError) else Busy(f"{type(error).__name__}: {error}")
            self._fault = wrapped
        finally:
            self._ranking = None

    def _rankings(self) -> Iterator[QueueItem]:
        from thriftseg.annotation.ranking.frames import labelled_frames, rank_samples

        work, view = self._work, self._view and self._view()
        sources = [work.drawn.store.source] if self._stored(work.drawn).usable else []
        for split in work.splits:
            frames = sum(len(clip.frames) for clip in work.reader.clips(split))
            labelled = labelled_frames(work.reader, split, sources=sources, store=work.root)
            step = max(1, frames // _LOOKED_AT)
            ranked = rank_samples(work.reader, split, _LONGEST, view=view, labelled=labelled, step=step, progress=False)
            for place, each in enumerate(ranked):
                found = work.places[each.clip.video, each.sample.number]
                why = f"{'uncertain' if view else 'motion'} {each.score:.2f}"
                yield QueueItem(*found, 1 - place / len(ranked), why)
