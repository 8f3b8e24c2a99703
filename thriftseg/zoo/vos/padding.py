"""Padding that keeps the image in the middle."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from thriftseg.zoo.blocks.symbolic import is_symbolic


@dataclass(frozen=True)
class SplitPadding:
    """Zeros around an image, as many before as after it; an odd one goes after.

    Args:
        left: Columns before the image.
        right: Columns after the image.
        top: Rows above the image.
        bottom: Rows below the image.

    Example:
        >>> import torch
        >>> padding = SplitPadding.to_multiple(90, 151, 16)
        >>> padding
        SplitPadding(left=4, right=5, top=3, bottom=3)
        >>> padding.pad(torch.ones(1, 3, 90, 151)).shape
        torch.Size([1, 3, 96, 160])
    """

    left: int
    right: int
    top: int
    bottom: int

    @classmethod
    def to_multiple(cls, height: int, width: int, multiple: int) -> SplitPadding:
        """The padding after which both sides are multiples of a number."""
        rows, columns = -height % multiple, -width % multiple
        return cls(columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)

    def pad(self, image: Tensor) -> Tensor:
        """Surround (..., H, W) with zeros."""
        sides = (self.left, self.right, self.top, self.bottom)
        return F.pad(image, sides) if is_symbolic(sum(sides)) or any(sides) else image

    def crop(self, image: Tensor) -> Tensor:
        """Undo `pad` on (..., H', W')."""
        height, width = image.shape[-2:]
        return image[..., self.top : height - self.bottom, self.left : width - self.right]
