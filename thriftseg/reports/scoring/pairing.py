"""Bringing predictions and true labels together, and refusing what cannot be scored honestly."""

from __future__ import annotations

import os
import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path, PurePosixPath

from thriftseg.datasets import FRAME_SUFFIXES, is_clip_video, list_video, usual_step
from thriftseg.errors import DatasetError
from thriftseg.parsing import read_lines
from thriftseg.reports.scoring.layouts import FolderLayout, Located, Stretch

_SHOWN = 5
_CHUNK = 1 << 20


@dataclass(frozen=True)
class PairedVideo:
    """The files of one video, by native frame number.

    Attributes:
        name: Name of the video.
        labels: True labels.
        predictions: Predictions; one for every label, and more where others exist.
        frames: Frames, where they were asked for.
        step: Native numbers between adjacent predictions.
    """

    name: str
    labels: Mapping[int, Path]
    predictions: Mapping[int, Path]
    frames: Mapping[int, Path]
    step: int

    @property
    def first(self) -> int:
        """Number of the first frame."""
        return min(min(self.labels), min(self.predictions, default=min(self.labels)))

    def pairs(self) -> list[int]:
        """Numbers of the predicted frames whose predecessor is predicted as well, both with their frames at hand."""
        usable = self.predictions.keys() & self.frames.keys()
        return sorted(number for number in usable if number - self.step in usable)


@dataclass(frozen=True)
class Pairing:
    """Everything there is to score.

    Attributes:
        videos: Videos in order of their names.
        surplus: Predictions that belong to no labelled video, or whose name says no frame; where videos are labelled
            throughout, also those of further frames.
    """

    videos: tuple[PairedVideo, ...]
    surplus: tuple[Path, ...] = field(default=())


def pair(layout: FolderLayout, located: Located, pred: Path, frames: Path | None, optional: bool = False) -> Pairing:
    """List both folders and match them frame by frame.

    Args:
        layout: How files are named.
        located: Folder of the true labels.
        pred: Folder of the predictions.
        frames: Folder of the frames, if they are needed.
        optional: Whether videos are labelled throughout, and the first and the last label may lack a prediction, as
            they are not scored.

    Raises:
        DatasetError: The folders are the same or equal in content, one of them holds nothing of this layout, two files
            claim the same frame, or a label has no prediction.
    """
    if located.labels.resolve() == pred.resolve():
        raise DatasetError(
            "predictions and truth are the same folder",
            path=pred,
            found=str(located.labels),
            fix="point --pred to the predictions",
        )
    labels = _index(layout, located.labels, layout.label_files, (".png",), "true labels")
    predictions = _index(layout, pred, layout.label_files, (".png",), "predictions")
    pictures = _index(layout, frames, layout.frame_files, FRAME_SUFFIXES, "frames") if frames else _Index()
    labels = _listed(labels, located.listing)
    videos = tuple(_videos(layout, labels, predictions, pictures))
    _refuse_missing(videos, pred, predictions, layout, optional)
    _refuse_same_content(videos, pred)
    used = {
        path for video in videos for number, path in video.predictions.items() if number in video.labels or not optional
    }
    return Pairing(videos, tuple(sorted({*predictions.unnamed, *predictions.paths} - used)))


@dataclass(frozen=True)
class _Index:
    """Files by recording and frame number, and those whose name says no frame."""

    files: Mapping[str, Mapping[int, Path]] = field(default_factory=dict)
    unnamed: tuple[Path, ...] = ()

    @property
    def paths(self) -> list[Path]:
        """The files whose name says a frame."""
        return [path for numbered in self.files.values() for path in numbered.values()]


def _index(layout: FolderLayout, folder: Path, patterns: Sequence[str], suffixes: tuple[str, ...], kind: str) -> _Index:
    if not folder.is_dir():
        raise DatasetError("no such folder", path=folder, expected=kind)
    everything = sorted(_walk(folder))
    if layout.frame_videos and suffixes == FRAME_SUFFIXES:
        shown = ([path] if not is_clip_video(path) else list_video(path).values() for path in everything)
        everything = list(chain.from_iterable(shown))
    candidates = _best(folder, [path for path in everything if path.suffix.lower() in suffixes], patterns)
    found: dict[str, dict[int, Path]] = defaultdict(dict)
    unnamed = []
    for path in candidates:
        name = layout.parse(PurePosixPath(path.relative_to(folder).as_posix()))
        if name is None:
            unnamed.append(path)
        elif name.number in found[name.recording]:
            raise DatasetError(
                f"two {kind} for frame {name.number} of {name.recording or 'the video'}",
                path=path,
                found=str(found[name.recording][name.number]),
                fix="keep one file per frame, or point to the folder that holds only these",
            )
        else:
            found[name.recording][name.number] = path
    if not any(found.values()):
        seen = f"{len(everything)} files, such as {everything[0].name}" if everything else "an empty folder"
        raise DatasetError(
            f"no {kind} in this folder",
            path=folder,
            expected=f"names such as {layout.example}",
            found=seen,
        )
    return _Index(found, tuple(unnamed))


