"""Folder layouts of video object segmentation that synthetic clips are written in."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

from thriftseg.arrays import UInt8Array
from thriftseg.datasets import PALETTE, MasksOfSplit, encode_label_png, is_held_out
from thriftseg.synthetic.layouts.classes import ClipName, Layout, write_file, write_json, write_split_lists
from thriftseg.synthetic.motion import Drawing


class VOSLayout(Layout):
    """Names and writes the files of a data set of video object segmentation.

    Where a data set publishes only the masks that introduce objects, those of all frames are written beside it, to
    `{split}_truth` or `Annotations_truth`, which its reader does not see: predictions can be scored against them.

    Attributes:
        late_objects: Whether objects may be introduced after the first frame.
        folders: Folder, or list, of each split on disk.
        first_masks: Splits that publish only the masks that introduce objects.
        frames_at: Folder of a clip's frames below the root.
        masks_at: Folder of its published masks.
        truth_at: Folder of its masks where not all are published.
    """

    late_objects: ClassVar[bool] = True
    folders: ClassVar[dict[str, str]]
    first_masks: ClassVar[tuple[str, ...]] = ()
    frames_at: ClassVar[str] = "{split}/JPEGImages/{video}"
    masks_at: ClassVar[str] = "{split}/Annotations/{video}"
    truth_at: ClassVar[str] = "{split}_truth/Annotations/{video}"

    def masks_of(self, split: str) -> MasksOfSplit:
        """Which masks of a split are published."""
        return "first" if split in self.first_masks else "all"

    def folder(self, place: str, clip: ClipName) -> Path:
        """Folder of a clip below the root.

        Args:
            place: `frames_at`, `masks_at` or `truth_at`.
            clip: The clip.
        """
        return Path(place.format(split=self.folders[clip.split], video=clip.folder))

    def frame_name(self, clip: ClipName, position: int) -> str:
        """Name of a frame without its ending."""
        return f"{clip.numbers[position]:05d}"

    def frame_interval(self, split: str) -> float:
        """Light changes as at 24 frames a second."""
        return 1 / 24

    def write_frame(self, root: Path, clip: ClipName, position: int, drawing: Drawing) -> None:
        """Write the image of a frame."""
        self._write_image(root / self.folder(self.frames_at, clip) / self.frame_name(clip, position), drawing.image)

    def write_mask(self, root: Path, clip: ClipName, position: int, ids: UInt8Array, introduces: bool) -> None:
        """Write the mask of a frame where masks go.

        Args:
            root: Root of the data set.
            clip: The clip.
            position: Position of the frame.
            ids: (H, W) ids of its objects.
            introduces: Whether an object appears here first.
        """
        name, content = f"{self.frame_name(clip, position)}.png", encode_label_png(ids, PALETTE)
        all_published = self.masks_of(clip.split) == "all"
        if all_published or introduces:
            write_file(root / self.folder(self.masks_at, clip) / name, content)
        if not all_published:
            write_file(root / self.folder(self.truth_at, clip) / name, content)

    def write_objects(self, root: Path, objects: dict[str, dict[str, Any]]) -> None:
        """Write what a file beside the masks tells about objects, by split and video; most layouts have none."""
        return


class DAVISLayout(VOSLayout):
    """DAVIS-2017 at 480p: all objects are in the first frame, ids without gaps; `test` is `test-dev`."""

    name = "davis"
    late_objects = False
    folders: ClassVar[dict[str, str]] = {"train": "train", "val": "val", "test": "test-dev"}
    first_masks = ("test",)
    frames_at = "JPEGImages/480p/{video}"
    masks_at = "Annotations/480p/{video}"
    truth_at = "Annotations_truth/480p/{video}"

    def name_clip(self, split: str, index: int, frames: int) -> ClipName:
        """`scene-train-000`."""
        video = f"scene-{split}-{index:03d}"
        return ClipName(split, video, video, range(frames), 0)

    def write_lists(self, root: Path, clips: Sequence[ClipName]) -> None:
        """Write `ImageSets/2017/{split}.txt`."""
        write_split_lists(root / "ImageSets" / "2017", self.folders, clips)


class YouTubeVOSLayout(VOSLayout):
    """YouTube-VOS: every 5th number, `meta.json`, only the masks that introduce objects outside of `train`."""

    name = "youtube_vos"
    folders: ClassVar[dict[str, str]] = {"train": "train", "val": "valid", "test": "test"}
    first_masks = ("val", "test")

    def name_clip(self, split: str, index: int, frames: int) -> ClipName:
        """Ten hex digits."""
        video = _hex_name(split, index, 0, 10)
        return ClipName(split, video, video, range(0, 5 * frames, 5), 0)

    def write_objects(self, root: Path, objects: dict[str, dict[str, Any]]) -> None:
        """Write `{split}/meta.json`."""
        for split, videos in objects.items():
            write_json(root / self.folders[split] / "meta.json", {"videos": videos})


class MOSELayout(VOSLayout):
    """MOSE: `val` are training videos whose names the reader holds out, `test` is `valid` with its first masks."""

    name = "mose"
    test_clips = 2
    folders: ClassVar[dict[str, str]] = {"train": "train", "val": "train", "test": "valid"}
    first_masks = ("test",)
    _HELD_OUT_SHARE = 0.1  # the default of the reader

    def name_clip(self, split: str, index: int, frames: int) -> ClipName:
        """Eight hex digits that are held out, or are not."""
        names = (_hex_name(split, index, attempt, 8) for attempt in count())
        video = next(name for name in names if is_held_out(name, self._HELD_OUT_SHARE) == (split == "val"))
        return ClipName(split, video, video, range(frames), 0)


class TAOVOSLayout(VOSLayout):
    """TAO-VOS: sources in the names of videos, frame names of the sources, masks of all frames."""

    name = "tao_vos"
    folders: ClassVar[dict[str, str]] = {"train": "train", "val": "valid"}
    _SOURCES: ClassVar[tuple[tuple[str, str, int, int], ...]] = (  # source, frame name, first number, step
        ("Charades", "frame{:04d}", 1, 30),
        ("ArgoVerse", "ring_front_center_{:d}", 315971768012624488, 999999744),
        ("BDD", "b1c66a42-{:07d}", 91, 30),
    )

    def name_clip(self, split: str, index: int, frames: int) -> ClipName:
        """Sources in turn."""
        source, _, first, step = self._SOURCES[index % len(self._SOURCES)]
        video = f"{source}/{_hex_name(split, index, 0, 12)}"
        return ClipName(split, video, video, range(first, first + step * frames, step), 0)

    def frame_name(self, clip: ClipName, position: int) -> str:
        """As the source of the clip names frames."""
        pattern = next(entry[1] for entry in self._SOURCES if clip.video.startswith(entry[0]))
        return pattern.format(clip.numbers[position])

    def write_lists(self, root: Path, clips: Sequence[ClipName]) -> None:
        """Write `ImageSets/{split}.txt`."""
        write_split_lists(root / "ImageSets", self.folders, clips)


VOS_LAYOUTS: dict[str, type[VOSLayout]] = {
    layout.name: layout for layout in (DAVISLayout, YouTubeVOSLayout, MOSELayout, TAOVOSLayout)
}
"""Layouts by name."""


def _hex_name(split: str, index: int, attempt: int, digits: int) -> str:
    return hashlib.sha256(f"{split}-{index}-{attempt}".encode()).hexdigest()[:digits]
