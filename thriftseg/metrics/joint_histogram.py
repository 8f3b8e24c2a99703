"""Joint histogram of two label maps, by counting runs.

Label maps are piecewise constant. Two uint8 maps interleave into one 16-bit code per pixel without arithmetic, four
pixels are looked at as one 64-bit word, and only where the word changes are its four codes put into bins, weighted by
the number of words that follow unchanged.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from torch import Tensor

from thriftseg.arrays import Int64Array, UInt8Array

UInt16Array = npt.NDArray[np.uint16]

_CHUNK = 1 << 17  # pixels handled at a time: all passes over them find them in the cache
_WORD = 4  # pixels whose codes fill 64 bits


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


def _runs_of_words(a: UInt8Array, b: UInt8Array) -> tuple[UInt16Array, Int64Array]:
    """Runs of equal words in two flat maps: the codes `256 * a + b` of each word, (n, 4), and the lengths (n,)."""
    pairs = np.empty((1, min(_CHUNK, a.size), 2), np.uint8)
    begins = np.empty(pairs.shape[1] // _WORD, np.bool_)
    words, starts = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
    for first in range(0, a.size, _CHUNK):
        window = slice(first, min(first + _CHUNK, a.size))
        size = window.stop - first
        chunk = cv2.merge([b[None, window], a[None, window]], pairs[:, :size]).reshape(-1).view(np.uint64)
        begins[0] = True
        np.not_equal(chunk[1:], chunk[:-1], out=begins[1 : chunk.size])
        positions = np.flatnonzero(begins[: chunk.size])
        words.append(chunk[positions])
        starts.append(positions + first // _WORD)
    lengths = np.diff(np.concatenate(starts), append=a.size // _WORD)
    return np.concatenate(words).view("<u2").reshape(-1, _WORD), np.asarray(lengths, np.int64)


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
    a, b = a.reshape(-1), b.reshape(-1)
    whole = a.size // _WORD * _WORD
    codes, lengths = _runs_of_words(a[:whole], b[:whole])
    rest = a[whole:].astype(np.uint16) * 256 + b[whole:]
    counts = np.bincount(rest, minlength=rows * 256)
    weights = lengths.astype(np.float64)  # exact up to 2**53 pixels
    for pixel in range(_WORD):
        counts = counts + np.bincount(codes[:, pixel], weights=weights, minlength=rows * 256)
    return counts.astype(np.int64).reshape(rows, 256)
