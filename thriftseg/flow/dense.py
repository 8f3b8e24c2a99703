"""Flow on numpy arrays: label warping, forward-backward check and composition.

The bilinear and nearest modes of `cv2.remap` are not used as they are unless a caller asks for speed: the first rounds
positions to 1/32 px in some versions of OpenCV, the second rounds ties to even. Positions are rounded here, so that
`remap` only gathers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import cv2
import numpy as np

from thriftseg.arrays import BoolArray, Float32Array, UInt8Array, UInt16Array

LabelMap = TypeVar("LabelMap", UInt8Array, UInt16Array)

_STRIPE = 1 << 16  # pixels handled at a time: all passes over them find them in the cache
_NO_MAP = np.empty(0, np.int16)  # whole-number positions need no table of fractions


def _stripes(height: int, width: int) -> Iterator[slice]:
    """Rows that are handled at a time."""
    rows = max(1, _STRIPE // max(1, width))
    return (slice(first, first + rows) for first in range(0, height, rows))


def _check_flow(flow: Float32Array, size: tuple[int, ...], name: str = "flow") -> Float32Array:
    if flow.shape != (2, *size):
        raise ValueError(f"{name} must have shape {(2, *size)}, found {flow.shape}")
    return flow.astype(np.float32, copy=False)


def _end_points(flow: Float32Array, first_row: int = 0) -> tuple[Float32Array, Float32Array]:
    """Columns and rows that the pixels of a (2, H, W) flow, or of a stripe of one, point to, each (H, W)."""
    _, height, width = flow.shape
    columns = np.arange(width, dtype=np.float32)
    rows = np.arange(first_row, first_row + height, dtype=np.float32)[:, None]
    return columns + flow[0], rows + flow[1]


def _nearest(coordinates: Float32Array) -> Float32Array:
    rounded = coordinates + np.float32(0.5)
    return np.asarray(np.floor(rounded, out=rounded), np.float32)


def _clamp(values: Float32Array, low: float, high: float) -> Float32Array:
    # fmin and fmax, unlike minimum and maximum, also bring NaN into the range.
    clamped = np.fmin(values, np.float32(high))
    return np.fmax(clamped, np.float32(low), out=clamped)


def _pixel_map(columns: Float32Array, rows: Float32Array) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    """Whole-number positions in the (H, W, 2) int16 form that `cv2.remap` gathers from fastest."""
    positions = np.empty((*columns.shape, 2), np.int16)
    positions[..., 0] = columns
    positions[..., 1] = rows
    return positions


def _sample_bilinear(flow: Float32Array, columns: Float32Array, rows: Float32Array, exact: bool) -> Float32Array:
    """Sample a (2, H, W) flow at real positions, clamped to the image; returns (2, H', W')."""
    _, height, width = flow.shape
    if not exact:
        sampled = np.empty((2, *columns.shape), np.float32)
        for values, channel in zip(sampled, flow, strict=True):
            cv2.remap(channel, columns, rows, cv2.INTER_LINEAR, dst=values, borderMode=cv2.BORDER_REPLICATE)
        return sampled
    columns, rows = _clamp(columns, 0, width - 1), _clamp(rows, 0, height - 1)
    left, top = np.floor(columns), np.floor(rows)
    across, down = columns - left, rows - top
    sampled = np.zeros((2, *columns.shape), np.float32)
    for right, below in ((0, 0), (1, 0), (0, 1), (1, 1)):
        positions = _pixel_map(left + np.float32(right), top + np.float32(below))
        weight = (across if right else 1 - across) * (down if below else 1 - down)
        for total, channel in zip(sampled, flow, strict=True):
            values = cv2.remap(channel, positions, _NO_MAP, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
            total += weight * values
    return sampled


def warp_labels(label: LabelMap, flow: Float32Array, fill: int = 255) -> LabelMap:
    """Show a label map as seen from another frame.

    Args:
        label: Label map of frame b, (H, W) uint8 or uint16.
        flow: Flow a -> b, (2, H, W).
        fill: Value of pixels whose counterpart lies outside the image.

    Returns:
        The label map seen from frame a, (H, W) of the same type; each pixel takes the value of the pixel nearest to
        where the flow points, halves upwards.

    Raises:
        ValueError: The shapes disagree.

    Example:
        >>> label = np.array([[1, 2, 3]], np.uint8)
        >>> one_right = np.zeros((2, 1, 3), np.float32)
        >>> one_right[0] = 1
        >>> warp_labels(label, one_right)
        array([[  2,   3, 255]], dtype=uint8)
    """
    columns, rows = _end_points(_check_flow(flow, label.shape))
    height, width = label.shape
    positions = _pixel_map(_clamp(_nearest(columns), -1, width), _clamp(_nearest(rows), -1, height))
    warped = cv2.remap(label, positions, _NO_MAP, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=fill)
    return np.asarray(warped, label.dtype)


def warp_settled(label: LabelMap, flow: Float32Array, fill: int = 255) -> tuple[LabelMap, BoolArray]:
    """Show a label map as seen from another frame, and tell where a quarter of a pixel makes no difference.

    Args:
        label: Label map of frame b, (H, W) uint8 or uint16.
        flow: Flow a -> b, (2, H, W).
        fill: Value of pixels whose counterpart lies outside the image.

    Returns:
        The label map seen from frame a, as `warp_labels` gives it except where the flow points half-way between two
        pixels, and (H, W), True where it points to the same value if it ends 1/4 px further left and up or further
        right and down.

    Raises:
        ValueError: The shapes disagree.

    Example:
        >>> flow = np.zeros((2, 1, 3), np.float32)
        >>> flow[0] = 0.375
        >>> warp_settled(np.array([[1, 1, 2]], np.uint8), flow)
        (array([[1, 1, 2]], dtype=uint8), array([[ True, False,  True]]))
    """
    flow = _check_flow(flow, label.shape)
    warped, settled = np.empty_like(label), np.ones(label.shape, np.bool_)
    quarter = np.float32(0.25)
    for stripe in _stripes(*label.shape):
        columns, rows = _end_points(flow[:, stripe], stripe.start)
        found = cv2.remap(label, columns, rows, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=fill)
        warped[stripe] = found
        for way in (-quarter, quarter):
            near = cv2.remap(label, columns + way, rows + way, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
            settled[stripe] &= near == found
    return warped, settled


def consistency_mask_np(
    flow_backward: Float32Array,
    flow_forward: Float32Array,
    alpha: float = 0.01,
    beta: float = 0.5,
    *,
    exact: bool = True,
) -> BoolArray:
    """Forward-backward check of one pair of frames; see `thriftseg.flow.consistency_mask`.

    Args:
        flow_backward: Flow t -> t-1, (2, H, W).
        flow_forward: Flow t-1 -> t, (2, H, W).
        alpha: Tolerance relative to the squared lengths.
        beta: Absolute tolerance in squared pixels.
        exact: See `compose`.

    Returns:
        (H, W), True where the flow of frame t can be trusted and its end point lies inside the image.

    Raises:
        ValueError: The shapes disagree.

    Example:
        >>> still = np.zeros((2, 1, 3), np.float32)
        >>> consistency_mask_np(still, still).tolist()
        [[True, True, True]]
        >>> consistency_mask_np(still + 1, still).tolist()
        [[False, False, False]]
    """
    flow_backward = _check_flow(flow_backward, flow_backward.shape[1:], "flow_backward")
    flow_forward = _check_flow(flow_forward, flow_backward.shape[1:], "flow_forward")
    forward = np.ascontiguousarray(flow_forward)
    height, width = forward.shape[1:]
    mask = np.empty((height, width), np.bool_)
    for stripe in _stripes(height, width):
        backward = flow_backward[:, stripe]
        columns, rows = _end_points(backward, stripe.start)
        returned = _sample_bilinear(forward, columns, rows, exact)
        gap = np.square(backward + returned).sum(axis=0)
        lengths = np.square(backward).sum(axis=0) + np.square(returned).sum(axis=0)
        column, row = _nearest(columns), _nearest(rows)
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        mask[stripe] = inside & (gap <= np.float32(alpha) * lengths + np.float32(beta))
    return mask


def compose(flow_ab: Float32Array, flow_bc: Float32Array, *, exact: bool = True) -> Float32Array:
    """Chain two flows: `f_{a->c}(p) = f_{a->b}(p) + f_{b->c}(p + f_{a->b}(p))`.

    Args:
        flow_ab: Flow a -> b, (2, H, W).
        flow_bc: Flow b -> c, (2, H, W); sampled bilinearly, clamped to the image.
        exact: Whether positions keep all their bits. Else OpenCV samples as it does best, several times as fast, and
            may round them to 1/32 px.

    Returns:
        Flow a -> c, (2, H, W) float32.

    Raises:
        ValueError: The shapes disagree.

    Example:
        >>> one, two = (np.full((2, 1, 3), step, np.float32) for step in (1, 2))
        >>> compose(one, two)[0].tolist()
        [[3.0, 3.0, 3.0]]
    """
    flow_ab = _check_flow(flow_ab, flow_ab.shape[1:], "flow_ab")
    flow_bc = np.ascontiguousarray(_check_flow(flow_bc, flow_ab.shape[1:], "flow_bc"))
    chained = np.empty(flow_ab.shape, np.float32)
    for stripe in _stripes(*flow_ab.shape[1:]):
        part = flow_ab[:, stripe]
        sampled = _sample_bilinear(flow_bc, *_end_points(part, stripe.start), exact)
        np.add(part, sampled, out=chained[:, stripe])
    return chained
