"""A folder of tasks as what the page shows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from msgspec.structs import replace

from thriftseg.annotation.page.frame_state import FrameState, patch_of
from thriftseg.annotation.page.proposals import MaskProposals, Question
from thriftseg.annotation.page.refusals import Conflict, PageError
from thriftseg.annotation.page.tasks.answers import MaskTask, PageTask
from thriftseg.annotation.page.tasks.folder import TaskFolder
from thriftseg.annotation.page.work import FrameStart, PageVideo, Place, QueueItem, QueueName
from thriftseg.annotation.people.masks import MaskClick
from thriftseg.arrays import BoolArray
from thriftseg.labels import Prompter
from thriftseg.stores import AnnotationJournal, FrameVerdict, JournalRow, measured_cost
from thriftseg.taxonomies import Taxonomy
from thriftseg.types import Frame


class TaskJournal(AnnotationJournal):
    """A journal that knows where clicks were, since they may be the answer.

    Args:
        folder: Folder of the tasks.

    Attributes:
        clicked: Frames whose answer is clicks.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.clicked: set[Frame] = set()
        self._asked: dict[tuple[str, Frame], tuple[MaskClick, ...]] = {}
        self._rows: dict[Frame, list[JournalRow]] = defaultdict(list)
        for row in self.read():
            self._note(row)

    def ask(self, session: str, frame: Frame, clicks: Iterable[MaskClick]) -> None:
        """Note the clicks that a session asks about, until it accepts the answer."""
        self._asked[session, frame] = tuple(clicks)

    def append(self, rows: Iterable[JournalRow]) -> None:
        """Add rows, those of clicks with their places.

        Raises:
            Conflict: Clicks are the answer, and it is not known where they were.
        """
        asked = dict(self._asked)
        placed = [self._placed(row, asked) for row in rows]
        super().append(placed)
        for row in placed:
            if row.points:
                self._asked.pop((row.session, (row.video, row.frame)), None)
            self._note(row)

    def clicks(self, frame: Frame) -> list[MaskClick]:
        """Clicks on a frame since it was finished last, without those that were undone."""
        done: list[JournalRow] = []
        undone: list[JournalRow] = []
        for row in self._rows.get(frame, ()):
            if row.tool in ("undo", "redo"):
                source, target = (done, undone) if row.tool == "undo" else (undone, done)
                target += [source.pop()] if source else []
            else:
                done, undone = [*done, row], []
        return [MaskClick(*point) for row in done for point in row.points]

    def _note(self, row: JournalRow) -> None:
        if row.tool == "finish":
            self._rows.pop((row.video, row.frame), None)
        elif row.tool != "open":
            self._rows[row.video, row.frame].append(replace(row, patch=None))

    def _placed(self, row: JournalRow, asked: dict[tuple[str, Frame], tuple[MaskClick, ...]]) -> JournalRow:
        frame = row.video, row.frame
        if row.tool != "click" or frame not in self.clicked:
            return row
        clicks = asked.pop((row.session, frame), ())
        if not clicks or len(clicks) != row.clicks:
            raise Conflict("it is not known any more where these clicks were", fix="click again")
        return replace(row, points=tuple(map(tuple, clicks)))


