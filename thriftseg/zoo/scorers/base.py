"""Base of the networks that judge the mask of an object."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from thriftseg.errors import ConfigError
from thriftseg.zoo.network import IMAGENET, Network

WINDOW = 7
"""Side of the average pooling that ends a branch; it reads a map of stride 32, so the branches are made for 224x224."""

STRIDE = 32


class Scorer(Network, ABC):
    """Judges the mask of one object in a frame.

    The branches of a scorer are made for `working_size`; `fit` brings frames and masks to it. Their final pooling is
    not adaptive: sides of 193 to 416 pixels pass, but of a larger input it only covers the top left corner.

    Attributes:
        working_size: Height and width that the branches are made for.

    Example:
        >>> class Area(Scorer):
        ...     def features(self, images, masks):
        ...         return masks.float().mean(dim=(1, 2)).unsqueeze(1)
        >>> masks = torch.zeros(1, 480, 640)
        >>> masks[:, :, :160] = 1
        >>> scorer = Area()
        >>> scorer.features(*scorer.fit(torch.zeros(1, 3, 480, 640), masks)).item()
        0.25
    """

    kind = "scorer"
    preprocessing = IMAGENET
    working_size: tuple[int, int] = (224, 224)

    @abstractmethod
    def features(self, images: Tensor, masks: Tensor) -> Tensor:
        """Features that the heads read.

        Args:
            images: Normalised frames (B, 3, H, W), or what the network takes in their place.
            masks: (B, H, W) or (B, 1, H, W), 0 or 1, of any type.

        Returns:
            One vector per image, (B, D).
        """

    def fit(self, images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Resize frames and masks to the working size; the aspect ratio is not kept.

        Args:
            images: (B, 3, H, W) frames, of any size.
            masks: (B, H, W) or (B, 1, H, W), 0 or 1.

        Returns:
            The frames, resized bilinearly with antialiasing, and the masks, resized to the nearest pixel, with the
            type and the number of dimensions that they had.

        Example:
            >>> from thriftseg.zoo import QNet
            >>> images, masks = QNet().fit(torch.zeros(2, 3, 480, 854), torch.ones(2, 480, 854, dtype=torch.bool))
            >>> images.shape, masks.shape, masks.dtype
            (torch.Size([2, 3, 224, 224]), torch.Size([2, 224, 224]), torch.bool)
        """
        resized = F.interpolate(images, size=self.working_size, mode="bilinear", antialias=True)
        planes = masks.unsqueeze(1) if masks.ndim == 3 else masks
        nearest = F.interpolate(planes.float(), size=self.working_size, mode="nearest-exact").to(masks.dtype)
        return resized, nearest.squeeze(1) if masks.ndim == 3 else nearest

    def _as_mask_images(self, masks: Tensor) -> Tensor:
        """(B, H, W) or (B, 1, H, W) -> (B, 3, H, W) float, 0 or 1."""
        planes = masks.unsqueeze(1) if masks.ndim == 3 else masks
        if planes.ndim != 4 or planes.shape[1] != 1:
            raise ConfigError(
                f"{type(self).__name__} cannot take these masks",
                expected="(B, H, W) or (B, 1, H, W)",
                found=tuple(masks.shape),
            )
        self._check_size(planes)
        dtype = masks.dtype if masks.is_floating_point() else torch.get_default_dtype()
        return planes.to(dtype).expand(-1, 3, -1, -1)

    def _check_size(self, images: Tensor) -> None:
        height, width = images.shape[-2:]
        if not all(WINDOW <= -(-side // STRIDE) < 2 * WINDOW for side in (height, width)):
            raise ConfigError(
                f"{type(self).__name__} cannot take this size",
                expected=f"{self.working_size[0]} x {self.working_size[1]}",
                found=f"{height} x {width}",
                fix="resize with the network's method fit",
            )


def run_branch(branch: Any, images: Tensor, scale: float = 1.0) -> Tensor:
    """Last map of an encoder, averaged over its top left window: 7 x 7, or what is left of it in smaller images.

    Args:
        branch: From `create_encoder`.
        images: (B, 3, H, W), sides of 193 to 416 pixels.
        scale: Factor to shrink the images by, in (0, 1].

    Returns:
        (B, C).
    """
    if scale != 1:
        images = F.interpolate(images, scale_factor=scale, mode="bilinear", antialias=True)
    channels_last = images.contiguous(memory_format=torch.channels_last)  # much faster on CPUs
    return F.avg_pool2d(branch(channels_last)[-1], math.ceil(WINDOW * scale)).flatten(1)


def check_scale(scale: float) -> float:
    """The scale of a branch.

    Raises:
        ConfigError: It is out of range.
    """
    if not 0 < scale <= 1:
        raise ConfigError("scale of a scorer", expected="above 0, at most 1", found=scale)
    return scale
