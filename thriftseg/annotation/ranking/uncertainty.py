"""How unsure a network is of every pixel.

In the style of Qiao et al., "Human-in-the-Loop Video Semantic Segmentation Auto-Annotation", WACV 2023. Its measure of
uncertainty is not known to us: these are a reconstruction. The authors published no code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from thriftseg.errors import ConfigError
from thriftseg.flow import consistency_mask, warp

UncertaintyRule = Literal["entropy", "margin", "least_conf", "temporal"]


class Neighbour(NamedTuple):
    """The prediction of the frame before or after, and the flow that leads there and back.

    Attributes:
        probabilities: (C, H, W), as seen from that frame.
        flow: Flow from the frame in question to this one, (2, H, W) in pixels.
        flow_back: Flow from this one to the frame in question, (2, H, W).

    Example:
        >>> here = torch.tensor([1.0, 0.0]).view(2, 1, 1)
        >>> still = torch.zeros(2, 1, 1)
        >>> neighbours = [Neighbour(seen, still, still) for seen in (here, here.flip(0))]
        >>> [pixel_uncertainty(here, "temporal", [neighbour]).item() for neighbour in neighbours]
        [0.0, 1.0]
    """

    probabilities: Tensor
    flow: Tensor
    flow_back: Tensor


@torch.no_grad()
def pixel_uncertainty(
    probabilities: Tensor, rule: UncertaintyRule = "entropy", neighbours: Sequence[Neighbour] = ()
) -> Tensor:
    r"""Uncertainty of every pixel, from 0 to 1.

    With $P$ the probabilities of a pixel, $P_1 \ge P_2$ the two largest and $Q$ those of a neighbour moved along the
    flow, it is

    - "entropy": $-\sum_c P_c \log P_c / \log C$;
    - "margin": $1 - (P_1 - P_2)$;
    - "least_conf": $1 - P_1$;
    - "temporal": $\frac12 \sum_c (P_c - Q_c)^2$, averaged over the neighbours whose flow passes the forward-backward
      check there and stays in the image; 0 where none does.

    Args:
        probabilities: (C, H, W) of two classes or more, on any device; half precision is computed in float32.
        rule: One of the four.
        neighbours: The frame before and the frame after, as far as they exist; only "temporal" looks at them.

    Returns:
        (H, W) float on the same device.

    Raises:
        ConfigError: There is no such rule.
        ValueError: The shapes disagree, or there are fewer than two classes.

    Example:
        >>> probabilities = torch.tensor([0.5, 0.25, 0.25]).view(3, 1, 1)
        >>> [round(pixel_uncertainty(probabilities, rule).item(), 3) for rule in ("entropy", "margin", "least_conf")]
        [0.946, 0.75, 0.5]
    """
    if rule not in get_args(UncertaintyRule):
        raise ConfigError("unknown uncertainty", expected=", ".join(get_args(UncertaintyRule)), found=rule)
    if probabilities.ndim != 3 or len(probabilities) < 2:
        raise ValueError(f"expected probabilities (C, H, W) of two classes or more, found {tuple(probabilities.shape)}")
    probabilities = _at_least_float32(probabilities)
    if rule == "temporal":
        uncertainty = _temporal(probabilities, neighbours)
    elif rule == "entropy":
        uncertainty = torch.special.entr(probabilities).sum(dim=0) / math.log(len(probabilities))
    elif rule == "margin":
        first, second = probabilities.topk(2, dim=0).values
        uncertainty = 1 - (first - second)
    else:
        uncertainty = 1 - probabilities.amax(dim=0)
    return uncertainty.clamp(0, 1)  # rounding may leave the range by a little


def _temporal(probabilities: Tensor, neighbours: Sequence[Neighbour]) -> Tensor:
    total, comparable = torch.zeros_like(probabilities[0]), torch.zeros_like(probabilities[0])
    for neighbour in neighbours:
        flow, flow_back = neighbour.flow[None], neighbour.flow_back[None]
        valid = consistency_mask(flow, flow_back)[0]
        moved = warp(_at_least_float32(neighbour.probabilities)[None], flow)[0][0]
        distance = (probabilities - moved).square().sum(dim=0) / 2
        total += distance.where(valid, 0)
        comparable += valid
    return total / comparable.clamp(min=1)


def _at_least_float32(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
