"""Gated CRF against unfolded windows.

The reference is the textbook formulation: `torch.nn.functional.unfold` copies the window of every pixel, of the
features as of the probabilities, and autograd differentiates through it. It is calibrated against one `unfold` of the
probabilities, so that its cost can be judged on any machine.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.measure import Item, Outcome, medians, one_thread, speed_up
from thriftseg.losses import gated_crf_loss


def by_unfolding(probabilities: Tensor, image: Tensor, radius: int = 5, xy: float = 6.0, rgb: float = 0.1) -> Tensor:
    """Gated CRF loss with one kernel and without masks."""
    batch, _, height, width = probabilities.shape
    side = 2 * radius + 1

    def windows(x: Tensor) -> Tensor:
        return F.unfold(x, side, padding=radius).view(batch, x.shape[1], side**2, height, width)

    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    mesh = torch.stack([rows, columns])[None].expand(batch, -1, -1, -1)
    features = torch.cat([image / rgb, mesh / xy], dim=1)
    affinity = torch.exp(-0.5 * (windows(features) - features[:, :, None]).square().sum(dim=1))
    affinity = affinity * windows(torch.ones_like(image[:, :1]))[:, 0]
    affinity[:, side**2 // 2] = 0
    gathered = (affinity[:, None] * windows(probabilities)).sum(dim=2)
    return (affinity.sum() - (gathered * probabilities).sum()) / (batch * height * width)


def gated_crf(*size: int) -> Outcome:
    """Forward and backward on predictions (B, C, H, W)."""
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.randn(size, generator=generator).mul(2).softmax(dim=1).requires_grad_()
    noise = torch.rand(size[0], 3, *size[2:], generator=generator)
    image = F.avg_pool2d(noise, 3, stride=1, padding=1)

    def ours() -> tuple[Tensor, ...]:
        return torch.autograd.grad(gated_crf_loss(probabilities, image), probabilities)

    def reference() -> tuple[Tensor, ...]:
        return torch.autograd.grad(by_unfolding(probabilities, image), probabilities)

    expected = reference()[0]
    torch.testing.assert_close(ours()[0], expected, rtol=0, atol=1e-5 * expected.abs().max().item())
    with one_thread():
        outcome = speed_up(reference, ours, rounds=7)
        (unfold,) = medians(3, lambda: F.unfold(probabilities.detach(), 11, padding=5))
    calibration = f"; one unfold of the probabilities {unfold * 1e3:.1f} ms"
    return Outcome(outcome.ratio, outcome.detail + calibration, outcome.memory_ratio)


UNFOLD = "forward and backward, radius 5 / unfolded windows and autograd"
ITEMS = [
    Item(
        "gated_crf_96", f"Gated CRF [2, 19, 96, 96] {UNFOLD}", partial(gated_crf, 2, 19, 96, 96), 35, memory_at_least=30
    ),
    Item(
        "gated_crf_128",
        f"Gated CRF [2, 19, 128, 256] {UNFOLD}",
        partial(gated_crf, 2, 19, 128, 256),
        40,
        memory_at_least=30,
    ),
]
