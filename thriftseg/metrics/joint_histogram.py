"""Joint histogram of two label maps, by counting runs.

Label maps are piecewise constant. Two uint8 maps interleave into one 16-bit code per pixel without arithmetic, four
pixels are looked at as one 64-bit word, and only where the word changes are its four codes put into bins, weighted by
the number of words that follow unchanged. Stretches that change too often are binned pixel by pixel.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from torch import Tensor

from thriftseg.arrays import Int64Array, UInt8Array

_CHUNK = 1 << 17  # pixels handled at a time: all passes over them find them in the cache
_WORD = 4  # pixels whose codes fill 64 bits
_DENSE = 0.4  # share of words that begin a run beyond which binning every pixel is quicker


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
    a, b = a.reshape(1, -1), b.reshape(1, -1)
    whole = a.size // _WORD * _WORD
    rest = a[0, whole:].astype(np.uint16) * 256 + b[0, whole:]
    counts = np.bincount(rest, minlength=rows * 256)
    words, lengths = [], []
    pairs = np.empty((1, min(_CHUNK, whole), 2), np.uint8)
    for first in range(0, whole, _CHUNK):
        window = slice(first, min(first + _CHUNK, whole))
        part_a, part_b = a[:, window], b[:, window]
        codes = cv2.merge([part_b, part_a], pairs[:, : part_a.size]).reshape(-1).view(np.uint64)
        begins = np.concatenate([[True], codes[1:] != codes[:-1]])
        if np.count_nonzero(begins) > _DENSE * codes.size:
            # A chunk holds few enough pixels for counts in float32 to be exact.
            binned = cv2.calcHist([part_a, part_b], [0, 1], None, [rows, 256], [0, rows, 0, 256])
            counts += np.asarray(binned, np.int64).reshape(-1)
        else:
            starts = np.flatnonzero(begins)
            words.append(codes[starts])
            lengths.append(np.diff(starts, append=codes.size).astype(np.float64))
    if words:
        runs = np.concatenate(words).view("<u2").reshape(-1, _WORD)
        weights = np.concatenate(lengths)  # float64, which holds every count of pixels
        for pixel in range(_WORD):
            counts += np.bincount(runs[:, pixel], weights=weights, minlength=rows * 256).astype(np.int64)
    return counts.reshape(rows, 256)
