from __future__ import annotations

import math

import pytest
import torch

from thriftseg.errors import ConfigError
from thriftseg.losses import (
    PartiallyHuberisedCrossEntropy,
)


def test_infinite_logit_keeps_the_gradient_finite():
    logits = torch.tensor([-3e38, 3e38]).view(1, 2, 1, 1).requires_grad_()
    PartiallyHuberisedCrossEntropy()(logits, torch.zeros(1, 1, 1, dtype=torch.long)).backward()
    assert torch.isfinite(logits.grad).all()


def test_branches_meet_with_equal_slope():
    def loss_and_slope(p: float) -> tuple[float, float]:
        z = torch.tensor(math.log(p / (1 - p)), dtype=torch.float64, requires_grad=True)
        value = PartiallyHuberisedCrossEntropy(tau=3.0)(
            torch.stack([z, torch.zeros_like(z)]).view(1, 2, 1, 1), torch.zeros(1, 1, 1, dtype=torch.long)
        )
        value.backward()
        return value.item(), z.grad.item()

    below, above = loss_and_slope(1 / 3 - 1e-9), loss_and_slope(1 / 3 + 1e-9)
    assert below == pytest.approx(above, abs=1e-7)


@pytest.mark.parametrize("tau", [1.0, 0.5, float("nan")])
def test_tau_must_exceed_one(tau):
    with pytest.raises(ConfigError, match="expected tau > 1"):
        PartiallyHuberisedCrossEntropy(tau=tau)
