from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from thriftseg.errors import ConfigError
from thriftseg.losses import BootstrappedCrossEntropy, CrossEntropy


def sorted_rule(losses: torch.Tensor, labelled: torch.Tensor, share: float) -> float:
    """Mean over images of the mean of the largest losses, by sorting."""
    means = []
    for image, valid in zip(losses.numpy(), labelled.numpy(), strict=True):
        ordered = np.sort(image[valid])[::-1]
        if len(ordered):
            means.append(ordered[: math.ceil(share * len(ordered))].mean())
    return float(np.mean(means))


def random_batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    logits = 2 * torch.randn(4, 2, 7, 9, generator=generator, dtype=torch.float64)
    target = torch.randint(0, 2, (4, 7, 9), generator=generator)
    target[torch.rand(target.shape, generator=generator) < 0.3] = 255
    target[2] = 255
    return logits, target


@pytest.mark.parametrize("share", [0.01, 0.25, 0.6, 1.0])
def test_matches_sorting_image_by_image(share):
    logits, target = random_batch()
    losses = torch.nn.functional.cross_entropy(logits, target, ignore_index=255, reduction="none")
    expected = sorted_rule(losses, target != 255, share)
    assert BootstrappedCrossEntropy(share)(logits, target).item() == pytest.approx(expected, rel=1e-12)


def test_each_image_keeps_its_own_share():
    """An easy image beside a hard one still trains on a quarter of its pixels."""
    logits = torch.zeros(2, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    offset = torch.zeros(2, 2, 4, 4, dtype=torch.float64)
    offset[0, 0] = 5.0
    BootstrappedCrossEntropy()(logits + offset, torch.zeros(2, 4, 4, dtype=torch.long)).backward()
    assert (logits.grad.abs().sum(1) > 0).flatten(1).sum(1).tolist() == [4, 4]


def test_keeping_everything_is_cross_entropy():
    logits, target = random_batch()
    assert torch.allclose(BootstrappedCrossEntropy(1.0, "pixel")(logits, target), CrossEntropy()(logits, target))


@pytest.mark.parametrize("share", [0.0, -0.1, 1.5])
def test_impossible_shares_are_refused(share):
    with pytest.raises(ConfigError, match="expected above 0, at most 1"):
        BootstrappedCrossEntropy(share)
