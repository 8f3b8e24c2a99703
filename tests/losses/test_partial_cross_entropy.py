from __future__ import annotations

import numpy as np
import pytest
import torch

from thriftseg.losses import PartialCrossEntropy


def test_mean_over_the_clicks_by_the_formula():
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(2, 4, 30, 40, generator=generator, dtype=torch.float64)
    target = torch.full((2, 30, 40), 255)
    clicks = [(0, 3, 7, 2), (0, 29, 39, 0), (1, 0, 0, 3)]
    for b, y, x, label in clicks:
        target[b, y, x] = label
    scores = np.exp(logits.numpy())
    expected = np.mean([-np.log(scores[b, k, y, x] / scores[b, :, y, x].sum()) for b, y, x, k in clicks])
    assert PartialCrossEntropy()(logits, target).item() == pytest.approx(expected, rel=1e-12)
