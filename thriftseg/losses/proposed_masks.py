"""Losses of networks that propose masks for an object and tell how good each of them is."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from thriftseg.errors import ConfigError
from thriftseg.losses.terms import LossTerms
from thriftseg.types import IGNORE_INDEX


class ProposedMaskTerms(NamedTuple):
    """Four losses, each a sum over objects and their number.

    Attributes:
        focal: Of the best proposal.
        dice: Of the best proposal.
        quality: Of the predicted IoU of all proposals.
        score: Of the predicted visibility.

    Example:
        >>> from thriftseg.losses import proposed_mask_terms
        >>> absent = torch.zeros(1, 1, 2, dtype=torch.int64)  # an object that the frame does not show
        >>> terms = proposed_mask_terms(torch.zeros(1, 1, 1, 2), torch.ones(1, 1), torch.zeros(1), absent)
        >>> round(terms.score.mean().item(), 4), terms.dice.sum.item()  # log(2), and no mask to judge
        (0.6931, 0.0)
    """

    focal: LossTerms
    dice: LossTerms
    quality: LossTerms
    score: LossTerms


def proposed_mask_terms(
    masks: Tensor,
    quality: Tensor,
    score: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    focal_weight: float = 20.0,
    dice_weight: float = 1.0,
    alpha: float = 0.25,
    gamma: float = 2.0,
) -> ProposedMaskTerms:
    r"""The losses that SAM 2 is trained with [0].

    With the probability $p$ of a proposal, the truth $t \in \{0, 1\}$, $p_t$ the probability of the truth and
    $\alpha_t$ = `alpha` where the object is and $1 - \alpha$ elsewhere, over the labelled pixels of an object:

    $$\text{focal} = \operatorname{mean} -\alpha_t (1 - p_t)^\gamma \log p_t, \qquad
      \text{dice} = 1 - \frac{2 \sum p t + 1}{\sum p + \sum t + 1}$$

    Of the proposals for an object, the one with the least `focal_weight` * focal + `dice_weight` * dice is trained. The
    quality is the mean over all proposals of |predicted IoU - IoU of the mask above 0|, the score the cross entropy of
    whether any labelled pixel shows the object. An object that is not visible has a score only; an object without a
    labelled pixel counts in none.

    [0] Ravi et al., SAM 2: Segment Anything in Images and Videos, ICLR 2025, appendix D.2.
    [1] https://github.com/facebookresearch/sam2

    Args:
        masks: (K, M, H, W) logits of M proposals for K objects.
        quality: (K, M) predicted IoU.
        score: (K,) logits of visibility.
        target: (K, H, W) integers: 1 where the object is, 0 elsewhere, 255 for pixels to leave out.
        weight: (K,) factor on the losses of each object; 1 by default.
        focal_weight: Of the focal loss in the choice of the proposal.
        dice_weight: Of the dice loss in the choice of the proposal.
        alpha: Weight of the pixels of the object, 0..1.
        gamma: How little well-classified pixels count, 0 or more.

    Raises:
        ConfigError: The shapes do not agree.

    Example:
        >>> target = torch.tensor([[[1, 0]]])
        >>> terms = proposed_mask_terms(torch.zeros(1, 1, 1, 2), torch.ones(1, 1), torch.zeros(1), target)
        >>> round(terms.focal.mean().item(), 4), round(terms.dice.mean().item(), 4)  # log(2) / 8; 1 - 2 / 3
        (0.0866, 0.3333)
    """
    objects, proposals = masks.shape[:2]
    expected = {"quality": (objects, proposals), "score": (objects,), "target": (objects, *masks.shape[2:])}
    for name, given in (("quality", quality), ("score", score), ("target", target)):
        if tuple(given.shape) != expected[name]:
            raise ConfigError(f"shape of the {name} of proposed masks", expected=expected[name], found=given.shape)
    labelled = (target != IGNORE_INDEX).to(masks.dtype)
    truth = (target == 1).to(masks.dtype)
    pixels = labelled.flatten(1).sum(dim=1)
    counted, visible = pixels > 0, truth.flatten(1).sum(dim=1) > 0

    targets = truth.unsqueeze(1).expand_as(masks)
    inside = labelled.unsqueeze(1)
    p = masks.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(masks, targets, reduction="none")
    p_t = p * targets + (1 - p) * (1 - targets)
    alpha_t = alpha * targets + (1 - alpha) * (1 - targets)
    focal = (alpha_t * (1 - p_t) ** gamma * entropy * inside).flatten(2).sum(dim=2) / pixels.clamp(min=1).unsqueeze(1)
    common = (p * targets * inside).flatten(2).sum(dim=2)
    dice = 1 - (2 * common + 1) / ((p * inside).flatten(2).sum(dim=2) + targets.flatten(2).sum(dim=2) + 1)

    found = (masks.detach() > 0).to(masks.dtype) * inside
    both = (found * targets).flatten(2).sum(dim=2)
    union = (found + targets - found * targets).flatten(2).sum(dim=2)
    off = (quality - both / union.clamp(min=1)).abs().mean(dim=1)
    seen = F.binary_cross_entropy_with_logits(score, visible.to(score.dtype), reduction="none")

    best = (focal_weight * focal + dice_weight * dice).detach().argmin(dim=1, keepdim=True)
    factor = masks.new_ones(objects) if weight is None else weight
    count = counted.sum().to(masks.dtype)
    return ProposedMaskTerms(
        *(
            LossTerms(torch.where(entering, factor * values, torch.zeros_like(values)).sum(), count)
            for values, entering in (
                (focal.gather(1, best)[:, 0], visible),
                (dice.gather(1, best)[:, 0], visible),
                (off, visible),
                (seen, counted),
            )
        )
    )