def _walk(folder: Path) -> Iterator[Path]:
    """All files below a folder, also behind links, each folder once; hidden ones are left out."""
    seen: set[str] = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        seen.add(os.path.realpath(parent))
        visible = [name for name in folders if not name.startswith(".")]
        folders[:] = [name for name in visible if os.path.realpath(Path(parent, name)) not in seen]
        yield from (Path(parent, name) for name in files if not name.startswith("."))


def _best(folder: Path, paths: list[Path], patterns: Sequence[str]) -> list[Path]:
    """The files that fit the first of the patterns that fits any."""
    for pattern in patterns:
        fitting = [path for path in paths if re.search(pattern, path.relative_to(folder).as_posix())]
        if fitting:
            return fitting
    return []


def _listed(labels: _Index, listing: Path | None) -> _Index:
    """The recordings that a list of videos names."""
    if listing is None:
        return labels
    names = [line.split()[0] for line in read_lines(listing)]
    if not names:
        raise DatasetError("lists no video", path=listing, expected="one name per line")
    absent = [name for name in names if name not in labels.files]
    if absent:
        raise DatasetError(f"lists {len(absent)} videos without labels", path=listing, found=", ".join(absent[:_SHOWN]))
    return _Index({name: labels.files[name] for name in names})


def _videos(layout: FolderLayout, labels: _Index, predictions: _Index, pictures: _Index) -> Iterator[PairedVideo]:
    for recording, numbered in sorted(labels.files.items()):
        predicted, shown = _Numbered(predictions.files.get(recording)), _Numbered(pictures.files.get(recording))
        truth = _Numbered(numbered)
        for stretch in layout.cut(recording, truth.numbers):
            inside = predicted.within(stretch)
            yield PairedVideo(
                name=stretch.video or ".",
                labels=truth.within(stretch),
                predictions=inside,
                frames=shown.within(stretch),
                step=usual_step(inside),
            )


class _Numbered:
    """Files of one recording, in the order of their numbers."""

    def __init__(self, files: Mapping[int, Path] | None) -> None:
        self.files = files or {}
        self.numbers = sorted(self.files)

    def within(self, stretch: Stretch) -> dict[int, Path]:
        start = bisect_left(self.numbers, stretch.first)
        stop = bisect_left(self.numbers, stretch.last + 1)
        return {number: self.files[number] for number in self.numbers[start:stop]}


def _refuse_missing(
    videos: Iterable[PairedVideo], pred: Path, predictions: _Index, layout: FolderLayout, optional: bool
) -> None:
    missing = [
        path
        for video in videos
        for number, path in video.labels.items()
        if number not in video.predictions and not (optional and number in (min(video.labels), max(video.labels)))
    ]
    if missing:
        total = sum(len(video.labels) for video in videos)
        shown = ", ".join(path.name if layout.stretches else "/".join(path.parts[-2:]) for path in missing[:_SHOWN])
        raise DatasetError(
            f"{len(missing)} of {total} labelled frames have no prediction",
            path=pred,
            expected=f"one PNG for each label, missing for {shown}{', ...' if len(missing) > _SHOWN else ''}",
            found=f"{len(predictions.paths)} PNGs, such as {predictions.paths[0].relative_to(pred)}",
            fix="predict every frame, or choose with --split what is scored",
        )


def _refuse_same_content(videos: Sequence[PairedVideo], pred: Path) -> None:
    """Refuse a folder of links to the truth, and a copy of it."""
    pairs = [
        (video.labels[number], video.predictions[number])
        for video in videos
        for number in video.labels.keys() & video.predictions.keys()
    ]
    for truth, prediction in pairs:
        if prediction.samefile(truth):
            raise DatasetError(
                "a prediction is the file of the true label itself",
                path=prediction,
                found=str(truth),
                fix="point --pred to the predictions",
            )
    if all(_same_bytes(truth, prediction) for truth, prediction in pairs):
        raise DatasetError(
            "all predictions equal the true labels byte for byte",
            path=pred,
            found=f"{len(pairs)} identical files",
            fix="point --pred to the predictions; this is a copy of the truth",
        )


def _same_bytes(one: Path, other: Path) -> bool:
    if one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as first, other.open("rb") as second:
        blocks = zip(iter(lambda: first.read(_CHUNK), b""), iter(lambda: second.read(_CHUNK), b""), strict=False)
        return all(a == b for a, b in blocks)
