"""Two processes joined by gloo, started once per test session and fed with functions.

A test takes the fixture `gloo_pool` and hands over a module-level function, which every process calls as
`function(rank, world, *args)`:

    def total(rank: int, world: int, start: float) -> float:
        value = torch.tensor(start + rank)
        torch.distributed.all_reduce(value)
        return value.item()

    def test_total(gloo_pool: GlooPool) -> None:
        assert gloo_pool.run(total, 1.0) == [3.0, 3.0]

Arguments and results travel by pickle. When a function fails in one of them, `run` raises with its traceback, and the
next `run` starts two anew. They are forked from a server that has imported the libraries once.
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
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed
from lightning.pytorch import Callback, Trainer

_ROOT = str(Path(__file__).resolve().parents[2])
_LIBRARIES = ["lightning.pytorch", "torchmetrics", "torch.distributed", "segmentation_models_pytorch", "cv2"]


def _serve(rank: int, world: int, folder: str, connection: Connection) -> None:
    torch.set_num_threads(1)
    while True:
        try:
            job, message = pickle.loads(connection.recv_bytes())  # noqa: S301
        except EOFError:
            return
        # A trainer that ends forgets WORLD_SIZE.
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world))
        try:
            if not torch.distributed.is_initialized():  # also after a trainer has left the group
                torch.distributed.init_process_group(
                    "gloo", init_method=f"file://{folder}/{job}", rank=rank, world_size=world
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

    def _start(self) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_LIBRARIES)
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

    def run(self, function: Callable[..., Any], *args: Any) -> list[Any]:
        """Call `function(rank, world, *args)` in every process; returns the results in order of rank."""
        if not self._members:
            self._start()
        self._jobs += 1
        job = pickle.dumps((self._jobs, pickle.dumps((function, args))))
        try:
            for _, connection in self._members:
                connection.send_bytes(job)
            answers: dict[int, Any] = {}
            while len(answers) < self.world:
                answers |= self._answers(set(range(self.world)) - answers.keys())
        except BaseException:  # those that are left may wait for one that failed, and a test has only so much time
            self.close()
            raise
        return [answers[rank] for rank in range(self.world)]

    def _answers(self, pending: set[int]) -> dict[int, Any]:
        """Results of those that have one, after a wait for the first; fails as soon as one of them did."""
        connections = {self._members[rank][1]: rank for rank in pending}
        answers = {}
        for connection in wait(list(connections)):
            rank = connections[connection]
            try:
                fine, value = pickle.loads(connection.recv_bytes())  # noqa: S301
            except EOFError:
                fine, value = False, "died"
            if not fine:
                raise RuntimeError(f"rank {rank}: {value}")
            answers[rank] = value
        return answers

    def close(self) -> None:
        """End the processes."""
        for process, connection in self._members:
            connection.close()
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


def trainer_with(world: int, *callbacks: Callback, turns: bool = False, **settings: Any) -> Trainer:
    """A quiet trainer on as many processes as have called it; `turns` where parts of the network take turns."""
    plain: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": world,
        "strategy": "auto" if world == 1 else "ddp_find_unused_parameters_true" if turns else "ddp",
        "callbacks": list(callbacks),
        "num_sanity_val_steps": 0,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return Trainer(**(plain | settings))
