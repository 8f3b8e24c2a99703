"""Joint histogram of two label maps, by counting runs.

Label maps are piecewise constant: there are far fewer runs of equal (a, b) pairs than pixels. Two uint8 maps
interleave into one uint16 code per pixel without arithmetic; where the code changes a run begins, and only run starts
are put into bins. Noise, where runs are as many as pixels, is binned directly.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from torch import Tensor

from thriftseg.arrays import BoolArray, Int64Array, UInt8Array

_CHUNK = 1 << 16  # ids narrowed at a time, few enough to stay in the cache between two passes
_SPARSE = 0.03  # share of set flags up to which looking at whole words pays
_NOISE = 0.4  # share of run starts beyond which binning every pixel is quicker


def as_uint8(ids: Tensor) -> UInt8Array | None:
    """View or narrow a tensor of ids as uint8; `None` if it is not on the CPU or holds anything outside 0..255."""
    if ids.device.type != "cpu" or ids.is_floating_point() or ids.is_complex():
        return None
    array: npt.NDArray[np.integer] = np.ascontiguousarray(ids.detach().numpy())
    if array.dtype == np.uint8:
        return array.view(np.uint8)
    narrow = np.empty(array.shape, np.uint8)
    wide_flat, narrow_flat = array.reshape(-1), narrow.reshape(-1)
    for start in range(0, array.size, _CHUNK):
        chunk = wide_flat[start : start + _CHUNK]
        # One OR over all ids shows whether any of them, also a negative one, needs more than eight bits.
        if not 0 <= int(np.bitwise_or.reduce(chunk)) <= 255:
            return None
        narrow_flat[start : start + _CHUNK] = chunk
    return narrow


def _true_positions(flags: BoolArray, count: int) -> Int64Array:
    """`np.flatnonzero`; where few flags are set, eight are looked at as one word."""
    if count > _SPARSE * flags.size:
        return np.flatnonzero(flags)
    whole = flags.size // 8 * 8
    words = np.flatnonzero(flags[:whole].view(np.uint64) != 0)
    within = np.flatnonzero(flags[:whole].reshape(-1, 8)[words])
    positions = words[within >> 3] * 8 + (within & 7)
    return np.concatenate([positions, whole + np.flatnonzero(flags[whole:])])


def joint_histogram(a: UInt8Array, b: UInt8Array, rows: int = 256) -> Int64Array:
    """Count the pairs of values at equal positions.

    Args:
        a: Label map of any shape, uint8, all values below `rows`.
        b: Label map of the same shape, uint8.
        rows: Number of values to count in `a`.

    Returns:
        (rows, 256) int64; entry `[i, j]` is the number of positions where `a` is `i` and `b` is `j`.

    Example:
        >>> counts = joint_histogram(np.array([0, 0, 1], np.uint8), np.array([2, 2, 2], np.uint8))
        >>> int(counts[0, 2]), int(counts[1, 2]), int(counts.sum())
        (2, 1, 3)
    """
    if a.size == 0:
        return np.zeros((rows, 256), np.int64)
    codes = cv2.merge([b.reshape(1, -1), a.reshape(1, -1)]).reshape(-1).view("<u2")
    begins = np.empty(codes.size, np.bool_)
    begins[0] = True
    np.not_equal(codes[1:], codes[:-1], out=begins[1:])
    runs = np.count_nonzero(begins)
    if runs > _NOISE * codes.size:
        return np.bincount(codes, minlength=rows * 256).reshape(rows, 256)
    starts = _true_positions(begins, runs)
    lengths = np.diff(starts, append=codes.size)
    # Weighted counts are float64: exact up to 2**53 pixels.
    counts = np.bincount(codes.take(starts), weights=lengths, minlength=rows * 256)
    return counts.astype(np.int64).reshape(rows, 256)
