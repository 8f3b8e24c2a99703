"""Videos of a data set on the page: frames start from the labels of a machine, and finished ones become a source."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from thriftseg.annotation.page.dataset_frames import DatasetFrames, WatchedSource
from thriftseg.annotation.page.frame_state import FrameState
from thriftseg.annotation.page.proposals import MaskProposals
from thriftseg.annotation.page.queues import Queues
from thriftseg.annotation.page.refusals import Busy, Conflict
from thriftseg.annotation.page.work import FrameStart, Place, QueueItem, QueueName
from thriftseg.arrays import UInt16Array
from thriftseg.datasets import VideoDataset, read_label_png
from thriftseg.errors import ConfigError, LabelStoreError
from thriftseg.folders import sole_writer
from thriftseg.labels import DecisionLine, Licensed, Prompter, record_decisions
from thriftseg.stores import (
    MANUAL,
    ActionRow,
    AnnotationJournal,
    FrameVerdict,
    JournalRow,
    LabelSource,
    LabelStore,
    LoggedObject,
    SourceLabel,
    Verdict,
    action_id,
    measured_cost,
    objects_of,
)
from thriftseg.types import IGNORE_INDEX, Clip, LabelKind

_VERDICTS: dict[FrameVerdict, Verdict] = {"accept": "accept", "reject": "reject", "lock": "lock", "unlock": "accept"}


class DatasetWork(DatasetFrames):
    """Videos of a data set; see `Work`.

    A finished frame becomes a label of a person in the label store, with its objects and its measured cost. What its
    label starts from is, as far as it is there, what a person has drawn, the label that came with the data set, or that
    of a machine.

    Args:
        reader: The data set.
        splits: Its splits, whose clips are shown.
        root: Folder of the label store.
        source: Source of what people draw.
        machine: Source of labels that a machine makes.
        prompter: What had a part in drawing, whose licence becomes that of labels drawn with it.
        view: Loads the network that ranks what to draw next, if one is to do so.

    Raises:
        ConfigError: The sources are one and the same.
        DatasetError: Clips cannot be read.
    """

    kind: Literal["videos", "tasks"] = "videos"

    def __init__(
        self,
        reader: VideoDataset,
        splits: Sequence[str],
        root: Path,
        source: str,
        machine: str,
        prompter: Prompter | None = None,
        view: Callable[[], Any] | None = None,
    ) -> None:
        super().__init__(reader, splits, root, source, machine)
        self._prompter: Any = prompter
        self._given = LabelSource(reader, root, MANUAL)
        self.folder = self.drawn.store.folder / ".page"
        self.journal = AnnotationJournal(self.drawn.store.folder)
        self._queues = Queues(self, view)

    @property
    def title(self) -> str:
        """Name of the folder of the data."""
        return self.reader.root.resolve().name

    @property
    def queues(self) -> Sequence[QueueName]:
        """The queues; see `Work.queues`."""
        return self._queues.names

    def queue(self, name: str) -> Sequence[QueueItem]:
        """Entries of a queue; see `Work.queue`."""
        return self._queues.items(name)

    def start(self, place: Place) -> FrameStart:
        """What a frame starts from; see `Work.start`."""
        try:
            return self._start(place)
        except LabelStoreError:
            self.look()  # it may have been made again just now
            return self._start(place)

    def _start(self, place: Place) -> FrameStart:
        clip, number = self.frame_at(place)
        found = self._top(clip, number)
        if found is None:
            return FrameStart(FrameState.empty(self.videos[place[0]].size))
        watched, label = found
        source = self._given if watched is None else watched.source
        locked: frozenset[int] = frozenset()
        if watched is not None:
            locked = frozenset(item.id for item in watched.store.reviews.locked_objects(clip.video, number))
        origin: Literal["machine", "drawn"] = "machine" if watched is self.made else "drawn"
        state = self._objects(watched, source, label)
        return FrameStart(state, origin, source.source, label.confidence, locked)

    def finish(self, place: Place, state: FrameState, rows: Sequence[JournalRow]) -> None:
        """Store what was drawn: objects, then cost, then the label; see `Work.finish`."""
        clip, number = self.frame_at(place)
        if rows[-1].verdict != "drawn":
            raise Conflict("nothing was asked about this frame, so that nothing is absent", found=rows[-1].verdict)
        store, own = self.drawn.store, action_id(self.drawn.store.source, self.dataset, clip.video, number)
        found = self._top(clip, number)
        parents, licences = [own], list[str]()
        with self._writing(store):
            if found is not None:
                watched, label = found
                parents, licences = [*dict.fromkeys([*label.actions, own])], [*label.licences]
                for action in watched.source.recorded_actions(label) if watched is self.made else ():
                    store.record_action(action)
            licence = self._prompter.licence if isinstance(self._prompter, Licensed) else None
            if licence is not None and any(row.clicks and row.tool in ("click", "box") for row in rows):
                licences.append(licence)
            store.record_objects(clip.video, number, self._logged(state))
            store.object_log.write_ids(clip.video, number, state.ids, max(state.classes, default=0))
            store.record_action(ActionRow(own, self.drawn.store.source, clip.video, number, measured_cost(rows)))
            kind = LabelKind.MANUAL
            label_map = state.to_label()
            store.write(clip.video, number, label_map, kind=kind, generator="page", parents=parents, licences=licences)
            if (clip.video, number) in store.reviews.rejected:
                self._record(store, clip.video, number, "accept")

    def decide(self, place: Place, verdict: FrameVerdict) -> None:
        """Judge the label of a frame; see `Work.decide`."""
        clip, number = self.frame_at(place)
        store = self._judged(clip, number)
        with self._writing(store):
            self._record(store, clip.video, number, _VERDICTS[verdict])

    def lock_object(self, place: Place, number: int, locked: bool) -> None:
        """Lock an object, or unlock it; see `Work.lock_object`."""
        clip, frame = self.frame_at(place)
        store = self._judged(clip, frame)
        with self._writing(store):
            self._record(store, clip.video, frame, "lock" if locked else "accept", number)

    def make_proposals(self, prompter: Prompter) -> MaskProposals:
        """What answers clicks; see `Work.make_proposals`."""
        return MaskProposals(prompter)

    def propagation(self, video: int, first: int, last: int) -> dict[str, Any]:
        """Arguments of `label_repropagate` that carry drawn labels to frames of a video."""
        clip = self.clips[video]
        drawn = not clip.labels or any(owner == clip.video for owner, _ in self.drawn.store.usable)
        return {
            "dataset": self.reader,
            "split": self._split_of[video],
            "source": self.made.store.source,
            "corrections": self.drawn.store.source if drawn else MANUAL,
            "store": self.root,
            "frames": {clip.video: self.videos[video].numbers[first : last + 1]},
            "object_unit": None if self.made.store.labels else "instance" if self.taxonomy.thing_ids else "class",
            "save_objects": True,
        }

    def _top(self, clip: Clip, number: int) -> tuple[WatchedSource | None, SourceLabel] | None:
        """The label that counts: drawn, given, or made by a machine."""
        for watched in (self.drawn, None, self.made):
            source = self._given if watched is None else watched.source
            label = source.find(clip, number)
            if label is not None:
                return watched, label
        return None

    def _judged(self, clip: Clip, number: int) -> LabelStore:
        found = self._top(clip, number)
        if found is None:
            raise Conflict("this frame has no label to decide about")
        if found[0] is None:
            raise Conflict("the label of this frame came with the data set", fix="draw it anew to change it")
        return found[0].store

    def _objects(self, watched: WatchedSource | None, source: LabelSource, label: SourceLabel) -> FrameState:
        """Objects of a label, with their numbers in the object log where it has one."""
        train_ids, frame = source.read(label), (label.clip.video, label.number)
        logged = {} if watched is None else {item.id: item.train_id for item in watched.store.objects.get(frame, ())}
        path = None if watched is None else watched.store.object_log.path_of_ids(*frame)
        if logged and path is not None and path.is_file():
            ids: UInt16Array = read_label_png(path).astype(np.uint16)
            ids[train_ids == IGNORE_INDEX] = 0  # what was taken out by a decision
            return FrameState(ids, logged)
        instances = source.read_instances(label)
        if instances is not None:
            found = objects_of(train_ids, instances, "instance", self.taxonomy.thing_ids)
            return FrameState(found.ids, {item.id: item.train_id for item in found.objects})
        present = np.flatnonzero(np.bincount(train_ids.ravel(), minlength=256)[:IGNORE_INDEX]).tolist()
        numbers = {train_id: number for number, train_id in logged.items()}
        if len(numbers) < len(logged) or not numbers.keys() >= set(present):  # the log does not tell them apart
            logged = dict(enumerate(present, start=1))
            numbers = {train_id: number for number, train_id in logged.items()}
        table = np.zeros(256, np.uint16)
        table[[*numbers]] = [*numbers.values()]
        return FrameState(table[train_ids], logged)

    def _logged(self, state: FrameState) -> Iterator[LoggedObject]:
        """Objects with pixels; those of classes with instances are numbered within their class."""
        counted: dict[int, int] = {}
        for number, pixels in sorted(state.areas.items()):
            train_id = state.classes[number]
            if pixels:
                counted[train_id] = counted.get(train_id, 0) + 1
                instance = counted[train_id] if train_id in self.taxonomy.thing_ids else None
                yield LoggedObject(number, train_id, instance, pixels)

    def _record(self, store: LabelStore, video: str, number: int, verdict: Verdict, item: int | None = None) -> None:
        try:
            record_decisions(store, [DecisionLine(None, verdict, video, number, item)])
        except ConfigError as error:
            raise Conflict(error.problem, expected=error.expected, found=error.found, fix=error.fix) from error

    @contextmanager
    def _writing(self, store: LabelStore) -> Iterator[None]:
        """Write to a source while no other process does."""
        with ExitStack() as stack:
            try:
                stack.enter_context(sole_writer(store.folder, wait=0.1))  # others ask the page meanwhile
            except ConfigError as error:
                what = f"another process is writing the labels {store.source!r}"
                raise Busy(what, found=error.found, fix="wait for it") from error
            watched = self.drawn if store is self.drawn.store else self.made
            watched.look()
            yield
            watched.keep()
