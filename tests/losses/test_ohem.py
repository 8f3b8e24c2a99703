from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from thriftseg.errors import ConfigError
from thriftseg.losses import CrossEntropy, OHEMCrossEntropy


def losses_to_logits(losses: list[float]) -> torch.Tensor:
    """Two-class logits (1, 2, 1, n) for which class 0 has exactly these cross entropies."""
    p = torch.exp(-torch.tensor(losses, dtype=torch.float64))
    return torch.stack([p.log(), (1 - p).log()]).view(1, 2, 1, -1)


def sorted_rule(losses: np.ndarray, threshold: float, min_kept: float) -> float:
    """The selection as the public code describes it: sort, then cut at the threshold or at the least count."""
    ordered = np.sort(losses)[::-1]
    fewest = math.ceil(min_kept * len(ordered))
    hard = ordered[ordered > -math.log(threshold)]
    return float((hard if len(hard) >= fewest else ordered[:fewest]).mean())


@pytest.mark.parametrize(
    ("losses", "min_kept", "expected"),
    [
        ([2.0, 1.0, 0.1, 0.05], 0.25, 1.5),  # two hard pixels, more than a quarter
        ([2.0, 1.0, 0.1, 0.05], 0.75, (2.0 + 1.0 + 0.1) / 3),  # too few: filled up with the next hardest
        ([0.3, 0.2, 0.1, 0.05], 0.5, 0.25),  # none is hard
        ([0.3, 0.2, 0.1, 0.05], 0.0, 0.0),  # none is hard and none has to be kept
    ],
)
def test_keeps_the_hard_and_fills_up_with_the_hardest(losses, min_kept, expected):
    value = OHEMCrossEntropy(min_kept=min_kept)(losses_to_logits(losses), torch.zeros(1, 1, 4, dtype=torch.long))
    assert value.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("spread", [0.3, 1.0, 5.0])
@pytest.mark.parametrize("min_kept", [0.0, 1 / 16, 0.5, 1.0])
def test_matches_sorting(spread, min_kept):
    generator = torch.Generator().manual_seed(11)
    logits = spread * torch.randn(3, 4, 8, 8, generator=generator, dtype=torch.float64)
    target = torch.where(torch.rand(3, 8, 8, generator=generator) < 0.2, 255, logits.argmax(1))
    losses = torch.nn.functional.cross_entropy(logits, target, ignore_index=255, reduction="none")[target != 255]
    expected = sorted_rule(losses.numpy(), 0.7, min_kept)
    assert OHEMCrossEntropy(min_kept=min_kept)(logits, target).item() == pytest.approx(expected, rel=1e-9)


def test_keeping_everything_is_cross_entropy():
    logits, target = torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 4, 4))
    assert torch.allclose(OHEMCrossEntropy(min_kept=1.0)(logits, target), CrossEntropy()(logits, target))


def test_easy_pixels_get_no_gradient():
    logits = losses_to_logits([2.0, 1.0, 0.1, 0.05]).requires_grad_()
    OHEMCrossEntropy()(logits, torch.zeros(1, 1, 4, dtype=torch.long)).backward()
    assert logits.grad.abs().sum(1).flatten().gt(0).tolist() == [True, True, False, False]


@pytest.mark.parametrize("setting", [{"threshold": 1.0}, {"threshold": 0.0}, {"min_kept": 1.5}, {"min_kept": -0.1}])
def test_impossible_settings_are_refused(setting):
    with pytest.raises(ConfigError, match="expected 0 < threshold < 1 and 0 <= min_kept <= 1"):
        OHEMCrossEntropy(**setting)
