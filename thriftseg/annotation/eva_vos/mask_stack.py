"""The masks of all frames of a video as a few bytes."""

from __future__ import annotations

import io

import numpy as np

from thriftseg.arrays import BoolArray


def encode_masks(masks: BoolArray) -> bytes:
    """Pack masks, (N, H, W), into the content of an `.npz` file; equal masks give equal bytes.

    Example:
        >>> masks = np.zeros((50, 48, 80), bool)
        >>> masks[:, 8:20, 30:50] = True
        >>> content = encode_masks(masks)
        >>> len(content) < masks.size / 100, bool((decode_masks(content) == masks).all())
        (True, True)
    """
    stream = io.BytesIO()
    np.savez_compressed(stream, bits=np.packbits(masks), shape=np.array(masks.shape))
    return stream.getvalue()


def decode_masks(content: bytes) -> BoolArray:
    """The inverse of `encode_masks`."""
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        shape: tuple[int, ...] = tuple(arrays["shape"].tolist())
        bits = np.unpackbits(arrays["bits"], count=int(np.prod(shape)))
    return bits.view(np.bool_).reshape(shape)
