"""A training that gets a signal, or dies, at a chosen moment."""

from __future__ import annotations

import signal
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class Killed(Exception):
    """As if the process had been killed: nothing tidies up after it."""


class SignalAt(Callback):
    """Sends a signal to this process, or dies, in a training or validation batch.

    Args:
        after: Training batches before.
        signum: The signal; 0 to die.
        validation: In the validation batch that comes next, instead of the training batch.
    """

    def __init__(self, after: int, signum: int = int(signal.SIGTERM), validation: bool = False) -> None:
        self.left, self.signum, self.validation = after, signum, validation

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._strike(not self.validation)
        self.left -= 1

    def on_validation_batch_start(self, *arguments: Any) -> None:
        self._strike(self.validation)

    def _strike(self, now: bool) -> None:
        if not now or self.left:
            return
        self.left = -1
        if not self.signum:
            raise Killed
        signal.raise_signal(self.signum)
