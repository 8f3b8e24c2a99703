"""Flow by OpenCV's dense inverse search."""

from __future__ import annotations

import threading
from typing import ClassVar

import cv2
import numpy as np

from thriftseg.arrays import Float32Array, UInt8Array
from thriftseg.errors import ConfigError
from thriftseg.flow.estimators import check_frames


class DIS:
    """Dense inverse search, OpenCV's fast classical flow (Kroeger et al., ECCV 2016).

    One object may be used from several threads and sent to worker processes.

    Args:
        preset: "ultrafast", "fast" or "medium".

    Raises:
        ConfigError: There is no such preset.

    Example:
        >>> frame = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
        >>> DIS().estimate(frame, frame).shape
        (2, 64, 64)
    """

    software: ClassVar[str] = f"opencv {cv2.__version__}"
    presets: ClassVar[dict[str, int]] = {
        "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
        "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
        "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
    }

    def __init__(self, preset: str = "medium") -> None:
        if preset not in self.presets:
            raise ConfigError("no such DIS preset", expected=", ".join(self.presets), found=preset)
        self.preset = preset
        self._per_thread = threading.local()  # the OpenCV object keeps buffers between calls

    def __repr__(self) -> str:
        return f"DIS(preset={self.preset!r})"

    def __reduce__(self) -> tuple[type[DIS], tuple[str]]:
        return type(self), (self.preset,)

    def estimate(self, a: UInt8Array, b: UInt8Array) -> Float32Array:
        """Flow between two frames.

        Args:
            a: Frame a, (H, W, 3) uint8 RGB.
            b: Frame b, of the same shape.

        Returns:
            Flow a -> b, (2, H, W) float32.

        Raises:
            ValueError: The shapes disagree or are not (H, W, 3), or the type is not uint8.
        """
        check_frames(a, b)
        if not hasattr(self._per_thread, "estimator"):
            self._per_thread.estimator = cv2.DISOpticalFlow.create(self.presets[self.preset])
        grey_a, grey_b = cv2.cvtColor(a, cv2.COLOR_RGB2GRAY), cv2.cvtColor(b, cv2.COLOR_RGB2GRAY)
        try:
            flow = self._per_thread.estimator.calc(grey_a, grey_b, None)
        except cv2.error as error:
            size = f"{a.shape[1]}x{a.shape[0]}"
            raise ConfigError("frames are too small for this flow", found=size, fix="take raft") from error
        channels = np.empty((2, *flow.shape[:2]), np.float32)
        cv2.split(flow, list(channels))
        return channels
