"""What a clip of video object segmentation gives away to methods that understand nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from thriftseg.arrays import BoolArray, Float64Array, Int64Array, UInt8Array
from thriftseg.flow import DIS, warp_labels

BASELINES = ("copy", "flow", "color")
"""The mask left where it is, carried along by DIS flow, or found again by its colours."""

_BITS = 4  # per colour channel


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
    predictions = _copied(ids, first), _carried(images, ids, first), _recoloured(images, ids, first)
    return dict(zip(BASELINES, predictions, strict=True))


def jaccard(predicted: BoolArray, true: BoolArray) -> Float64Array:
    """J of every frame of masks (T, H, W), (T,); 1 where both are empty."""
    union = (predicted | true).sum(axis=(1, 2))
    both = (predicted & true).sum(axis=(1, 2))
    return np.asarray(np.where(union > 0, both / np.maximum(union, 1), 1.0), np.float64)


def _copied(ids: UInt8Array, first: Mapping[int, int]) -> UInt8Array:
    copied = np.zeros_like(ids)
    for object_id, start in first.items():
        copied[start:, ids[start] == object_id] = object_id
    return copied


def _carried(images: Sequence[UInt8Array], ids: UInt8Array, first: Mapping[int, int]) -> UInt8Array:
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


_OUTSIDE = 255  # what `warp_labels` gives to pixels that come from outside


def _recoloured(images: Sequence[UInt8Array], ids: UInt8Array, first: Mapping[int, int]) -> UInt8Array:
    """Every pixel goes to the object, or the background, that had most pixels of its colour when introduced."""
    bins = np.stack([_bins(image) for image in images])
    recoloured = np.zeros_like(ids)
    for start in sorted(set(first.values())):
        present = [0, *(object_id for object_id, position in first.items() if position <= start)]
        votes = np.stack([np.bincount(bins[start][ids[start] == key], minlength=1 << 3 * _BITS) for key in present])
        winner: UInt8Array = np.array(present, np.uint8)[votes.argmax(axis=0)]
        recoloured[start:] = winner[bins[start:]]
    return recoloured


def _bins(image: UInt8Array) -> Int64Array:
    """Coarse colour of every pixel, (H, W)."""
    red, green, blue = np.moveaxis(image.astype(np.int64) >> (8 - _BITS), -1, 0)
    return np.asarray((red << 2 * _BITS) | (green << _BITS) | blue)
