"""Memory flow distillation: neighbour frames teach the labelled frame along the optical flow."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from thriftseg.errors import ConfigError
from thriftseg.flow import warp
from thriftseg.losses.terms import Loss, LossTerms, at_least_float32, check_same_maps, mean_over_pixels

ConsistencyWeight = Literal["exp_neg", "channel_l1", "printed", "none"]


def _consistency_weight(warped: Tensor, teacher: Tensor, rule: ConsistencyWeight) -> Tensor:
    """Trust in a neighbour, (B, C, H, W) or (B, 1, H, W)."""
    difference = (warped - teacher).abs()
    if rule == "channel_l1":
        return torch.exp(-difference.sum(dim=1, keepdim=True))
    return torch.exp(difference if rule == "printed" else -difference)


class MemoryFlowDistillation(Loss):
    r"""Squared difference of the prediction of a frame and that of a neighbour, moved along the flow.

    $$\frac{1}{\sum_i V(i)} \sum_i V(i) \sum_c W(c, i) \, \big(y_{f \to k}(c, i) - y_k(c, i)\big)^2$$

    with the student's softmax output $y_k$ on the target frame, that on the neighbour sampled where the flow k -> f
    points, $y_{f \to k}(c, i) = y_f(c, i + g(i))$, and $V(i) = 1$ where that lies inside the image. The weight $W$
    trusts the neighbour where it agrees with the teacher's output $y^T_k$, and gets no gradient:

    - "exp_neg": $\exp(-|y_{f \to k} - y^T_k|)$ of each class, in $[e^{-1}, 1]$;
    - "channel_l1": $\exp(-\sum_c |y_{f \to k} - y^T_k|)$, one value per pixel, in $[e^{-2}, 1]$;
    - "printed": $\exp(|y_{f \to k} - y^T_k|)$, the sign in the paper's equation, at odds with its text and figure;
    - "none": 1.

    The paper gives no normaliser; this is the mean over pixels. Sum the loss over the neighbours of a frame.

    [0] Liu et al., "WeClick: Weakly-Supervised Video Semantic Segmentation with Click Annotations", ACM MM 2021,
    arXiv 2107.03088, equation 3. The authors published no code.
    [1] The closest published relative: https://github.com/irfanICMLL/ETC-Real-time-Per-frame-Semantic-video-segmentation

    Args:
        weight: Rule of the consistency weight.
        detach_source: Let no gradient into the neighbour, so that it teaches the target frame.

    Raises:
        ConfigError: There is no such weight.

    Example:
        >>> loss, still = MemoryFlowDistillation(weight="none"), torch.zeros(1, 2, 1, 1)
        >>> sure, unsure = torch.tensor([100.0, 0.0]).view(1, 2, 1, 1), torch.zeros(1, 2, 1, 1)
        >>> loss(unsure, sure, still).item()  # 2 * (1 - 0.5)^2
        0.5
    """

    settings = ("weight", "detach_source")

    def __init__(self, weight: ConsistencyWeight = "exp_neg", detach_source: bool = True) -> None:
        super().__init__()
        if weight not in get_args(ConsistencyWeight):
            known = ", ".join(get_args(ConsistencyWeight))
            raise ConfigError("unknown weight of memory flow distillation", expected=known, found=weight)
        self.weight: ConsistencyWeight = weight
        self.detach_source = detach_source

    def terms(
        self,
        logits: Tensor,
        neighbour_logits: Tensor,
        flow: Tensor,
        teacher_logits: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> LossTerms:
        """Numerator and denominator of the loss.

        Args:
            logits: Student on the target frame k, (B, C, H, W); half precision is computed in float32.
            neighbour_logits: Student on the neighbour frame f, of the same shape; gets a gradient only if not
                `detach_source`.
            flow: Flow k -> f, (B, 2, H, W) in pixels of the logits; gets no gradient.
            teacher_logits: Teacher on the target frame, (B, C, H, W); gets no gradient. Not needed with weight "none".
            valid: (B, H, W) bool, False on padding (the same in both frames) and where the flow is unknown.

        Returns:
            Sum over the pixels that are valid and whose flow ends on a valid pixel, and their number.

        Raises:
            ValueError: The shapes do not fit together, or the teacher is missing.
        """
        check_same_maps(logits, neighbour_logits=neighbour_logits)
        prediction = at_least_float32(logits).softmax(dim=1)
        source = neighbour_logits.detach() if self.detach_source else neighbour_logits
        flow = flow.detach()
        warped, inside = warp(at_least_float32(source).softmax(dim=1), flow)
        if valid is not None:
            reached, _ = warp(valid[:, None], flow, "nearest")
            inside = inside & valid & reached[:, 0]
        squares = (warped - prediction).square()
        if self.weight != "none":
            if teacher_logits is None:
                raise ValueError(f"weight {self.weight!r} of memory flow distillation needs teacher_logits")
            check_same_maps(logits, teacher_logits=teacher_logits)
            teacher = at_least_float32(teacher_logits.detach()).softmax(dim=1)
            squares = squares * _consistency_weight(warped.detach(), teacher, self.weight)
        return mean_over_pixels(squares.sum(dim=1), inside)


def memory_flow_distillation(
    logits: Tensor,
    neighbour_logits: Tensor,
    flow: Tensor,
    teacher_logits: Tensor | None = None,
    weight: ConsistencyWeight = "exp_neg",
    detach_source: bool = True,
    valid: Tensor | None = None,
) -> Tensor:
    """Memory flow distillation of one neighbour, a scalar.

    See `MemoryFlowDistillation`, and its method `terms` for the tensors.

    Example:
        >>> neighbour = torch.tensor([[40.0, -40.0, 40.0]]).view(1, 1, 1, 3)
        >>> neighbour = torch.cat([neighbour, -neighbour], dim=1)
        >>> one_right = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 1, 3)
        >>> target = neighbour.roll(-1, dims=3)
        >>> memory_flow_distillation(target, neighbour, one_right, weight="none").item()
        0.0
        >>> memory_flow_distillation(neighbour, neighbour, one_right, weight="none").item()
        2.0
    """
    loss = MemoryFlowDistillation(weight, detach_source)
    return loss.forward(logits, neighbour_logits, flow, teacher_logits, valid)
