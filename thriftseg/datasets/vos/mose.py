"""MOSE: videos of crowded scenes in which objects hide each other and come back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from thriftseg.datasets.vos.base import (
    HELD_OUT,
    MasksOfSplit,
    VOSClip,
    VOSDataset,
    check_share,
    part_of_training,
    read_list,
)

if TYPE_CHECKING:
    from thriftseg.metrics import VOSProtocol


class MOSE(VOSDataset):
    """Reader of MOSE (version 1): 1507 training and 311 validation videos.

        root/{train,valid}/JPEGImages/{video}/{number:05d}.jpg
        root/{train,valid}/Annotations/{video}/{number:05d}.png      0 = background; ids may have gaps
        root/ImageSets/{train,held_out}.txt                          optional: one training video a line

    All frames of `train` have masks, and objects may appear in any of them. `valid` has the mask of the first frame
    only and is scored by a server. So a fixed share of the training videos forms the split `held_out`: those chosen by
    `thriftseg.datasets.vos.base.is_held_out`, or those of `ImageSets/held_out.txt` where the lists exist (a video that
    neither of them names is left out).

    CC BY-NC-SA 4.0. Cite Ding et al., "MOSE: A New Dataset for Video Object Segmentation in Complex Scenes", ICCV 2023.

    Args:
        root: Folder that holds `train` and `valid`.
        held_out: Share of the training videos that forms the split `held_out`; with 0, `train` is all of them.

    Raises:
        ConfigError: `held_out` is not in [0, 1).

    Example:
        >>> MOSE("data/mose").splits, MOSE("data/mose", held_out=0).splits
        (('train', 'held_out', 'valid'), ('train', 'valid'))
    """

    name: ClassVar[str] = "mose"
    layout: ClassVar[str] = (
        "  {train,valid}/JPEGImages/{video}/00000.jpg\n"
        "  {train,valid}/Annotations/{video}/00000.png     palette PNG of object ids; of the first frame in valid\n"
        "  ImageSets/{train,held_out}.txt                  optional: your own split of the training videos"
    )
    how_to_get: ClassVar[str] = "take MOSE from henghuiding.github.io/MOSE"
    submission_folder: ClassVar[str | None] = ""
    protocol: VOSProtocol = "youtube_vos"

    def __init__(self, root: str | Path | None = None, held_out: float = 0.1) -> None:
        super().__init__(root)
        self.held_out = check_share(held_out)
        self.splits = ("train", HELD_OUT, "valid") if held_out else ("train", "valid")

    def masks_of(self, split: str) -> MasksOfSplit:
        """All masks of the training videos, the first ones of `valid`."""
        return "first" if split == "valid" else "all"

    def _scan(self, split: str) -> list[VOSClip]:
        folder = self.root / ("valid" if split == "valid" else "train")
        videos = self._videos_below(folder, split)
        if split != "valid" and self.held_out:
            videos = self._training_part(videos, split)
        frames, masks = folder / "JPEGImages", folder / "Annotations"
        return [self._make_clip(video, frames / video, masks / video) for video in videos]

    def _training_part(self, videos: list[str], split: str) -> list[str]:
        lists = {name: self.root / "ImageSets" / f"{name}.txt" for name in ("train", HELD_OUT)}
        listed = {name: read_list(path) for name, path in lists.items()}
        if all(names is None for names in listed.values()):
            return part_of_training(videos, split, self.held_out)
        for name, path in lists.items():
            if listed[name] is None:
                raise self.missing("only one of the two lists of training videos is there", path)
        wanted = listed[split] or []
        absent = sorted(set(wanted) - set(videos))
        if absent:
            raise self.missing(f"video {absent[0]} is in the list but not on disk", lists[split])
        return wanted
