"""Small trees of video object segmentation in the true folder layouts, written file by file."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

HEIGHT, WIDTH = 24, 40
PALETTE = bytes(np.random.default_rng(0).integers(0, 256, 768, dtype=np.uint8))


def frame(path: Path, size: tuple[int, int] = (HEIGHT, WIDTH)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = sum(map(ord, "/".join(path.parts[-2:])))
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    assert cv2.imwrite(str(path), cv2.resize(coarse, size[::-1]))


def ids_map(ids: Iterable[int], size: tuple[int, int] = (HEIGHT, WIDTH), dtype: type = np.uint8) -> np.ndarray:
    """A column of four pixels for each id."""
    mask = np.zeros(size, dtype)
    for position, value in enumerate(ids):
        mask[2:-2, 2 + 5 * position : 6 + 5 * position] = value
    return mask


def mask(path: Path, ids: Iterable[int], size: tuple[int, int] = (HEIGHT, WIDTH)) -> None:
    """A palette PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(ids_map(ids, size))
    image.putpalette(PALETTE)
    image.save(path)


def video(root: Path, name: str, frames: Iterable[str], masks: Mapping[str, Iterable[int]], sub: str = "") -> None:
    """Frames and masks below `JPEGImages` and `Annotations`, written in random order."""
    names = list(frames)
    for stem in random.Random(0).sample(names, len(names)):
        frame(root / "JPEGImages" / sub / name / f"{stem}.jpg")
    for stem in random.Random(1).sample(list(masks), len(masks)):
        mask(root / "Annotations" / sub / name / f"{stem}.png", masks[stem])


def numbered(count: int, step: int = 1) -> list[str]:
    return [f"{number:05d}" for number in range(0, count * step, step)]


def lines(path: Path, *names: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(names))


def write_davis(root: Path) -> Path:
    """Two videos to train on, one to validate on, one to test on."""
    for name in ("bear", "camel", "dance"):
        video(root, name, numbered(4), dict.fromkeys(numbered(4), (1, 2, 255)), "480p")
    video(root, "tennis", numbered(4), {"00000": (1, 2, 3)}, "480p")
    for split, names in {"train": ("camel", "bear"), "val": ("dance",), "test-dev": ("tennis",)}.items():
        lines(root / "ImageSets" / "2017" / f"{split}.txt", *names)
    return root


def write_youtube_vos(root: Path) -> Path:
    """Every fifth frame; in the validation video object 1 starts at once and object 4 at frame 15."""
    names = numbered(6, 5)
    video(root / "train", "0a1b2c3d4e", names, dict.fromkeys(names, (1, 3)))
    video(root / "train", "1a1b2c3d4e", names, dict.fromkeys(names, (1,)))
    video(root / "valid", "0062f687f1", names, {"00000": (1,), "00015": (1, 4)})
    for number in range(26):
        frame(root / "valid_all_frames" / "JPEGImages" / "0062f687f1" / f"{number:05d}.jpg")
    write_meta(
        root / "train",
        {
            "0a1b2c3d4e": {"1": ("dog", names), "3": ("person", names)},
            "1a1b2c3d4e": {"1": ("bird", names)},
        },
    )
    write_meta(root / "valid", {"0062f687f1": {"1": ("dog", names[:4]), "4": ("penguin", names[3:])}})
    return root


def write_meta(folder: Path, videos: Mapping[str, Mapping[str, tuple[str, list[str]]]]) -> None:
    content = {
        name: {
            "objects": {key: dict(zip(("category", "frames"), entry, strict=True)) for key, entry in objects.items()}
        }
        for name, objects in videos.items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "meta.json").write_text(json.dumps({"videos": content}))


def write_mose(root: Path, train: Iterable[str] = ("0a000001", "0a000002")) -> Path:
    """Ids with gaps; object 9 appears in the third frame."""
    for name in train:
        video(root / "train", name, numbered(4), {**dict.fromkeys(numbered(2), (2, 5)), "00002": (2, 9), "00003": (9,)})
    video(root / "valid", "ff00ff00", numbered(4), {"00000": (1, 7)})
    return root


TAO_FRAMES = ("frame0009", "frame0039", "frame0100", "frame0069")
"""In no order; frame0100 sorts last only where numbers count."""


def write_tao_vos(root: Path) -> Path:
    """A video of each split whose masks lie a second apart."""
    cameras = tuple(f"ring_front_center_31597176801262448{digit}" for digit in (8, 9))
    video(root / "train", "Charades/X1Y2Z", (*TAO_FRAMES, "frame0010"), dict.fromkeys(TAO_FRAMES, (1, 6)))
    video(root / "valid", "ArgoVerse/aebe6aaa-6a95", cameras, {cameras[0]: (3,), cameras[1]: (3, 4)})
    lines(root / "ImageSets" / "train.txt", "Charades/X1Y2Z")
    return root


def write_coco(root: Path) -> Path:
    """Three photographs: polygons and a crowd, compressed run lengths, nothing."""
    for name in ("000000000009", "000000000025", "000000000030"):
        frame(root / "train2017" / f"{name}.jpg")
    crowd = ids_map([0, 0, 0, 0, 1]).T.ravel()
    changes = np.flatnonzero(np.diff(crowd)) + 1
    counts = np.diff(changes, prepend=0, append=crowd.size).tolist()
    square = [2, 2, 12, 2, 12, 12, 2, 12]
    inner = [4, 4, 8, 4, 8, 8, 4, 8]
    annotations = [
        {"id": 1, "image_id": 9, "category_id": 18, "iscrowd": 0, "segmentation": [inner]},
        {"id": 2, "image_id": 9, "category_id": 1, "iscrowd": 0, "segmentation": [square]},
        {"id": 3, "image_id": 9, "category_id": 1, "iscrowd": 1, "segmentation": {"size": [24, 40], "counts": counts}},
        {
            "id": 4,
            "image_id": 25,
            "category_id": 90,
            "iscrowd": 0,
            "segmentation": {"size": [24, 40], "counts": "df04d00l5"},
        },
    ]
    images = [
        {"id": number, "file_name": f"{number:012d}.jpg", "height": HEIGHT, "width": WIDTH} for number in (9, 25, 30)
    ]
    categories = [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}, {"id": 90, "name": "toothbrush"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    path = root / "annotations" / "instances_train2017.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content))
    return root
