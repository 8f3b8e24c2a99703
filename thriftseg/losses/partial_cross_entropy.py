"""Cross entropy on the few pixels that carry a label."""

from __future__ import annotations

from torch import Tensor

from thriftseg.losses.cross_entropy import cross_entropy_map
from thriftseg.losses.terms import LabelMapLoss, Reduction
from thriftseg.types import IGNORE_INDEX


class PartialCrossEntropy(LabelMapLoss):
    r"""Partial cross entropy [0]: cross entropy over clicked or otherwise sparsely labelled pixels only.

    $$L = -\frac{1}{|L|} \sum_{p \in L} \log \mathrm{softmax}(z_p)_{y_p}$$

    Unlabelled pixels get no gradient, and the scale of the loss does not depend on how many there are. Where clicks and
    masks meet in one batch, take reduction "image": pooled over pixels, a few clicks would vanish. The formula is that
    of `CrossEntropy` without class weights.

    [0] Tang et al., Normalized Cut Loss for Weakly-Supervised CNN Segmentation, CVPR 2018, eq. 1.

    Args:
        reduction: "pixel" or "image"; see `LabelMapLoss`.
        ignore_index: Label of the pixels to leave out.

    Example:
        >>> import torch
        >>> target = torch.full((1, 8, 8), 255)
        >>> target[0, 3, 4] = 1
        >>> round(PartialCrossEntropy()(torch.zeros(1, 4, 8, 8), target).item(), 4)
        1.3863
    """

    def pixel_losses(self, logits: Tensor, target: Tensor) -> Tensor:
        """See `LabelMapLoss.pixel_losses`."""
        return cross_entropy_map(logits, target, ignore_index=self.ignore_index)


def partial_cross_entropy(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    reduction: Reduction = "pixel",
    ignore_index: int = IGNORE_INDEX,
) -> Tensor:
    """Partial cross entropy, a scalar; see `PartialCrossEntropy`, and `LabelMapLoss.terms` for the tensors.

    Example:
        >>> import torch
        >>> round(partial_cross_entropy(torch.zeros(1, 2, 1, 3), torch.tensor([[[255, 1, 255]]])).item(), 4)
        0.6931
    """
    return PartialCrossEntropy(reduction, ignore_index).forward(logits, target, weight)
