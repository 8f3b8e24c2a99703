"""Writes synthetic street video as a data set in a customary folder layout."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from thriftseg import __version__
from thriftseg.arrays import Int64Array, UInt8Array
from thriftseg.atomic import write_bytes
from thriftseg.datasets.synthetic.layouts import LAYOUTS, ClipName, ImageFormat, annotated_position
from thriftseg.datasets.synthetic.render import Drawing
from thriftseg.datasets.synthetic.scene import SceneConfig
from thriftseg.datasets.synthetic.video import StreetVideo
from thriftseg.errors import ConfigError
from thriftseg.flow import DIS, warp_labels
from thriftseg.taxonomies import CITYSCAPES
from thriftseg.types import IGNORE_INDEX

GENERATOR = 1
"""Counted up whenever the same arguments give other files."""

_RECORD = "synthesis.json"
_PROGRESS_FOLDER = ".synthesis"
_SPLITS = ("train", "val", "test")
_CLIPS_PER_SPLIT = 10**5
_VIDEO_INTERVAL = 0.2  # seconds; frames further apart are single images, for which flow means nothing
_PIXELS_WORTH_WORKERS = 2 * 10**7

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ClipRecord:
    """What was written for one clip.

    Attributes:
        split: Split of the clip.
        video: Name of the clip.
        files: Paths below the root.
        pixels: Number of pixels per Cityscapes train id over all frames.
        end_point_errors: Sum over pixels of the error of DIS flow, in pixels.
        measured_pixels: Number of pixels in that sum (those visible in both frames).
        intersections: Per train id, pixels that a label warped by DIS flow over one frame gets right.
        unions: Per train id, pixels that have the class in the warped or in the true label.
    """

    split: str
    video: str
    files: list[str]
    pixels: list[int]
    end_point_errors: float
    measured_pixels: int
    intersections: list[int]
    unions: list[int]


@dataclass(frozen=True)
class SynthesisSummary:
    """What `synthesize` wrote and how hard it is for classical optical flow.

    Attributes:
        out: Root of the data set.
        layout: Its folder layout.
        clips: Number of clips by split.
        frames: Number of frames altogether.
        dis_end_point_error: Mean error of DIS flow (t to t-1) in pixels, over pixels visible in both frames; NaN
            without video.
        warped_label_iou: Mean over the classes of the IoU of labels warped by DIS flow over one frame, pooled over the
            set; pixels warped from outside count as wrong; NaN without video.
        class_share: Share of the labelled pixels by class name and split.
    """

    out: Path
    layout: str
    clips: dict[str, int]
    frames: int
    dis_end_point_error: float
    warped_label_iou: float
    class_share: dict[str, dict[str, float]]

    def __str__(self) -> str:
        clips = " + ".join(f"{count} {split}" for split, count in self.clips.items() if count)
        return (
            f"{self.layout}: {clips} clips, {self.frames} frames in {self.out}; DIS end-point error "
            f"{self.dis_end_point_error:.2f} px, label warped over one frame {self.warped_label_iou:.3f} IoU"
        )


@dataclass(frozen=True)
class _Job:
    out: Path
    layout: str
    image_format: ImageFormat
    clip: ClipName
    index: int
    config: SceneConfig

    @property
    def marker(self) -> Path:
        return self.out / _PROGRESS_FOLDER / f"{self.clip.split}-{self.index:05d}.json"


def synthesize(
    out: str | Path,
    layout: str = "cityscapes",
    train_clips: int = 8,
    val_clips: int = 4,
    test_clips: int | None = None,
    frames: int = 30,
    height: int = 256,
    width: int = 512,
    seed: int = 0,
    jobs: int | None = None,
    image_format: ImageFormat = "png",
    progress: Progress | None = None,
) -> SynthesisSummary:
    """Write a synthetic data set that the reader of the layout can read.

    A clip is rendered into a temporary folder and then moved into place, so a run that was interrupted goes on where
    it stopped. The files depend on the arguments only, not on `jobs`. No two clips show the same street.
    `synthesis.json` in the root records the arguments and the figures of the summary.

    Called with many frames from a script, it starts worker processes, which import that script: guard the call with
    `if __name__ == "__main__":`, or pass `jobs=1`.

    Args:
        out: Root of the data set; absent, empty or written by the same call before.
        layout: `cityscapes`, `camvid`, `idd` or `veis`.
        train_clips: Clips in `train`.
        val_clips: Clips in `val`.
        test_clips: Clips in `test`; by default 2 for CamVid and none for the others.
        frames: Frames per clip.
        height: Rows of a frame.
        width: Columns of a frame.
        seed: Everything random follows from it.
        jobs: Worker processes; by default as many as there are cores, or none for small sets.
        image_format: `png` or `jpg` frames (video neighbours of IDD are always JPEG).
        progress: Called with the number of finished clips and of all clips.

    Raises:
        ConfigError: The layout is unknown, a number is out of range, or `out` holds something else.
    """
    if layout not in LAYOUTS:
        raise ConfigError(f"no layout {layout!r} to synthesize", expected=", ".join(LAYOUTS))
    counts = dict(zip(_SPLITS, (train_clips, val_clips, test_clips), strict=True))
    if counts["test"] is None:
        counts["test"] = LAYOUTS[layout].test_clips
    arguments = {
        "layout": layout,
        **{f"{split}_clips": count for split, count in counts.items()},
        "frames": frames,
        "height": height,
        "width": width,
        "seed": seed,
        "image_format": image_format,
    }
    out = Path(out)
    _validate(arguments, jobs)
    _claim(out, arguments)
    planned = list(_plan(out, arguments))
    records = _run(planned, jobs, progress)
    LAYOUTS[layout](image_format).write_lists(out, [job.clip for job in planned])
    summary = _summarize(out, layout, records, frames)
    figures = {key: value for key, value in asdict(summary).items() if key not in ("out", "layout")}
    _write_record(out, arguments, figures)
    return summary


def _validate(arguments: dict[str, Any], jobs: int | None) -> None:
    for key in ("train_clips", "val_clips", "test_clips", "seed"):
        if not 0 <= arguments[key] < (_CLIPS_PER_SPLIT if key != "seed" else np.inf):
            raise ConfigError(f"{key} is out of range", expected=f"0 to {_CLIPS_PER_SPLIT - 1}", found=arguments[key])
    if arguments["train_clips"] + arguments["val_clips"] + arguments["test_clips"] == 0:
        raise ConfigError("nothing to synthesize", expected="at least one clip")
    if jobs is not None and jobs < 1:
        raise ConfigError("jobs is out of range", expected="at least 1", found=jobs)
    if arguments["image_format"] not in ("png", "jpg"):
        raise ConfigError("unknown image format", expected="png or jpg", found=arguments["image_format"])
    SceneConfig(arguments["height"], arguments["width"], arguments["frames"])


def _claim(out: Path, arguments: dict[str, Any]) -> None:
    """Make `out` ours, unless it holds other files or other arguments."""
    record = out / _RECORD
    if record.is_file():
        known = json.loads(record.read_text(encoding="utf-8"))
        if known.get("generator") != GENERATOR or known.get("arguments") != arguments:
            raise ConfigError(
                "the folder holds a data set synthesized with other arguments",
                path=out,
                expected=arguments,
                found=known.get("arguments"),
                fix="choose another folder, or delete this one",
            )
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError("the folder is not empty", path=out, fix="choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    _write_record(out, arguments, None)


def _write_record(out: Path, arguments: dict[str, Any], summary: dict[str, Any] | None) -> None:
    content: dict[str, Any] = {"generator": GENERATOR, "version": __version__, "arguments": arguments}
    if summary is not None:
        content["summary"] = summary
    write_bytes(out / _RECORD, json.dumps(content, indent=1).encode())


def _plan(out: Path, arguments: dict[str, Any]) -> Iterator[_Job]:
    layout = LAYOUTS[arguments["layout"]](arguments["image_format"])
    for code, split in enumerate(_SPLITS):
        for index in range(arguments[f"{split}_clips"]):
            config = SceneConfig(
                height=arguments["height"],
                width=arguments["width"],
                num_frames=arguments["frames"],
                seed=(arguments["seed"] * len(_SPLITS) + code) * _CLIPS_PER_SPLIT + index,
                frame_interval=layout.frame_interval(split),
            )
            clip = layout.name_clip(split, index, arguments["frames"])
            yield _Job(out, layout.name, arguments["image_format"], clip, index, config)


def _run(planned: list[_Job], jobs: int | None, progress: Progress | None) -> list[ClipRecord]:
    """Write what is not there yet and return the records of all clips, in order."""
    records = {job.marker: record for job in planned if (record := _finished(job)) is not None}
    pending = [job for job in planned if job.marker not in records]
    report = progress or (lambda done, total: None)
    report(len(records), len(planned))
    for job, record in _results(pending, _workers(pending, jobs)):
        records[job.marker] = record
        report(len(records), len(planned))
    return [records[job.marker] for job in planned]


def _results(pending: list[_Job], workers: int) -> Iterator[tuple[_Job, ClipRecord]]:
    if workers <= 1:
        yield from ((job, _write_clip(job)) for job in pending)
        return
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        futures = {pool.submit(_write_clip, job): job for job in pending}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _workers(pending: list[_Job], jobs: int | None) -> int:
    """Worker processes to start; starting them takes longer than writing a small set."""
    if jobs is None:
        pixels = sum(job.config.height * job.config.width * job.config.num_frames for job in pending)
        jobs = (os.cpu_count() or 1) if pixels > _PIXELS_WORTH_WORKERS else 1
    return min(jobs, len(pending))


def _finished(job: _Job) -> ClipRecord | None:
    if not job.marker.is_file():
        return None
    record = ClipRecord(**json.loads(job.marker.read_text(encoding="utf-8")))
    return record if all((job.out / file).is_file() for file in record.files) else None


def _write_clip(job: _Job) -> ClipRecord:
    """Render one clip, move its files into place and leave the marker that it is complete."""
    staging = job.marker.with_suffix(".partial")
    shutil.rmtree(staging, ignore_errors=True)
    layout = LAYOUTS[job.layout](job.image_format)
    video, tally = StreetVideo(job.config), _Tally()
    measured = _measured_positions(job.config)
    previous: Drawing | None = None
    for position in range(job.config.num_frames):
        drawing = video.draw(position)
        layout.write_frame(staging, job.clip, position, drawing)
        tally.count(drawing.label)
        if previous is not None and position in measured:
            tally.measure(video, drawing, previous, position)
        previous = drawing
    record = tally.record(job.clip, _move_into_place(staging, job.out))
    write_bytes(job.marker, json.dumps(asdict(record)).encode())
    return record


def _move_into_place(staging: Path, out: Path) -> list[str]:
    files = sorted(path.relative_to(staging) for path in staging.rglob("*") if path.is_file())
    for file in files:
        target = out / file
        target.parent.mkdir(parents=True, exist_ok=True)
        (staging / file).replace(target)
    shutil.rmtree(staging)
    return [file.as_posix() for file in files]


def _measured_positions(config: SceneConfig) -> set[int]:
    if config.frame_interval > _VIDEO_INTERVAL:
        return set()
    return {max(1, config.num_frames // 4), annotated_position(config.num_frames), config.num_frames - 1}


class _Tally:
    """Counts pixels per class and measures DIS flow against the exact one."""

    def __init__(self) -> None:
        self.classes = CITYSCAPES.num_classes
        self.pixels: Int64Array = np.zeros(256, dtype=np.int64)
        self.confusion: Int64Array = np.zeros((256, 256), dtype=np.int64)
        self.errors, self.measured = 0.0, 0
        self.estimator = DIS()

    def count(self, label: UInt8Array) -> None:
        self.pixels += np.bincount(label.ravel(), minlength=256)

    def measure(self, video: StreetVideo, drawing: Drawing, previous: Drawing, position: int) -> None:
        exact, occluded = video.flow(drawing, previous, position, position - 1)
        estimate = self.estimator.estimate(drawing.image, previous.image)
        errors = np.hypot(*(estimate - exact))[~occluded]
        self.errors += float(errors.sum(dtype=np.float64))
        self.measured += errors.size
        warped = warp_labels(previous.label, estimate)
        labelled = drawing.label != IGNORE_INDEX
        pairs = drawing.label[labelled].astype(np.int64) * 256 + warped[labelled]
        self.confusion += np.bincount(pairs, minlength=256 * 256).reshape(256, 256)

    def record(self, clip: ClipName, files: list[str]) -> ClipRecord:
        hits = np.diag(self.confusion)[: self.classes]
        unions = self.confusion.sum(axis=1)[: self.classes] + self.confusion.sum(axis=0)[: self.classes] - hits
        return ClipRecord(
            split=clip.split,
            video=clip.video,
            files=files,
            pixels=self.pixels[: self.classes].tolist(),
            end_point_errors=self.errors,
            measured_pixels=self.measured,
            intersections=hits.tolist(),
            unions=unions.tolist(),
        )


def _summarize(out: Path, layout: str, records: list[ClipRecord], frames: int) -> SynthesisSummary:
    measured = sum(record.measured_pixels for record in records)
    errors = sum(record.end_point_errors for record in records)
    hits, unions = (
        np.sum([getattr(record, name) for record in records], axis=0) for name in ("intersections", "unions")
    )
    seen = unions > 0
    return SynthesisSummary(
        out=out,
        layout=layout,
        clips={split: sum(record.split == split for record in records) for split in _SPLITS},
        frames=frames * len(records),
        dis_end_point_error=errors / measured if measured else float("nan"),
        warped_label_iou=float((hits[seen] / unions[seen]).mean()) if seen.any() else float("nan"),
        class_share={split: _shares([record for record in records if record.split == split]) for split in _SPLITS},
    )


def _shares(records: list[ClipRecord]) -> dict[str, float]:
    """Share of the labelled pixels of every class that occurs."""
    if not records:
        return {}
    pixels = np.sum([record.pixels for record in records], axis=0)
    return {name: float(pixels[i] / pixels.sum()) for i, name in enumerate(CITYSCAPES.class_names) if pixels[i]}
