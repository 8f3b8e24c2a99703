"""The frames of a data set on the page, and what labels they have."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from thriftseg.annotation.page.work import PageVideo, Place
from thriftseg.datasets import VideoDataset
from thriftseg.errors import ConfigError
from thriftseg.stores import LabelSource, LabelStore, Verdict
from thriftseg.taxonomies import Taxonomy
from thriftseg.types import Clip, Frame

_STATES: dict[Verdict, str] = {"accept": "r", "reject": "x", "lock": "l"}


class WatchedSource:
    """A source of the store, which other processes may write to.

    Args:
        source: The source.

    Attributes:
        source: The source.
        version: Counted up whenever others have written.
    """

    def __init__(self, source: LabelSource) -> None:
        self.source, self.version, self._seen = source, 0, self._files(source.store)

    @property
    def store(self) -> LabelStore:
        """The labels."""
        return self.source.store

    def look(self) -> None:
        """Forget what was read if others have written since."""
        if self._files(self.store) != self._seen:
            self.store.refresh()
            self.version += 1
            self.keep()

    def keep(self) -> None:
        """What is written now is what was read, or written here."""
        self._seen = self._files(self.store)

    @staticmethod
    def _files(store: LabelStore) -> list[tuple[str, int, int]]:
        found = sorted(store.folder.glob("*.jsonl")) if store.exists else []
        stats = [(path.name, path.stat()) for path in found if path.stem != "journal"]
        return [(name, each.st_mtime_ns, each.st_size) for name, each in stats]


class DatasetFrames:
    """Frames of a data set.

    Args:
        reader: The data set.
        splits: Its splits, whose clips are shown.
        root: Folder of the label store.
        source: Source of what people draw.
        machine: Source of labels that a machine makes.

    Attributes:
        clips: The clips.
        videos: The same for the page.
        drawn: What people have drawn.
        made: What a machine has made.

    Raises:
        ConfigError: The sources are one and the same.
        DatasetError: Clips cannot be read.
    """

    def __init__(self, reader: VideoDataset, splits: Sequence[str], root: Path, source: str, machine: str) -> None:
        if source == machine:
            raise ConfigError("people and machine write to one source", found=source, fix="choose another --source")
        self.reader, self.splits, self.root = reader, splits, root
        self.drawn = WatchedSource(LabelSource(reader, root, source))
        self.made = WatchedSource(LabelSource(reader, root, machine))
        self.clips: list[Clip] = []
        self._split_of: list[str] = []
        for split in splits:
            clips = reader.clips(split)
            self.clips += clips
            self._split_of += [split] * len(clips)
        self.videos = [PageVideo(clip.video, tuple(clip.frames), reader.clip_size(clip)) for clip in self.clips]
        self._versions = 0, 0

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        return self.reader.name

    @property
    def taxonomy(self) -> Taxonomy:
        """The classes."""
        return self.reader.taxonomy

    def split_of(self, video: int) -> str:
        """Split that a video belongs to."""
        return self._split_of[video]

    @cached_property
    def places(self) -> dict[Frame, Place]:
        """Places of frames by video and native number."""
        return {
            (video.name, number): (index, place)
            for index, video in enumerate(self.videos)
            for place, number in enumerate(video.numbers)
        }

    def image(self, place: Place) -> Path:
        """File of a frame."""
        clip, number = self.frame_at(place)
        return clip.frames[number]

    def drawn_objects(self, video: int) -> list[tuple[int, int]]:
        """Id and train id of the objects that people have drawn in a video."""
        name = self.videos[video].name
        logs = self.drawn.store.objects.items()
        found = {item.id: item.train_id for (owner, _), items in logs if owner == name for item in items}
        return sorted(found.items())

    def status(self, place: Place) -> tuple[str, int]:
        """State and confidence of a frame; see `Work.status`."""
        clip, number = self.frame_at(place)
        frame = clip.video, number
        for watched, plain in ((self.drawn, "d"), (self.made, "m")):
            row = watched.store.labels.get(frame)
            if row is not None:
                decision = watched.store.reviews.decisions.get((*frame, None))
                percent = -1 if row.confidence is None else round(100 * row.confidence)
                return (plain if decision is None else _STATES[decision.verdict]), percent
            if plain == "d" and number in clip.labels:
                return "d", -1
        return ".", -1

    def refresh(self) -> bool:
        """Look for what other processes have written."""
        before = self._versions
        self.look()
        self._versions = self.drawn.version, self.made.version
        return self._versions != before

    def look(self) -> None:
        """Forget what was read if others have written since; `refresh` tells of it the next time."""
        self.drawn.look()
        self.made.look()

    def frame_at(self, place: Place) -> tuple[Clip, int]:
        """A frame as clip and native number."""
        return self.clips[place[0]], self.videos[place[0]].numbers[place[1]]
