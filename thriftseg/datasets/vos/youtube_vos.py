"""YouTube-VOS: thousands of short videos with objects that may enter late."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from thriftseg.datasets.vos.base import HELD_OUT, MasksOfSplit, VOSClip, VOSDataset, check_share, part_of_training
from thriftseg.datasets.vos.meta import META_FILE, read_meta, with_objects

if TYPE_CHECKING:
    from thriftseg.metrics import VOSProtocol


class YouTubeVOS(VOSDataset):
    """Reader of YouTube-VOS 2018 and 2019: 3471 training and 474 (2018) or 507 (2019) validation videos.

        root/{train,valid,test}/JPEGImages/{video}/{number:05d}.jpg        every 5th frame of 30 Hz video
        root/{train,valid,test}/Annotations/{video}/{number:05d}.png       0 = background
        root/{train,valid,test}/meta.json                                  objects, categories, frames
        root/{train,valid,test}_all_frames/JPEGImages/{video}/{number:05d}.jpg      optional

    All frames of `train` have masks. In `valid` and `test` only frames in which an object appears first have one, and
    that may be any frame; `meta.json` lists where each object is scored, and a server scores. To validate without it,
    a share of the training videos can be held out by `thriftseg.datasets.vos.base.is_held_out`.

    Annotations under CC BY 4.0, videos for research. Cite Xu et al., "YouTube-VOS: A Large-Scale Video Object
    Segmentation Benchmark", arXiv 1809.03327.

    Args:
        root: Folder that holds `train` and `valid`.
        all_frames: Read frames from `{split}_all_frames`; masks and scored frames stay the same.
        held_out: Share of the training videos that forms the split `held_out` instead.

    Raises:
        ConfigError: `held_out` is not in [0, 1).

    Example:
        >>> YouTubeVOS("data/youtube_vos", held_out=0.05).splits
        ('train', 'held_out', 'valid', 'test')
    """

    name: ClassVar[str] = "youtube_vos"
    splits: tuple[str, ...] = ("train", "valid", "test")
    layout: ClassVar[str] = (
        "  {train,valid,test}/meta.json\n"
        "  {train,valid,test}/JPEGImages/{video}/00000.jpg\n"
        "  {train,valid,test}/Annotations/{video}/00000.png     palette PNG of object ids\n"
        "  {train,valid,test}_all_frames/JPEGImages/{video}/00000.jpg     optional"
    )
    how_to_get: ClassVar[str] = "take YouTube-VOS from youtube-vos.org"
    submission_folder: ClassVar[str | None] = "Annotations/"
    protocol: VOSProtocol = "youtube_vos"

    def __init__(self, root: str | Path | None = None, all_frames: bool = False, held_out: float = 0.0) -> None:
        super().__init__(root)
        self.all_frames, self.held_out = all_frames, check_share(held_out)
        if held_out:
            self.splits = ("train", HELD_OUT, "valid", "test")

    def masks_of(self, split: str) -> MasksOfSplit:
        """All masks of the training videos, elsewhere those that introduce objects."""
        return "all" if split in ("train", HELD_OUT) else "first"

    def seen(self, clip: VOSClip) -> dict[int, bool]:
        """Whether the category of each object occurs in the training videos, by id.

        Returns:
            The argument `seen` of `JAndF.update`; without objects whose category is not told.

        Raises:
            DatasetError: `train/meta.json` is missing or malformed.
        """
        return {item.id: item.category in self.seen_categories for item in clip.listed if item.category}

    @cached_property
    def seen_categories(self) -> frozenset[str]:
        """Categories that occur in the training videos, those held out included."""
        meta = read_meta(self.root / "train" / META_FILE)
        return frozenset(category for objects in meta.values() for category, _ in objects.values() if category)

    def _scan(self, split: str) -> list[VOSClip]:
        source = "train" if split == HELD_OUT else split
        folder = self.root / source
        images = self.root / f"{source}_all_frames" if self.all_frames else folder
        videos = self._videos_below(folder, split)
        if source == "train":
            videos = part_of_training(videos, split, self.held_out)
        meta_file = folder / META_FILE
        meta = read_meta(meta_file)
        clips = []
        for video in videos:
            if video not in meta:
                raise self.missing(f"video {video} has no entry", meta_file)
            clip = self._make_clip(video, images / "JPEGImages" / video, folder / "Annotations" / video)
            clips.append(with_objects(clip, meta[video], meta_file))
        return clips
