"""Cross entropy with class weights."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from thriftseg.errors import ConfigError
from thriftseg.losses.terms import LabelMapLoss, Reduction, at_least_float32
from thriftseg.types import IGNORE_INDEX


def cross_entropy_map(
    logits: Tensor, target: Tensor, class_weights: Tensor | None = None, ignore_index: int = IGNORE_INDEX
) -> Tensor:
    """Cross entropy of each pixel; see `CrossEntropy`.

    Args:
        logits: (B, C, H, W); half precision is computed in float32.
        target: (B, H, W) int64 class indices or `ignore_index`.
        class_weights: (C,) factor by class; all 1 by default.
        ignore_index: Label of the pixels to leave out.

    Returns:
        (B, H, W), 0 where the label is ignored.
    """
    logits = at_least_float32(logits)
    weights = None if class_weights is None else class_weights.to(logits.dtype)
    return F.cross_entropy(logits, target, weight=weights, ignore_index=ignore_index, reduction="none")


class CrossEntropy(LabelMapLoss):
    r"""Cross entropy over the labelled pixels.

    $$\ell = -c_y \log \mathrm{softmax}(z)_y$$

    for logits $z$ (C,), label $y$ and class weight $c_y$. The reductions divide by the number of pixels or images, not
    by the sum of class weights as `torch.nn.CrossEntropyLoss` does; scale the weights to a mean near 1.

    Args:
        class_weights: One factor per class; all 1 by default or where the list is empty (which, unlike `null`, a
            command line can set over the list of a config).
        reduction: "pixel" or "image"; see `LabelMapLoss`.
        ignore_index: Label of the pixels to leave out.

    Raises:
        ConfigError: On the first batch, when the number of factors is not that of the classes.

    Example:
        >>> loss = CrossEntropy()
        >>> round(loss(torch.zeros(1, 4, 2, 2), torch.zeros(1, 2, 2, dtype=torch.long)).item(), 4)
        1.3863
        >>> loss(torch.zeros(1, 4, 2, 2), torch.full((1, 2, 2), 255)).item()
        0.0
    """

    class_weights: Tensor | None

    def __init__(
        self,
        class_weights: list[float] | None = None,
        reduction: Reduction = "pixel",
        ignore_index: int = IGNORE_INDEX,
    ) -> None:
        super().__init__(reduction, ignore_index)
        weights = None if not class_weights else torch.tensor(class_weights, dtype=torch.float32)
        self.register_buffer("class_weights", weights, persistent=False)

    def pixel_losses(self, logits: Tensor, target: Tensor) -> Tensor:
        """See `LabelMapLoss.pixel_losses`."""
        if self.class_weights is not None and len(self.class_weights) != logits.shape[1]:
            raise ConfigError(
                "class_weights do not fit the classes",
                expected=f"{logits.shape[1]} factors",
                found=len(self.class_weights),
            )
        return cross_entropy_map(logits, target, self.class_weights, self.ignore_index)


def cross_entropy(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    class_weights: list[float] | None = None,
    reduction: Reduction = "pixel",
    ignore_index: int = IGNORE_INDEX,
) -> Tensor:
    """Cross entropy over the labelled pixels, a scalar; see `CrossEntropy`, and `LabelMapLoss.terms` for the tensors.

    Unlike `torch.nn.functional.cross_entropy`, a batch without labels gives 0.

    Example:
        >>> logits = torch.zeros(1, 4, 1, 2)
        >>> round(cross_entropy(logits, torch.tensor([[[3, 255]]])).item(), 4)
        1.3863
        >>> cross_entropy(logits, torch.full((1, 1, 2), 255)).item()
        0.0
    """
    loss = CrossEntropy(class_weights, reduction, ignore_index).to(logits.device)
    return loss.forward(logits, target, weight)
