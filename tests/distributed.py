"""Two processes joined by gloo, started once per test session and fed with functions.

A test takes the fixture `gloo_pool` and hands over a module-level function, which every process calls as
`function(rank, world, *args)`:

    def total(rank: int, world: int, start: float) -> float:
        value = torch.tensor(start + rank)
        torch.distributed.all_reduce(value)
        return value.item()

    def test_total(gloo_pool: GlooPool) -> None:
        assert gloo_pool.run(total, 1.0) == [3.0, 3.0]

Arguments and results travel by pickle. When a function fails, `run` raises with its traceback, and the next `run`
joins a fresh group.
"""

from __future__ import annotations

import atexit
import functools
import multiprocessing
import os
import pickle
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed

_ROOT = str(Path(__file__).resolve().parents[1])


def _serve(rank: int, world: int, folder: str, connection: Connection) -> None:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world))
    torch.set_num_threads(1)
    while True:
        try:
            job, rejoin, message = pickle.loads(connection.recv_bytes())  # noqa: S301
        except EOFError:
            return
        try:
            if rejoin and torch.distributed.is_initialized():
                torch.distributed.destroy_process_group()
            if not torch.distributed.is_initialized():  # also after a trainer has left the group
                store = f"file://{folder}/{job}"
                torch.distributed.init_process_group(
                    "gloo", init_method=store, rank=rank, world_size=world, timeout=timedelta(seconds=60)
                )
            function, args = pickle.loads(message)  # noqa: S301
            answer = pickle.dumps((True, function(rank, world, *args)))
        except BaseException:
            answer = pickle.dumps((False, traceback.format_exc()))
        connection.send_bytes(answer)


class GlooPool:
    """Processes that run functions together in one process group."""

    def __init__(self, world: int = 2) -> None:
        self.world = world
        self._members: list[tuple[Any, Connection]] = []
        self._folder = ""
        self._jobs = 0
        self._rejoin = False

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._folder = tempfile.mkdtemp(prefix="gloo")
        if _ROOT not in sys.path:  # children inherit the path; they import the test files as `tests.<room>.<file>`
            sys.path.insert(0, _ROOT)
        for rank in range(self.world):
            ours, theirs = context.Pipe()
            # Not daemons, so that functions may use loaders with workers.
            process = context.Process(target=_serve, args=(rank, self.world, self._folder, theirs))
            process.start()
            theirs.close()
            self._members.append((process, ours))

    def run(self, function: Callable[..., Any], *args: Any, timeout: float = 120) -> list[Any]:
        """Call `function(rank, world, *args)` in every process; returns the results in order of rank."""
        if not self._members:
            self._start()
        self._jobs += 1
        job = pickle.dumps((self._jobs, self._rejoin, pickle.dumps((function, args))))
        for _, connection in self._members:
            connection.send_bytes(job)
        answers = [self._receive(rank, timeout) for rank in range(self.world)]
        failures = [f"rank {rank}: {value}" for rank, (fine, value) in enumerate(answers) if not fine]
        self._rejoin = bool(failures)
        if failures:
            raise RuntimeError("\n".join(failures))
        return [value for _, value in answers]

    def _receive(self, rank: int, timeout: float) -> tuple[bool, Any]:
        connection = self._members[rank][1]
        try:
            if connection.poll(timeout):
                return pickle.loads(connection.recv_bytes())  # noqa: S301
            fault = f"rank {rank} gave no answer within {timeout} s"
        except EOFError:
            fault = f"rank {rank} died"
        self.close()
        raise RuntimeError(fault)

    def close(self) -> None:
        """End the processes."""
        for process, connection in self._members:
            connection.close()
            process.join(timeout=2)
            if process.is_alive():
                process.kill()
                process.join()
        self._members.clear()
        shutil.rmtree(self._folder, ignore_errors=True)


@functools.cache
def _shared_pool() -> GlooPool:
    pool = GlooPool()
    atexit.register(pool.close)
    return pool


@pytest.fixture(scope="session")
def gloo_pool() -> GlooPool:
    """The one pool of two processes of this test session."""
    return _shared_pool()
