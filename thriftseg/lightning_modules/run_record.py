"""The command of a run and its last scores, kept in its checkpoints."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class RunRecord(Callback):
    """Notes in every checkpoint which command trained it, what it logged, and how it scored in validation.

    Scores belong to the weights of one step. They are stored with that step, so a checkpoint written after further
    training steps is not taken for the one that was scored.

    Args:
        command: Command line that started the run.

    Attributes:
        loaded_step: Optimiser steps behind the checkpoint that was loaded; `None` before one is.
        metrics: All that was logged last, at the end of an epoch.

    Example:
        >>> record = RunRecord("thriftseg fit --name second")
        >>> record.load_state_dict({"command": "thriftseg fit --name first", "step": 300, "scores": {"val/miou": 0.5}})
        >>> record.state_dict()["command"], record.state_dict()["scores"]
        ('thriftseg fit --name second', {'val/miou': 0.5})
    """

    def __init__(self, command: str) -> None:
        self.command = command
        self.step: int | None = None
        self.loaded_step: int | None = None
        self.scores: dict[str, float] = {}
        self.metrics: dict[str, float] = {}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the scores of this validation."""
        if trainer.sanity_checking:
            return
        self.step = trainer.global_step
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.scores = {name: value for name, value in values.items() if name.startswith("val/")}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep what was logged; callbacks that write checkpoints come after this one."""
        self.metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Note how long the weights were trained that are validated, tested or trained on."""
        self.loaded_step = checkpoint["global_step"]

    def state_dict(self) -> dict[str, Any]:
        """Command, step, scores and all that was logged, in plain types."""
        return {
            "command": self.command,
            "step": self.step,
            "scores": dict(self.scores),
            "metrics": dict(self.metrics),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the scores of the resumed run; the command stays that of this run.

        Args:
            state_dict: What `state_dict` returned when the checkpoint was written.
        """
        self.step, self.scores = state_dict["step"], dict(state_dict["scores"])
        self.metrics = dict(state_dict.get("metrics", {}))
