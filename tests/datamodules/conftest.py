"""A small real data set: noisy frames in which a square moves, labels and frames as PNG files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from thriftseg.datasets.base import VideoDataset
from thriftseg.datasets.images import write_label_png
from thriftseg.taxonomies import LabelClass, Taxonomy
from thriftseg.types import Clip

SQUARES = Taxonomy("squares", 1, (LabelClass(0, "ground", 0, (0, 0, 0)), LabelClass(1, "square", 1, (255, 0, 0))))


class MovingSquares(VideoDataset):
    name = "squares"
    layout = "ROOT/{split}/{video}/{number}.png and {number}_label.png"
    how_to_get = "write it again"

    def __init__(self, root=None, frame_step: int = 1) -> None:
        super().__init__(root)
        self.frame_step = frame_step

    @property
    def taxonomy(self) -> Taxonomy:
        return SQUARES

    def _scan(self, split: str) -> list[Clip]:
        clips = []
        for folder in (self.root / split).glob("*"):
            files = sorted(folder.glob("*.png"))
            frames = {int(f.stem): f for f in files if "_" not in f.stem}
            labels = {int(f.stem.split("_")[0]): f for f in files if "_" in f.stem}
            clips.append(Clip(folder.name, frames, labels, frame_step=self.frame_step, drive=folder.name))
        return clips


def write_clip(folder: Path, numbers, labelled, size=(48, 64), seed=0, motion=3) -> None:
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    wide = rng.integers(0, 200, (size[0], size[1] + 200, 3), dtype=np.uint8)
    wide = cv2.GaussianBlur(wide, (0, 0), 1.5)
    for place, number in enumerate(numbers):
        frame = wide[:, place * motion : place * motion + size[1]].copy()
        label = np.zeros(size, np.uint8)
        label[8:24, 10 + 2 * place : 26 + 2 * place] = 1
        frame[label == 1] = (230, 40, 40)
        cv2.imwrite(str(folder / f"{number:06d}.png"), frame[:, :, ::-1])
        if number in labelled:
            write_label_png(folder / f"{number:06d}_label.png", label)


@pytest.fixture(scope="session")
def squares_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4 training clips of 12 frames with one label each; 3 validation clips, one labelled throughout."""
    root = tmp_path_factory.mktemp("squares")
    for k in range(4):
        write_clip(root / "train" / f"clip{k}", range(100, 112), {106}, seed=k)
    write_clip(root / "val" / "every", range(0, 6), set(range(6)), seed=10)
    write_clip(root / "val" / "first", range(0, 6), {0}, seed=11)
    write_clip(root / "val" / "single", range(20, 30), {25, 29}, seed=12)
    return root


@pytest.fixture(scope="session")
def squares(squares_root: Path) -> MovingSquares:
    return MovingSquares(squares_root)


@pytest.fixture(scope="session")
def open_squares() -> type[MovingSquares]:
    return MovingSquares


@pytest.fixture(scope="session")
def write_squares() -> Callable[..., None]:
    return write_clip
