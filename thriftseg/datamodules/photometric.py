"""Photometric augmentation on the device, alike for all frames of a sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from thriftseg.arrays import Float32Array
from thriftseg.errors import ConfigError


@dataclass(frozen=True)
class PhotometricConfig:
    """Strength of the colour changes; zero switches a change off.

    The factors of a sample are drawn where the sample is loaded, from the sample's own seed, and travel with it.
    The device only applies them, so that neither the device nor the number of processes changes the outcome.

    Attributes:
        brightness: Intensities are multiplied by 1 - brightness to 1 + brightness.
        contrast: Distances from the frame's mean grey are multiplied by 1 - contrast to 1 + contrast.
        saturation: Distances from each pixel's grey are multiplied by 1 - saturation to 1 + saturation.
        hue: The hue turns by at most this share of half a circle (slow on a CPU: needs the HSV space).

    Example:
        >>> factors = PhotometricConfig(brightness=0.5, contrast=0).draw(np.random.default_rng(0))
        >>> [round(factor, 3) for factor in factors.tolist()]
        [1.137, 1.0, 0.725, 0.0]
    """

    brightness: float = 0.3
    contrast: float = 0.3
    saturation: float = 0.3
    hue: float = 0.0

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation", "hue"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"photometric {name} must lie between 0 and 1", found=getattr(self, name))

    def draw(self, rng: np.random.Generator) -> Float32Array:
        """Factors of brightness, contrast, saturation (1 = unchanged) and shift of hue (0 = unchanged), (4,)."""
        reach = np.array([self.brightness, self.contrast, self.saturation, self.hue])
        factors = rng.uniform(-1, 1, size=4) * reach + np.array([1, 1, 1, 0])
        return np.asarray(factors, dtype=np.float32)

    @torch.no_grad()
    def apply(self, frames: Tensor, factors: Tensor) -> Tensor:
        """Change colours.

        Args:
            frames: (B, T, 3, H, W) in [0, 1].
            factors: (B, 4) as `draw` gives them.

        Returns:
            New tensor of the same shape, in [0, 1].
        """
        from kornia import enhance

        images = frames.flatten(0, 1)
        brightness, contrast, saturation, hue = factors.to(frames).repeat_interleave(frames.shape[1], dim=0).unbind(1)
        if self.brightness:
            images = enhance.adjust_brightness_accumulative(images, brightness)
        if self.contrast:
            images = enhance.adjust_contrast_with_mean_subtraction(images, contrast)
        if self.saturation:
            images = enhance.adjust_saturation_with_gray_subtraction(images, saturation)
        if self.hue:
            images = enhance.adjust_hue(images, hue * torch.pi)
        return images.clamp(0, 1).view_as(frames)
