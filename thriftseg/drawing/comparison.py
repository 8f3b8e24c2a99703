"""A prediction next to the truth."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from thriftseg.arrays import UInt8Array
from thriftseg.drawing.overlay import Palette, blend, contact_sheet, error_map, legend


def compare(
    image: UInt8Array,
    truth: UInt8Array,
    prediction: UInt8Array,
    class_names: Sequence[str],
    palette: Palette,
    *,
    width: int | None = None,
) -> UInt8Array:
    """Frame, errors, truth and prediction in one picture, above a legend.

    Args:
        image: (H, W, 3) RGB frame.
        truth: (H, W) train ids, 255 = ignore.
        prediction: (H, W) train ids.
        class_names: Names in train id order.
        palette: RGB colour per train id.
        width: Width of each of the four panels in pixels; that of the frame by default.

    Returns:
        RGB picture, two panels wide.

    Raises:
        ConfigError: The sizes differ.

    Example:
        >>> frame, truth = np.zeros((20, 30, 3), np.uint8), np.zeros((20, 30), np.uint8)
        >>> picture = compare(frame, truth, truth, ["road"], [(128, 64, 128)])
        >>> picture.shape  # two rows of a caption of 22 pixels and a panel, and the legend
        (110, 64, 3)
    """
    panels = [image, error_map(prediction, truth), truth, prediction]
    if width is not None:
        size = (width, round(image.shape[0] * width / image.shape[1]))
        modes = (cv2.INTER_CUBIC, *[cv2.INTER_NEAREST_EXACT] * 3)
        panels = [
            np.asarray(cv2.resize(panel, size, interpolation=mode), np.uint8)
            for panel, mode in zip(panels, modes, strict=True)
        ]
    frame, errors, *labels = panels
    pictures = [frame, errors, *(blend(frame, label, palette, alpha=0.6) for label in labels)]
    sheet = contact_sheet(pictures, ["frame", "errors", "truth", "prediction"], columns=2)
    return np.concatenate([sheet, legend(class_names, palette, sheet.shape[1])])
