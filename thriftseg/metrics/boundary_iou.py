"""Boundary IoU on label maps: IoU of the inner boundary bands of each class.

The boundary of a mask is the set of its pixels within Chebyshev distance d of a pixel outside the mask or of the
outside of the image (Cheng et al., "Boundary IoU", CVPR 2021; https://github.com/bowenc0221/boundary-iou-api). On a
label map one test serves all classes: a pixel is boundary unless the (2d+1)-square around it holds a single id and
lies inside the image. Counts are summed over the data set, then divided.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import cv2
import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from thriftseg.arrays import BoolArray, Int64Array, UInt8Array
from thriftseg.errors import ConfigError
from thriftseg.metrics.class_scores import class_iou, mean_of_known
from thriftseg.metrics.confusion import check_num_classes, check_same_shape
from thriftseg.metrics.joint_histogram import as_uint8, joint_histogram

VoidRule = Literal["ignore_after", "ignore_before", "none"]

_MOST_CLASSES = 127  # the quick way codes an id and one bit, and one id for everything that is no class, in a byte


def boundary_width(ratio: float, height: int, width: int) -> int:
    """Width of the boundary band in pixels, `max(1, round(ratio * diagonal))`, halves to even.

    Example:
        >>> boundary_width(0.02, 1024, 2048), boundary_width(0.009, 300, 400)
        (46, 4)
    """
    return max(1, round(ratio * math.hypot(height, width)))


def _and_over_array(flags: BoolArray, step: int, length: int) -> BoolArray:
    """AND of `length` flags that lie `step` apart, starting at each position, in log2(length) passes."""
    covered = 1
    while covered < length:
        shift = min(covered, length - covered) * step
        flags = flags[:-shift] & flags[shift:]
        covered = min(2 * covered, length)
    return flags


def _code_with_interior(label: UInt8Array, d: int) -> UInt8Array:
    """`2 * id + interior` for an (H, W) map of ids up to 127, where `interior` is 0 on boundary pixels."""
    height, width = label.shape
    code = label + label
    if min(height, width) <= 2 * d:
        return code
    # Neighbours are taken on the flat map. Squares that wrap around an image side belong to pixels at that side,
    # which are boundary anyway.
    flat = label.reshape(-1)
    same_row = _and_over_array(flat[:-1] == flat[1:], 1, 2 * d)
    two_rows = same_row[:-width] & same_row[width:]
    two_rows &= flat[: two_rows.size] == flat[width : width + two_rows.size]
    constant = _and_over_array(two_rows, width, 2 * d)
    first_centre = d * width + d
    code.reshape(-1)[first_centre : first_centre + constant.size] |= constant.view(np.uint8)
    for side in (code[:, :d], code[:, width - d :]):
        side &= np.uint8(0xFE)
    return code


def _and_over_dim(flags: Tensor, dim: int, length: int) -> Tensor:
    """The same along a dimension of a tensor, `length` neighbours at a time."""
    covered = 1
    while covered < length:
        shift = min(covered, length - covered)
        size = flags.shape[dim] - shift
        flags = flags.narrow(dim, 0, size) & flags.narrow(dim, shift, size)
        covered = min(2 * covered, length)
    return flags


def boundary_map(label: Tensor, width: int) -> Tensor:
    """Boundary pixels of all classes of a label map.

    Args:
        label: Ids, (N, H, W).
        width: Width d of the band in pixels, at least 1.

    Returns:
        Bool, (N, H, W).

    Example:
        >>> boundary_map(torch.zeros(1, 4, 5, dtype=torch.int64), width=1)[0].int()
        tensor([[1, 1, 1, 1, 1],
                [1, 0, 0, 0, 1],
                [1, 0, 0, 0, 1],
                [1, 1, 1, 1, 1]], dtype=torch.int32)
    """
    _, rows, columns = label.shape
    boundary = torch.ones_like(label, dtype=torch.bool)
    if min(rows, columns) > 2 * width:
        same_row = _and_over_dim(label[..., :-1] == label[..., 1:], 2, 2 * width)
        same_column = label[:, :-1, : columns - 2 * width] == label[:, 1:, : columns - 2 * width]
        constant = _and_over_dim(same_row[:, :-1] & same_row[:, 1:] & same_column, 1, 2 * width)
        boundary[:, width : rows - width, width : columns - width] = ~constant
    return boundary


def _fold(label: UInt8Array, num_classes: int, ignore_index: int | None) -> UInt8Array:
    """Give all ids that are no class, and the ignored one, the code `num_classes`; they bound classes all the same."""
    if ignore_index is not None and ignore_index < num_classes:
        codes = np.minimum(np.arange(256), num_classes).astype(np.uint8)
        codes[ignore_index] = num_classes
        return np.asarray(cv2.LUT(label, codes), np.uint8)
    return np.asarray(cv2.threshold(label, num_classes, 0, cv2.THRESH_TRUNC)[1], np.uint8)


def _counts_by_histogram(
    pred: UInt8Array, target: UInt8Array, num_classes: int, d: int, ignore_index: int | None
) -> Int64Array:
    """Counts (3, C) of one image (H, W)."""
    pred, target = (_fold(label, num_classes, ignore_index) for label in (pred, target))
    ids = num_classes + 1
    histogram = joint_histogram(_code_with_interior(target, d), _code_with_interior(pred, d), rows=2 * ids)
    by_id = histogram[:, : 2 * ids].reshape(ids, 2, ids, 2)
    on_target, scored = by_id[:num_classes, 0], by_id[: ids if ignore_index is None else num_classes]
    predicted = scored[:, :, :num_classes, 0].sum(axis=(0, 1))
    return np.stack([on_target[:, :num_classes, 0].diagonal(), on_target.sum(axis=(1, 2)), predicted])


def _counts_by_bins(pred: Tensor, target: Tensor, num_classes: int, d: int, ignore_index: int | None) -> Tensor:
    """The same for a batch on any device with ids of any range."""

    def is_class(ids: Tensor) -> Tensor:
        known: Tensor = (ids >= 0) & (ids < num_classes)
        return known if ignore_index is None else known & (ids != ignore_index)

    def per_class(ids: Tensor, selected: Tensor) -> Tensor:
        return torch.bincount(ids[selected & is_class(ids)].long(), minlength=num_classes)

    in_pred, in_target = boundary_map(pred, d), boundary_map(target, d)
    if ignore_index is not None:
        in_pred &= is_class(target)
    both = in_pred & in_target & (pred == target)
    return torch.stack([per_class(target, both), per_class(target, in_target), per_class(pred, in_pred)])


def boundary_counts(
    pred: Tensor,
    target: Tensor,
    num_classes: int,
    width: int,
    void: VoidRule = "ignore_after",
    ignore_index: int = 255,
) -> Tensor:
    """Count boundary pixels per class.

    Args:
        pred: Predicted ids, (N, H, W), any integer type (uint8 on the CPU is quickest).
        target: True ids, (N, H, W).
        num_classes: Number of classes C.
        width: Width d of the boundary band in pixels, at least 1.
        void: What happens to pixels whose truth is `ignore_index` or no class, see `BoundaryIoU`.
        ignore_index: Id of pixels that are not scored.

    Returns:
        (3, C) int64: intersection, boundary pixels of the truth, boundary pixels of the prediction.

    Raises:
        ValueError: The shapes differ or are not (N, H, W), the ids are not integers, or the width is below 1.

    Example:
        >>> target, pred = torch.zeros(2, 1, 6, 6, dtype=torch.int64)
        >>> target[:, :, 3:], pred[:, :, 2:] = 1, 1
        >>> boundary_counts(pred, target, num_classes=2, width=1).tolist()
        [[8, 10], [14, 14], [12, 16]]
    """
    check_same_shape(pred, target)
    if pred.ndim != 3:
        raise ValueError(f"pred and target must be (N, H, W), found {tuple(pred.shape)}")
    if width < 1:
        raise ValueError(f"width of the boundary must be at least 1, found {width}")
    ignored = None if void == "none" else ignore_index
    if void == "ignore_before":
        no_class = (target == ignore_index) | (target < 0) | (target >= num_classes)
        pred, target = pred.masked_fill(no_class, ignore_index), target.masked_fill(no_class, ignore_index)
    pred_bytes, target_bytes = as_uint8(pred), as_uint8(target)
    if (
        pred_bytes is None
        or target_bytes is None
        or num_classes > _MOST_CLASSES
        or (ignored is not None and ignored < 0)
    ):
        return _counts_by_bins(pred, target, num_classes, width, ignored)
    counts = np.zeros((3, num_classes), np.int64)
    for pred_image, target_image in zip(pred_bytes, target_bytes, strict=True):
        counts += _counts_by_histogram(pred_image, target_image, num_classes, width, ignored)
    return torch.from_numpy(counts)


class BoundaryIoU(Metric):
    """Boundary IoU per class, counts pooled over the data set, and its mean.

    Pixels whose truth is `ignore_index` follow one of three rules, which differ much near void regions:

    - "ignore_after" (as in the panoptic code of the paper): boundaries are taken from the maps as they are, then void
      pixels are removed from all counts.
    - "ignore_before": the prediction is made void there first, so that every void edge becomes a boundary of both
      maps. Lenient.
    - "none": void is one more label; predictions on it count as wrong.

    Args:
        num_classes: Number of classes C.
        width: Width d of the boundary band in pixels.
        ratio: Width as a share of the image diagonal instead (0.02 in the paper); replaces `width`.
        void: The rule for void pixels.
        ignore_index: Id of void pixels in the truth.

    Raises:
        ConfigError: A setting is out of range, or there is neither a width nor a ratio.

    Example:
        >>> score = BoundaryIoU(num_classes=2, width=1)
        >>> target = torch.zeros(1, 6, 6, dtype=torch.int64)
        >>> target[:, :, 3:] = 1
        >>> score.update(target, target)
        >>> {name: value.tolist() for name, value in score.compute().items()}
        {'boundary_iou': 1.0, 'per_class': [1.0, 1.0]}
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    counts: Tensor

    def __init__(
        self,
        num_classes: int,
        width: int | None = 2,
        ratio: float | None = None,
        void: VoidRule = "ignore_after",
        ignore_index: int = 255,
    ) -> None:
        super().__init__()
        check_num_classes(num_classes)
        if ratio is not None and not ratio > 0:
            raise ConfigError("ratio of the boundary is out of range", expected="above 0", found=ratio)
        if ratio is None and (width is None or width < 1):
            raise ConfigError("width of the boundary is out of range", expected="at least 1 pixel", found=width)
        if void not in get_args(VoidRule):
            raise ConfigError("unknown void rule", expected=", ".join(get_args(VoidRule)), found=void)
        self.num_classes = num_classes
        self.width = width or 0
        self.ratio = ratio
        self.void: VoidRule = void
        self.ignore_index = ignore_index
        self.add_state("counts", torch.zeros(3, num_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, pred: Tensor, target: Tensor) -> None:
        """Count a batch.

        Args:
            pred: Predicted ids, (N, H, W).
            target: True ids, (N, H, W).

        Raises:
            ValueError: See `boundary_counts`.
        """
        d = self.width if self.ratio is None else boundary_width(self.ratio, *target.shape[-2:])
        self.counts += boundary_counts(pred, target, self.num_classes, d, self.void, self.ignore_index)

    def compute(self) -> dict[str, Tensor]:
        """The scores so far.

        Returns:
            `boundary_iou`, the mean over classes with a boundary, and `per_class` (C,), float64; NaN where there is
            nothing to count.
        """
        iou = class_iou(self.counts)
        return {"boundary_iou": mean_of_known(iou), "per_class": iou}
