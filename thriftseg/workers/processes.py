"""Processes on this machine that take tasks from one list, each through a pipe of its own.

A queue would do, but a process that is killed while it writes leaves the lock of a queue taken for ever; and with a
pipe each it is known who died.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import pickle
import platform
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import cv2

from thriftseg.errors import ThriftsegError
from thriftseg.resources import available_cpus
from thriftseg.workers.job import Result, Task, Workplace, work_at

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


class WorkerDied(ThriftsegError):
    """A process ended in the middle of its work.

    Example:
        >>> try:
        ...     raise WorkerDied("a worker process died", found="process 1 terminated with signal SIGKILL")
        ... except ThriftsegError as error:
        ...     print(error)
        a worker process died; found process 1 terminated with signal SIGKILL
    """


def work_in_processes(
    places: Sequence[Workplace], job: Callable[[Task], Result], tasks: Iterable[tuple[int, Task]]
) -> Iterator[tuple[int, Result]]:
    """Do numbered tasks in one process per place; each takes the next one as soon as it is free.

    Args:
        places: Where the processes work.
        job: Called with each task; sent to each process once.
        tasks: The work, at least one task per place.

    Yields:
        Number and result of each task, as soon as it is there.

    Raises:
        WorkerDied: A process died.
    """
    left, pickled_job = deque(tasks), pickle.dumps(job)
    working: dict[Connection, BaseProcess] = {}
    finished: list[BaseProcess] = []
    try:
        for place in places:
            connection, process = _start_process(place, len(places), job, pickled_job)
            working[connection] = process
            _give(connection, left)
        while working:
            ready: list[Any] = wait(list(working))
            for connection in ready:
                try:
                    number, result, error = connection.recv()
                except (EOFError, OSError):
                    raise _death_of(working[connection]) from None
                if error is not None:
                    raise error
                if left:
                    _give(connection, left)
                else:
                    finished.append(working.pop(connection))
                    connection.close()  # it ends when nothing more can come
                yield number, result
    finally:
        for process in working.values():
            process.terminate()
        for process in [*working.values(), *finished]:
            process.join()


def _start_process(
    place: Workplace, count: int, job: Callable[[Task], Result], pickled_job: bytes
) -> tuple[Connection, BaseProcess]:
    """Start a process; where it can, it shares what it imports, which takes seconds and much of its memory."""
    forks = place.device == "cpu" and "forkserver" in multiprocessing.get_all_start_methods()  # CUDA bears no forks
    context: Any = multiprocessing.get_context("forkserver" if forks else "spawn")
    home = str(getattr(getattr(job, "func", job), "__module__", ""))  # of a partial, too
    if forks and home.startswith("thriftseg."):
        context.set_forkserver_preload([home])
    ours, theirs = context.Pipe()
    process = context.Process(
        target=_serve, args=(theirs, pickled_job, place, count, dict(os.environ)), name=place.writer
    )
    process.start()
    theirs.close()
    return ours, process


def _give(connection: Connection, tasks: deque[tuple[int, Task]]) -> None:
    with suppress(OSError):  # a process that has died is noticed when it should answer
        connection.send(tasks.popleft())


def _death_of(process: BaseProcess) -> WorkerDied:
    process.join()
    code = process.exitcode or 0
    end = f"terminated with signal {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    return WorkerDied(
        "a worker process died", found=f"process {process.name} {end}", fix="use fewer processes if memory was short"
    )


def _serve(
    connection: Connection, pickled_job: bytes, place: Workplace, count: int, environment: dict[str, str]
) -> None:
    """Do tasks until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started the process also ends it
    threading.Thread(target=exit_with_parent, daemon=True).start()
    os.environ.clear()
    os.environ.update(environment)  # which may have changed since the processes are forked
    try:
        job = prepare_process(pickled_job, count)
        for number, result in work_at(place, job, _received(connection)):
            connection.send((number, result, None))
    except Exception as error:
        if not isinstance(error, ThriftsegError):
            error.add_note(traceback.format_exc())
        connection.send((None, None, error))


def prepare_process(pickled_job: bytes, count: int) -> Any:
    """The job, in a process that is one of so many on its machine and does nothing else."""
    cv2.setNumThreads(1)
    keep_freed_memory()
    job = pickle.loads(pickled_job)  # noqa: S301 # nosec B301 - our own
    _share_cores(count)
    return job


def _received(connection: Connection) -> Iterator[tuple[int, Any]]:
    while True:
        try:
            numbered_task = connection.recv()
        except EOFError:
            return
        yield numbered_task


def exit_with_parent() -> None:
    """End this process as soon as the one that started it is killed, whatever it is doing.

    Example:
        >>> watch = threading.Thread(target=exit_with_parent, daemon=True)
        >>> watch.start()
        >>> watch.join()  # at once, as no process of Python has started this one
        >>> watch.is_alive()
        False
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _share_cores(count: int) -> None:
    """Keep torch from taking all cores in each process."""
    if "OMP_NUM_THREADS" not in os.environ:
        share = max(1, available_cpus() // count)
        os.environ["OMP_NUM_THREADS"] = str(share)
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(share)


def keep_freed_memory() -> None:
    """Let this process reuse the pages of freed images; glibc otherwise returns them and faults them in again.

    That costs up to a fifth of the loading speed at 1024x2048. Meant for worker processes: it changes how all of the
    process allocates. Other allocators are left alone.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(_M_MMAP_THRESHOLD, 32 << 20)  # the largest value that glibc takes
    mallopt(_M_TRIM_THRESHOLD, 1 << 30)
