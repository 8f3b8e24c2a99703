"""Temporal consistency loss: adjacent frames should agree along the optical flow."""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from thriftseg.errors import ConfigError
from thriftseg.flow import warp
from thriftseg.losses.terms import Loss, LossTerms, at_least_float32, check_same_maps, reduce_pixels

Distance = Literal["l2", "l1", "kl_sym", "ce_hard"]


def _pixel_distance(log_probabilities: Tensor, previous: Tensor, distance: Distance) -> Tensor:
    """Distance of (B, C, H, W) log probabilities to probabilities, (B, H, W)."""
    if distance == "ce_hard":
        return F.nll_loss(log_probabilities, previous.argmax(dim=1), reduction="none")
    difference = log_probabilities.exp() - previous
    if distance == "l2":
        return difference.square().sum(dim=1)
    if distance == "l1":
        return difference.abs().sum(dim=1)
    log_previous = previous.clamp(min=torch.finfo(previous.dtype).tiny).log()
    return (difference * (log_probabilities - log_previous)).sum(dim=1) / 2


class TemporalConsistencyLoss(Loss):
    r"""Distance of the prediction of a frame from that of the frame before, moved along the flow.

    $$\frac{\sum_p M(p) \, d\big(P_t(p), \, P_{t-1}(p + f_{t \to t-1}(p))\big)}{\max(1, \sum_p M(p))}$$

    for softmax outputs $P$, averaged over the pairs of frames; $M$ is 1 where the flow passes the forward-backward
    check and stays in the image. With $Q$ for the moved output, the distance $d(P, Q)$ is

    - "l2": $\sum_c (P - Q)^2$;
    - "l1": $\sum_c |P - Q|$;
    - "kl_sym": $\frac12 \mathrm{KL}(P \| Q) + \frac12 \mathrm{KL}(Q \| P)$;
    - "ce_hard": $-\log P(\arg\max_c Q)$, which gives frame t-1 no gradient.

    [0] In the style of Qiao et al., "Human-in-the-Loop Video Semantic Segmentation Auto-Annotation", WACV 2023. Its
    distance is not known to us: the four are a reconstruction. The authors published no code.

    Args:
        distance: "l2", "l1", "kl_sym" or "ce_hard".
        detach_previous: Let no gradient into frames t-1.

    Raises:
        ConfigError: There is no such distance.

    Example:
        >>> loss, still = TemporalConsistencyLoss("l1"), torch.zeros(1, 2, 1, 1)
        >>> sure, unsure = torch.tensor([100.0, 0.0]).view(1, 2, 1, 1), torch.zeros(1, 2, 1, 1)
        >>> loss(sure, unsure, still).item()  # (1 - 0.5) + (0.5 - 0)
        1.0
    """

    settings = ("distance", "detach_previous")

    def __init__(self, distance: Distance = "l2", detach_previous: bool = False) -> None:
        super().__init__()
        if distance not in get_args(Distance):
            raise ConfigError(
                "unknown distance of temporal consistency", expected=", ".join(get_args(Distance)), found=distance
            )
        self.distance: Distance = distance
        self.detach_previous = detach_previous

    def terms(self, logits: Tensor, previous_logits: Tensor, flow: Tensor, mask: Tensor | None = None) -> LossTerms:
        """Numerator and denominator of the loss.

        Args:
            logits: Frames t, (B, C, H, W), one pair of frames per row; half precision is computed in float32.
            previous_logits: Frames t-1, of the same shape.
            flow: Flow t -> t-1, (B, 2, H, W) in pixels of the logits; gets no gradient.
            mask: (B, H, W) bool, True where the flow can be trusted, as from `thriftseg.flow.consistency_mask`; all
                pixels by default. Pixels whose flow leaves the image never count.

        Returns:
            Sum over the pairs of the mean over their pixels, 0 for a pair without any, and the number of pairs.

        Raises:
            ValueError: The shapes do not fit together.
        """
        check_same_maps(logits, previous_logits=previous_logits)
        previous_logits = previous_logits.detach() if self.detach_previous else previous_logits
        warped, inside = warp(at_least_float32(previous_logits).softmax(dim=1), flow.detach())
        compared = inside if mask is None else inside & mask
        log_probabilities = F.log_softmax(at_least_float32(logits), dim=1)
        losses = _pixel_distance(log_probabilities, warped, self.distance)
        pairs = reduce_pixels(losses, compared, None, "image")
        return LossTerms(pairs.sum, pairs.count.new_tensor(len(logits)))


def temporal_consistency_loss(
    logits: Tensor,
    previous_logits: Tensor,
    flow: Tensor,
    mask: Tensor | None = None,
    distance: Distance = "l2",
    detach_previous: bool = False,
) -> Tensor:
    """Temporal consistency loss, a scalar.

    See `TemporalConsistencyLoss`, and its method `terms` for the tensors.

    Example:
        >>> certain, unsure = torch.tensor([40.0, -40.0]).view(1, 2, 1, 1), torch.zeros(1, 2, 1, 1)
        >>> still = torch.zeros(1, 2, 1, 1)
        >>> [temporal_consistency_loss(unsure, certain, still, distance=d).item() for d in ("l2", "l1")]
        [0.5, 1.0]
        >>> round(temporal_consistency_loss(unsure, certain, still, distance="ce_hard").item(), 4)
        0.6931
    """
    return TemporalConsistencyLoss(distance, detach_previous).forward(logits, previous_logits, flow, mask)
