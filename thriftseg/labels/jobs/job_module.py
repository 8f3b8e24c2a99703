"""A job as what Lightning's trainer predicts with."""

from __future__ import annotations

import logging
import os
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing.connection import Connection
from typing import Any, Generic, Literal, TypeVar

import cv2
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, Strategy
from torch.utils.data import DataLoader, Dataset

from thriftseg.labels.jobs.engine import LabelJob, exit_with_parent

Task = TypeVar("Task")
Result = TypeVar("Result")

_PATIENCE = timedelta(days=30)
"""How long a process that has finished waits for the others."""

_CHATTY = ("lightning.pytorch", "lightning.fabric", "torch.multiprocessing.spawn")


class JobModule(LightningModule, Generic[Task, Result]):
    """Runs a job on each item.

    Args:
        job: The job.
        count: Number of tasks; items beyond it are padding that gives every process at least one.

    Attributes:
        report: Called with each result in the process that made it.
        outboxes: Where the processes that were started for this job send their results, in order of local rank.
        results: All results in the order of the tasks, once the trainer is done in this process.
    """

    def __init__(self, job: Callable[[Task], Result], count: int) -> None:
        super().__init__()
        self._job, self._count = job, count
        self._made: dict[int, Result] = {}
        self.report: Callable[[Result], None] | None = None
        self.outboxes: Sequence[Connection] = ()
        self.results: list[Result] = []

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Arrive in a process that was started for this job."""
        super().__setstate__(state)
        _silence()
        cv2.setNumThreads(1)
        exit_with_parent()

    def on_predict_start(self) -> None:
        """Prepare this process."""
        if self.outboxes:  # the trainer would put off the end that comes when another process has died
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if isinstance(self._job, LabelJob):
            with self._errors_sent():
                self._job.start(str(self.device), str(self.global_rank) if self.trainer.world_size > 1 else None)

    def predict_step(self, batch: tuple[int, Task]) -> bool:
        """Do one task."""
        index, task = batch
        if index < self._count:
            with self._errors_sent():
                self._made[index] = result = self._job(task)
            if self.report is not None:
                self.report(result)
            self._send({index: result})
        return True

    def on_predict_end(self) -> None:
        """Wait for all processes, then tidy up in the first."""
        world = self.trainer.world_size
        if world > max(1, len(self.outboxes)):  # other processes have results that this machine does not see
            everything: list[dict[int, Result]] = [{} for _ in range(world)]
            torch.distributed.all_gather_object(everything, self._made)
            self._made = {index: result for made in everything for index, result in made.items()}
            self._send(self._made)
        self.trainer.strategy.barrier()
        if isinstance(self._job, LabelJob) and self.global_rank == 0:
            with self._errors_sent():
                self._job.finish()
        self.trainer.strategy.barrier()
        self.results = [self._made[index] for index in sorted(self._made)]

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Leave tasks as they are."""
        return batch

    def _send(self, letter: dict[int, Result] | Exception) -> None:
        if self.outboxes:
            self.outboxes[self.local_rank].send(letter)

    @contextmanager
    def _errors_sent(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._send(error)
            raise


class _Items(Dataset[tuple[int, Any]]):
    """Numbered tasks, and padding after them."""

    def __init__(self, tasks: Sequence[Any], length: int) -> None:
        self._tasks, self._length = tasks, length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> tuple[int, Any]:
        return index, self._tasks[index] if index < len(self._tasks) else None


def predict_tasks(
    module: JobModule[Task, Result],
    tasks: Sequence[Task],
    *,
    devices: int,
    accelerator: str,
    num_nodes: int,
    launch: Literal["spawn", "cluster"] | None,
) -> None:
    """Run a trainer over tasks; it writes no files and says nothing.

    Args:
        module: The job.
        tasks: The work.
        devices: Processes per node.
        accelerator: What they compute on.
        num_nodes: Number of nodes.
        launch: Who starts the processes: this call, a cluster, or nobody as this process does the work.
    """
    with _quiet(), _kept_environment():
        trainer = Trainer(
            accelerator=accelerator,
            devices=devices,
            num_nodes=num_nodes,
            strategy=_strategy(launch),
            plugins=None if launch == "cluster" else [LightningEnvironment()],
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
        )
        items = _Items(tasks, max(len(tasks), trainer.world_size))
        loader = DataLoader(items, batch_size=None, collate_fn=_unchanged)
        try:
            trainer.predict(module, loader, return_predictions=False)
        except SystemExit as stop:  # what the trainer makes of an interrupt
            raise KeyboardInterrupt from stop


def _strategy(launch: Literal["spawn", "cluster"] | None) -> Strategy | str:
    if launch is None:
        return "auto"
    method: Literal["spawn", "popen"] = "spawn" if launch == "spawn" else "popen"
    # Only Python objects are exchanged, so gloo serves GPUs too.
    return DDPStrategy(process_group_backend="gloo", timeout=_PATIENCE, start_method=method)


def _unchanged(item: Any) -> Any:
    return item


@contextmanager
def _quiet() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in _CHATTY]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        _silence()
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _silence() -> None:
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")


@contextmanager
def _kept_environment() -> Iterator[None]:
    """Undo what the trainer leaves in the environment, such as a port that the next run would take for given."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
