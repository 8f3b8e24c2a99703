"""Jobs, and doing their tasks one after the other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


class Job(ABC, Generic[Task, Result]):
    """A job that prepares each process for its tasks, or tidies up after all of them.

    A job without such needs may be a plain function. With several processes a job is sent to each of them by pickle.

    Example:
        >>> from thriftseg.workers import Workers, run_tasks
        >>> class Scaling(Job[int, int]):
        ...     def start(self, device, writer): self.factor = 10
        ...     def __call__(self, task): return self.factor * task
        >>> run_tasks(Scaling(), [3, 4], Workers(accelerator="cpu", progress=False))
        [30, 40]
    """

    def start(self, device: str, writer: str | None) -> None:
        """Called once in each process before its first task.

        Args:
            device: What the process shall compute on, as torch names it.
            writer: Name of the process among several that work at the same time, else `None`.
        """

    @abstractmethod
    def __call__(self, task: Task) -> Result:
        """Do one task. The result must be picklable; what a user can mend is best returned, not raised."""

    def finish(self) -> None:
        """Called after all tasks of all processes, in the one that asked for them, before any of them goes on."""


@dataclass(frozen=True)
class Workplace:
    """Where tasks are done.

    Attributes:
        device: What to compute on, as torch names it.
        writer: See `Job.start`.
    """

    device: str
    writer: str | None


def work_at(
    place: Workplace, job: Callable[[Task], Result], tasks: Iterable[tuple[int, Task]]
) -> Iterator[tuple[int, Result]]:
    """Do numbered tasks one after the other in this process."""
    started = False
    for number, task in tasks:
        if not started:
            start_job(job, place)
            started = True
        yield number, job(task)


def start_job(job: Callable[[Task], Result], place: Workplace) -> None:
    """Prepare this process for the tasks of a job."""
    if place.device.startswith("cuda"):
        import torch

        torch.cuda.set_device(place.device)
    if isinstance(job, Job):
        job.start(place.device, place.writer)
