"""Flow and its validity under the geometric changes that frames go through.

What holds between two frames holds between the changed frames after the same change of the flow. A pixel is valid if
its flow is known and leads to a point between the centres of the outermost pixels.
"""

from __future__ import annotations

import cv2
import numpy as np

from thriftseg.arrays import BoolArray, Float32Array


def scale_flow(
    flow: Float32Array, size: tuple[int, int], valid: BoolArray | None = None
) -> tuple[Float32Array, BoolArray]:
    """Flow between frames that are resized to `size`.

    Args:
        flow: Flow, (2, H, W).
        size: Height and width (h, w) of the resized frames.
        valid: Where the flow is known, (H, W); everywhere when absent.

    Returns:
        Flow (2, h, w), resampled bilinearly, in pixels of the resized frames, and its validity (h, w); a pixel mixed
        from any that are not known is not known.

    Example:
        >>> flow, valid = scale_flow(np.full((2, 4, 6), 2, np.float32), (8, 6))
        >>> flow[0, 0, 0], flow[1, 0, 0], int(valid.sum())
        (np.float32(2.0), np.float32(4.0), 16)
    """
    height, width = flow.shape[1:]
    factors = np.array([size[1] / width, size[0] / height], np.float32)
    scaled = np.stack([_resize(channel, size) for channel in flow]) * factors[:, None, None]
    inside = _ends_inside(scaled)
    if valid is not None:
        inside &= _resize(valid, size) > 0.999  # rounding apart, all pixels it is mixed from are known
    return scaled, inside


def crop_flow(
    flow: Float32Array, top: int, left: int, height: int, width: int, valid: BoolArray | None = None
) -> tuple[Float32Array, BoolArray]:
    """Flow between frames that are cut to a window.

    Args:
        flow: Flow, (2, H, W).
        top: First row of the window.
        left: First column of the window.
        height: Rows of the window.
        width: Columns of the window.
        valid: Where the flow is known, (H, W); everywhere when absent.

    Returns:
        Flow (2, height, width) and its validity (height, width); flow that leaves the window is not valid.

    Raises:
        ValueError: The window is not inside the frame.

    Example:
        >>> flow = np.zeros((2, 4, 6), np.float32)
        >>> flow[0] = 1  # everything moves one pixel to the right
        >>> cut, valid = crop_flow(flow, top=1, left=2, height=2, width=3)
        >>> cut.shape, valid.tolist()
        ((2, 2, 3), [[True, True, False], [True, True, False]])
    """
    if min(top, left) < 0 or min(height, width) < 1 or top + height > flow.shape[1] or left + width > flow.shape[2]:
        raise ValueError(f"window {(top, left, height, width)} is not inside a frame of {flow.shape[1:]}")
    window = np.s_[top : top + height, left : left + width]
    cut = flow[:, *window]
    inside = _ends_inside(cut)
    return cut, inside if valid is None else inside & valid[window]


def flip_flow(flow: Float32Array, valid: BoolArray | None = None) -> tuple[Float32Array, BoolArray]:
    """Flow between frames that are mirrored left and right.

    Args:
        flow: Flow, (2, H, W).
        valid: Where the flow is known, (H, W); everywhere when absent.

    Returns:
        Flow (2, H, W) and its validity (H, W).

    Example:
        >>> flow = np.array([[[1.0, 2.0]], [[0.0, 3.0]]], np.float32)  # (2, 1, 2)
        >>> flip_flow(flow, np.ones((1, 2), bool))[0].tolist()
        [[[-2.0, -1.0]], [[3.0, 0.0]]]
    """
    flipped = flow[:, :, ::-1] * np.array([-1, 1], np.float32)[:, None, None]
    return flipped, _ends_inside(flipped) if valid is None else valid[:, ::-1]


def _resize(field: Float32Array | BoolArray, size: tuple[int, int]) -> Float32Array:
    return np.asarray(cv2.resize(np.ascontiguousarray(field, np.float32), size[::-1]), np.float32)


def _ends_inside(flow: Float32Array) -> BoolArray:
    height, width = flow.shape[1:]
    y, x = np.mgrid[:height, :width] + flow[::-1]
    return np.asarray((x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1), np.bool_)
