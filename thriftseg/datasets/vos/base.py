"""Base class of the readers of video object segmentation: masks of numbered objects instead of labels of classes.

These data sets have no class table, objects have ids that mean something within their video only, and often just the
mask of the first frame is public. So their readers are no `VideoDataset`, but everything else is as there: a video is
a `Clip` whose `labels` are the mask files, frames are addressed by native numbers, and roots, sizes and messages come
from `ClipReader`. Two facts are added to a clip, which frames count and what a file beside the masks tells about the
objects; whatever else there is to know about objects is read from the masks when it is asked for.

Names of frames stay strings in the paths (`VOSClip.frame_name`); the native number is the last number of a name, as in
`frame0391` or `ring_front_center_315971768012624488`, if these numbers increase in natural order, else the position.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from thriftseg.arrays import Int32Array, UInt8Array
from thriftseg.datasets.base import ClipReader
from thriftseg.datasets.files import frame_number, keep_preferred, list_files, list_folders, natural_key, usual_step
from thriftseg.datasets.images import read_label_png
from thriftseg.errors import ConfigError, DatasetError
from thriftseg.parsing import read_lines
from thriftseg.taxonomies import OBJECT_IDS, Taxonomy, distinct_color
from thriftseg.types import BACKGROUND, IGNORE_INDEX, Clip

if TYPE_CHECKING:
    from thriftseg.metrics import VOSProtocol

PALETTE: bytes = np.array([distinct_color(index) for index in range(-1, 255)], np.uint8).tobytes()
"""Colours of the ids in the files of DAVIS, 768 bytes RGB: black, (128, 0, 0), (0, 128, 0), ..."""

HELD_OUT = "held_out"
"""Name of the split that is kept from the training videos where the masks of the validation videos are not public."""

MasksOfSplit = Literal["all", "first", "none"]
"""Which masks a split comes with: of every frame that counts, only those that introduce the objects, or none."""


@dataclass(frozen=True)
class VideoObject:
    """An object of a video.

    Attributes:
        id: Its id in the masks, 1 to 254, or above 255 in files of 16 bits; ids may have gaps.
        first: Native number of the frame that introduces it.
        category: What it is, where the data set tells.
        frames: Native numbers of the frames in which it is annotated, where the data set lists them.

    Example:
        >>> objects = [VideoObject(1, first=0), VideoObject(4, first=30, category="person")]
        >>> {item.id: item.category or "unknown" for item in objects if item.first > 0}
        {4: 'person'}
    """

    id: int
    first: int
    category: str = ""
    frames: tuple[int, ...] = ()


@dataclass(frozen=True)
class VOSClip(Clip):
    """A video whose `labels` are masks of object ids.

    Attributes:
        scored: Native numbers of the frames that need a prediction; the protocol of the data set decides which of them
            count for an object.
        listed: The objects, where a file beside the masks lists them.

    Example:
        >>> frames = {number: Path("bear") / f"{number:05d}.jpg" for number in range(3)}
        >>> clip = VOSClip("bear", frames, labels={0: Path("bear/00000.png")}, scored=(1, 2))
        >>> clip.annotated, [clip.frame_name(number) for number in clip.scored]
        ((0,), ['00001', '00002'])
    """

    scored: tuple[int, ...] = ()
    listed: tuple[VideoObject, ...] = ()

    def frame_name(self, number: int) -> str:
        """Name of a frame without its ending, as predictions and masks must be called."""
        return self.frames[number].stem


class VOSDataset(ClipReader[VOSClip]):
    """Reader of videos with masks of objects.

    A reader implements `_scan`, mostly by `_make_clip`, and `masks_of` where some splits lack masks.

    Attributes:
        protocol: Rules by which predictions are scored, see `thriftseg.metrics.JAndF`.
        submission_folder: Folder that the videos lie in inside the file that the server takes; `None` without a server.

    Example:
        >>> import tempfile
        >>> from thriftseg.datasets import write_label_png
        >>> class Pictures(VOSDataset):
        ...     name, splits = "pictures", ("all",)
        ...     def _scan(self, split):
        ...         return [self._make_clip("bear", self.root / "frames", self.root / "masks")]
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for name in ("frames/00.png", "frames/01.png", "masks/01.png"):
        ...         write_label_png(Path(root, name), np.array([[0, 4, 255]], np.uint8))
        ...     reader = Pictures(root)
        ...     [clip] = reader.clips("all")
        ...     reader.objects(clip), reader.read_object_mask(clip, 1, object_id=4).tolist()
        ((VideoObject(id=4, first=1, category='', frames=()),), [[0, 1, 255]])
    """

    taxonomy: Taxonomy = OBJECT_IDS
    splits: tuple[str, ...] = ("train", "val")
    protocol: VOSProtocol = "all_frames"
    submission_folder: ClassVar[str | None] = None

    def __init__(self, root: str | Path | None = None) -> None:
        super().__init__(root)
        self._objects: dict[str, tuple[VideoObject, ...]] = {}

    def masks_of(self, split: str) -> MasksOfSplit:
        """Which masks a split comes with; all of them, unless a reader says otherwise."""
        return "all"

    def read_mask(self, clip: VOSClip, number: int) -> UInt8Array | Int32Array:
        """Object ids of a frame.

        Returns:
            (H, W) uint8, or int32 for files of 16 bits: 0 = background, 255 = ignore, everything else an object.

        Raises:
            DatasetError: The file is missing, unreadable, not of the frame's size or holds colours.
        """
        path = self._path_of(clip, number, clip.labels, "mask")
        mask = read_label_png(path)
        self._check_size(clip, mask, path)
        return mask

    def read_label(self, clip: VOSClip, number: int) -> UInt8Array:
        """Object ids of a frame as label generators take them, (H, W) uint8: 0 = background, 255 = ignore.

        Raises:
            DatasetError: As for `read_mask`; or an id does not fit a stored label.
        """
        mask = self.read_mask(clip, number)
        if mask.max(initial=0) > IGNORE_INDEX:
            raise DatasetError(
                "an object id does not fit a label", path=clip.labels.get(number), expected="1 to 254", found=mask.max()
            )
        return mask.astype(np.uint8, copy=False)

    def read_object_mask(self, clip: VOSClip, number: int, object_id: int) -> UInt8Array:
        """Mask of one object in a frame, (H, W) uint8: 1 on the object, 0 beside it, 255 = ignore.

        Raises:
            DatasetError: As for `read_mask`.
        """
        ids = self.read_mask(clip, number)
        mask: UInt8Array = (ids == object_id).astype(np.uint8)
        mask[ids == IGNORE_INDEX] = IGNORE_INDEX
        return mask

    def objects(self, clip: VOSClip) -> tuple[VideoObject, ...]:
        """The objects of a video in order of their ids.

        Where no file lists them, the masks that may introduce objects are read once; training does not need this.

        Raises:
            DatasetError: A mask cannot be read.
        """
        if clip.listed:
            return clip.listed
        if clip.video not in self._objects:
            first: dict[int, int] = {}
            for number in self._introducing(clip):
                for object_id in ids_in(self.read_mask(clip, number)):
                    first.setdefault(object_id, number)
            self._objects[clip.video] = tuple(VideoObject(*entry) for entry in sorted(first.items()))
        return self._objects[clip.video]

    def introductions(self, clip: VOSClip) -> dict[int, tuple[int, ...]]:
        """Which objects each frame introduces, in playing order.

        A mask that introduces an object may show others as well; only the ids given here are new.

        Raises:
            DatasetError: As for `objects`.
        """
        objects = self.objects(clip)
        frames = sorted({item.first for item in objects})
        return {number: tuple(item.id for item in objects if item.first == number) for number in frames}

    def _introducing(self, clip: VOSClip) -> Iterable[int]:
        """Frames whose masks may introduce objects."""
        return clip.annotated

    def _videos_below(self, folder: Path, split: str) -> list[str]:
        """Names of the videos in the folder of a split that holds `JPEGImages`."""
        videos = [path.name for path in list_folders(folder / "JPEGImages")]
        if not videos:
            raise self.empty(split, folder / "JPEGImages" / "{video}")
        return videos

    def _make_clip(
        self, video: str, frame_folder: Path, mask_folder: Path | None, only_masked: bool = False
    ) -> VOSClip:
        """List the files of a video.

        Args:
            video: Its name.
            frame_folder: Folder of the frames.
            mask_folder: Folder of the masks, whose names are those of their frames.
            only_masked: Leave frames without a mask out.
        """
        frames: dict[str, Path] = {}
        for path in list_files(frame_folder):
            keep_preferred(frames, path.stem, path)
        if not frames:
            raise self.missing(f"video {video} has no frames", frame_folder / "{frame}.jpg|png")
        masks = {path.stem: path for path in list_files(mask_folder, (".png",))} if mask_folder else {}
        orphans = sorted(masks.keys() - frames.keys())
        if orphans:
            found = f"{len(frames)} frames in {frame_folder}"
            raise self.missing("a mask has no frame of the same name", masks[orphans[0]], found=found)
        names = sorted((frames.keys() & masks.keys()) if only_masked and masks else frames, key=natural_key)
        numbers = dict(zip(names, number_frames(names), strict=True))
        return VOSClip(
            video=video,
            frames={number: frames[name] for name, number in numbers.items()},
            labels={number: masks[name] for name, number in numbers.items() if name in masks},
            frame_step=usual_step(numbers.values()),
            drive=video,
            scored=tuple(numbers.values()),
        )


def ids_in(mask: UInt8Array | Int32Array) -> list[int]:
    """The objects of a mask, sorted.

    Example:
        >>> ids_in(np.array([[0, 7], [255, 3]], np.uint8))
        [3, 7]
    """
    present = np.flatnonzero(np.bincount(mask.ravel())) if mask.dtype == np.uint8 else np.unique(mask)
    return [object_id for object_id in present.tolist() if object_id not in (BACKGROUND, IGNORE_INDEX)]


def number_frames(names: Sequence[str]) -> list[int]:
    """Native numbers of frames whose names are in natural order.

    Args:
        names: File names without ending.

    Returns:
        The last number of each name if these increase, else positions from 0.

    Example:
        >>> number_frames(["00000", "00005", "00010"]), number_frames(["cam1_9", "cam2_3"]), number_frames(["a", "b"])
        ([0, 5, 10], [0, 1], [0, 1])
    """
    numbers = [number for name in names if (number := frame_number(name)) is not None]
    increasing = len(numbers) == len(names) and all(before < after for before, after in pairwise(numbers))
    return numbers if increasing else list(range(len(names)))


def is_held_out(video: str, share: float) -> bool:
    """Whether a training video is kept for validation: a fixed rule that needs no list of names.

    It is held out when the first eight bytes of the SHA-256 of its name, as a number, are below `share` x 2^64. So the
    split does not change when videos are missing, and a larger share contains a smaller one.

    Args:
        video: Name of the video.
        share: Share of the videos to keep, in [0, 1].

    Example:
        >>> [is_held_out("002b4dce", share) for share in (0.0, 0.1, 1.0)]
        [False, False, True]
    """
    return int.from_bytes(hashlib.sha256(video.encode()).digest()[:8], "big") < share * 2**64


def part_of_training(videos: Iterable[str], split: str, share: float) -> list[str]:
    """The training videos of the split `train` or `held_out`."""
    return [video for video in videos if is_held_out(video, share) == (split == HELD_OUT)]


def check_share(share: float) -> float:
    """Refuse a share of held out videos that makes no sense.

    Raises:
        ConfigError: It is not in [0, 1).

    Example:
        >>> check_share(0.1)
        0.1
        >>> check_share(1)
        Traceback (most recent call last):
        thriftseg.errors.ConfigError: held_out is out of range; expected 0 to below 1; found 1
    """
    if not 0 <= share < 1:
        raise ConfigError("held_out is out of range", expected="0 to below 1", found=share)
    return share


def read_list(path: Path) -> list[str] | None:
    """Names in a list file, one a line; `None` without the file.

    Raises:
        DatasetError: The file is no text, or names a video twice.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "train.txt")
        ...     size = path.write_text("bear goat")
        ...     read_list(path), read_list(Path(folder, "val.txt"))
        (['bear', 'goat'], None)
    """
    if not path.is_file():
        return None
    names = [name for line in read_lines(path) for name in line.split()]
    for before, after in pairwise(sorted(names)):
        if before == after:
            raise DatasetError("a video is listed twice", path=path, found=before, fix="delete one of the lines")
    return names
