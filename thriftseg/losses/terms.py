"""Base classes of the losses: numerator and denominator, reductions, checks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from thriftseg.errors import ConfigError
from thriftseg.types import IGNORE_INDEX

Reduction = Literal["pixel", "image"]


@dataclass(frozen=True)
class LossTerms:
    """A loss as a fraction, so that several processes can divide by the count of all of them.

    Attributes:
        sum: Scalar numerator, carries the gradient.
        count: Scalar denominator without gradient: pixels or images that entered the sum.

    Example:
        >>> here, there = LossTerms(torch.tensor(6.0), torch.tensor(3)), LossTerms(torch.tensor(1.0), torch.tensor(1))
        >>> here.mean().item(), LossTerms(here.sum + there.sum, here.count + there.count).mean().item()
        (2.0, 1.75)
        >>> LossTerms(torch.tensor(0.0), torch.tensor(0)).mean().item()
        0.0
    """

    sum: Tensor
    count: Tensor

    def mean(self) -> Tensor:
        """The loss of this batch: `sum / count`, and exactly 0 with zero gradients where nothing is labelled."""
        return self.sum / self.count.clamp(min=1)


class Loss(nn.Module, ABC):
    """A loss that is known as a fraction.

    Attributes:
        settings: Names of the attributes that are shown when the module is printed.

    Example:
        >>> class Absolute(Loss):
        ...     def terms(self, logits, target):
        ...         return LossTerms((logits - target).abs().sum(), torch.tensor(logits.numel()))
        >>> Absolute()(torch.tensor([1.0, 4.0]), torch.tensor([0.0, 2.0])).item()
        1.5
    """

    settings: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def terms(self, *args: Any, **kwargs: Any) -> LossTerms:
        """Numerator and denominator of the loss."""

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """The loss as a scalar; arguments as for `terms`."""
        return self.terms(*args, **kwargs).mean()

    def extra_repr(self) -> str:
        """Settings shown when the module is printed."""
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in self.settings)


class LabelMapLoss(Loss):
    r"""A loss that compares logits with a label map pixel by pixel.

    With the loss $\ell_{bp}$ of a labelled pixel $p \in L_b$ of image $b$ and the weight $w_b$ of the image:

    - reduction "pixel": $\sum_b w_b \sum_{p \in L_b} \ell_{bp} \,/\, \sum_b |L_b|$.
      Every labelled pixel counts the same.
    - reduction "image": $\sum_{b: L_b \ne \emptyset} w_b \, \frac{1}{|L_b|} \sum_{p \in L_b} \ell_{bp} \,/\,
      |\{b: L_b \ne \emptyset\}|$. Every labelled image counts the same, for batches that mix a few clicks with masks.

    A batch without any labelled pixel gives exactly 0 with zero gradients. Half-precision logits are computed in
    float32.

    Args:
        reduction: "pixel" or "image".
        ignore_index: Label of the pixels to leave out.

    Raises:
        ConfigError: The reduction is another one.

    Example:
        >>> class Misses(LabelMapLoss):
        ...     def pixel_losses(self, logits, target):
        ...         return ((logits.argmax(1) != target) & (target != self.ignore_index)).float()
        >>> logits = torch.tensor([[[[2.0, 0.0, 0.0]], [[1.0, 1.0, 1.0]]]])  # (1, 2, 1, 3): classes 0, 1, 1
        >>> Misses()(logits, torch.tensor([[[0, 0, 255]]])).item()
        0.5
    """

    settings: ClassVar[tuple[str, ...]] = ("reduction", "ignore_index")

    def __init__(self, reduction: Reduction = "pixel", ignore_index: int = IGNORE_INDEX) -> None:
        super().__init__()
        if reduction not in ("pixel", "image"):
            raise ConfigError("unknown reduction", expected="pixel or image", found=reduction)
        self.reduction = reduction
        self.ignore_index = ignore_index

    @abstractmethod
    def pixel_losses(self, logits: Tensor, target: Tensor) -> Tensor:
        """Loss of each pixel, 0 where the label is ignored.

        Args:
            logits: (B, C, H, W), of any floating type.
            target: (B, H, W) int64 class indices or `ignore_index`.

        Returns:
            (B, H, W), float32 or float64.
        """

    def select(self, losses: Tensor, labelled: Tensor) -> Tensor:
        """Choose the pixels that enter the loss: all labelled ones, unless a subclass picks among them.

        Args:
            losses: (B, H, W), 0 where nothing is labelled.
            labelled: (B, H, W) bool.

        Returns:
            (B, H, W) bool, a subset of `labelled`.
        """
        return labelled

    def terms(self, logits: Tensor, target: Tensor, weight: Tensor | None = None) -> LossTerms:
        """Numerator and denominator of the loss.

        Args:
            logits: (B, C, H, W).
            target: (B, H, W) int64 class indices or `ignore_index`.
            weight: (B,) factor on each image; 1 by default. The count does not depend on it.

        Returns:
            The terms whose quotient `forward` returns.

        Raises:
            ValueError: The shapes do not fit together.
        """
        if logits.ndim != 4 or target.shape != (logits.shape[0], *logits.shape[2:]):
            raise ValueError(
                f"logits (B, C, H, W) and target (B, H, W) do not fit: {tuple(logits.shape)} and {tuple(target.shape)}"
            )
        if weight is not None and weight.shape != target.shape[:1]:
            raise ValueError(f"weight must have shape ({target.shape[0]},), got {tuple(weight.shape)}")
        losses = self.pixel_losses(logits, target)
        kept = self.select(losses.detach(), target != self.ignore_index)
        return reduce_pixels(losses, kept, weight, self.reduction)


def reduce_pixels(losses: Tensor, kept: Tensor, weight: Tensor | None, reduction: Reduction) -> LossTerms:
    """Sum pixel losses as `LabelMapLoss` says.

    Args:
        losses: (B, H, W).
        kept: (B, H, W) bool, the pixels that enter.
        weight: (B,) factor on each image, or `None` for 1.
        reduction: "pixel" or "image".

    Returns:
        Sum and count, as scalars of the type of `losses`.
    """
    pixels = kept.flatten(1).sum(1)
    per_image = torch.where(kept, losses, 0).flatten(1).sum(1)
    if reduction == "image":
        per_image = per_image / pixels.clamp(min=1)
    if weight is not None:
        per_image = per_image * weight.to(per_image)
    count = pixels.sum() if reduction == "pixel" else (pixels > 0).sum()
    return LossTerms(per_image.sum(), count.to(losses.dtype))


def mean_over_pixels(losses: Tensor, valid: Tensor | None) -> LossTerms:
    """The mean over the valid pixels as a fraction.

    Args:
        losses: (B, H, W).
        valid: (B, H, W) bool, or `None` for all pixels.

    Returns:
        Sum and number of the valid pixels, as scalars of the type of `losses`.

    Raises:
        ValueError: The shapes differ.
    """
    if valid is None:
        return LossTerms(losses.sum(), losses.new_tensor(losses.numel()))
    if valid.shape != losses.shape:
        raise ValueError(f"the mask of valid pixels must be {tuple(losses.shape)}, found {tuple(valid.shape)}")
    return reduce_pixels(losses, valid.bool(), None, "pixel")


def at_least_float32(logits: Tensor) -> Tensor:
    """Raise half precision to float32 and leave float32 and float64 as they are."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def check_same_maps(logits: Tensor, **others: Tensor) -> None:
    """Raise a `ValueError` unless all maps have the shape (B, C, H, W) of the logits."""
    for name, other in others.items():
        if logits.ndim != 4 or other.shape != logits.shape:
            raise ValueError(
                f"logits and {name} must both be (B, C, H, W), found {tuple(logits.shape)} and {tuple(other.shape)}"
            )
