"""Baselines of video object segmentation that understand nothing: how much a clip gives away to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from thriftseg.arrays import BoolArray, Float64Array, UInt8Array
from thriftseg.flow import DIS, warp_labels

BASELINES = ("copy", "flow", "color")
"""The mask left where it is, carried along by DIS flow, or found again by its colours."""

_BITS = 4  # per colour channel
_OUTSIDE = 255  # what `warp_labels` gives to pixels that come from outside


def measure(images: Sequence[UInt8Array], ids: UInt8Array, first: Mapping[int, int]) -> dict[str, list[float]]:
    """J of the baselines on a clip.

    Args:
        images: T frames (H, W, 3).
        ids: (T, H, W) true ids.
        first: Position of the frame that introduces each object.

    Returns:
        By baseline the mean J of each object that has frames after its first one; J is 1 where an object is in neither
        mask.
    """
    followed = {object_id: position for object_id, position in first.items() if position + 1 < len(ids)}
    return {
        name: [
            float(jaccard(masks[start + 1 :] == key, ids[start + 1 :] == key).mean()) for key, start in followed.items()
        ]
        for name, masks in predict_baseline(images, ids, first).items()
    }


def predict_baseline(images: Sequence[UInt8Array], ids: UInt8Array, first: Mapping[int, int]) -> dict[str, UInt8Array]:
    """Ids (T, H, W) that the baselines give to all frames; see `measure`."""
    copied = np.zeros_like(ids)
    for object_id, start in first.items():
        copied[start:, ids[start] == object_id] = object_id
    return {"copy": copied, "flow": _carried(images, ids, first), "color": _recoloured(images, ids, first)}


def jaccard(predicted: BoolArray, true: BoolArray) -> Float64Array:
    """J of every frame of masks (T, H, W), (T,); 1 where both are empty."""
    union = (predicted | true).sum(axis=(1, 2))
    both = (predicted & true).sum(axis=(1, 2))
    return np.asarray(np.where(union > 0, both / np.maximum(union, 1), 1.0), np.float64)


def _carried(images: Sequence[UInt8Array], ids: UInt8Array, first: Mapping[int, int]) -> UInt8Array:
    """Masks carried from frame to frame by DIS flow."""
    estimator, carried = DIS(), np.zeros_like(ids)
    for position in range(len(ids)):
        if position:
            flow = estimator.estimate(images[position], images[position - 1])
            warped = warp_labels(carried[position - 1], flow)
            carried[position] = np.where(warped == _OUTSIDE, 0, warped)
        for object_id, start in first.items():
            if start == position:
                carried[position][ids[position] == object_id] = object_id
    return carried


def _recoloured(images: Sequence[UInt8Array], ids: UInt8Array, first: Mapping[int, int]) -> UInt8Array:
    """Every pixel goes to the object, or the background, that had most pixels of its colour when introduced."""
    bins = np.empty(ids.shape, np.int64)
    for position, image in enumerate(images):
        red, green, blue = np.moveaxis(image.astype(np.int64) >> (8 - _BITS), -1, 0)
        bins[position] = (red << 2 * _BITS) | (green << _BITS) | blue
    recoloured = np.zeros_like(ids)
    for start in sorted(set(first.values())):
        present = [0, *(object_id for object_id, position in first.items() if position <= start)]
        votes = np.stack([np.bincount(bins[start][ids[start] == key], minlength=1 << 3 * _BITS) for key in present])
        winner: UInt8Array = np.array(present, np.uint8)[votes.argmax(axis=0)]
        recoloured[start:] = winner[bins[start:]]
    return recoloured
