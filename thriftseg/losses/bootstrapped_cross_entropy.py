"""Cross entropy on the hardest share of each image."""

from __future__ import annotations

import torch
from torch import Tensor

from thriftseg.errors import ConfigError
from thriftseg.losses.partial_cross_entropy import PartialCrossEntropy
from thriftseg.losses.terms import Reduction
from thriftseg.types import IGNORE_INDEX


class BootstrappedCrossEntropy(PartialCrossEntropy):
    r"""Cross entropy of the hardest pixels of each image [0], as Box2Seg is trained [1, 2].

    With \( n_b \) labelled pixels in image b, the \( \lceil 0.25\, n_b \rceil \) of them with the largest loss are
    kept; of equal ones those that come first. The selection carries no gradient. By default the mean is taken over the
    kept pixels of an image, then over the images.

    `OHEMCrossEntropy` differs in that it selects from the whole batch, and by a threshold.

    [0] Wu, Shen and van den Hengel, Bridging Category-level and Instance-level Semantic Image Segmentation,
        arXiv 1605.06885.
    [1] Luiten et al., PReMVOS: Proposal-generation, Refinement and Merging for Video Object Segmentation, ACCV 2018,
        https://github.com/JonathonLuiten/PReMVOS
    [2] Voigtlaender et al., Reducing the Annotation Effort for Video Object Segmentation Datasets, WACV 2021.

    Args:
        share: Share of the labelled pixels of each image that is kept.
        reduction: "image" or "pixel" over the kept pixels; see `LabelMapLoss`.
        ignore_index: Label of the pixels to leave out.

    Raises:
        ConfigError: The share is not above 0 and at most 1.

    Example:
        >>> logits = torch.tensor([[5.0, 3.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]]).view(1, 2, 1, 4)
        >>> round(BootstrappedCrossEntropy()(logits, torch.zeros(1, 1, 4, dtype=torch.long)).item(), 4)
        0.6931
    """

    settings = ("share", *PartialCrossEntropy.settings)

    def __init__(self, share: float = 0.25, reduction: Reduction = "image", ignore_index: int = IGNORE_INDEX) -> None:
        super().__init__(reduction, ignore_index)
        if not 0 < share <= 1:
            raise ConfigError("share of the hardest pixels", expected="above 0, at most 1", found=share)
        self.share = share

    def select(self, losses: Tensor, labelled: Tensor) -> Tensor:
        """The hardest pixels of each image; see `LabelMapLoss.select`."""
        candidates = torch.where(labelled, losses, -torch.inf).flatten(1)
        ranks = candidates.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        kept = (self.share * labelled.flatten(1).sum(1).double()).ceil()
        return (ranks < kept[:, None]).view_as(labelled)


def bootstrapped_cross_entropy(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    share: float = 0.25,
    reduction: Reduction = "image",
    ignore_index: int = IGNORE_INDEX,
) -> Tensor:
    """Cross entropy on the hardest pixels, a scalar; see `BootstrappedCrossEntropy` and `LabelMapLoss.terms`.

    Example:
        >>> logits = torch.tensor([[[[9.0, 0.0]], [[0.0, 0.0]]]])
        >>> round(bootstrapped_cross_entropy(logits, torch.zeros(1, 1, 2, dtype=torch.long), share=0.5).item(), 4)
        0.6931
    """
    return BootstrappedCrossEntropy(share, reduction, ignore_index).forward(logits, target, weight)