class TaskWork:
    """Tasks of a folder; see `Work`. What is finished is an answer in the files, which others may have written too.

    Args:
        root: The folder, such as that of a person of a loop.
        inside: Which folders in it hold tasks; see `TaskFolder`.

    Attributes:
        videos: Tasks that are shown together: whole frames of a round, regions of one size, or a single mask.
        journal: Where actions are noted.
        folder: Where unfinished frames keep what they started from.

    Raises:
        ConfigError: There are no tasks.
        DatasetError: A task file is malformed.

    Example:
        >>> import numpy as np
        >>> import tempfile
        >>> from thriftseg.annotation import FilesAnnotator, Request, Sample
        >>> from thriftseg.errors import WaitingForLabels
        >>> from thriftseg.taxonomies import CAMVID
        >>> request = Request.of("drive", Sample(30, 0), np.ones((4, 6), bool), "frame")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     person = FilesAnnotator(folder, CAMVID, lambda video, number: np.zeros((4, 6, 3), np.uint8))
        ...     try: person.ask([request], round=1)
        ...     except WaitingForLabels: work = TaskWork(folder)
        ...     [(video.numbers, video.size) for video in work.videos], len(work.queue("tasks"))
        ([([30], (4, 6))], 1)
    """

    kind: Literal["videos", "tasks"] = "tasks"
    dataset = "tasks"
    queues = (QueueName("tasks", "What is asked"),)

    def __init__(self, root: str | Path, inside: str | None = None) -> None:
        self._tasks = TaskFolder(root, inside)
        self.folder, self.journal = self._tasks.root / ".page", TaskJournal(self._tasks.root)
        self.videos: list[PageVideo] = []
        self._groups: list[list[PageTask]] = []
        self._places: dict[Path, Place] = {}
        self._seen: Mapping[Path, bool] = {}
        self._add(self._tasks.tasks)
        self.refresh()

    @property
    def title(self) -> str:
        """Name of the folder."""
        return self._tasks.root.resolve().name

    @property
    def taxonomy(self) -> Taxonomy:
        """The classes."""
        return self._tasks.taxonomy

    def queue(self, name: str) -> Sequence[QueueItem]:
        """Tasks without an answer."""
        return [
            QueueItem(video, place, 0.0, task.text)
            for video, tasks in enumerate(self._groups)
            for place, task in enumerate(tasks)
            if not self._tasks.is_answered(task)
        ]

    def image(self, place: Place) -> Path:
        """Picture of a task."""
        return self._task(place).image

    def start(self, place: Place) -> FrameStart:
        """What a task starts from."""
        return self._task(place).start()

    def status(self, place: Place) -> tuple[str, int]:
        """Whether a task is answered."""
        return "d" if self._tasks.is_answered(self._task(place)) else ".", -1

    def refresh(self) -> bool:
        """Look for new tasks, and for answers of others."""
        new, before = self._tasks.look(), self._seen
        self._add(new)
        self._seen = {task.image: self._tasks.is_answered(task) for task in self._tasks.tasks}
        return self._seen != before

    def finish(self, place: Place, state: FrameState, rows: Sequence[JournalRow]) -> None:
        """Leave an answer in the files."""
        task, seconds = self._task(place), measured_cost(rows).seconds
        if rows[-1].verdict == "absent":
            task.answer_absent(seconds)
        else:
            task.answer(state, seconds, self.clicks(place))

    def decide(self, place: Place, verdict: FrameVerdict) -> None:
        """Nothing: tasks are answered, not judged."""
        raise Conflict("a task is answered, not judged", found=verdict, fix="finish it, or say that nothing is there")

    def lock_object(self, place: Place, number: int, locked: bool) -> None:
        """Nothing: no label is stored here."""
        raise Conflict("tasks have no labels to lock")

    def make_proposals(self, prompter: Prompter) -> MaskProposals:
        """What answers clicks as the loop will; see `Work.make_proposals`."""
        return TaskProposals(prompter, self)

    def clicks(self, place: Place) -> list[MaskClick]:
        """Clicks on a frame so far, as far as they are in the journal."""
        return self.journal.clicks(self._frame(place))

    def ask(self, session: str, image: Path, clicks: Sequence[MaskClick]) -> tuple[list[MaskClick], BoolArray] | None:
        """Note clicks that a session asks about, where they are what is asked for.

        Returns:
            All clicks on the frame, these included, and the mask that they correct, (H, W); `None` where other tools
            may serve as well.
        """
        place = self._places[image]
        task = self._task(place)
        if not isinstance(task, MaskTask) or task.kind != "clicks":
            return None
        height, width = task.size
        if any(not (0 <= click.x < width and 0 <= click.y < height) for click in clicks):  # the journal takes no such
            raise PageError("a click outside of the frame", expected=f"inside of {width}x{height}")
        self.journal.ask(session, self._frame(place), clicks)
        return [*self.clicks(place), *clicks], task.mask()

    def _add(self, tasks: Iterable[PageTask]) -> None:
        groups: dict[tuple[str, tuple[int, int]], list[PageTask]] = defaultdict(list)
        for task in tasks:
            groups[task.group, task.size].append(task)
        for (name, size), group in groups.items():
            group.sort(key=lambda task: task.number)
            self._places.update({task.image: (len(self.videos), place) for place, task in enumerate(group)})
            self.journal.clicked.update((name, task.number) for task in group if task.kind == "clicks")
            self.videos.append(PageVideo(name, [task.number for task in group], size))
            self._groups.append(group)

    def _task(self, place: Place) -> PageTask:
        return self._groups[place[0]][place[1]]

    def _frame(self, place: Place) -> Frame:
        return self.videos[place[0]].name, self.videos[place[0]].numbers[place[1]]


class TaskProposals(MaskProposals):
    """Answers of a prompter, as the loop will get them where clicks are what it asks for.

    Args:
        prompter: The prompter.
        work: The tasks.
    """

    def __init__(self, prompter: Prompter, work: TaskWork) -> None:
        super().__init__(prompter)
        self._work = work

    def answer(self, session: str, frame: Path, question: Question) -> tuple[BoolArray, float]:
        """Mask of an object; see `MaskProposals.answer`."""
        known = self._work.ask(session, frame, question.clicks)
        if known is None:
            return super().answer(session, frame, question)
        if question.box is not None:
            raise PageError("this task takes clicks", found="a box", fix="click where the mask is wrong")
        together, mask = known
        return super().answer(session, frame, Question(together, None, patch_of(mask) if mask.any() else None))
