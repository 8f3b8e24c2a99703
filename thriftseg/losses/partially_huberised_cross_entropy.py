"""Cross entropy that is linear in the probability of badly fitting labels."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from thriftseg.errors import ConfigError
from thriftseg.losses.cross_entropy import cross_entropy_map
from thriftseg.losses.terms import LabelMapLoss, Reduction
from thriftseg.types import IGNORE_INDEX


class PartiallyHuberisedCrossEntropy(LabelMapLoss):
    r"""Partially Huberised cross entropy [0], for labels of which some are wrong.

    With the probability $p$ of the labelled class:

    $$\ell = \begin{cases} -\tau p + \log \tau + 1 & p \le 1 / \tau \\ -\log p & \text{else} \end{cases}$$

    The branches meet with equal value and slope. The gradient to the logits is that of the cross entropy times
    $\min(1, \tau p)$, so a label that the network firmly disbelieves has next to no pull.

    [0] Menon et al., Can Gradient Clipping Mitigate Label Noise?, ICLR 2020.
    [1] https://github.com/dmizr/phuber (a reproduction study).

    Args:
        tau: Inverse of the probability at which the branches meet, more than 1.
        reduction: "pixel" or "image"; see `LabelMapLoss`.
        ignore_index: Label of the pixels to leave out.

    Raises:
        ConfigError: `tau` is not more than 1.

    Example:
        >>> logits = torch.tensor([0.0, 20.0]).view(1, 2, 1, 1)  # label 0 has nearly probability 0
        >>> round(PartiallyHuberisedCrossEntropy(tau=3.0)(logits, torch.zeros(1, 1, 1, dtype=torch.long)).item(), 4)
        2.0986
    """

    settings = ("tau", *LabelMapLoss.settings)

    def __init__(self, tau: float = 3.0, reduction: Reduction = "pixel", ignore_index: int = IGNORE_INDEX) -> None:
        super().__init__(reduction, ignore_index)
        if not tau > 1:
            raise ConfigError("wrong Huber threshold", expected="tau > 1", found=tau)
        self.tau = tau

    def pixel_losses(self, logits: Tensor, target: Tensor) -> Tensor:
        """See `LabelMapLoss.pixel_losses`; ignored pixels have probability 1, which is on the branch of the log."""
        log_p = -cross_entropy_map(logits, target, ignore_index=self.ignore_index)
        p = log_p.exp()
        return torch.where(p <= 1 / self.tau, math.log(self.tau) + 1 - self.tau * p, -log_p)


def partially_huberised_cross_entropy(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    tau: float = 3.0,
    reduction: Reduction = "pixel",
    ignore_index: int = IGNORE_INDEX,
) -> Tensor:
    """Partially Huberised cross entropy, a scalar.

    See `PartiallyHuberisedCrossEntropy`, and `LabelMapLoss.terms` for the tensors.

    Example:
        >>> sure_and_wrong = torch.tensor([9.0, 0.0]).view(1, 2, 1, 1)
        >>> round(partially_huberised_cross_entropy(sure_and_wrong, torch.ones(1, 1, 1, dtype=torch.long)).item(), 4)
        2.0982
    """
    return PartiallyHuberisedCrossEntropy(tau, reduction, ignore_index).forward(logits, target, weight)
