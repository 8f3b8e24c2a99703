"""Evaluation of long videos: time and memory per frame do not grow with the video.

The videos lie on disk in the layout of DAVIS: five discs that wander over noise. Reading, network, scores: everything
that `thriftseg validate` does for a video.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks.measure import Item, Outcome, extra_memory, one_thread, thread_seconds
from thriftseg.datamodules.vos.streams import VideoStream
from thriftseg.datasets import DAVIS
from thriftseg.lightning_modules import VideoObjectSegmentation
from thriftseg.zoo import create_model

HEIGHT, WIDTH, OBJECTS = 96, 160, 5
SHORT, LONG = 150, 300
MEMORY_FRAMES = 8
TURNS = 2
"""Videos take turns; the least time of each counts."""


def long_video() -> Outcome:
    """Time per frame of a video of 300 frames over that of one of 150; memory, of the short one over the long one.

    150 frames fill the memory, too.
    """
    torch.manual_seed(0)
    network = create_model("stm_r18", max_memory_frames=MEMORY_FRAMES)
    module = VideoObjectSegmentation(network).eval()
    with tempfile.TemporaryDirectory() as folder, one_thread(), torch.inference_mode():
        dataset = DAVIS(write_videos(Path(folder)))
        streams = {len(clip.frames): VideoStream(dataset, clip) for clip in dataset.clips("val")}
        steps = {length: partial(module.validation_step, stream, 0) for length, stream in streams.items()}
        steps[SHORT]()
        turns = [[thread_seconds(step) / length for length, step in steps.items()] for _ in range(TURNS)]
        seconds = dict(zip(steps, map(min, *turns), strict=True))
        extra = {length: extra_memory(step, attempts=1, calls=1) for length, step in steps.items()}
    detail = "; ".join(
        f"{length} frames: {1e3 * seconds[length]:.0f} ms per frame, +{extra[length]:.0f} MiB" for length in seconds
    )
    return Outcome(seconds[LONG] / seconds[SHORT], detail, extra[SHORT] / max(extra[LONG], 0.1))


def write_videos(root: Path) -> Path:
    """A short and a long video of moving discs in the layout of DAVIS."""
    rng = np.random.default_rng(0)
    names = {f"video{length}": length for length in (SHORT, LONG)}
    lists = root / "ImageSets" / "2017"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("".join(f"{name}\n" for name in names))
    ground = rng.integers(0, 60, (HEIGHT, WIDTH, 3), np.uint8)
    for name, length in names.items():
        for part in ("JPEGImages", "Annotations"):
            (root / part / "480p" / name).mkdir(parents=True)
        for frame in range(length):
            image, ids = ground.copy(), np.zeros((HEIGHT, WIDTH), np.uint8)
            for number in range(1, OBJECTS + 1):
                x = int(WIDTH * (number - 0.5) / OBJECTS + 8 * np.sin(frame / 9 + number))
                y = int(HEIGHT / 2 + 30 * np.cos(frame / 13 + 2 * number))
                cv2.circle(ids, (x, y), 12, number, cv2.FILLED)
                cv2.circle(image, (x, y), 12, (50 * number, 255 - 40 * number, 90), cv2.FILLED)
            cv2.imwrite(str(root / "JPEGImages" / "480p" / name / f"{frame:05d}.jpg"), image)
            cv2.imwrite(str(root / "Annotations" / "480p" / name / f"{frame:05d}.png"), ids)
    return root


ITEMS = [
    Item(
        "vos_streaming",
        f"stm_r18 {HEIGHT}x{WIDTH}, {OBJECTS} objects, {MEMORY_FRAMES} kept frames: per frame of {LONG} / of {SHORT}",
        long_video,
        at_most=1.15,
        memory_at_least=0.7,
    )
]
