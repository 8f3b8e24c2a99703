"""Folder layouts of the data sets that can be scored: which video and frame a path belongs to."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

from thriftseg.datasets import camvid, cityscapes, drive_key, frame_number, is_clip_video, scenenet, usual_step
from thriftseg.errors import ConfigError, DatasetError
from thriftseg.taxonomies import CAMVID, CITYSCAPES, IDD19, IDD26, NYU13, VEIS_TABLE, Taxonomy

SPLITS = ("train", "val", "valid", "test", "train_extra")
"""Names of split folders that are recognised inside a path."""

ALL = "all"
"""The split that holds everything, for layouts whose splits are lists of videos."""

_CITYSCAPES_NAME = re.compile(r"(?P<recording>.+?_\d{6})_(?P<number>\d{6})(?!\d)")
_IDD_ENDING = re.compile(r"_(leftImg8bit|gtFine_\w+|label\w+)$")
_SCENENET_SPLIT = re.compile(r"^(train|val|test)_")
_STRUCTURE = frozenset({"Annotations", "JPEGImages", "480p", "Full-Resolution", "labels", "frames", "images"})
"""Folders that say what is in them and belong to no video name."""


class FrameName(NamedTuple):
    """Which frame a file shows.

    Attributes:
        recording: Name of the recording.
        number: Native number of the frame.
    """

    recording: str
    number: int


class Stretch(NamedTuple):
    """A video: the part of a recording from frame `first` to frame `last`, both included."""

    video: str
    first: float
    last: float


class Folders(NamedTuple):
    """Where labels lie below the root of the data, and where the frames lie then; `{split}` stands for the split."""

    labels: str
    frames: tuple[str, ...]


class Located(NamedTuple):
    """Folders found on disk.

    Attributes:
        labels: Folder of the true labels.
        frames: Folder of the frames, if it was found.
        split: The split, where the layout has any.
        listing: File that lists the videos of the split, if there is one.
    """

    labels: Path
    frames: Path | None = None
    split: str | None = None
    listing: Path | None = None


@dataclass(frozen=True)
class FolderLayout:
    r"""Naming rules of a data set.

    Attributes:
        name: Name on the command line.
        parse: Reads the frame off a path below the folder of labels, predictions or frames; `None` for other files.
        fps: Native frame numbers per second.
        taxonomy: Class table, if the data set has one.
        has_objects: Whether ids in the files are those of objects.
        folders: Known places of labels and frames, best first; any other folder is searched as it is.
        listing: File below the root that lists the videos of a split.
        splits: Splits to look for if none was asked for, in this order.
        label_files: Patterns of label files, best first; files fitting the first pattern that fits any are taken.
        frame_files: The same for frames.
        frame_videos: Whether a video, such as `frames.mp4`, may stand for a folder of frames.
        gt_ids: What ids of true labels mean if not told; `auto` where the ids themselves tell it for sure.
        stretches: Cuts the labelled frames of a recording into videos.
        example: A label file, for messages.
    """

    name: str
    parse: Callable[[PurePosixPath], FrameName | None]
    fps: float
    example: str
    taxonomy: Taxonomy | None = None
    has_objects: bool = False
    folders: tuple[Folders, ...] = ()
    listing: str | None = None
    splits: tuple[str, ...] = ("val", "test", "train")
    label_files: tuple[str, ...] = (r"(^|/)labels/", "")
    frame_files: tuple[str, ...] = ("",)
    frame_videos: bool = False
    gt_ids: Literal["auto", "label"] = "auto"
    stretches: Callable[[str, Sequence[int]], Iterator[Stretch]] | None = None

    def cut(self, recording: str, labelled: Sequence[int]) -> list[Stretch]:
        """The videos of a recording, given the numbers of its labelled frames in increasing order."""
        if self.stretches is None:
            return [Stretch(recording, -math.inf, math.inf)]
        return list(self.stretches(recording, labelled))

    def locate(self, folder: Path, split: str | None = None) -> Located:
        """Find labels and frames, given the root of the data or the folder of the labels itself.

        Raises:
            DatasetError: The folder does not exist.
            ConfigError: It has no such split.
        """
        if not folder.is_dir():
            raise DatasetError("no such folder", path=folder, expected=f"labels such as {self.example}")
        for known in self.folders:
            for candidate in (split,) if split else (*self.splits, *SPLITS):
                root = _root_of(folder, known.labels, candidate)
                if root is not None:
                    return self._located(root, known, candidate, asked=split)
        if split and split != ALL:
            raise _no_split(folder, split)
        return Located(folder)

    def _located(self, root: Path, known: Folders, split: str, asked: str | None) -> Located:
        frames = (root / pattern.format(split=split) for pattern in known.frames)
        listing = root / self.listing.format(split=split) if self.listing and split != ALL else None
        if listing is not None and not listing.is_file():
            listing = None
        if asked not in (None, ALL) and "{split}" not in known.labels and listing is None:
            raise _no_split(root, split)
        return Located(
            labels=root / known.labels.format(split=split),
            frames=next((path for path in frames if path.is_dir()), None),
            split=split if "{split}" in known.labels or listing else None,
            listing=listing,
        )


def select_layout(name: str, classes: str | Path | None = None) -> FolderLayout:
    """A layout by name, with another class table if one is given.

    Args:
        name: A key of `FOLDER_LAYOUTS`.
        classes: YAML class table, or `idd19` to see IDD through the classes of Cityscapes.

    Raises:
        ConfigError: There is no such layout.
        DatasetError: The class table is missing or wrong.
    """
    if name not in FOLDER_LAYOUTS:
        raise ConfigError("no such layout", expected=", ".join(FOLDER_LAYOUTS), found=name)
    layout = FOLDER_LAYOUTS[name]
    if classes is None:
        return layout
    if name == "idd" and str(classes) == IDD19.name:
        return FolderLayout(**{**vars(layout), "taxonomy": IDD19, "label_files": (r"_labelcsTrainIds\.png$", "")})
    return FolderLayout(**{**vars(layout), "taxonomy": Taxonomy.from_yaml(classes)})


def _no_split(folder: Path, split: str) -> ConfigError:
    return ConfigError("no such split", path=folder, found=split, fix="leave out --split, or point --gt elsewhere")


def _root_of(folder: Path, pattern: str, split: str) -> Path | None:
    """The root of the data if `folder` is that root, or lies on the way from it to the labels."""
    parts = PurePosixPath(pattern.format(split=split)).parts
    tail = folder.resolve().parts
    for depth in range(len(parts) + 1):
        if tail[len(tail) - depth :] == parts[:depth] and folder.joinpath(*parts[depth:]).is_dir():
            return folder.resolve().parents[depth - 1] if depth else folder
    return None


def _cityscapes_frame(path: PurePosixPath) -> FrameName | None:
    match = _CITYSCAPES_NAME.match(path.name)
    return FrameName(match["recording"], int(match["number"])) if match else None


def _cityscapes_stretches(recording: str, labelled: Sequence[int]) -> Iterator[Stretch]:
    """Snippets around the labelled frames, joined where they overlap; one alone may have any length."""
    reach = cityscapes.FRAMES_BEFORE + cityscapes.FRAMES_AFTER
    starts = [number for before, number in pairwise([-math.inf, *labelled]) if number - before > reach]
    if len(starts) == 1:
        yield Stretch(f"{recording}_{labelled[0]:06d}", -math.inf, math.inf)
        return
    ends = [before for before, number in pairwise([*labelled, math.inf]) if number - before > reach]
    for start, end in zip(starts, ends, strict=True):
        yield Stretch(f"{recording}_{start:06d}", start - cityscapes.FRAMES_BEFORE, end + cityscapes.FRAMES_AFTER)


def _camvid_frame(path: PurePosixPath) -> FrameName | None:
    match = camvid.FRAME_NAME.match(path.stem.removesuffix("_L"))
    return FrameName(match["recording"], int(match["number"])) if match else None


def _camvid_stretches(recording: str, labelled: Sequence[int]) -> Iterator[Stretch]:
    step = usual_step(labelled, default=camvid.FRAMES_PER_SECOND)
    runs = camvid.contiguous_runs(list(labelled), step)
    if step >= camvid.FRAMES_PER_SECOND or len(runs) == 1:
        yield Stretch(recording, -math.inf, math.inf)
    else:
        yield from (Stretch(f"{recording}_{run[0]:05d}", run[0], run[-1]) for run in runs)


def _idd_frame(path: PurePosixPath) -> FrameName | None:
    name = _IDD_ENDING.sub("", path.stem)
    drive = drive_key(path.parent.name)
    return FrameName(f"{drive}_{name}" if drive != "" else name, frame_number(name) or 0)


def _scenenet_frame(path: PurePosixPath) -> FrameName | None:
    """Group and trajectory are folders, or part of the name that the reader gives a clip."""
    number = frame_number(path.stem)
    folders = [part for part in path.parent.parts if part not in {"photo", "class", *_STRUCTURE, *SPLITS}]
    return None if number is None else FrameName(_SCENENET_SPLIT.sub("", "_".join(folders)), number)


def _tree_frame(path: PurePosixPath) -> FrameName | None:
    """One folder is one recording, and the last number of a name is that of the frame."""
    number = frame_number(path.stem)
    recording = "/".join(part for part in path.parent.parts if part not in _STRUCTURE)
    return None if number is None else FrameName(recording, number)


def _clip_frame(path: PurePosixPath) -> FrameName | None:
    """The same, where a video may stand for the folder."""
    return _tree_frame(path.parent.parent / path.name if is_clip_video(path.parent) else path)


_DAVIS_FOLDERS = tuple(
    Folders(f"Annotations{below}", (f"JPEGImages{below}",)) for below in ("/480p", "/Full-Resolution", "")
)
_VOS_FOLDERS = (
    Folders("{split}/Annotations", ("{split}_all_frames/JPEGImages", "{split}/JPEGImages")),
    Folders("Annotations", ("JPEGImages",)),
)
_VOS_SPLITS = ("valid", "val", "test", "train")

LayoutName = Literal[
    "cityscapes", "camvid", "idd", "veis", "scenenet", "davis", "youtube_vos", "mose", "tao_vos", "folder"
]

FOLDER_LAYOUTS: dict[str, FolderLayout] = {
    layout.name: layout
    for layout in (
        FolderLayout(
            "cityscapes",
            _cityscapes_frame,
            fps=17,
            example="gtFine/val/frankfurt/frankfurt_000000_000294_gtFine_labelIds.png",
            taxonomy=CITYSCAPES,
            folders=(Folders("gtFine/{split}", ("leftImg8bit_sequence/{split}", "leftImg8bit/{split}")),),
            label_files=(r"_labelIds\.png$", r"_labelTrainIds\.png$", r"(^|/)labels/", ""),
            stretches=_cityscapes_stretches,
        ),
        FolderLayout(
            "camvid",
            _camvid_frame,
            fps=camvid.FRAMES_PER_SECOND,
            example="testannot/0001TP_008550.png",
            taxonomy=CAMVID,
            folders=(Folders("{split}annot", ("{split}",)),),
            splits=("test", "val", "train"),
            stretches=_camvid_stretches,
        ),
        FolderLayout(
            "idd",
            _idd_frame,
            fps=15,
            example="gtFine/val/119/638495_gtFine_labellevel3Ids.png",
            taxonomy=IDD26,
            folders=(Folders("gtFine/{split}", ("leftImg8bit/{split}",)),),
            label_files=(r"_labellevel3Ids\.png$", r"(^|/)labels/", ""),
        ),
        FolderLayout(
            "veis",
            _tree_frame,
            fps=30,
            example="labels/sequence_01/000123.png",
            taxonomy=VEIS_TABLE,
            folders=(Folders("labels", ("images",)),),
            listing="{split}.txt",
        ),
        FolderLayout(
            "scenenet",
            _scenenet_frame,
            fps=scenenet.SCENENET_FRAME_STEP,
            example="val/0/223/class/25.png",
            taxonomy=NYU13,
            folders=(Folders("{split}", ("{split}",)),),
            label_files=(r"(^|/)class/", r"(^|/)labels/", ""),
            frame_files=(r"(^|/)photo/", ""),
            gt_ids="label",
        ),
        FolderLayout(
            "davis",
            _tree_frame,
            fps=24,
            example="Annotations/480p/camel/00000.png",
            has_objects=True,
            folders=_DAVIS_FOLDERS,
            listing="ImageSets/2017/{split}.txt",
        ),
        FolderLayout(
            "youtube_vos",
            _tree_frame,
            fps=30,
            example="valid/Annotations/0062f687f1/00000.png",
            has_objects=True,
            folders=_VOS_FOLDERS,
            splits=_VOS_SPLITS,
        ),
        FolderLayout(
            "mose",
            _tree_frame,
            fps=6,
            example="valid/Annotations/002b4dce/00000.png",
            has_objects=True,
            folders=_VOS_FOLDERS,
            splits=_VOS_SPLITS,
        ),
        FolderLayout(
            "tao_vos",
            _tree_frame,
            fps=30,
            example="valid/Annotations/Charades/0KZBJ/frame0391.png",
            has_objects=True,
            folders=_VOS_FOLDERS,
            splits=_VOS_SPLITS,
        ),
        FolderLayout(
            "folder",
            _clip_frame,
            fps=30,
            example="val/street/labels/000012.png",
            has_objects=True,
            folders=(Folders("{split}", ("{split}",)),),
            frame_files=(r"(^|/)frames/", r"(^|/)frames[^/]*/", ""),
            frame_videos=True,
        ),
    )
}
"""Layouts by their name on the command line."""
