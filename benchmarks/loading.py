"""Clip loading against decoding the same files with the same workers.

The floor is a loader whose items decode a frame and its label and return nothing. Blocks of both alternate, so that a
change in the machine's load hits both, and the median of the ratios of adjacent blocks counts.

What loading adds is one resampling and the way of the crop through shared memory, so both grow with the crop. The bound
is for crops of 512x512.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal
from unittest.mock import patch

import cv2
import numpy as np
from torch.utils.data import DataLoader

from benchmarks.measure import Item, Outcome, one_thread, thread_seconds
from thriftseg.arrays import UInt8Array
from thriftseg.datamodules import SemanticDataModule, write_shards
from thriftseg.datamodules.base import start_worker
from thriftseg.datasets import CamVid, Folder
from thriftseg.datasets.base import VideoDataset
from thriftseg.datasets.images import read_frame, write_label_png
from thriftseg.datasets.tools.video_import import import_videos
from thriftseg.drawing import VideoWriter
from thriftseg.synthetic import SceneConfig, render_clip, synthesize
from thriftseg.taxonomies import CITYSCAPES, LabelClass, Taxonomy
from thriftseg.types import Clip

FRAMES, VIDEO_FRAMES = 32, 120
BLOCKS = 5
WORKERS = 2
BATCH = 4

Order = Literal["in_order", "labelled", "shuffled"]
Reading = Callable[[], UInt8Array]
nothing_kept = partial(patch, "thriftseg.datasets.video._KEPT_BYTES", 0)
"""Without the memory of frames that were decoded last."""


class Pictures(VideoDataset):
    """Single frames with labels, in one folder."""

    name = "pictures"
    layout = "ROOT/{number}.png|jpg and ROOT/label_{number}.png"
    how_to_get = "the benchmark writes it"

    @property
    def taxonomy(self) -> Taxonomy:
        """Train ids as raw ids."""
        return Taxonomy(
            "train ids", 1, tuple(LabelClass(k, c.name, k, c.color) for k, c in enumerate(CITYSCAPES.classes))
        )

    def _scan(self, split: str) -> list[Clip]:
        frames = {int(f.stem): f for f in self.root.glob("[0-9]*")}
        labels = {int(f.stem.split("_")[1]): f for f in self.root.glob("label_*")}
        return [Clip("pictures", frames, labels)]


def write_pictures(root: Path, suffix: str) -> None:
    """1024x2048 frames with the grain of a camera (4.8 MB as PNG, 1.3 MB as JPEG) and street-like label maps."""
    rng = np.random.default_rng(0)
    root.mkdir()
    for number in range(FRAMES):
        coarse = rng.integers(0, 255, (128, 256, 3), dtype=np.uint8)
        scene = cv2.resize(coarse, (2048, 1024), interpolation=cv2.INTER_CUBIC).astype(np.int16)
        grain = rng.integers(-12, 13, scene.shape, dtype=np.int16)
        cv2.imwrite(str(root / f"{number:03d}{suffix}"), np.clip(scene + grain, 0, 255).astype(np.uint8))
        regions = cv2.resize(
            rng.integers(0, 19, (32, 64), dtype=np.uint8), (2048, 1024), interpolation=cv2.INTER_NEAREST
        )
        write_label_png(root / f"label_{number:03d}.png", regions, CITYSCAPES.flat_palette())


class Decoding:
    """Decodes a frame and its label and throws both away."""

    def __init__(self, dataset: VideoDataset) -> None:
        self.dataset = dataset
        (self.clip,) = dataset.clips("train")

    def __len__(self) -> int:
        return FRAMES

    def __getitem__(self, number: int) -> int:
        self.dataset.read_frame(self.clip, number)
        self.dataset.read_label(self.clip, number)
        return number


def frames_per_second(batches: Iterable[object]) -> float:
    start = time.perf_counter()
    for _ in batches:
        pass
    return FRAMES / (time.perf_counter() - start)


def loading(suffix: str, crop: int) -> Outcome:
    """Median over paired blocks of the rate of loading by the rate of decoding."""
    with TemporaryDirectory() as folder:
        write_pictures(Path(folder) / "data", suffix)
        pairs = block_rates(Pictures(Path(folder) / "data"), crop)
    loaded, decoded = (statistics.median(rates) for rates in zip(*pairs, strict=True))
    ratio = statistics.median(loaded / decoded for loaded, decoded in pairs)
    return Outcome(ratio, f"loading {loaded:.1f} frames/s, decoding {decoded:.1f}")


def block_rates(dataset: VideoDataset, crop: int) -> list[tuple[float, float]]:
    """Frames per second of loading and of decoding, in turns."""
    module = SemanticDataModule(dataset, crop=(crop, crop), batch_size=BATCH, num_workers=WORKERS)
    module.setup("fit")
    loading = module.train_dataloader()
    decoding = DataLoader(
        Decoding(dataset), BATCH, num_workers=WORKERS, persistent_workers=True, worker_init_fn=start_worker
    )
    pairs = []
    for block in range(BLOCKS + 1):
        loading.sampler.set_epoch(block)
        pairs.append((frames_per_second(loading), frames_per_second(decoding)))
    return pairs[1:]  # the first one starts the workers


def item(suffix: str, crop: int, at_least: float) -> Item:
    return Item(
        f"loading_{suffix}_{crop}",
        f"training samples of {crop}x{crop} from 1024x2048 {suffix.upper()} / decoding the same files alone",
        partial(loading, f".{suffix}", crop),
        at_least,
    )


def reading_video(order: Order, key_frames_alone: bool = False) -> Outcome:
    """Time to read frames of a video that `data import --keep_video` wrote over that of the JPEG files without it."""
    settings = {"crf": "31", "x264-params": "keyint=1"} if key_frames_alone else {}
    with TemporaryDirectory() as folder, nothing_kept(), patch.dict("thriftseg.drawing.video._SEEKABLE", settings):
        kept, sizes = [], []
        for name in ("jpg", "mp4"):
            clip, to_label = imported(Path(folder), Path(folder) / name)
            kept.append([clip.frames[number] for number in sorted(clip.frames)])
            sizes.append(sum(file.stat().st_size for file in (Path(folder) / name).rglob(f"*.{name}")))
        files, video = ([partial(read_frame, frame) for frame in frames] for frames in kept)
        noise = statistics.mean(cv2.PSNR(a(), b()) for a, b in zip(files, video, strict=True))
        ratio, rates = turns(files, video, places(order, to_label))
    text = (
        f"JPEG {rates[0]:.0f} frames/s, video {rates[1]:.0f} of {sizes[1] / sizes[0]:.3f} of the disk, {noise:.1f} dB"
    )
    return Outcome(ratio, text)


def against_torchcodec(order: Order) -> Outcome:
    """Time to read frames of such a video over that of torchcodec, which needs `pip install torchcodec` and FFmpeg."""
    from torchcodec.decoders import VideoDecoder

    with TemporaryDirectory() as folder, nothing_kept():
        clip, to_label = imported(Path(folder), Path(folder) / "mp4")
        (video,) = Path(folder).rglob("frames*.mp4")
        decoder = VideoDecoder(video, num_ffmpeg_threads=1, dimension_order="NHWC")
        theirs = [partial(lambda place: decoder[place].numpy(), place) for place in range(VIDEO_FRAMES)]
        ours = [partial(read_frame, clip.frames[number]) for number in sorted(clip.frames)]
        if not all(np.array_equal(a(), b()) for a, b in zip(theirs, ours, strict=True)):
            raise AssertionError("other pixels")
        ratio, rates = turns(theirs, ours, places(order, to_label))
    return Outcome(ratio, f"torchcodec {rates[0]:.0f} frames/s, ours {rates[1]:.0f}")


def imported(folder: Path, out: Path) -> tuple[Clip, list[int]]:
    """A clip of a video that was imported as what `out` is named, and its frames that are to be labelled."""
    film = folder / "drive.mp4"
    if not film.exists():
        with VideoWriter(film, fps=17) as video:
            for frame in render_clip(SceneConfig(height=480, width=640, num_frames=VIDEO_FRAMES, seed=0)):
                video.write(frame.image)
    made = import_videos([film], out, shares=(1, 0, 0), keep_video=out.name == "mp4")
    (clip,) = Folder(out).clips("train")
    return clip, [int(Path(label).stem) for label in made.to_label]


def places(order: Order, to_label: list[int]) -> list[int]:
    """The frames that are read, as many as there are."""
    numbers = np.arange(VIDEO_FRAMES)
    if order == "labelled":
        numbers = np.resize(to_label, VIDEO_FRAMES)
    elif order == "shuffled":
        np.random.default_rng(0).shuffle(numbers)
    return numbers.tolist()


def turns(reference: list[Reading], ours: list[Reading], order: list[int]) -> tuple[float, list[float]]:
    """Time of ours over that of the reference, and frames per second of both."""

    def read(side: list[Reading]) -> None:
        for place in order:
            side[place]()

    with one_thread():
        pairs = [[thread_seconds(partial(read, side)) for side in (reference, ours)] for _ in range(BLOCKS + 1)][1:]
    rates = [len(order) / statistics.median(times) for times in zip(*pairs, strict=True)]
    return statistics.median(b / a for a, b in pairs), rates


def reading_shards() -> Outcome:
    """Time to read and decode frames and labels from shards over that of the files they were made from."""
    with TemporaryDirectory() as folder, one_thread():
        data, packed = Path(folder) / "data", Path(folder) / "packed"
        synthesize(data, layout="camvid", height=360, width=480, frames=VIDEO_FRAMES, train_clips=1, val_clips=1)
        write_shards(CamVid(data), packed, store=Path(folder) / "none", shard_mib=16)
        readers = [CamVid(data), CamVid(packed)]
        numbers = np.random.default_rng(0).permutation(list(readers[0].clips("train")[0].frames)).tolist()

        def read(dataset: CamVid) -> None:
            (clip,) = dataset.clips("train")
            for number in numbers:
                dataset.read_frame(clip, number)
                if number in clip.labels:
                    dataset.read_label(clip, number)

        pairs = [[thread_seconds(partial(read, reader)) for reader in readers] for _ in range(2 * BLOCKS + 1)][1:]
    rates = [len(numbers) / statistics.median(times) for times in zip(*pairs, strict=True)]
    text = f"files {rates[0]:.0f} frames/s, shards {rates[1]:.0f}"
    return Outcome(statistics.median(shards / files for files, shards in pairs), text)


ITEMS = [
    Item(
        "reading_shards",
        "frames of 360x480 and their labels in any order, from shards of 16 MiB / from their files",
        reading_shards,
        at_most=1.1,
    ),
    item("png", 512, 0.9),
    item("jpg", 512, 0.8),
    *(
        Item(f"{name}_{order}", f"frames of 480x640 {what}, from a video {of}", partial(run, order), at_most=most)
        for order, what, limit in (
            ("in_order", "in playing order", 1.11),
            ("labelled", "that were to be labelled", 1.11),
            ("shuffled", "in any order", 3.0),
        )
        for name, of, run, most in (
            ("reading_video", "of `data import --keep_video` / from its JPEG files", reading_video, limit),
            ("torchcodec", "of `data import --keep_video` / the same by torchcodec", against_torchcodec, None),
        )
        if name != "torchcodec" or find_spec("torchcodec")
    ),
    Item(
        "video_of_key_frames",
        "frames of 480x640 in any order, from as large a video of key frames alone / from JPEG files",
        partial(reading_video, "shuffled", key_frames_alone=True),
    ),
]
