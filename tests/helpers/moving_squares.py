"""Small videos of coloured squares on a textured ground, written in the layout of MOSE."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import cv2
import numpy as np

from thriftseg.arrays import UInt8Array
from thriftseg.datasets import MOSE
from thriftseg.datasets.images import write_label_png
from thriftseg.datasets.vos.base import PALETTE

HEIGHT, WIDTH = 48, 80
LOW, HIGH = 40, 220
"""The ground is darker than LOW in every channel; object k is HIGH in channel (k - 1) % 3."""


def draw(number: int, ids: Iterable[int], void: bool = True) -> tuple[UInt8Array, UInt8Array]:
    """A frame (H, W, 3) and its mask: squares of 12 pixels that move by a pixel, and an ignored band at the bottom."""
    rng = np.random.default_rng(7)
    image = cv2.resize(rng.integers(0, LOW, (6, 10, 3), dtype=np.uint8), (WIDTH, HEIGHT))
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for object_id in ids:
        top, left = 2 + 14 * ((object_id - 1) % 3), (7 * object_id + number) % (WIDTH - 12)
        mask[top : top + 12, left : left + 12] = object_id
        image[mask == object_id] = [HIGH if channel == (object_id - 1) % 3 else 0 for channel in range(3)]
    if void:
        mask[-4:] = 255
    return np.asarray(image, np.uint8), mask


def write_squares(
    root: Path, videos: Mapping[str, Mapping[int, Iterable[int]]], held_out: Iterable[str] = (), void: bool = True
) -> MOSE:
    """Write videos, given as object ids by frame number; those of `held_out` form that split."""
    kept = set(held_out)
    for video, frames in videos.items():
        for number, ids in frames.items():
            image, mask = draw(number, ids, void)
            path = root / "train" / "JPEGImages" / video / f"{number:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(path), image[..., ::-1])
            write_label_png(root / "train" / "Annotations" / video / f"{number:05d}.png", mask, PALETTE)
    lists = root / "ImageSets"
    lists.mkdir(parents=True, exist_ok=True)
    (lists / "train.txt").write_text("\n".join(name for name in videos if name not in kept))
    (lists / "held_out.txt").write_text("\n".join(sorted(kept)))
    return MOSE(root)
