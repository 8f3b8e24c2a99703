"""Cutting video files into clips that `Folder` reads."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from thriftseg.arrays import UInt8Array
from thriftseg.atomic import PARTIAL_SUFFIX, named_in_errors, write_bytes
from thriftseg.datasets.folder import CLASS_FILE
from thriftseg.datasets.images import encode_frame
from thriftseg.datasets.tools.leakage import NEAR_STEPS
from thriftseg.drawing import VideoWriter
from thriftseg.errors import ConfigError, DatasetError
from thriftseg.folders import writes_alone
from thriftseg.parsing import read_bytes, read_json, read_lines
from thriftseg.progress import progress_bar
from thriftseg.taxonomies import Taxonomy
from thriftseg.types import SPLITS

RECORD_FILE, TO_LABEL_FILE = "import.json", "to_label.txt"
"""Files that note what was imported with which settings, and which label files are to be made."""

CLASS_TEMPLATE = """\
# The classes, in the order of the network's outputs. `id` is the value in the label PNGs (by default the position),
# `color` is how predictions are drawn, `instances: true` marks classes whose objects are told apart.
name: {name}
classes:
  - {{name: background, color: [70, 70, 70]}}
  - {{name: object, color: [220, 20, 60], instances: true}}
ignore: [255]  # label values that mean "not labelled": no loss, not scored
"""


LONGEST = 10**9
"""Seconds that a setting may last."""


@dataclass(frozen=True)
class _Settings:
    """How videos are cut; see `import_videos`."""

    every: float
    shares: tuple[float, ...]
    gap: float
    fps: float | None
    format: str

    def __post_init__(self) -> None:
        if not 0 < self.every <= LONGEST:
            raise ConfigError("seconds between labelled frames", expected=f"0 to {LONGEST}", found=self.every)
        if not 0 <= self.gap <= LONGEST:
            raise ConfigError("seconds between splits", expected=f"0 to {LONGEST}", found=self.gap)
        if self.fps is not None and self.fps <= 0:
            raise ConfigError("frames per second to keep", expected="more than 0", found=self.fps)
        if len(self.shares) != 3 or min(self.shares) < 0 or abs(sum(self.shares) - 1) > 1e-6 or self.shares[0] == 0:
            raise ConfigError("shares of train, val, test", expected="three numbers with sum 1", found=self.shares)
        if self.format not in ("jpg", "png", "mp4"):
            raise ConfigError("format of the frames", expected="jpg or png", found=self.format)


@dataclass(frozen=True)
class VideoImportSummary:
    """Result of an import.

    Attributes:
        root: Folder to pass as `--root` of the data set `folder`.
        clips: Clip folders, relative to the root, in order.
        frames: Number of frames.
        to_label: Label files to be made, relative to the root; each has the name of its frame.
        skipped: Clips that an earlier run had finished.
        classes_named: Whether the class table is more than the template.

    Example:
        >>> clips, labels = ("train/drive__000000",), ("train/drive__000000/labels/000005.png",)
        >>> print(VideoImportSummary(Path("mine"), clips, 10, labels, skipped=0, classes_named=True))
        1 clips with 10 frames in mine
        next: 1. make the 1 label PNGs listed in mine/to_label.txt
              2. thriftseg data check --dataset folder --root mine
    """

    root: Path
    clips: tuple[str, ...]
    frames: int
    to_label: tuple[str, ...]
    skipped: int
    classes_named: bool = False

    def __str__(self) -> str:
        finished = f" ({self.skipped} were there already)" if self.skipped else ""
        steps = [
            f"name your classes in {self.root / CLASS_FILE}",
            f"make the {len(self.to_label)} label PNGs listed in {self.root / TO_LABEL_FILE}",
            f"thriftseg data check --dataset folder --root {self.root}",
        ]
        listed = "\n      ".join(f"{place}. {step}" for place, step in enumerate(steps[self.classes_named :], start=1))
        return f"{len(self.clips)} clips with {self.frames} frames in {self.root}{finished}\nnext: {listed}"


@dataclass(frozen=True)
class _ClipPlan:
    """A stretch of a video that becomes one clip."""

    folder: str
    numbers: tuple[int, ...]
    to_label: tuple[int, ...]
    fps: float


@writes_alone("out")
def import_videos(
    videos: Sequence[str | Path],
    out: str | Path,
    classes_yaml: str | Path | None = None,
    every: float = 1.0,
    *,
    shares: tuple[float, float, float] = (0.7, 0.15, 0.15),
    gap: float = 1.0,
    fps: float | None = None,
    frame_format: Literal["jpg", "png"] = "jpg",
    keep_video: bool = False,
    progress: bool = False,
) -> VideoImportSummary:
    """Cut videos into the layout that `Folder` reads, ready for labels.

    Each video is split by time: its first part becomes a clip of `train`, then a gap is left out, then follow `val`,
    a gap, and `test`. Clips are named `{video}__{first frame number}` and hold all frames of their stretch (or `fps`
    of them per second) under their numbers in the video. In the middle of every `every` seconds of a clip one frame
    is to be labelled; the label files to make are listed in `to_label.txt`. After these are there,
    `thriftseg fit` can use the folder.

    Without a class table a template `classes.yaml` is written; edit it before labelling. More videos may be imported
    into the same folder later. A clip appears in full or not at all, so an import that was killed continues where it
    stopped when it is started again.

    Args:
        videos: Video files.
        out: Folder to write; becomes the root of the data set.
        classes_yaml: Class table to copy to `out/classes.yaml`.
        every: Seconds between frames to be labelled.
        shares: Parts of each video, in playing order, that become train, val and test; 0 leaves a split out.
        gap: Seconds left out between splits; never less than `thriftseg data check` takes for leakage.
        fps: Frames to keep per second; `None` keeps all.
        frame_format: Format of the frame files, `jpg` or `png`.
        keep_video: Write a video per clip instead of frame files: H.264 with a tenth of the bytes of JPEGs, and key
            frames close together, of which the frames to be labelled are some. Needs the package `av`.
        progress: Show a progress bar on stderr.

    Returns:
        What is on disk now, of these videos.

    Raises:
        DatasetError: A video is missing or unreadable, or too short for the shares and the gap; two videos have the
            same name; the class table is wrong; or a video was imported before with other settings.
        ConfigError: The settings contradict themselves, or the package `av` is to be installed.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with VideoWriter(Path(folder, "drive.mp4"), fps=10) as video:
        ...         for grey in range(20):
        ...             video.write(np.full((32, 48, 3), 10 * grey, np.uint8))
        ...     summary = import_videos([video.path], Path(folder, "mine"), every=1.0, shares=(1, 0, 0))
        >>> summary.frames, summary.clips, [Path(name).name for name in summary.to_label]
        (20, ('train/drive__000000',), ['000005.png', '000015.png'])
    """
    if keep_video and frame_format != "jpg":
        raise ConfigError(
            "a video, or frame files?", found=f"keep_video with {frame_format}", fix="drop one of the two"
        )
    suffix = "mp4" if keep_video else frame_format
    settings, out = _Settings(every, tuple(shares), gap, fps, suffix), Path(out)
    named = _named(videos)
    if classes_yaml is not None:
        Taxonomy.from_yaml(classes_yaml)
    plans = {path: _plan(path, name, settings) for name, path in named.items()}
    _record(out, named, settings)
    classes_named = _write_class_file(out, classes_yaml)
    skipped = 0
    with progress_bar(progress) as bar:
        for path, clips in plans.items():
            pending = [clip for clip in clips if not (out / clip.folder).is_dir()]
            skipped += len(clips) - len(pending)
            frames = _frames(path, [number for clip in pending for number in clip.numbers])
            total = sum(len(clip.numbers) for clip in pending)
            shown = bar.track(frames, total, description=f"cutting {path.name}")
            for clip in pending:
                _write_clip(out, clip, islice(shown, len(clip.numbers)), suffix)
    planned = [clip for clips in plans.values() for clip in clips]
    to_label = [f"{clip.folder}/labels/{number:06d}.png" for clip in planned for number in clip.to_label]
    listing = out / TO_LABEL_FILE
    listed = read_lines(listing) if listing.exists() else []
    write_bytes(listing, "".join(f"{name}\n" for name in dict.fromkeys([*listed, *to_label])).encode())
    return VideoImportSummary(
        root=out,
        clips=tuple(clip.folder for clip in planned),
        frames=sum(len(clip.numbers) for clip in planned),
        to_label=tuple(to_label),
        skipped=skipped,
        classes_named=classes_named,
    )


def _named(videos: Sequence[str | Path]) -> dict[str, Path]:
    """Videos by the name their clips get."""
    if not videos:
        raise ConfigError("no videos to import")
    named: dict[str, Path] = {}
    for video in map(Path, videos):
        name = re.sub(r"_{2,}", "_", re.sub(r"[^\w.-]+", "-", video.stem)).strip("_.-") or "video"
        if name in named:
            raise DatasetError("two videos would get the same name", path=video, found=named[name], fix="rename one")
        named[name] = video
    return named


@contextmanager
def _opened(path: Path) -> Iterator[cv2.VideoCapture]:
    if not path.is_file():
        raise DatasetError("no such video", path=path)
    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            raise DatasetError("cannot open the video", path=path, fix="convert it, for example to MP4 with H.264")
        yield capture
    finally:
        capture.release()


def _plan(path: Path, name: str, settings: _Settings) -> list[_ClipPlan]:
    """Lay the clips of a video over its frames."""
    rate, count = _rate_and_count(path)
    stride = 1 if settings.fps is None else max(1, round(rate / settings.fps))
    gap = max(round(settings.gap * rate), (NEAR_STEPS + 1) * stride)
    shares = {split: share for split, share in zip(SPLITS, settings.shares, strict=True) if share}
    usable = count - gap * (len(shares) - 1)
    clips, start = [], 0.0
    for split, share in shares.items():
        stop = start + share * usable
        numbers = tuple(range(-(-round(start) // stride) * stride, round(stop), stride))
        if len(numbers) < 2:
            raise DatasetError(
                f"the video is too short for a {split} clip",
                path=path,
                expected=f"two frames after gaps of {gap} frames are left out",
                found=f"{count} frames at {rate:g} per second",
                fix="lower the gap, or leave a split out by a share of 0",
            )
        period = max(1, round(settings.every * rate / stride))
        folder = f"{split}/{name}__{numbers[0]:06d}"
        clips.append(_ClipPlan(folder, numbers, _middles(numbers, period), rate / stride))
        start = stop + gap
    return clips


def _rate_and_count(path: Path) -> tuple[float, int]:
    """Frames per second, and the number of frames that can be decoded; what the header states may be wrong."""
    with _opened(path) as capture:
        rate, count = float(capture.get(cv2.CAP_PROP_FPS)), 0
        while capture.grab():
            count += 1
    if count == 0 or not 0 < rate < 1000:
        raise DatasetError("no frames can be read", path=path, found=f"{count} frames at {rate:g} per second")
    return rate, count


def _middles(numbers: tuple[int, ...], period: int) -> tuple[int, ...]:
    """The middle of every whole period; of the whole stretch when it is shorter than one.

    Example:
        >>> _middles(tuple(range(10, 20)), 4), _middles((0, 1, 2), 8)
        ((12, 16), (1,))
    """
    if len(numbers) < period:
        return (numbers[len(numbers) // 2],)
    return tuple(numbers[start + period // 2] for start in range(0, len(numbers) - period + 1, period))


def _write_clip(out: Path, clip: _ClipPlan, frames: Iterable[tuple[int, UInt8Array]], suffix: str) -> None:
    """Write the frames of a clip into a hidden folder that gets its name when it is complete."""
    folder = out / clip.folder
    partial = folder.with_name(f".{folder.name}{PARTIAL_SUFFIX}")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "labels").mkdir(parents=True)
    if suffix == "mp4":
        path = partial / f"frames_{clip.numbers[0]}_{clip.numbers[1] - clip.numbers[0]}.mp4"
        with named_in_errors(path), VideoWriter(path, clip.fps, seekable=True) as video:
            for number, frame in frames:
                video.write(frame, key=number in clip.to_label)
    else:
        (partial / "frames").mkdir()
        for number, frame in frames:
            path = partial / "frames" / f"{number:06d}.{suffix}"
            with named_in_errors(path):
                path.write_bytes(encode_frame(frame, f".{suffix}"))
    partial.replace(folder)


def _frames(path: Path, numbers: Sequence[int]) -> Iterator[tuple[int, UInt8Array]]:
    """Decode frames in playing order; seeking is not exact in all formats, so those in between are decoded too."""
    wanted = set(numbers)
    with _opened(path) as capture:
        for number in range(max(wanted, default=-1) + 1):
            if not capture.grab():
                raise DatasetError(f"cannot decode frame {number}", path=path, fix="convert the video again")
            if number in wanted:
                yield number, np.asarray(cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _record(out: Path, named: Mapping[str, Path], settings: _Settings) -> None:
    """Remember the settings of each video before it is cut; refuse others for a video that is there already."""
    path = out / RECORD_FILE
    record: dict[str, Any] = {}
    if path.exists():
        record = read_json(path, dict[str, Any], fix="delete it")
    for name, video in named.items():
        entry = {"bytes": video.stat().st_size, **asdict(settings), "shares": list(settings.shares)}
        if record.setdefault(name, entry) != entry:
            raise DatasetError(
                "imported before with other settings, or from another file",
                path=video,
                expected=record[name],
                found=entry,
                fix="use the same settings or another --out",
            )
    write_bytes(path, (json.dumps(record, indent=2, sort_keys=True) + "\n").encode())


def _write_class_file(out: Path, classes: str | Path | None) -> bool:
    """Write the class table, or a template of one; whether the folder has more than the template now."""
    path, template = out / CLASS_FILE, CLASS_TEMPLATE.format(name=json.dumps(out.resolve().name)).encode()
    found = read_bytes(path) if path.exists() else None
    content = read_bytes(classes) if classes is not None else template if found is None else found
    if found not in (None, content):
        raise DatasetError("there is another class table already", path=path, fix="edit that one, or use another --out")
    write_bytes(path, content)
    return content != template
