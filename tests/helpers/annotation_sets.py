"""Small training sets of EVA-VOS: discs in front of noise, with masks that cover a part of them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from thriftseg.arrays import UInt8Array
from thriftseg.costs import CostModel
from thriftseg.stores.annotation_rounds import RoundKey
from thriftseg.stores.quality_set import QualitySet, RatedMask
from thriftseg.stores.type_set import Annotated, TypeSet

SIZE = (48, 64)
PRICE = CostModel.named("polygon")


def disc(radius: float) -> UInt8Array:
    rows, columns = np.ogrid[: SIZE[0], : SIZE[1]]
    return ((rows - 24) ** 2 + (columns - 32) ** 2 <= radius**2).astype(np.uint8)


def jaccard(mask: UInt8Array, truth: UInt8Array) -> float:
    return float((mask & truth).sum() / (mask | truth).sum())


def write_frame(path: Path, truth: UInt8Array, rng: np.random.Generator) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = rng.integers(0, 100, (*SIZE, 3), dtype=np.uint8)
    image[truth == 1] = 220
    assert cv2.imwrite(str(path), image)


def write_quality_set(folder: Path, videos: int = 6, rounds: int = 2, frames: int = 4) -> tuple[Path, Path]:
    """Folder of the set and of its frames; the last frame of each video does not show the object."""
    rng = np.random.default_rng(0)
    root, frames_root = folder / "quality_set", folder / "frames"
    frames_root.mkdir(parents=True)
    rated = QualitySet.create(root, "davis", frames_root)
    for video in (f"video{number}" for number in range(videos)):
        truths = [disc(rng.uniform(16, 20)) for _ in range(frames)]
        paths = [frames_root / video / f"{number:05d}.png" for number in range(frames + 1)]
        for path, truth in zip(paths, [*truths, disc(0)], strict=True):
            write_frame(path, truth, rng)
        for number in range(rounds):
            masks = [disc(rng.uniform(2, 16)) for _ in truths]
            items = [
                RatedMask(place, paths[place], mask, jaccard(mask, truth))
                for place, (mask, truth) in enumerate(zip(masks, truths, strict=True))
            ]
            rated.write_round(RoundKey(video, 1, number), [*items, RatedMask(frames, paths[frames], disc(5), None)])
    return root, frames_root


def write_type_set(
    folder: Path, videos: int = 6, rounds: int = 2, clicks: int = 5, qualities: tuple[float, ...] = ()
) -> tuple[Path, Path]:
    """Folder of the set and of its frames; each click makes the mask grow, qualities are given or measured."""
    rng = np.random.default_rng(0)
    root, frames_root = folder / "type_set", folder / "frames"
    frames_root.mkdir(parents=True)
    states = TypeSet.create(root, "davis", frames_root)
    for video in (f"video{number}" for number in range(videos)):
        truth = disc(18)
        for number in range(rounds):
            path = frames_root / video / f"{number:05d}.png"
            write_frame(path, truth, rng)
            masks = [disc(4 + 12 * count / clicks) for count in range(clicks + 1)]
            found = qualities or tuple(jaccard(mask, truth) for mask in masks)
            states.write_round(
                RoundKey(video, 1, number),
                number,
                path,
                mask=masks[0],
                quality=found[0],
                clicks=[
                    Annotated(mask, quality, PRICE.clicks(1, objects=0))
                    for mask, quality in zip(masks[1:], found[1:], strict=True)
                ],
                drawn=Annotated(truth, 1.0, PRICE.mask()),
                overhead=PRICE.clicks(0, objects=1),
            )
    return root, frames_root
