"""Soft aggregation: independent probabilities of objects become logits of one choice per pixel."""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 1e-7


def aggregate(objects: Tensor) -> Tensor:
    r"""Logits of background and objects from one probability per object [0].

    The background has probability :math:`p_0 = \prod_k (1 - p_k)`; every probability is clamped to
    :math:`[10^{-7}, 1 - 10^{-7}]` and becomes :math:`\log \frac{p}{1 - p}`. An object that is absent (p = 0) gets the
    logit -16.118. Computed in float32 at least, as half precision cannot hold the clamp.

    [0] Oh et al., Fast Video Object Segmentation by Reference-Guided Mask Propagation, CVPR 2018.

    Args:
        objects: (B, N, H, W), probabilities of N objects in [0, 1]; N may be 0.

    Returns:
        (B, 1 + N, H, W), background first.

    Example:
        >>> logits = aggregate(torch.tensor([0.9, 0.2]).view(1, 2, 1, 1))
        >>> [round(value, 3) for value in logits.softmax(dim=1).flatten().tolist()]  # odds 0.087, 9 and 0.25
        [0.009, 0.964, 0.027]
    """
    objects = objects.to(torch.promote_types(objects.dtype, torch.float32))
    background = (1 - objects).prod(dim=1, keepdim=True)
    return torch.logit(torch.cat([background, objects], dim=1), eps=EPSILON)


def probabilities(logits: Tensor) -> Tensor:
    """Probabilities of the objects from aggregated logits: (B, 1 + N, H, W) -> (B, N, H, W)."""
    return logits.softmax(dim=1)[:, 1:]
