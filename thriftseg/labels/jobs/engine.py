"""Running one job over many frames or clips: in this process, in several, on several GPUs or nodes.

Lightning's `Trainer.predict` distributes the tasks; its sampler for prediction neither drops nor repeats one. With one
device the work is done in this process. With several, processes are started for them, unless a cluster (torchrun,
Slurm) has started this program once per process already.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import Any, Generic, Literal, TypeVar

import cv2

from thriftseg.errors import ConfigError, LabelStoreError
from thriftseg.progress import progress_bar

Task = TypeVar("Task")
Result = TypeVar("Result")

Accelerator = Literal["auto", "cpu", "gpu"]


class LabelJob(ABC, Generic[Task, Result]):
    """A job that prepares each process for its tasks, or tidies up after all of them.

    A job without such needs may be a plain function. With several processes a job is sent to each of them by pickle.
    """

    def start(self, device: str, writer: str | None) -> None:
        """Called once in each process before its first task.

        Args:
            device: What the process shall compute on, as torch names it.
            writer: Name of the process for `LabelStore` when several write at the same time, else `None`.
        """

    @abstractmethod
    def __call__(self, task: Task) -> Result:
        """Do one task. The result must be picklable; what a user can mend is best returned, not raised."""

    def finish(self) -> None:
        """Called in one process after all tasks of all processes, before any of them goes on."""


def run_job(
    job: Callable[[Task], Result],
    tasks: Sequence[Task],
    *,
    description: str,
    devices: int = 1,
    accelerator: Accelerator = "auto",
    num_nodes: int = 1,
    progress: bool = True,
    on_result: Callable[[Result], None] | None = None,
) -> list[Result]:
    """Do all tasks and return their results in the order of the tasks, in every process of a cluster.

    OpenCV runs on one thread meanwhile: its DIS flow depends on the number of threads, and results must not.

    Args:
        job: Called with each task, a `LabelJob` or a function.
        tasks: The work, equal in all processes of a cluster.
        description: Shown in front of the progress bar.
        devices: Number of GPUs or CPU processes per node.
        accelerator: "auto" takes GPUs where there are some.
        num_nodes: Number of machines, each of which runs this call.
        progress: Whether to show a progress bar on stderr.
        on_result: Called in this process with each result of this machine as soon as it is there.

    Raises:
        ConfigError: `devices` or `num_nodes` is below 1.
        LabelStoreError: A process died; what it stored is kept.

    Example:
        >>> run_job(abs, [-3, 2], description="abs", accelerator="cpu", progress=False)
        [3, 2]
    """
    for name, number in (("devices", devices), ("nodes", num_nodes)):
        if number < 1:
            raise ConfigError(f"number of {name}", expected="at least 1", found=number)
    if not tasks:
        if isinstance(job, LabelJob) and is_first_process():
            job.finish()
        return []
    launched, needed = _is_launched(), devices if num_nodes > 1 else min(devices, len(tasks))
    spawns = not launched and needed * num_nodes > 1
    from thriftseg.labels.jobs.job_module import JobModule, predict_tasks

    share = -(-len(tasks) // _world_size()) if launched else len(tasks)
    with one_opencv_thread(), progress_bar(progress) as bar:
        line = bar.add_task(description, total=share)

        def receive(result: Result) -> None:
            bar.advance(line)
            if on_result is not None:
                on_result(result)

        module: JobModule[Task, Result] = JobModule(job, len(tasks))
        settings: dict[str, Any] = {"accelerator": accelerator, "num_nodes": num_nodes}
        if not spawns:
            module.report = receive
            predict_tasks(
                module, tasks, devices=devices if launched else 1, launch="cluster" if launched else None, **settings
            )
            return module.results
        with _Mailbox(needed, receive) as mailbox, _named_death():
            module.outboxes = mailbox.senders
            predict_tasks(module, tasks, devices=needed, launch="spawn", **settings)
        return mailbox.results


def is_first_process() -> bool:
    """Whether this is the process of a cluster that may print, or the only one."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "SLURM_PROCID")) or not _is_launched()


def _is_launched() -> bool:
    """Whether a cluster has started this program several times."""
    return _world_size() > 1 and ("LOCAL_RANK" in os.environ or "SLURM_LOCALID" in os.environ)


def _world_size() -> int:
    return int(os.environ.get("WORLD_SIZE") or os.environ.get("SLURM_NTASKS") or 1)


@contextmanager
def one_opencv_thread() -> Iterator[None]:
    """Keep OpenCV from using threads of its own."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def exit_with_parent() -> None:
    """End this process as soon as the one that started it is killed, which it would wait for otherwise."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_watch, args=(parent.sentinel,), daemon=True).start()


def _watch(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


@contextmanager
def _named_death() -> Iterator[None]:
    from torch.multiprocessing.spawn import ProcessExitedException

    try:
        yield
    except ProcessExitedException as error:
        raise LabelStoreError(
            "a label process died",
            found=str(error),
            fix="run the command again, it goes on where it stopped; use fewer processes if memory was short",
        ) from error


class _Mailbox(Generic[Result]):
    """Collects what the processes of this machine send, each through a pipe of its own.

    A queue would do, but a process that is killed while it writes leaves the lock of a queue taken for ever.
    """

    def __init__(self, size: int, receive: Callable[[Result], None]) -> None:
        pipes = [multiprocessing.Pipe(duplex=False) for _ in range(size)]
        self._receivers = [receiver for receiver, _ in pipes]
        self.senders = [sender for _, sender in pipes]
        self._receive = receive
        self._found: dict[int, Result] = {}
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._collect, daemon=True)

    @property
    def results(self) -> list[Result]:
        """All results, in the order of the tasks."""
        return [self._found[index] for index in sorted(self._found)]

    def __enter__(self) -> _Mailbox[Result]:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for sender in self.senders:  # with the processes gone, their pipes now end
            sender.close()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _collect(self) -> None:
        open_ends = list(self._receivers)
        while open_ends:
            ready: list[Any] = wait(open_ends)
            for connection in ready:
                try:
                    self._open(connection.recv())
                except (EOFError, OSError):
                    open_ends.remove(connection)

    def _open(self, letter: dict[int, Result] | BaseException) -> None:
        if isinstance(letter, BaseException):
            self._error = self._error or letter
            return
        fresh = {index: result for index, result in letter.items() if index not in self._found}
        self._found.update(fresh)
        try:
            for result in fresh.values() if self._error is None else ():
                self._receive(result)
        except Exception as error:  # raised again in the thread that waits for the processes
            self._error = error
