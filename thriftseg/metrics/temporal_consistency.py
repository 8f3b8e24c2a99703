"""Temporal consistency: does the prediction of a frame agree with that of the previous frame, moved along the flow?

The prediction of t-1 is warped to t with the flow t -> t-1 (nearest pixel) and serves as the truth for the prediction
of t. Pixels whose flow fails the forward-backward check or leaves the image are ignored. All pairs of all videos share
one confusion matrix; the score is its mean IoU (Qiao et al., "Human-in-the-Loop Video Semantic Segmentation
Auto-Annotation", WACV 2023). A constant prediction scores 1: read it next to the mIoU.
"""

from __future__ import annotations

import torch
from torch import Tensor

from thriftseg.flow import consistency_mask, consistency_mask_np, warp, warp_labels
from thriftseg.metrics.confusion import ConfusionMetric, check_same_shape, class_iou, confusion_matrix
from thriftseg.metrics.joint_histogram import as_uint8


def _check_flows(pred: Tensor, flow_backward: Tensor, flow_forward: Tensor) -> None:
    expected = (pred.shape[0], 2, *pred.shape[1:])
    for name, flow in (("flow_backward", flow_backward), ("flow_forward", flow_forward)):
        if pred.ndim != 3 or flow.shape != expected:
            raise ValueError(
                f"expected pred (N, H, W) and {name} (N, 2, H, W), found {tuple(pred.shape)} and {tuple(flow.shape)}"
            )


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
    return warped.masked_fill((warped < 0) | (warped >= num_classes), ignore_index)


class TemporalConsistency(ConfusionMetric):
    """Mean IoU between predictions and the flow-warped predictions of the frames before.

    Args:
        num_classes: Number of classes C.
        ignore_index: Id that is no class; pixels where the previous prediction has it are ignored.

    Raises:
        ConfigError: `num_classes` is below 1.

    Example:
        >>> consistency = TemporalConsistency(num_classes=2)
        >>> still = torch.zeros(1, 2, 1, 4)
        >>> consistency.update(torch.tensor([[[0, 0, 0, 1]]]), torch.tensor([[[0, 0, 1, 1]]]), still, still)
        >>> consistency.compute()["per_class"].tolist()
        [0.6666666666666666, 0.5]
    """

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
        target = warp_previous(previous, flow_backward, flow_forward, self.num_classes, self.ignore_index)
        self.confusion += confusion_matrix(pred, target, self.num_classes, self.ignore_index)

    def compute(self) -> dict[str, Tensor]:
        """The scores so far.

        Returns:
            `tc`, the mean over classes with a union, and `per_class` (C,), float64; NaN where there is nothing to
            count.
        """
        iou = class_iou(self.confusion)
        return {"tc": iou.nanmean(), "per_class": iou}
