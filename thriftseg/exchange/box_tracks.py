"""Files of boxes: which object is where in which frame of a video.

Own form (JSON), boxes as (x0, y0, x1, y1) in pixels from the top left corner, x1 and y1 exclusive:

    {"format": "thriftseg/box_tracks", "version": 1,
     "videos": {"<video>": {"<object id>": {"<frame name without ending>": [x0, y0, x1, y1]}}}}

Others that are read: the JSON of COCO and of TAO [0], where `bbox` is (x, y, width, height), and the CSV of MOT [1],
one file per video: frame, id, left, top, width, height, confidence and more, where pixels count from 1.

[0] Dave et al., TAO: A Large-Scale Benchmark for Tracking Any Object, ECCV 2020.
[1] Milan et al., MOT16: A Benchmark for Multi-Object Tracking, arXiv 1603.00831, https://motchallenge.net.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from thriftseg.atomic import write_bytes
from thriftseg.datasets import Box, VOSClip, VOSDataset
from thriftseg.errors import DatasetError
from thriftseg.exchange.frame_names import FrameNames
from thriftseg.exchange.records import AnnotatedImage
from thriftseg.parsing import FileName, Integer, read_bytes, read_csv, read_json
from thriftseg.types import IGNORE_INDEX, Frame

FORMAT, VERSION = "thriftseg/box_tracks", 1

_LARGEST_ID = IGNORE_INDEX - 1
_MOT_SUFFIXES = (".csv", ".txt")

Boxes = Mapping[str, Mapping[int, Mapping[int, Box]]]
"""Video to native frame number to object id to box."""


@dataclass(frozen=True)
class BoxTracks:
    """The boxes of a split.

    Attributes:
        boxes: Video to native frame number to object id to box; boxes are as in the file, good or not.
        digest: SHA-256 of the file.
        unmatched: Boxes of the file that lie in no frame of the split.
        names: Where a video has ids that no mask can hold (above 254): its ids in the file by those given here, which
            count from 1 in the order of the file's.

    Example:
        >>> tracks = BoxTracks({"drive": {0: {1: (2, 3, 10, 8)}, 1: {1: (4, 3, 12, 8), 2: (0, 0, 3, 3)}}}, digest="")
        >>> sum(len(found) for frames in tracks.boxes.values() for found in frames.values())
        3
    """

    boxes: Boxes
    digest: str
    unmatched: int = 0
    names: Mapping[str, Mapping[int, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Entry:
    """One box of a file; `frame` is `None` for frames that the split lacks."""

    frame: Frame | None
    object_id: int
    box: Box


_Sides = tuple[float, float, float, float]


class _OwnFile(msgspec.Struct):
    videos: dict[str, dict[Integer, dict[str, _Sides]]]


class _Image(msgspec.Struct):
    id: int | str
    file_name: FileName


class _Annotation(msgspec.Struct):
    image_id: int | str
    bbox: _Sides
    iscrowd: bool = False
    track_id: Integer | None = None
    instance_id: Integer | None = None


class _COCOFile(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Annotation]


class _Form(msgspec.Struct):
    """What tells the forms apart."""

    format: Any = None
    version: Any = None


class _Line(msgspec.Struct, array_like=True):
    """A line of MOT."""

    frame: Integer
    id: Integer
    left: float
    top: float
    width: float
    height: float
    confidence: float = 1


def read_box_tracks(path: str | Path, dataset: VOSDataset, split: str) -> BoxTracks:
    """Read the boxes of a split from a file of any of the known forms.

    Args:
        path: JSON file, CSV of one video that is called like it, or a folder with such a CSV (or `{video}/gt/gt.txt`)
            for each video.
        dataset: Reader of the frames.
        split: Its split; boxes elsewhere are counted but not kept.

    Raises:
        DatasetError: The file is missing, malformed, of an unknown form, or has no box in the split.

    Example:
        >>> import tempfile
        >>> from thriftseg import datasets, synthetic
        >>> with tempfile.TemporaryDirectory() as root:
        ...     _ = synthetic.synthesize_objects(root, train_clips=1, val_clips=0, frames=2, height=32, width=48)
        ...     dataset, path = datasets.DAVIS(root), Path(root, "boxes.json")
        ...     [clip] = dataset.clips("train")
        ...     boxes = {clip.video: {"1": {"00001": [2, 3, 10, 8]}}, "elsewhere": {"1": {"00001": [0, 0, 9, 9]}}}
        ...     write_bytes(path, json.dumps({"format": FORMAT, "version": VERSION, "videos": boxes}).encode())
        ...     tracks = read_box_tracks(path, dataset, "train")
        >>> tracks.boxes[clip.video][1][1], tracks.unmatched
        ((2.0, 3.0, 10.0, 8.0), 1)
    """
    path, clips = Path(path), dataset.clips(split)
    files = _mot_files(path)
    if files:
        entries = [entry for file in files for entry in _read_mot(file, clips)]
    else:
        entries = list(_read_json(path, clips, dataset.root))
    found = [entry for entry in entries if entry.frame is not None]
    if not found:
        example = f"{clips[0].video}/{clips[0].frame_name(next(iter(clips[0].frames)))}"
        raise DatasetError(
            f"no box lies in a frame of split {split!r}",
            path=path,
            expected=f"frames such as {example}",
            found=f"{len(entries)} boxes elsewhere",
        )
    boxes, names = _by_video(found, path)
    digest = hashlib.sha256(b"".join(map(read_bytes, files or [path]))).hexdigest()
    return BoxTracks(boxes, digest, len(entries) - len(found), names)


def write_box_tracks(path: str | Path, boxes: Boxes, clips: Iterable[VOSClip]) -> None:
    """Write boxes in the own form.

    Args:
        path: JSON file to write.
        boxes: The boxes.
        clips: The videos, which give the names of the frames.
    """
    videos: dict[str, dict[str, dict[str, list[float]]]] = {}
    for clip in clips:
        objects: dict[str, dict[str, list[float]]] = {}
        for number, of_frame in sorted(boxes.get(clip.video, {}).items()):
            for object_id, box in sorted(of_frame.items()):
                objects.setdefault(str(object_id), {})[clip.frame_name(number)] = [float(side) for side in box]
        if objects:
            videos[clip.video] = objects
    content = {"format": FORMAT, "version": VERSION, "videos": videos}
    write_bytes(Path(path), (json.dumps(content) + "\n").encode())


def _read_json(path: Path, clips: Sequence[VOSClip], root: Path) -> Iterator[_Entry]:
    found = read_json(path, _Form)
    if found.format != FORMAT:
        return _read_coco(path, FrameNames(clips, root))
    if found.version != VERSION:
        raise DatasetError("boxes of an unknown version", path=path, expected=VERSION, found=found.version)
    return _read_own(path, clips)


def _read_own(path: Path, clips: Sequence[VOSClip]) -> Iterator[_Entry]:
    numbers = {clip.video: {clip.frame_name(number): number for number in clip.frames} for clip in clips}
    for video, objects in read_json(path, _OwnFile, lax=True).videos.items():
        for object_id, track in objects.items():
            for name, box in track.items():
                number = numbers.get(video, {}).get(name)
                yield _Entry(None if number is None else (video, number), object_id, box)


def _read_coco(path: Path, names: FrameNames) -> Iterator[_Entry]:
    fix = f'give boxes in the format of COCO, or in that of "format": "{FORMAT}"'
    content = read_json(path, _COCOFile, lax=True, fix=fix)
    frames: dict[int | str, Frame | None] = {}
    for position, image in enumerate(content.images):
        found = names.find(AnnotatedImage(path, image.file_name, ()))
        if len(found) > 1:
            raise DatasetError(f"images[{position}] fits several frames", path=path, found=image.file_name)
        frames[image.id] = (found[0][0].video, found[0][1]) if found else None
    counted: Counter[int | str] = Counter()
    for position, entry in enumerate(content.annotations):
        if entry.image_id not in frames:
            problem = f"annotations[{position}] has the image_id {entry.image_id}, which the file does not list"
            raise DatasetError(problem, path=path)
        if entry.iscrowd:
            continue
        counted[entry.image_id] += 1
        given = (track for track in (entry.track_id, entry.instance_id) if track is not None)
        x, y, width, height = entry.bbox
        yield _Entry(frames[entry.image_id], next(given, counted[entry.image_id]), (x, y, x + width, y + height))


def _mot_files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path] if path.suffix.lower() in _MOT_SUFFIXES else []
    flat = [file for file in path.iterdir() if file.suffix.lower() in _MOT_SUFFIXES]
    files = sorted([*flat, *path.glob("*/gt/gt.txt")])
    if not files:
        raise DatasetError("no boxes in this folder", path=path, expected="{video}.csv, or {video}/gt/gt.txt")
    return files


def _read_mot(path: Path, clips: Sequence[VOSClip]) -> Iterator[_Entry]:
    """Boxes of one video; those of confidence 0 are not to be used, as the benchmark says."""
    name = path.parent.parent.name if path.name == "gt.txt" else path.stem
    clip = next((clip for clip in clips if name in (clip.video, clip.video.replace("/", "_"))), None)
    for line in read_csv(path, _Line, None).values():
        if line.confidence:
            left, top = line.left - 1, line.top - 1
            frame = (clip.video, line.frame) if clip is not None and line.frame in clip.frames else None
            yield _Entry(frame, line.id, (left, top, left + line.width, top + line.height))


def _by_video(entries: Iterable[_Entry], path: Path) -> tuple[Boxes, dict[str, dict[int, int]]]:
    """Boxes by video, frame and object, with ids that fit masks."""
    boxes: dict[str, dict[int, dict[int, Box]]] = defaultdict(lambda: defaultdict(dict))
    for entry in entries:
        video, number = entry.frame or ("", 0)
        if entry.object_id in boxes[video][number]:
            raise DatasetError(f"object {entry.object_id} has two boxes in frame {number} of {video!r}", path=path)
        boxes[video][number][entry.object_id] = entry.box
    names: dict[str, dict[int, int]] = {}
    for video, frames in boxes.items():
        ids = sorted({object_id for of_frame in frames.values() for object_id in of_frame})
        if 1 <= ids[0] and ids[-1] <= _LARGEST_ID:
            continue
        if len(ids) > _LARGEST_ID:
            raise DatasetError(f"too many objects in {video!r}", path=path, expected=f"{_LARGEST_ID}", found=len(ids))
        renamed = {old: new for new, old in enumerate(ids, start=1)}
        names[video] = {new: old for old, new in renamed.items()}
        boxes[video] = {n: {renamed[key]: box for key, box in of_frame.items()} for n, of_frame in frames.items()}
    return {video: {n: dict(of_frame) for n, of_frame in frames.items()} for video, frames in boxes.items()}, names
