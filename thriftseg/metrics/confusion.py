"""Scores from one confusion matrix over the whole data set: IoU, accuracy, pixel accuracy, frequency weighted IoU.

The conventions are those of the Cityscapes benchmark (https://github.com/mcordts/cityscapesScripts):
pixels whose truth is ignored never count; predicting an ignored or unknown id on a labelled pixel is a miss for the
true class and a false positive for nobody; a class that occurs neither in truth nor in predictions is left out of the
mean; a class that is only predicted enters it with 0.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from thriftseg.errors import ConfigError
from thriftseg.metrics.class_scores import class_accuracy, class_iou, class_totals, semantic_scores
from thriftseg.metrics.joint_histogram import as_uint8, joint_histogram


def check_num_classes(num_classes: int) -> None:
    """Refuse a class count that makes no sense.

    Raises:
        ConfigError: It is below 1.
    """
    if num_classes < 1:
        raise ConfigError("num_classes is out of range", expected="at least 1", found=num_classes)


def check_same_shape(pred: Tensor, target: Tensor) -> None:
    """Refuse maps that cannot be compared pixel by pixel.

    Raises:
        ValueError: The shapes differ, or one of the tensors holds no ids.
    """
    if pred.shape != target.shape:
        raise ValueError(f"pred and target must have the same shape, found {tuple(pred.shape)}, {tuple(target.shape)}")
    if pred.is_floating_point() or target.is_floating_point():
        raise ValueError(f"pred and target must hold integer ids, found {pred.dtype}, {target.dtype}")


def unknown_target(ids: list[int], num_classes: int, ignore_index: int) -> ValueError:
    """The error for a truth that is neither a class nor ignored."""
    return ValueError(f"target holds ids {ids[:5]}; expected 0..{num_classes - 1} or ignore_index = {ignore_index}")


def _matrix_from_histogram(histogram: Tensor, num_classes: int, ignore_index: int) -> Tensor:
    """Cut the confusion matrix out of the counts of all pairs of 8-bit ids."""
    occurs = histogram[num_classes:].any(dim=1)
    unknown = [id_ for id_ in (occurs.nonzero().flatten() + num_classes).tolist() if id_ != ignore_index]
    if unknown:
        raise unknown_target(unknown, num_classes, ignore_index)
    rows = histogram[:num_classes]
    matrix = torch.cat([rows[:, :num_classes], rows[:, num_classes:].sum(dim=1, keepdim=True)], dim=1)
    if 0 <= ignore_index < num_classes:
        matrix[:, num_classes] += matrix[:, ignore_index]
        matrix[:, ignore_index] = 0
        matrix[ignore_index] = 0
    return matrix


def _matrix_by_bins(pred: Tensor, target: Tensor, num_classes: int, ignore_index: int) -> Tensor:
    """The same for any device and any range of ids."""
    pred, target = pred.long().flatten(), target.long().flatten()
    ignored = target == ignore_index
    unknown = ~ignored & ((target < 0) | (target >= num_classes))
    if unknown.any():
        raise unknown_target(target[unknown].unique().tolist(), num_classes, ignore_index)
    other = (pred < 0) | (pred >= num_classes) | (pred == ignore_index)
    code = target * (num_classes + 1) + pred.masked_fill(other, num_classes)
    cells = num_classes * (num_classes + 1)
    counts = torch.bincount(code.masked_fill(ignored, cells), minlength=cells + 1)
    return counts[:cells].view(num_classes, num_classes + 1)


def confusion_matrix(pred: Tensor, target: Tensor, num_classes: int, ignore_index: int = 255) -> Tensor:
    """Count pixels by true and predicted class.

    Args:
        pred: Predicted ids, any shape, any integer type (uint8 on the CPU is quickest).
        target: True ids of the same shape: classes or `ignore_index`.
        num_classes: Number of classes C.
        ignore_index: Id of pixels that are not scored.

    Returns:
        (C, C + 1) int64: rows are true classes, columns predicted classes, the last column predictions of any other
        id (misses that are a false positive for nobody).

    Raises:
        ValueError: The shapes differ, the ids are not integers, or `target` holds an id that is neither.

    Example:
        >>> confusion_matrix(torch.tensor([0, 1, 255, 0]), torch.tensor([0, 0, 1, 255]), num_classes=2)
        tensor([[1, 1, 0],
                [0, 0, 1]])
    """
    check_same_shape(pred, target)
    pred_bytes, target_bytes = as_uint8(pred), as_uint8(target)
    if pred_bytes is None or target_bytes is None or num_classes > 256:
        return _matrix_by_bins(pred, target, num_classes, ignore_index)
    histogram = torch.from_numpy(joint_histogram(target_bytes, pred_bytes))
    return _matrix_from_histogram(histogram, num_classes, ignore_index)


def confusion_scores(confusion: Tensor) -> dict[str, Tensor]:
    """Turn a confusion matrix into scores.

    Args:
        confusion: (C, C + 1) as from `confusion_matrix`.

    Returns:
        The scores of `semantic_scores`, `iou` (C,) from `class_iou`, `accuracy` (C,) from `class_accuracy`, and the
        matrix as `confusion`.
    """
    totals = class_totals(confusion)
    per_class = {"iou": class_iou(totals), "accuracy": class_accuracy(totals)}
    return {**semantic_scores(totals), **per_class, "confusion": confusion}


class ConfusionMetric(Metric):
    """A metric whose only state is a pooled confusion matrix, (C, C + 1) as from `confusion_matrix`.

    Args:
        num_classes: Number of classes C.
        ignore_index: Id of pixels that are not scored.

    Raises:
        ConfigError: `num_classes` is below 1.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    confusion: Tensor

    def __init__(self, num_classes: int, ignore_index: int = 255) -> None:
        super().__init__()
        check_num_classes(num_classes)
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        zeros = torch.zeros(num_classes, num_classes + 1, dtype=torch.int64)
        self.add_state("confusion", zeros, dist_reduce_fx="sum")


class ConfusionScores(ConfusionMetric):
    """Pooled mIoU, mean accuracy, pixel accuracy and frequency weighted IoU, also per class.

    Args:
        num_classes: Number of classes C.
        ignore_index: Id of pixels that are not scored.

    Raises:
        ConfigError: `num_classes` is below 1.

    Example:
        >>> scores = ConfusionScores(num_classes=3)
        >>> scores.update(torch.tensor([[[0, 0], [1, 1]]]), torch.tensor([[[0, 0], [0, 255]]]))
        >>> result = scores.compute()
        >>> round(result["miou"].item(), 4), result["iou"].tolist()
        (0.3333, [0.6666666666666666, 0.0, nan])
    """

    def update(self, pred: Tensor, target: Tensor) -> None:
        """Count a batch.

        Args:
            pred: Predicted ids, (N, H, W).
            target: True ids, (N, H, W).

        Raises:
            ValueError: See `confusion_matrix`.
        """
        self.confusion += confusion_matrix(pred, target, self.num_classes, self.ignore_index)

    def compute(self) -> dict[str, Tensor]:
        """The scores so far, as from `confusion_scores`."""
        return confusion_scores(self.confusion)
