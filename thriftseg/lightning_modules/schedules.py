"""Learning-rate schedules counted in optimiser steps."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from thriftseg.errors import ConfigError


class PolyLR(LRScheduler):
    r"""Polynomial decay with an optional linear warm-up, advanced after every optimiser step.

    The learning rate is the initial one times
    \( \min(1, \tfrac{t + 1}{w + 1}) \, (m + (1 - m) (1 - t / T)^p) \) at step t of T, with w warm-up steps [0].

    The total is not part of the schedule's state: a resumed run decays towards the end of the run that resumes.

    References:
        [0] Liu, Rabinovich, Berg: ParseNet: Looking Wider to See Better, 2015. https://arxiv.org/abs/1506.04579

    Args:
        optimizer: Optimiser whose learning rates are scaled.
        total_steps: Step at which the schedule ends; the training module fills in the length of the run.
        power: Exponent p.
        min_factor: Factor m reached at the end.
        warmup_steps: Steps w until the full learning rate is reached.

    Raises:
        ConfigError: A setting is out of range, or a step is taken before the total is known.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        >>> schedule = PolyLR(optimizer, total_steps=4, power=1.0)
        >>> [(optimizer.step(), schedule.step(), schedule.get_last_lr()[0])[-1] for _ in range(4)]
        [0.75, 0.5, 0.25, 0.0]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: int | None = None,
        power: float = 0.9,
        min_factor: float = 0.0,
        warmup_steps: int = 0,
    ) -> None:
        if total_steps is not None and total_steps < 1:
            raise ConfigError("a schedule needs at least one step", found=total_steps)
        if power < 0 or not 0 <= min_factor <= 1 or warmup_steps < 0:
            raise ConfigError(
                "setting of PolyLR is out of range",
                expected="power >= 0, min_factor in [0, 1], warmup_steps >= 0",
                found=f"power={power}, min_factor={min_factor}, warmup_steps={warmup_steps}",
            )
        self.total_steps = total_steps
        self.power = power
        self.min_factor = min_factor
        self.warmup_steps = warmup_steps
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Tensor]:
        """Learning rate of every parameter group at the current step."""
        factor = self.factor(self.last_epoch)
        return [base * factor for base in self.base_lrs]

    def factor(self, step: int) -> float:
        """Factor on the initial learning rate after `step` optimiser steps.

        Args:
            step: Number of optimiser steps taken.

        Raises:
            ConfigError: The length of the run is not known yet.
        """
        if step > 0 and self.total_steps is None:
            raise ConfigError("PolyLR does not know the length of the run", fix="pass total_steps")
        remaining = 1.0 - min(step / self.total_steps, 1.0) if self.total_steps else 1.0
        ramp = min(1.0, (step + 1) / (self.warmup_steps + 1))
        decay: float = remaining**self.power
        return ramp * (self.min_factor + (1.0 - self.min_factor) * decay)

    def state_dict(self) -> dict[str, Any]:
        """State without the total, which belongs to the run and not to its past."""
        return {key: value for key, value in super().state_dict().items() if key != "total_steps"}
