"""Size, length and seed of a synthetic clip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from thriftseg.arrays import Float64Array
from thriftseg.errors import ConfigError


@dataclass(frozen=True)
class SceneConfig:
    """Size, length and seed of a synthetic clip.

    Attributes:
        height: Rows of a frame in pixels.
        width: Columns of a frame in pixels.
        num_frames: Frames of the clip.
        seed: Everything random follows from it.
        frame_interval: Seconds between frames; one second gives frames as far apart as CamVid's training frames.
        own_colors: Every moving object has colours of its own; otherwise it has those of the background.

    Example:
        >>> scene = SceneConfig(num_frames=34)
        >>> scene.duration, float(scene.times[17])
        (2.0, 1.0)
    """

    height: int = 256
    width: int = 512
    num_frames: int = 30
    seed: int = 0
    frame_interval: float = 1 / 17
    own_colors: bool = False

    def __post_init__(self) -> None:
        if min(self.height, self.width) < 32:
            raise ConfigError(
                "synthetic frames are too small",
                expected="at least 32 pixels on both sides",
                found=f"{self.height}x{self.width}",
            )
        if self.num_frames < 1 or self.frame_interval <= 0:
            raise ConfigError(
                "a synthetic clip needs frames",
                expected="num_frames >= 1 and frame_interval > 0",
                found=f"{self.num_frames} frames every {self.frame_interval} s",
            )

    @property
    def times(self) -> Float64Array:
        """Seconds since the first frame, (T,)."""
        return np.arange(self.num_frames, dtype=np.float64) * self.frame_interval

    @property
    def duration(self) -> float:
        """Seconds that the clip spans."""
        return self.num_frames * self.frame_interval
