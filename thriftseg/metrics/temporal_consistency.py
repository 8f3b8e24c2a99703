"""Temporal consistency: does the prediction of a frame agree with that of the previous frame, moved along the flow?

All pairs of all videos share one confusion matrix, whose mean IoU is the score. A constant prediction scores 1: read it
next to the mIoU.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from thriftseg.errors import ConfigError
from thriftseg.flow import consistency_mask, consistency_mask_np, end_points, warp, warp_labels
from thriftseg.metrics.class_scores import Array, class_iou, class_totals, library_of, mean_of_known
from thriftseg.metrics.confusion import ConfusionMetric, check_same_shape, confusion_matrix
from thriftseg.metrics.joint_histogram import as_uint8

Rule = Literal["thriftseg", "vspw", "etc"]


def _check_flows(pred: Tensor, flow_backward: Tensor, flow_forward: Tensor) -> None:
    expected = (pred.shape[0], 2, *pred.shape[1:])
    for name, flow in (("flow_backward", flow_backward), ("flow_forward", flow_forward)):
        if pred.ndim != 3 or flow.shape != expected:
            raise ValueError(
                f"expected pred (N, H, W) and {name} (N, 2, H, W), found {tuple(pred.shape)} and {tuple(flow.shape)}"
            )


def _known(target: Tensor, num_classes: int, ignore_index: int) -> Tensor:
    """Ignore what is no class."""
    return target.masked_fill((target < 0) | (target >= num_classes), ignore_index)


def _warp_on_cpu(previous: Tensor, flow_backward: Tensor, flow_forward: Tensor, ignore_index: int) -> Tensor | None:
    """The warped maps through the quick array functions; `None` where those do not apply."""
    labels = as_uint8(previous)
    if labels is None or flow_backward.device.type != "cpu" or not 0 <= ignore_index <= 255:
        return None
    warped = torch.empty(previous.shape, dtype=torch.uint8)
    for index, label in enumerate(labels):
        backward, forward = flow_backward[index].float().numpy(), flow_forward[index].float().numpy()
        moved = warp_labels(label, backward, fill=ignore_index)
        moved[~consistency_mask_np(backward, forward)] = ignore_index
        warped[index] = torch.from_numpy(moved)
    return warped


def warp_previous(
    previous: Tensor, flow_backward: Tensor, flow_forward: Tensor, num_classes: int, ignore_index: int = 255
) -> Tensor:
    """The previous prediction as seen from the current frame.

    Args:
        previous: Predicted ids of frames t-1, (N, H, W).
        flow_backward: Flow t -> t-1, (N, 2, H, W).
        flow_forward: Flow t-1 -> t, (N, 2, H, W).
        num_classes: Number of classes.
        ignore_index: Id given to pixels that cannot be compared: unreliable flow, end point outside the image, or no
            class predicted there.

    Returns:
        Ids, (N, H, W).
    """
    warped = _warp_on_cpu(previous, flow_backward, flow_forward, ignore_index)
    if warped is None:
        moved, _ = warp(previous[:, None].long(), flow_backward, "nearest")
        warped = moved[:, 0].masked_fill(~consistency_mask(flow_backward, flow_forward), ignore_index)
    return _known(warped, num_classes, ignore_index)


def warp_next_nearest(following: Tensor, flow_forward: Tensor) -> Tensor:
    """The next prediction as the VSPW baseline sees it from the current frame.

    Positions are scaled as if the centres of the border pixels were the ends of the image and sampled as if the ends
    were half a pixel further out, so they drift by up to half a pixel. What lies outside becomes class 0.

    Args:
        following: Predicted ids of frames t, (N, H, W).
        flow_forward: Flow t-1 -> t, (N, 2, H, W).

    Returns:
        Ids seen from frames t-1, (N, H, W).
    """
    height, width = following.shape[1:]
    columns, rows = end_points(flow_forward.float())
    grid = torch.stack([2.0 * columns / max(width - 1, 1) - 1.0, 2.0 * rows / max(height - 1, 1) - 1.0], dim=-1)
    return F.grid_sample(following[:, None].float(), grid, mode="nearest", align_corners=False)[:, 0].long()


def warp_next_mixed(following: Tensor, flow_forward: Tensor) -> Tensor:
    """The next prediction as ETC sees it from the current frame.

    Ids are mixed bilinearly like colours and cut to whole numbers, which invents classes where regions meet. What lies
    outside takes the id at the border.

    Args:
        following: Predicted ids of frames t, (N, H, W).
        flow_forward: Flow t-1 -> t, (N, 2, H, W).

    Returns:
        Ids seen from frames t-1, (N, H, W).
    """
    mixed, _ = warp(following[:, None].double(), flow_forward.double())
    return (mixed[:, 0] + 1e-6).floor().long()  # inside a region the mixture may fall short of the id by rounding


def consistency_iou(totals: Array, rule: Rule) -> Array:
    """Consistency per class.

    Args:
        totals: (..., 3, C) as from `class_totals`.
        rule: See `TemporalConsistency`.

    Returns:
        (..., C) float64, NaN for the classes that the rule leaves out.

    Example:
        >>> totals = np.array([[5, 0, 0], [6, 0, 2], [7, 1, 0]])  # hits, truth, predictions
        >>> consistency_iou(totals, "vspw").tolist(), consistency_iou(totals, "etc").tolist()
        ([0.625, nan, 0.0], [0.625, 0.0, 0.0])
    """
    iou, truth, library = class_iou(totals), totals[..., 1, :], library_of(totals)
    if rule == "vspw":
        iou = library.where(truth == 0, np.nan, iou)
    elif rule == "etc":
        iou = library.where(truth.sum(-1)[..., None] == 0, np.nan, library.nan_to_num(iou))
    return iou


class TemporalConsistency(ConfusionMetric):
    r"""Mean IoU between predictions and flow-warped predictions of adjacent frames.

    Published scores follow different rules; on the same predictions and flow they differ by 0.1 and more.

    - "thriftseg" [0]: the prediction of t-1 is warped to t with the flow t -> t-1 (nearest pixel) and is the truth for
      the prediction of t. Pixels whose flow leaves the image or fails the forward-backward check
      :math:`|B + F|^2 \le 0.01 (|B|^2 + |F|^2) + 0.5` are ignored. Mean over classes with a union.
    - "vspw" [1]: the prediction of t is warped to t-1 with the flow t-1 -> t (nearest pixel, positions off by up to
      half a pixel) and compared with the prediction of t-1 as truth. No check; what comes from outside the image
      counts as class 0. Mean over classes that occur in the truth.
    - "etc" [2]: the prediction of t is warped to t-1 with the flow t-1 -> t by mixing ids bilinearly, and is the truth
      for the prediction of t-1. No check; borders are repeated. Mean over all classes, absent ones count 0.

    [0] Qiao et al., Human-in-the-Loop Video Semantic Segmentation Auto-Annotation, WACV 2023 (no public code).
    [1] Miao et al., VSPW: A Large-scale Dataset for Video Scene Parsing in the Wild, CVPR 2021,
    https://github.com/VSPW-dataset/VSPW_baseline.
    [2] Liu et al., Efficient Semantic Video Segmentation with Per-frame Inference, ECCV 2020,
    https://github.com/irfanICMLL/ETC-Real-time-Per-frame-Semantic-video-segmentation.

    Args:
        num_classes: Number of classes C.
        ignore_index: Id that is no class; pixels where the prediction that serves as truth has it are ignored.
        rule: "thriftseg", "vspw" or "etc".

    Raises:
        ConfigError: `num_classes` is below 1, or there is no such rule.

    Example:
        >>> consistency = TemporalConsistency(num_classes=2)
        >>> still = torch.zeros(1, 2, 1, 4)
        >>> consistency.update(torch.tensor([[[0, 0, 0, 1]]]), torch.tensor([[[0, 0, 1, 1]]]), still, still)
        >>> consistency.compute()["per_class"].tolist()
        [0.6666666666666666, 0.5]
    """

    def __init__(self, num_classes: int, ignore_index: int = 255, rule: Rule = "thriftseg") -> None:
        super().__init__(num_classes, ignore_index)
        if rule not in get_args(Rule):
            raise ConfigError("no such rule of temporal consistency", expected=", ".join(get_args(Rule)), found=rule)
        self.rule = rule

    def update(self, pred: Tensor, previous: Tensor, flow_backward: Tensor, flow_forward: Tensor) -> None:
        """Count the pairs of a batch.

        Args:
            pred: Predicted ids of frames t, (N, H, W).
            previous: Predicted ids of frames t-1, (N, H, W).
            flow_backward: Flow t -> t-1, (N, 2, H, W) in pixels.
            flow_forward: Flow t-1 -> t, (N, 2, H, W).

        Raises:
            ValueError: The shapes disagree, or the ids are not integers.
        """
        check_same_shape(pred, previous)
        _check_flows(pred, flow_backward, flow_forward)
        if self.rule == "thriftseg":
            target = warp_previous(previous, flow_backward, flow_forward, self.num_classes, self.ignore_index)
        elif self.rule == "vspw":
            pred = warp_next_nearest(pred, flow_forward)
            target = _known(previous.long(), self.num_classes, self.ignore_index)
        else:
            mixed = warp_next_mixed(pred, flow_forward)
            pred, target = previous, _known(mixed, self.num_classes, self.ignore_index)
        self.confusion += confusion_matrix(pred, target, self.num_classes, self.ignore_index)

    def update_checked(self, pred: Tensor, previous: Tensor, flow_backward: Tensor, mask: Tensor) -> None:
        """Count pairs whose flow was checked before, by the rule "thriftseg".

        Args:
            pred: Predicted ids of frames t, (N, H, W).
            previous: Predicted ids of frames t-1, (N, H, W).
            flow_backward: Flow t -> t-1, (N, 2, H, W) in pixels.
            mask: (N, H, W) bool, where it passes the forward-backward check.

        Raises:
            ValueError: The shapes disagree, the ids are not integers, or another rule was chosen.
        """
        if self.rule != "thriftseg":
            raise ValueError(f"the rule {self.rule!r} does not check the flow")
        check_same_shape(pred, previous)
        check_same_shape(mask, previous)
        _check_flows(pred, flow_backward, flow_backward)
        moved, inside = warp(previous[:, None], flow_backward, "nearest")
        target = moved[:, 0].masked_fill(~(inside & mask.bool()), self.ignore_index)
        target = _known(target, self.num_classes, self.ignore_index)
        self.confusion += confusion_matrix(pred, target, self.num_classes, self.ignore_index)

    def compute(self) -> dict[str, Tensor]:
        """The scores so far.

        Returns:
            `tc`, the mean over the classes that the rule counts, and `per_class` (C,), float64; NaN for classes that
            it leaves out.
        """
        iou = consistency_iou(class_totals(self.confusion), self.rule)
        return {"tc": mean_of_known(iou), "per_class": iou}
