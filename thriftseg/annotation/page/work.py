"""What the page shows: videos, what their frames start from, and where finished frames go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from thriftseg.annotation.page.frame_state import FrameState
from thriftseg.annotation.page.proposals import MaskProposals
from thriftseg.labels import Prompter
from thriftseg.stores import AnnotationJournal, FrameVerdict, JournalRow, Patch
from thriftseg.taxonomies import Taxonomy
from thriftseg.types import Size

Place = tuple[int, int]
"""A frame of the page: which video, and which of its frames, both from 0."""

Origin = Literal["drawn", "machine", "work", "empty"]
"""What the label of a frame is: of a person, of a machine, unfinished, or none yet."""


class PageVideo(NamedTuple):
    """A video of the page.

    Attributes:
        name: Identifier, as in journal and label store.
        numbers: Native numbers of its frames.
        size: Height and width of its frames.
    """

    name: str
    numbers: Sequence[int]
    size: Size


class QueueName(NamedTuple):
    """A queue of frames to look at.

    Attributes:
        id: As the page asks for it.
        name: As people read it.
    """

    id: str
    name: str


class QueueItem(NamedTuple):
    """An entry of a queue.

    Attributes:
        video: Which video.
        place: Which of its frames.
        score: What the queue is sorted by.
        why: The reason, in a few words.
    """

    video: int
    place: int
    score: float
    why: str


@dataclass(frozen=True)
class FrameStart:
    """What a frame starts from.

    Attributes:
        state: The object map.
        origin: What that is.
        source: Source of the label; empty where there is none.
        confidence: 0..1 as its generator defines it.
        locked: Ids of objects whose pixels must stay as they are.
        region: The only part of the frame that can be drawn, as a patch of ones.
        task: What is asked for: "kind" and "text".
    """

    state: FrameState
    origin: Origin = "empty"
    source: str = ""
    confidence: float | None = None
    locked: frozenset[int] = frozenset()
    region: Patch | None = None
    task: Mapping[str, str] | None = None


class Work(Protocol):
    """Videos to annotate. Calls never overlap, but for `image` and `queue`.

    Example:
        >>> import numpy as np
        >>> import tempfile
        >>> from thriftseg.annotation.page.dataset_work import DatasetWork
        >>> from thriftseg.datasets import Folder, write_label_png
        >>> with tempfile.TemporaryDirectory() as root:
        ...     _ = Path(root, "classes.yaml").write_text("classes: [road, car]")
        ...     write_label_png(f"{root}/val/drive/frames/7.png", np.zeros((4, 6), np.uint8))
        ...     work: Work = DatasetWork(Folder(root), ["val"], Path(root, "labels"), "drawn", "flow")
        ...     work.videos, work.status((0, 0))
        ([PageVideo(name='drive', numbers=(7,), size=(4, 6))], ('.', -1))
    """

    @property
    def kind(self) -> Literal["videos", "tasks"]:
        """Whether people may draw what they like, or answer questions."""

    @property
    def title(self) -> str:
        """What the page is called."""

    @property
    def dataset(self) -> str:
        """Name of the data set."""

    @property
    def taxonomy(self) -> Taxonomy:
        """The classes."""

    @property
    def videos(self) -> Sequence[PageVideo]:
        """The videos; grows when there are new tasks."""

    @property
    def journal(self) -> AnnotationJournal:
        """Where actions are noted."""

    @property
    def folder(self) -> Path:
        """Where unfinished frames keep what they started from."""

    @property
    def queues(self) -> Sequence[QueueName]:
        """The queues, the first of which the page starts with."""

    def queue(self, name: str) -> Sequence[QueueItem]:
        """Entries of a queue, most urgent first.

        Raises:
            Busy: It is still being computed.
        """

    def image(self, place: Place) -> Path:
        """File of a frame."""

    def start(self, place: Place) -> FrameStart:
        """What a frame starts from, finished labels included."""

    def status(self, place: Place) -> tuple[str, int]:
        """State of a frame as one character of `.mdrxl`, and its confidence in percent, -1 where there is none."""

    def refresh(self) -> bool:
        """Look for what others have written; whether there is anything."""

    def finish(self, place: Place, state: FrameState, rows: Sequence[JournalRow]) -> None:
        """Store a finished frame.

        Args:
            place: The frame.
            state: What was drawn.
            rows: All that was ever done about the frame; the last ends the work.

        Raises:
            Conflict: The frame takes no such answer.
        """

    def decide(self, place: Place, verdict: FrameVerdict) -> None:
        """Judge the label of a frame.

        Raises:
            Conflict: There is none, or it cannot be judged.
        """

    def make_proposals(self, prompter: Prompter) -> MaskProposals:
        """What answers clicks with a prompter."""

    def lock_object(self, place: Place, number: int, locked: bool) -> None:
        """Lock an object of the label of a frame, or unlock it.

        Raises:
            Conflict: There is no such object.
        """
