"""Light, lens and sensor of synthetic video."""

from __future__ import annotations

import cv2
import numpy as np

from thriftseg.arrays import UInt8Array
from thriftseg.synthetic.scene import Light, SceneConfig


class Exposure:
    """Turns painted frames into those of a camera.

    Args:
        config: Size and seed.
        light: Illumination and sensor.
    """

    def __init__(self, config: SceneConfig, light: Light) -> None:
        self.config, self.light = config, light
        self._positions = np.arange(config.width, dtype=np.float32) / config.width
        rng = np.random.default_rng([config.seed, 0x4015E])
        noise = rng.standard_normal((config.height + 64, config.width + 64, 3), dtype=np.float32) * light.noise_sigma
        self._noise = np.round(noise).astype(np.int16)

    def apply(self, canvas: UInt8Array, t: int) -> UInt8Array:
        """Apply lens blur, illumination and sensor noise to frame `t`.

        Args:
            canvas: (H, W, 3 or more) RGB.
            t: Position in the clip.

        Returns:
            (H, W, 3) uint8.
        """
        light, height, width = self.light, self.config.height, self.config.width
        image = cv2.GaussianBlur(np.ascontiguousarray(canvas[..., :3]), (3, 3), light.blur)
        distance = (self._positions - light.shadow_phase[t] + 0.5) % 2 - 0.5
        band = 1 - light.shadow_depth * np.exp(-0.5 * ((distance - 0.5) / light.shadow_width) ** 2)
        factor = (band[:, None] * light.gain[t]).astype(np.float32)
        rng = np.random.default_rng([self.config.seed, 0x9A1, t])
        dy, dx = rng.integers(0, 64, 2)
        bright = image * factor[None]
        bright += self._noise[dy : dy + height, dx : dx + width]
        return np.asarray(np.clip(bright, 0, 255), dtype=np.uint8)
