"""Makes synthetic data sets clip by clip: claims the folder, renders in processes, goes on where it stopped."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from thriftseg import __version__
from thriftseg.atomic import write_bytes
from thriftseg.errors import ConfigError
from thriftseg.folders import claim_folder, writes_alone
from thriftseg.parsing import FileName, check, read_json
from thriftseg.synthetic.layouts.classes import ClipName, ImageFormat, Layout
from thriftseg.synthetic.scene import SceneConfig
from thriftseg.types import SPLITS
from thriftseg.workers import Workers, run_tasks

GENERATOR = 1
"""Counted up whenever the same arguments give other files."""

_RECORD = "synthesis.json"
_PROGRESS_FOLDER = ".synthesis"
_CLIPS_PER_SPLIT = 10**5

Progress = Callable[[int, int], None]
Record = dict[str, Any]


@dataclass(frozen=True)
class PlannedClip:
    """A clip to make.

    Attributes:
        out: Root of the data set.
        layout: Name of its layout.
        image_format: Format of the frames.
        clip: Where the clip belongs.
        index: Position of the clip in its split.
        config: Size, length and seed.
    """

    out: Path
    layout: str
    image_format: ImageFormat
    clip: ClipName
    index: int
    config: SceneConfig

    @property
    def marker(self) -> Path:
        """File that says that the clip is complete, and what was measured on it."""
        return self.out / _PROGRESS_FOLDER / f"{self.clip.split}-{self.index:05d}.json"


class _Marker(msgspec.Struct):
    split: str
    video: str
    files: list[FileName]


Film = Callable[[PlannedClip, Path], Record]
"""Writes the files of a clip into a folder and returns figures about it; a function of a module, for processes."""


@writes_alone("out")
def produce(
    out: Path, arguments: dict[str, Any], layout: Layout, film: Film, devices: int | None, progress: Progress | None
) -> list[Record]:
    """Make the clips of a data set that are not there yet.

    Args:
        out: Root of the data set; absent, empty or written with the same arguments before.
        arguments: What `synthesis.json` records: layout, clips per split, frames, height, width, seed, image_format.
        layout: The layout.
        film: Makes a clip.
        devices: Worker processes; by default as many as there are cores, or none for small sets.
        progress: Called with the number of finished clips and of all clips.

    Returns:
        Per clip its split, video, files below `out` and the figures of `film`, in order.

    Raises:
        ConfigError: A number is out of range, or `out` holds something else.
    """
    _validate(arguments, devices)
    claim_folder(
        out,
        _record_of(arguments),
        record=_RECORD,
        notes=("version", "summary"),
        problem="holds a data set synthesized with other arguments",
        fix="choose another folder, or delete this one",
        fix_of_foreign="choose another folder",
    )
    planned = list(_plan(out, arguments, layout))
    records = _run(planned, film, devices, progress)
    layout.write_lists(out, [item.clip for item in planned])
    return records


def _validate(arguments: dict[str, Any], devices: int | None) -> None:
    for key in ("train_clips", "val_clips", "test_clips", "seed"):
        if not 0 <= arguments[key] < (_CLIPS_PER_SPLIT if key != "seed" else np.inf):
            raise ConfigError(f"{key} is out of range", expected=f"0 to {_CLIPS_PER_SPLIT - 1}", found=arguments[key])
    if arguments["train_clips"] + arguments["val_clips"] + arguments["test_clips"] == 0:
        raise ConfigError("nothing to synthesize", expected="at least one clip")
    if devices is not None and devices < 1:
        raise ConfigError("devices is out of range", expected="at least 1", found=devices)
    if arguments["image_format"] not in ("png", "jpg"):
        raise ConfigError("unknown image format", expected="png or jpg", found=arguments["image_format"])
    SceneConfig(arguments["height"], arguments["width"], arguments["frames"])


def _record_of(arguments: dict[str, Any]) -> dict[str, Any]:
    return {"generator": GENERATOR, "version": __version__, "arguments": arguments}


def write_record(out: Path, arguments: dict[str, Any], summary: dict[str, Any]) -> None:
    """Write `synthesis.json` anew, with the figures of the summary."""
    write_bytes(out / _RECORD, json.dumps({**_record_of(arguments), "summary": summary}, indent=1).encode())


def _plan(out: Path, arguments: dict[str, Any], layout: Layout) -> Iterator[PlannedClip]:
    for code, split in enumerate(SPLITS):
        for index in range(arguments[f"{split}_clips"]):
            config = SceneConfig(
                height=arguments["height"],
                width=arguments["width"],
                num_frames=arguments["frames"],
                seed=(arguments["seed"] * len(SPLITS) + code) * _CLIPS_PER_SPLIT + index,
                frame_interval=layout.frame_interval(split),
                own_colors=arguments.get("own_colors", False),
            )
            clip = layout.name_clip(split, index, arguments["frames"])
            yield PlannedClip(out, layout.name, arguments["image_format"], clip, index, config)


def _run(planned: list[PlannedClip], film: Film, devices: int | None, progress: Progress | None) -> list[Record]:
    """Write what is not there yet and return the records of all clips, in order."""
    records = {clip.marker: record for clip in planned if (record := _finished(clip)) is not None}
    pending = [clip for clip in planned if clip.marker not in records]
    report, done = progress or (lambda done, total: None), count(len(records))
    report(next(done), len(planned))
    made = run_tasks(
        partial(_write_clip, film),
        pending,
        Workers(devices, "cpu", shared=False, progress=False),
        on_result=lambda record: report(next(done), len(planned)),
    )
    records |= {clip.marker: record for clip, record in zip(pending, made, strict=True)}
    return [records[clip.marker] for clip in planned]


def _finished(clip: PlannedClip) -> Record | None:
    if not clip.marker.is_file():
        return None
    record = read_json(clip.marker, dict[str, Any], fix="delete it; the clip is made again")
    check(record, _Marker, clip.marker, fix="delete it; the clip is made again", nan=True)
    return record if all((clip.out / file).is_file() for file in record["files"]) else None


def _write_clip(film: Film, clip: PlannedClip) -> Record:
    """Render one clip, move its files into place and leave the marker that it is complete."""
    staging = clip.marker.with_suffix(".partial")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        figures = film(clip, staging)
        files = _move_into_place(staging, clip.out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    record = {"split": clip.clip.split, "video": clip.clip.video, "files": files, **figures}
    write_bytes(clip.marker, json.dumps(record).encode())
    return record


def _move_into_place(staging: Path, out: Path) -> list[str]:
    files = sorted(path.relative_to(staging) for path in staging.rglob("*") if path.is_file())
    for file in files:
        target = out / file
        target.parent.mkdir(parents=True, exist_ok=True)
        (staging / file).replace(target)
    return [file.as_posix() for file in files]
