"""How the items are measured: alternation of both sides, time of one thread, growth of the resident set."""

from __future__ import annotations

import ctypes
import gc
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import torch


@dataclass(frozen=True)
class Outcome:
    """What an item measured.

    Attributes:
        ratio: The figure that the target is about.
        detail: Absolute figures, for orientation.
        memory_ratio: Extra peak memory of the reference over that of ours, where it was measured.
    """

    ratio: float
    detail: str
    memory_ratio: float | None = None


@dataclass(frozen=True)
class Item:
    """A figure, with a target or for orientation.

    Attributes:
        name: Name for `--only`.
        what: Ours and the reference, in words.
        run: Measures it; checks that both sides agree before it returns.
        at_least: Smallest acceptable ratio (a speed-up).
        at_most: Largest acceptable ratio (an overhead).
        memory_at_least: Smallest acceptable ratio of extra peak memory.
    """

    name: str
    what: str
    run: Callable[[], Outcome]
    at_least: float | None = None
    at_most: float | None = None
    memory_at_least: float | None = None

    @property
    def target(self) -> str:
        """The target as text."""
        if self.at_least is None and self.at_most is None:
            return "none"
        ratio = f">= {self.at_least:g}" if self.at_least is not None else f"<= {self.at_most:g}"
        return ratio if self.memory_at_least is None else f"{ratio}, memory >= {self.memory_at_least:g}"

    def met(self, outcome: Outcome) -> bool:
        """Whether the ratios are on the right side of the target."""
        quick = self.at_least is None or outcome.ratio >= self.at_least
        quick = quick and (self.at_most is None or outcome.ratio <= self.at_most)
        return quick and (self.memory_at_least is None or (outcome.memory_ratio or 0) >= self.memory_at_least)


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch and OpenCV on one thread."""
    threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads[0])
        cv2.setNumThreads(threads[1])


def thread_seconds(function: Callable[[], object]) -> float:
    """Time on the processor of this thread alone: other programs on the machine do not count."""
    start = time.thread_time()
    function()
    return time.thread_time() - start


def medians(rounds: int, *functions: Callable[[], object]) -> list[float]:
    """Median seconds of functions that take turns, after two rounds to warm up."""
    times: list[list[float]] = [[] for _ in functions]
    for round_ in range(rounds + 2):
        for function, measured in zip(functions, times, strict=True):
            seconds = thread_seconds(function)
            if round_ >= 2:
                measured.append(seconds)
    return [statistics.median(measured) for measured in times]


def speed_up(reference: Callable[[], object], ours: Callable[[], object], rounds: int = 15) -> Outcome:
    """Cost of the reference over cost of ours."""
    slow, *fast = medians(rounds, reference, *[ours] * 4)
    cost = statistics.median(fast)
    extra = extra_memory(reference), extra_memory(ours)
    detail = f"reference {slow * 1e3:.2f} ms, +{extra[0]:.1f} MiB; ours {cost * 1e3:.2f} ms, +{extra[1]:.1f} MiB"
    return Outcome(slow / cost, detail, extra[0] / max(extra[1], 0.1))


def extra_memory(function: Callable[[], object], attempts: int = 3, calls: int = 5) -> float:
    """Growth of the resident set while the function runs, in MiB: the least of some attempts.

    What grows beyond that is the allocator's, which returns freed memory as it likes.

    Args:
        function: What is measured.
        attempts: How often the resident set is watched.
        calls: Calls of the function each time.
    """
    return min(_growth(function, calls) for _ in range(attempts))


def _growth(function: Callable[[], object], calls: int) -> float:
    """Growth of the resident set, watched from a second thread."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    page = os.sysconf("SC_PAGE_SIZE") / 2**20

    def resident() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * page

    before, peak, done = resident(), 0.0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.is_set():
            peak = max(peak, resident())
            time.sleep(1e-4)  # or the function waits for this thread at every step of the interpreter

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(calls):
        function()
    done.set()
    watcher.join()
    return max(0.0, peak - before)
