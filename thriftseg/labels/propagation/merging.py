"""From one map of logits per object to one map of object ids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from thriftseg.arrays import Float32Array, UInt16Array


def merge_logits(
    logits: Tensor | Float32Array, object_ids: Sequence[int], max_objects: int | None = None
) -> UInt16Array:
    """Give every pixel to the object with the largest logit above 0, to the smaller id among equals.

    Args:
        logits: One map per object, (K, H, W).
        object_ids: Ids of the objects, K of them, at least 1 each, in any order.
        max_objects: Objects that are merged at once; the result does not depend on it.

    Returns:
        Object ids, (H, W) uint16; 0 where no logit is above 0.

    Raises:
        ValueError: The number of ids is not that of the maps.

    Example:
        >>> logits = np.array([[[3, 2, -1, 0]], [[4, 2, -2, 0]]], np.float32)
        >>> merge_logits(logits, [1, 2]).tolist()
        [[2, 1, 0, 0]]
    """
    logits = torch.as_tensor(logits)
    merge = RunningMerge(logits.shape[1:], logits.device)
    step = max_objects or max(1, len(logits))
    for start in range(0, len(logits), step):
        merge.update(logits[start : start + step], object_ids[start : start + step])
    return merge.ids()


class RunningMerge:
    """The rule of `merge_logits` over logits that come in chunks of objects; no chunking changes the result.

    It holds two maps, whatever the number of objects, on the device of the logits.

    Args:
        size: Height and width.
        device: Where the logits lie.

    Example:
        >>> merge = RunningMerge((1, 2))
        >>> merge.update(torch.tensor([[[2.0, -1.0]]]), [7])
        >>> merge.update(torch.tensor([[[2.0, 1.0]]]), [5])
        >>> merge.ids().tolist()
        [[5, 5]]
    """

    def __init__(self, size: Sequence[int], device: torch.device | str = "cpu") -> None:
        self._best = torch.zeros(tuple(size), dtype=torch.float32, device=device)
        self._ids = torch.zeros(tuple(size), dtype=torch.int32, device=device)
        self._largest_id = 0

    @torch.no_grad()
    def update(self, logits: Tensor, object_ids: Sequence[int]) -> None:
        """Take in more objects.

        Args:
            logits: One map per object, (K, H, W).
            object_ids: Their ids, K of them, which no earlier chunk had.

        Raises:
            ValueError: The number of ids is not that of the maps.
        """
        for plane, object_id in zip(logits, object_ids, strict=True):
            wins = plane > self._best
            if object_id < self._largest_id:
                wins |= (plane == self._best) & (self._ids > object_id)
            self._best = torch.where(wins, plane, self._best)
            self._ids.masked_fill_(wins, object_id)
            self._largest_id = max(self._largest_id, object_id)

    @property
    def best_logits(self) -> Tensor:
        """Logit of the object that a pixel belongs to, (H, W) float32; 0 where there is none."""
        return self._best

    @property
    def owners(self) -> Tensor:
        """Object that a pixel belongs to, (H, W) int32 on the device; 0 where there is none."""
        return self._ids

    def ids(self) -> UInt16Array:
        """Object ids, (H, W) uint16; 0 where no logit is above 0."""
        return self._ids.cpu().numpy().astype(np.uint16)
