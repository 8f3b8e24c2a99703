"""VEIS: rendered street scenes with the Cityscapes classes."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import ClassVar

from thriftseg.datasets.base import VideoDataset
from thriftseg.datasets.files import glob_files, keep_preferred, usual_step
from thriftseg.datasets.images import FRAME_SUFFIXES
from thriftseg.errors import ConfigError
from thriftseg.parsing import read_lines
from thriftseg.shards import is_file
from thriftseg.taxonomies import VEIS_TABLE
from thriftseg.types import Clip


class VEIS(VideoDataset):
    r"""Reader of VEIS, 61 305 rendered frames of 800x600, a part of them with per-pixel class maps.

    Neither the names of its files nor a split are fixed by the publication, so both are settings:

        root/images/{sequence}/{number}.{png|jpg}
        root/labels/{sequence}/{number}.png          ids 0..18 as Cityscapes train ids, others = no label
        root/{train,val,test}.txt                    optional: one sequence per line

    Without lists the last fifth of the sequences (by name) is `val`, the others are `train`, and `test` is empty.
    The 19 classes are those of Cityscapes. Licence of the data: GPLv3 with extra terms of CSIRO.

    Reference: Saleh et al., "Effective Use of Synthetic Data for Urban Scene Semantic Segmentation", ECCV 2018.

    Args:
        root: Folder that holds `images/` and `labels/`.
        pattern: Glob below `images/` that picks the frames.
        regex: Searched in the path below `images/` without its ending; group `frame` holds the number, group
            `sequence` the recording. By default one folder is one sequence.
        val_share: Share of the sequences that form `val` where there are no lists.

    Example:
        >>> VEIS("data/veis", pattern="*.png", regex=r"(?P<sequence>[^/]+)_(?P<frame>\d+)$").name
        'veis'
    """

    name: ClassVar[str] = "veis"
    layout: ClassVar[str] = (
        "  images/{sequence}/{number}.png|jpg\n"
        "  labels/{sequence}/{number}.png\n"
        "  train.txt, val.txt, test.txt   (optional: one sequence per line)"
    )
    how_to_get: ClassVar[str] = (
        "download the images and VEIS_pixel.zip from github.com/fatemehSLH/VEIS and put them in images/ and labels/"
    )
    taxonomy = VEIS_TABLE
    """The 19 Cityscapes classes."""

    def __init__(
        self,
        root: str | Path | None = None,
        pattern: str = "**/*",
        regex: str = r"(?:(?P<sequence>.+)/)?[^/]*?(?P<frame>\d+)$",
        val_share: float = 0.2,
    ) -> None:
        super().__init__(root)
        self.pattern = pattern
        self.regex = re.compile(regex)
        self.val_share = val_share
        if not {"sequence", "frame"} <= set(self.regex.groupindex):
            raise ConfigError("the regex of VEIS lacks a group", expected="(?P<sequence>...) and (?P<frame>...)")
        if not 0 < val_share < 1:
            raise ConfigError("val_share of VEIS", expected="between 0 and 1", found=val_share)

    def _scan(self, split: str) -> list[Clip]:
        sequences = self._sequences()
        wanted = self._members(split, sorted(sequences))
        absent = [name for name in wanted if name not in sequences]
        if absent:
            raise self.missing(
                f"sequence {absent[0]!r} of {split}.txt has no frames ({len(absent)} of {len(wanted)} are missing)",
                self.root / "images" / absent[0],
            )
        if not wanted:
            raise self.empty(split, self.root / f"{split}.txt")
        return [self._clip(name, sequences[name]) for name in wanted]

    def _sequences(self) -> dict[str, dict[int, Path]]:
        folder = self.root / "images"
        sequences: dict[str, dict[int, Path]] = defaultdict(dict)
        seen = 0
        for path in glob_files(folder, self.pattern):
            if path.suffix.lower() in FRAME_SUFFIXES:
                seen += 1
                match = self.regex.search(path.relative_to(folder).with_suffix("").as_posix())
                if match:
                    name = (match["sequence"] or "all").replace("/", "_")
                    keep_preferred(sequences[name], int(match["frame"]), path)
        if not sequences:
            found = f"{seen} images, but none whose name fits the regex {self.regex.pattern}" if seen else None
            raise self.missing(f"no frames match {self.pattern!r}", folder, found=found)
        return sequences

    def _members(self, split: str, names: list[str]) -> list[str]:
        if any((self.root / f"{other}.txt").is_file() for other in self.splits):
            listing = self.root / f"{split}.txt"
            return [line.replace("/", "_") for line in read_lines(listing)] if listing.is_file() else []
        held_out = max(1, round(len(names) * self.val_share)) if len(names) > 1 else 0
        return {"train": names[: len(names) - held_out], "val": names[len(names) - held_out :]}.get(split, [])

    def _clip(self, name: str, frames: dict[int, Path]) -> Clip:
        images, labels = self.root / "images", self.root / "labels"
        label_of = {number: labels / path.relative_to(images).with_suffix(".png") for number, path in frames.items()}
        return Clip(
            video=name,
            frames=dict(sorted(frames.items())),
            labels={number: label_of[number] for number in sorted(frames) if is_file(label_of[number])},
            frame_step=usual_step(frames),
            drive=name,
        )
