"""Share of the masks of present objects that are good enough: the measure of mask labels made from boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from thriftseg.arrays import Float64Array, Int64Array, UInt8Array
from thriftseg.errors import ConfigError
from thriftseg.metrics.confusion import check_same_shape
from thriftseg.metrics.joint_histogram import as_uint8, joint_histogram
from thriftseg.types import IGNORE_INDEX


def present_ious(
    pred: UInt8Array, target: UInt8Array, objects: Sequence[int] | None = None
) -> tuple[Int64Array, Float64Array]:
    """IoU of every object that the truth of a frame has.

    Args:
        pred: Predicted ids, (H, W) uint8.
        target: True ids, (H, W) uint8; 0 is background, pixels with 255 are left out.
        objects: Ids to look at; by default all.

    Returns:
        Ids and their IoU, each (n,), in order of the id.

    Example:
        >>> ids, iou = present_ious(np.array([[1, 0, 2, 2]], np.uint8), np.array([[1, 1, 2, 255]], np.uint8))
        >>> ids.tolist(), iou.tolist()
        ([1, 2], [0.5, 1.0])
    """
    counts = joint_histogram(target, pred)[:IGNORE_INDEX]
    of_target, of_pred, both = counts.sum(axis=1), counts.sum(axis=0)[:IGNORE_INDEX], counts.diagonal()
    ids = np.flatnonzero(of_target[1:]) + 1
    if objects is not None:
        ids = ids[np.isin(ids, np.asarray(objects, np.int64))]
    return ids, both[ids] / (of_target + of_pred - both)[ids]


class MaskRecall(Metric):
    """Share of the masks of present objects whose IoU reaches a threshold, and their mean J [0].

    A mask is an object in a frame whose truth has it; frames where it is absent do not count. Pixels with truth 255 are
    left out. The main scores are over all masks; `object_` ones average over the masks of an object first, so that
    long tracks do not outweigh short ones.

    [0] Voigtlaender et al., "Reducing the Annotation Effort for Video Object Segmentation Datasets", WACV 2021

    Args:
        thresholds: IoUs in (0, 1] that a mask must reach.

    Raises:
        ConfigError: A threshold is out of range.

    Example:
        >>> recall = MaskRecall()
        >>> recall.update(torch.tensor([[[1, 1, 0, 2]]]), torch.tensor([[[1, 1, 1, 2]]]))
        >>> scores = recall.compute()
        >>> round(scores["j_mean"].item(), 4), scores["recall_0.5"].item(), scores["recall_0.7"].item()
        (0.8333, 1.0, 0.5)
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    of_masks: Tensor
    of_objects: Tensor

    def __init__(self, thresholds: Sequence[float] = (0.5, 0.7)) -> None:
        super().__init__()
        for threshold in thresholds:
            if not 0 < threshold <= 1:
                raise ConfigError("threshold is out of range", expected="above 0, at most 1", found=threshold)
        self.thresholds = tuple(thresholds)
        for name in ("of_masks", "of_objects"):  # number, sum of J, sum of "reaches the threshold" per threshold
            self.add_state(name, torch.zeros(2 + len(self.thresholds), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, pred: Tensor, target: Tensor, objects: Sequence[int] | None = None) -> None:
        """Score frames of one sequence.

        Args:
            pred: Predicted ids, (T, H, W), any integer type.
            target: True ids, (T, H, W); 0 is background.
            objects: Ids to score; by default all that occur in the truth. An id means one object throughout a call.

        Raises:
            ValueError: The shapes differ or are not (T, H, W), or ids are not integers from 0 to 255.
        """
        check_same_shape(pred, target)
        pred_ids, target_ids = as_uint8(pred.cpu()), as_uint8(target.cpu())
        if pred.ndim != 3 or pred_ids is None or target_ids is None:
            raise ValueError(f"expected (T, H, W) of ids from 0 to 255, found {tuple(pred.shape)} of {pred.dtype}")
        found = [present_ious(*frames, objects) for frames in zip(pred_ids, target_ids, strict=True)]
        ids = np.concatenate([np.zeros(0, np.int64), *(frame_ids for frame_ids, _ in found)])
        iou = np.concatenate([np.zeros(0), *(frame_iou for _, frame_iou in found)])
        self._count(ids, iou)

    def add(self, ids: Int64Array, iou: Float64Array) -> None:
        """Count masks of one sequence whose IoU is known, as from `present_ious`.

        Args:
            ids: The object of each mask, (n,). An id means one object throughout a call.
            iou: IoU of each mask, (n,).
        """
        self._computed, self._update_count = None, self._update_count + 1  # what `Metric` does around `update`
        self._count(ids, iou)

    def _count(self, ids: Int64Array, iou: Float64Array) -> None:
        masks = np.column_stack([np.ones_like(iou), iou, iou[:, None] >= np.array(self.thresholds)])
        tracks = np.array([masks[ids == id_].mean(axis=0) for id_ in np.unique(ids)]).reshape(-1, masks.shape[1])
        for state, rows in ((self.of_masks, masks), (self.of_objects, tracks)):
            state += torch.from_numpy(rows.sum(axis=0)).to(state.device)

    def compute(self) -> dict[str, Tensor]:
        """The scores so far.

        Returns:
            Float64: `masks` and `objects`, their numbers, and over all masks `j_mean` and `recall_0.5` (and so on for
            other thresholds), as a mean over objects `object_j_mean` and `object_recall_0.5`; NaN without any mask.
        """
        names = ("j_mean", *(f"recall_{threshold:g}" for threshold in self.thresholds))
        scores = {"masks": self.of_masks[0], "objects": self.of_objects[0]}
        scores |= dict(zip(names, self.of_masks[1:] / self.of_masks[0], strict=True))
        per_object = self.of_objects[1:] / self.of_objects[0]
        return scores | {f"object_{name}": value for name, value in zip(names, per_object, strict=True)}
