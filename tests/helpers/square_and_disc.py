"""A video of a square that moves by two pixels per frame and a still disc, whose true flow is known."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from thriftseg.arrays import Float32Array, UInt8Array
from thriftseg.datasets import Folder
from thriftseg.datasets.images import write_label_png

HEIGHT, WIDTH, FRAMES = 48, 64, 6
GROUND, SQUARE, DISC = range(3)
STEP, SIDE, TOP, LEFT = 2, 12, 8, 6
COLOURS = np.array([(60, 70, 80), (220, 40, 40), (40, 60, 210)], np.uint8)


def truth(number: int) -> UInt8Array:
    """Label map (H, W) of a frame."""
    label = np.full((HEIGHT, WIDTH), GROUND, np.uint8)
    cv2.circle(label, (44, 32), 10, DISC, thickness=-1)
    left = LEFT + STEP * number
    label[TOP : TOP + SIDE, left : left + SIDE] = SQUARE
    return label


def frame(number: int) -> UInt8Array:
    """Picture (H, W, 3): the colours of the classes with noise that is the same in all frames."""
    noise = np.random.default_rng(5).integers(-12, 13, (HEIGHT, WIDTH, 3))
    return np.clip(COLOURS[truth(number)].astype(int) + noise, 0, 255).astype(np.uint8)


def write_video(root: Path, frames: int = FRAMES, video: str = "street", split: str = "val") -> Folder:
    """Write a video with the truth of each frame in the layout of a user's own clips."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "classes.yaml").write_text("classes: [{name: ground}, {name: square}, {name: disc}]\n")
    clip = root / split / video
    (clip / "frames").mkdir(parents=True)
    for number in range(frames):
        assert cv2.imwrite(str(clip / "frames" / f"{number:06d}.png"), frame(number)[..., ::-1])
        write_label_png(clip / "labels" / f"{number:06d}.png", truth(number))
    return Folder(root)


class SquareFlow:
    """Estimates the true flow between any two frames, at any size, from where the red square is; counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __repr__(self) -> str:
        return "SquareFlow()"

    def estimate(self, a: UInt8Array, b: UInt8Array) -> Float32Array:
        self.calls += 1
        in_a, in_b = (image[..., 0].astype(int) - image[..., 2] > 80 for image in (a, b))
        flow = np.zeros((2, *in_a.shape), np.float32)
        flow[0, in_a] = np.flatnonzero(in_b.any(axis=0))[0] - np.flatnonzero(in_a.any(axis=0))[0]
        return flow
