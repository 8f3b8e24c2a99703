"""Light, lens and sensor of synthetic video."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from thriftseg.arrays import Float64Array, UInt8Array
from thriftseg.synthetic.scene import SceneConfig


@dataclass(frozen=True)
class Light:
    """Illumination and sensor.

    Attributes:
        gain: (T, 3) factor on the colours of each frame.
        shadow_phase: (T,) centre of a soft dark band that wanders over the image, in image widths.
        shadow_depth: Darkening in the middle of the band, in [0, 1].
        shadow_width: Width of the band in image widths.
        noise_sigma: Standard deviation of the sensor noise in grey levels.
        blur: Standard deviation of the lens blur in pixels.
    """

    gain: Float64Array
    shadow_phase: Float64Array
    shadow_depth: float
    shadow_width: float
    noise_sigma: float
    blur: float


def random_light(rng: np.random.Generator, config: SceneConfig) -> Light:
    """Light that drifts, a soft shadow that wanders, and the noise of a sensor."""
    times = config.times
    drift = 1 + rng.uniform(0.03, 0.14) * np.sin(times * rng.uniform(1.0, 3.5) + rng.uniform(0, 2 * np.pi))
    tint = 1 + rng.uniform(-0.05, 0.05, 3)
    return Light(
        gain=rng.uniform(0.9, 1.3) * drift[:, None] * tint[None],
        shadow_phase=rng.uniform(0, 2) + times * rng.uniform(-0.4, 0.4),
        shadow_depth=float(rng.uniform(0.0, 0.4)),
        shadow_width=float(rng.uniform(0.15, 0.5)),
        noise_sigma=float(rng.uniform(2.0, 5.0)),
        blur=float(rng.uniform(0.4, 0.75)),
    )


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
