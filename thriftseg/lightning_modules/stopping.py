"""Ending a training on a signal, between two batches, with all that is needed to go on."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.exceptions import SIGTERMException

from thriftseg.errors import Stopped


class LastCheckpoint(ModelCheckpoint):
    """Keeps the state after the last epoch as `last.ckpt`, or that between two batches in which a signal ended the run.

    `save_last` would write `last.ckpt` only together with a better checkpoint, so that a resumed run would begin at
    the best epoch and the end of training could be lost.

    Example:
        >>> callback = LastCheckpoint()
        >>> callback.filename, callback.monitor, callback.save_top_k
        ('last', None, 1)
    """

    def __init__(self) -> None:
        super().__init__(
            filename=self.CHECKPOINT_NAME_LAST,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
            save_on_exception=True,
        )

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save the state if the run was asked to end; after anything else it may be torn."""
        if not isinstance(exception, SIGTERMException) or trainer.state.fn != TrainerFn.FITTING:
            return
        if trainer.validating:  # it is repeated as a whole, as its scores so far are not kept
            progress: Any = trainer.fit_loop.epoch_loop.val_loop.batch_progress
            progress.reset()
            progress.total.ready = progress.total.started = 1  # what the trainer takes for a validation under way
        super().on_exception(trainer, pl_module, exception)


@contextmanager
def between_batches() -> Iterator[None]:
    """Let SIGTERM, or the first SIGINT, end a trainer between two batches.

    Raises:
        Stopped: It was ended so.

    Example:
        >>> try:
        ...     with between_batches():
        ...         raise SIGTERMException  # as the trainer does after the batch in which the signal came
        ... except Stopped as stopped:
        ...     print(stopped)
        stopped by SIGTERM; run the same command again to go on
    """
    received = signal.SIGTERM

    def ask_to_end(signum: int, frame: FrameType | None) -> None:
        nonlocal received
        received = signal.SIGINT
        signal.signal(signal.SIGINT, signal.default_int_handler)  # the second one ends it at once
        signal.raise_signal(signal.SIGTERM)

    # The trainer would call a handler that it finds, and so end in the middle of a step.
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL), signal.signal(signal.SIGINT, ask_to_end)
    try:
        yield
    except SIGTERMException:
        raise Stopped(received) from None
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])
