"""Cross entropy on the hardest pixels."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from thriftseg.errors import ConfigError
from thriftseg.losses.partial_cross_entropy import PartialCrossEntropy
from thriftseg.losses.terms import Reduction
from thriftseg.types import IGNORE_INDEX


class OHEMCrossEntropy(PartialCrossEntropy):
    r"""Cross entropy with online hard example mining [0], selecting as the public code of TDNet [1].

    A labelled pixel is kept if the probability of its class is below the threshold, $\ell > -\log(0.7)$. Where fewer
    than the share `min_kept` of the labelled pixels of the batch are that hard, the hardest share is kept instead. The
    selection carries no gradient. The mean is over the kept pixels; each process of a distributed run selects from its
    own part of the batch.

    The same selection with other defaults is in mmsegmentation [2], which fixes the number of kept pixels (100 000 per
    image) instead of their share.

    [0] Shrivastava et al., Training Region-based Object Detectors with Online Hard Example Mining, CVPR 2016.
    [1] https://github.com/feinanshan/TDNet, `OhemCELoss2D` in `Training/ptsemseg/loss`.
    [2] https://github.com/open-mmlab/mmsegmentation, `OHEMPixelSampler`.

    Args:
        threshold: Probability of the labelled class below which a pixel is hard.
        min_kept: Least share of the labelled pixels of a batch that is kept; one sixteenth in [1].
        reduction: "pixel" or "image" over the kept pixels; see `LabelMapLoss`.
        ignore_index: Label of the pixels to leave out.

    Raises:
        ConfigError: The threshold is not between 0 and 1, or the share not in 0 to 1.

    Example:
        >>> logits = torch.tensor([[5.0, 0.0], [0.0, 0.0]]).view(1, 2, 1, 2)  # an easy and a hard pixel of class 0
        >>> round(OHEMCrossEntropy()(logits, torch.zeros(1, 1, 2, dtype=torch.long)).item(), 4)
        0.6931
    """

    settings = ("threshold", "min_kept", *PartialCrossEntropy.settings)

    def __init__(
        self,
        threshold: float = 0.7,
        min_kept: float = 1 / 16,
        reduction: Reduction = "pixel",
        ignore_index: int = IGNORE_INDEX,
    ) -> None:
        super().__init__(reduction, ignore_index)
        if not (0 < threshold < 1 and 0 <= min_kept <= 1):
            raise ConfigError(
                "wrong OHEM setting",
                expected="0 < threshold < 1 and 0 <= min_kept <= 1",
                found=f"threshold {threshold}, min_kept {min_kept}",
            )
        self.threshold = threshold
        self.min_kept = min_kept

    def select(self, losses: Tensor, labelled: Tensor) -> Tensor:
        """Hard pixels, or the hardest ones where too few are hard; see `LabelMapLoss.select`."""
        hard = labelled & (losses > -math.log(self.threshold))
        fewest = math.ceil(self.min_kept * int(labelled.sum()))
        if int(hard.sum()) >= fewest:
            return hard
        candidates = torch.where(labelled, losses, -math.inf).flatten()
        hardest = torch.zeros_like(candidates, dtype=torch.bool)
        hardest[candidates.topk(fewest).indices] = True
        return hardest.view_as(labelled)


def ohem_cross_entropy(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    threshold: float = 0.7,
    min_kept: float = 1 / 16,
    reduction: Reduction = "pixel",
    ignore_index: int = IGNORE_INDEX,
) -> Tensor:
    """Cross entropy on hard pixels, a scalar; see `OHEMCrossEntropy`, and `LabelMapLoss.terms` for the tensors.

    Example:
        >>> target = torch.zeros(1, 1, 2, dtype=torch.long)
        >>> logits = torch.tensor([[[[9.0, 0.0]], [[0.0, 0.0]]]])
        >>> round(ohem_cross_entropy(logits, target, threshold=0.7, min_kept=1).item(), 4)
        0.3466
    """
    return OHEMCrossEntropy(threshold, min_kept, reduction, ignore_index).forward(logits, target, weight)
