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
        step: Optimiser steps before.
        signum: The signal; 0 to die.
        validation: In the first validation batch after these steps, instead of the training batch that follows.
    """

    def __init__(self, step: int, signum: int = int(signal.SIGTERM), validation: bool = False) -> None:
        self.step, self.signum, self.validation = step, signum, validation

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if not self.validation:
            self._strike(trainer)

    def on_validation_batch_start(self, trainer: Trainer, *arguments: Any) -> None:
        if self.validation:
            self._strike(trainer)

    def _strike(self, trainer: Trainer) -> None:
        if trainer.global_step != self.step or self.signum < 0:
            return
        signum, self.signum = self.signum, -1
        if not signum:
            raise Killed
        signal.raise_signal(signum)
