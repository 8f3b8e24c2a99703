"""Times of single-threaded code, for ratios: machines differ."""

from __future__ import annotations

import time
from collections.abc import Callable

import cv2


def ratio_of_times(function: Callable[[], object], reference: Callable[[], object], runs: int = 5) -> float:
    """Processor time of the fastest run of a function, as a multiple of that of a reference."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        return _fastest(function, runs) / _fastest(reference, runs)
    finally:
        cv2.setNumThreads(threads)


def _fastest(function: Callable[[], object], runs: int) -> float:
    times = []
    for _ in range(runs):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times)
