"""How much work to do, and spreading it over processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar

from thriftseg.errors import ConfigError
from thriftseg.reports.scoring.pool import run_tasks
from thriftseg.resources import available_cpus

Task = TypeVar("Task")
Result = TypeVar("Result")

_ALONE = 1.0
"""Seconds of work before anything is spread: they show how much there is to do."""

_WORTH_SPREADING = 10.0
"""Seconds of remaining work from which processes pay, which take some seconds to start."""


@dataclass(frozen=True)
class Effort:
    """How much to compute, and where.

    Attributes:
        workers: Processes; `None` takes one per core where the work is long enough to pay for starting them.
        resamples: Draws of the bootstrap.
        seed: Seed of the draws.
        progress: Whether to show a progress bar.

    Raises:
        ConfigError: A number is out of range.
    """

    workers: int | None = None
    resamples: int = 1000
    seed: int = 0
    progress: bool = True

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise ConfigError("number of workers", expected="at least 1", found=self.workers)
        if self.resamples < 0:
            raise ConfigError("number of bootstrap resamples", expected="at least 0", found=self.resamples)

    def run(self, job: Callable[[Task], Result], tasks: Sequence[Task], description: str) -> list[Result]:
        """The results of all tasks, in any order.

        Args:
            job: Called with each task.
            tasks: The work.
            description: Shown in front of the progress bar.

        Raises:
            DatasetError: A worker process died.
        """
        if self.workers is not None:
            return list(self._spread(job, tasks, self.workers, description))
        results: list[Result] = []
        start = time.monotonic()
        with closing(self._spread(job, tasks, 1, description)) as alone:
            for result in alone:
                results.append(result)
                elapsed, left = time.monotonic() - start, len(tasks) - len(results)
                if elapsed > _ALONE and left * elapsed / len(results) > _WORTH_SPREADING:
                    break
        rest = tasks[len(results) :]
        return results + list(self._spread(job, rest, available_cpus(), description))

    def _spread(
        self, job: Callable[[Task], Result], tasks: Sequence[Task], workers: int, description: str
    ) -> Generator[Result]:
        yield from run_tasks(job, tasks, workers=workers, description=description, progress=self.progress)
