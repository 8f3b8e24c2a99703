"""Running one job over many tasks, in this process or in several, with a progress bar."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import BaseContext
from typing import Any, TypeVar

import cv2

from thriftseg.datasets import keep_freed_memory
from thriftseg.errors import ConfigError, DatasetError
from thriftseg.labels import exit_with_parent, one_opencv_thread
from thriftseg.progress import progress_bar

Task = TypeVar("Task")
Result = TypeVar("Result")


def run_tasks(
    job: Callable[[Task], Result],
    tasks: Sequence[Task],
    *,
    workers: int = 1,
    description: str = "",
    progress: bool = True,
) -> Iterator[Result]:
    """Yield `job(task)` for every task, in the order of completion.

    Results come as they are made, so that the caller can see early whether more processes pay. OpenCV runs on one
    thread meanwhile: its DIS flow depends on the number of threads, and results must not.

    Args:
        job: Called with each task; with several workers it is sent to each of them once.
        tasks: The work.
        workers: Number of processes; 1 works in this one.
        description: Shown in front of the progress bar.
        progress: Whether to show a progress bar on stderr.

    Raises:
        ConfigError: `workers` is below 1.
        DatasetError: A worker process died.
    """
    if workers < 1:
        raise ConfigError("number of workers", expected="at least 1", found=workers)
    results = _in_processes(job, tasks, workers) if workers > 1 and len(tasks) > 1 else map(job, tasks)
    with one_opencv_thread(), progress_bar(progress and bool(tasks)) as bar:
        yield from bar.track(results, total=len(tasks), description=description)


_IMPORTED_ONCE = ["thriftseg.reports.scoring.counting", "thriftseg.reports.scoring.objects"]


def _context() -> BaseContext:
    """Processes that share what they import, which takes seconds and most of their memory, where the system can."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED_ONCE)
    return context


def _in_processes(job: Callable[[Task], Result], tasks: Sequence[Task], workers: int) -> Iterator[Result]:
    with ProcessPoolExecutor(
        max_workers=min(workers, len(tasks)),
        mp_context=_context(),
        initializer=_start_worker,
        initargs=(job,),
    ) as pool:
        futures: list[Future[Result]] = [pool.submit(_run_job, task) for task in tasks]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise DatasetError(
                "a worker process died",
                found=str(error),
                fix="use fewer --workers if memory was short",
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


_worker_job: list[Callable[..., object]] = []


def _start_worker(job: Callable[[Task], Result]) -> None:
    cv2.setNumThreads(1)
    keep_freed_memory()
    _worker_job[:] = [job]
    exit_with_parent()


def _run_job(task: object) -> Any:
    return _worker_job[0](task)
