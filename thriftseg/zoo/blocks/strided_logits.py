"""Logits of one pass through a network, at whatever stride a loss wants them."""

from __future__ import annotations

from typing import NamedTuple, Self

import torch.nn.functional as F
from torch import Tensor


class StridedLogits(NamedTuple):
    """Logits at the resolution of a network's last layer, to be resized once to the one that is asked for.

    Attributes:
        values: (N, C, h, w), computed from padded frames.
        padded: Height and width of the padded frames.
        size: Height and width of the frames.
        align_corners: Convention of bilinear resizing.

    Example:
        >>> import torch
        >>> logits = StridedLogits(torch.zeros(4, 2, 2, 3), (16, 24), (13, 24), align_corners=False)
        >>> logits.every(2).at(8).shape  # two of four rows, and two cells for 13 pixels
        torch.Size([2, 2, 2, 3])
    """

    values: Tensor
    padded: tuple[int, int]
    size: tuple[int, int]
    align_corners: bool

    def at(self, stride: int) -> Tensor:
        """Logits of each cell of `stride` x `stride` pixels; the last of a row or column may be cut by the border.

        Args:
            stride: Pixels per cell; 1 for the resolution of the frames.

        Returns:
            (N, C, ceil(H / stride), ceil(W / stride)).

        Example:
            >>> import torch
            >>> logits = StridedLogits(torch.zeros(1, 2, 2, 3), (16, 24), (13, 24), align_corners=False)
            >>> logits.at(1).shape, logits.at(4).shape
            (torch.Size([1, 2, 13, 24]), torch.Size([1, 2, 4, 6]))
        """
        cells = [-(-side // stride) for side in self.padded]
        logits = self.values
        if list(logits.shape[-2:]) != cells:
            logits = F.interpolate(logits, size=cells, mode="bilinear", align_corners=self.align_corners)
        return logits[..., : -(-self.size[0] // stride), : -(-self.size[1] // stride)]

    def every(self, step: int) -> Self:
        """Those of every `step`-th row of the batch, from the first on."""
        return self._replace(values=self.values[::step])
