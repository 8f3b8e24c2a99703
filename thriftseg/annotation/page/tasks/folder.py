"""All tasks in a folder, and which of them are answered."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from thriftseg.annotation.page.tasks.answers import PageTask, read_tasks
from thriftseg.annotation.people.task_file import INSTRUCTIONS, TASK_FILE
from thriftseg.errors import ConfigError, DatasetError
from thriftseg.stores import file_stamp
from thriftseg.taxonomies import Taxonomy


class TaskFolder:
    """Tasks below a folder, in the order in which they were found; later ones come after those that are known.

    Args:
        root: The folder.
        inside: Which folders in it hold tasks, such as "*/work"; the folder itself if unset.

    Attributes:
        root: The folder.
        tasks: The tasks.

    Raises:
        ConfigError: There are no tasks, or they are of several class tables.
        DatasetError: A task file is malformed.
    """

    def __init__(self, root: str | Path, inside: str | None = None) -> None:
        self.root, self._inside = Path(root), inside
        self.tasks: list[PageTask] = []
        self._known: set[Path] = set()
        self._answered: dict[PageTask, tuple[object, bool]] = {}
        self._taxonomy: Taxonomy | None = None
        self.look()
        if self._taxonomy is None:
            raise ConfigError(
                "no tasks in this folder",
                path=self.root,
                expected=f"{TASK_FILE} in folders below it",
                fix="give the --work of a loop with --annotator files, or the --out of annotate next for objects",
            )

    @property
    def taxonomy(self) -> Taxonomy:
        """The classes of all tasks."""
        if self._taxonomy is None:
            raise RuntimeError("no tasks yet")
        return self._taxonomy

    def look(self) -> list[PageTask]:
        """Find tasks that are new, and return them."""
        new = sorted(set(self._task_files()) - self._known, key=_natural)
        found: list[PageTask] = []
        for path in new:
            taxonomy, tasks = read_tasks(path, path.parent.relative_to(self.root).as_posix())
            if self._taxonomy not in (None, taxonomy):
                raise ConfigError(
                    "tasks of several class tables", path=path, fix="show one folder of tasks after the other"
                )
            self._taxonomy = taxonomy
            found += tasks
        self._known.update(new)
        self.tasks += found
        return found

    def is_answered(self, task: PageTask) -> bool:
        """Whether a task has an answer that can be read; files that have not changed are not read again."""
        stamp = [file_stamp(path) if path.is_file() else None for path in task.files]
        known = self._answered.get(task)
        if known is None or known[0] != stamp:
            try:
                answered = task.is_answered()
            except DatasetError:  # whoever opens the task is told
                answered = False
            self._answered[task] = known = stamp, answered
        return known[1]

    def open_tasks(self) -> list[PageTask]:
        """Tasks without an answer."""
        return [task for task in self.tasks if not self.is_answered(task)]

    def _task_files(self) -> Iterator[Path]:
        for folder in [self.root] if self._inside is None else self.root.glob(self._inside):
            for path in folder.rglob(TASK_FILE):
                # Written last: of a round the instructions, of a single mask the task file.
                if (path.parent / INSTRUCTIONS).is_file() or (path.parent / "frame.png").is_file():
                    yield path


def _natural(path: Path) -> list[str | int]:
    """Numbers in names count as such: round_10 comes after round_2."""
    parts: list[str | int] = []
    for text in path.parts:
        parts += [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", text)]
    return parts
