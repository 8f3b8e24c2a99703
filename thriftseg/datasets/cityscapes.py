"""Cityscapes: 30-frame snippets of street video with one finely labelled frame each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

from thriftseg.datasets.files import keep_preferred, list_files, list_folders
from thriftseg.datasets.images import FRAME_SUFFIXES
from thriftseg.datasets.polygon_dataset import PolygonDataset
from thriftseg.errors import ConfigError
from thriftseg.taxonomies import CITYSCAPES
from thriftseg.types import Clip

FRAMES_BEFORE, FRAMES_AFTER = 19, 10
"""A snippet has 30 frames, and the annotated one is its 20th."""

_BLANK_IMAGES = frozenset({"troisdorf_000000_000073"})
"""Images of `train_extra` that were published without content."""

_NAME = re.compile(r"(?P<city>.+)_(?P<sequence>\d{6})_(?P<frame>\d{6})_(?P<kind>leftImg8bit|gt(?:Fine|Coarse)_\w+)$")


class _Recording(NamedTuple):
    city: str
    sequence: str

    def __str__(self) -> str:
        return f"{self.city}_{self.sequence}"


_Files = dict[_Recording, dict[int, Path]]


class Cityscapes(PolygonDataset):
    """Reader of Cityscapes: 2975 / 500 / 1525 snippets of 2048x1024, and 19 998 coarsely labelled single frames.

        root/leftImg8bit/{train,val,test,train_extra}/{city}/{city}_{sequence}_{frame}_leftImg8bit.png
        root/leftImg8bit_sequence/{train,val,test}/{city}/{city}_{sequence}_{frame}_leftImg8bit.png
        root/gtFine/{train,val}/{city}/{city}_{sequence}_{frame}_gtFine_{labelIds.png|instanceIds.png|polygons.json}
        root/gtCoarse/{train,val,train_extra}/{city}/{city}_{sequence}_{frame}_gtCoarse_{the same endings}

    One clip is one snippet: the frames 19 before to 10 after the annotated one, as far as they are on disk. Numbers
    do not restart with each snippet, so all that counts is the distance from the annotated frame. Either of the two
    frame packages is enough; PNG and JPEG are read. Labels come from `labelIds.png`, or are drawn from
    `polygons.json` where the PNG is absent; train ids are derived from them, `labelTrainIds.png` is never read.

    `test` has no public labels, so its clips have none. The blank image `troisdorf_000000_000073` of `train_extra` is
    left out. 19 classes. Non-commercial terms, registration at cityscapes-dataset.com; cite Cordts et al., "The
    Cityscapes Dataset for Semantic Urban Scene Understanding", CVPR 2016.

    Args:
        root: Folder that holds the packages above.
        coarse_source: Where the coarse labels of `train` come from: the `train` snippets, which have video, or
            `train_extra`, whose frames then join the split `train` as clips of one frame.

    Example:
        >>> dataset = Cityscapes("data/cityscapes")
        >>> dataset.taxonomy.class_names[13], dataset.coarse_source
        ('car', 'train')
    """

    name: ClassVar[str] = "cityscapes"
    splits: tuple[str, ...] = ("train", "val", "test", "train_extra")
    customary_variable: ClassVar[str | None] = "CITYSCAPES_DATASET"
    layout: ClassVar[str] = (
        "  leftImg8bit/{split}/{city}/{name}_leftImg8bit.png|jpg                and/or\n"
        "  leftImg8bit_sequence/{split}/{city}/{name}_leftImg8bit.png|jpg\n"
        "  gtFine/{split}/{city}/{name}_gtFine_labelIds.png                     or _gtFine_polygons.json\n"
        "  gtFine/{split}/{city}/{name}_gtFine_instanceIds.png                  optional\n"
        "  gtCoarse/{split}/{city}/{name}_gtCoarse_labelIds.png                 optional, or _gtCoarse_polygons.json\n"
        "  with {name} = {city}_{sequence:06d}_{frame:06d}, such as aachen_000000_000019"
    )
    how_to_get: ClassVar[str] = (
        "register at cityscapes-dataset.com and unpack gtFine_trainvaltest.zip with leftImg8bit_trainvaltest.zip or "
        "leftImg8bit_sequence_trainvaltest.zip into one folder"
    )
    taxonomy = CITYSCAPES
    """The 19 classes of the benchmark."""

    def __init__(
        self, root: str | Path | None = None, coarse_source: Literal["train", "train_extra"] = "train"
    ) -> None:
        super().__init__(root)
        if coarse_source not in ("train", "train_extra"):
            raise ConfigError("coarse_source of Cityscapes", expected="train or train_extra", found=coarse_source)
        self.coarse_source = coarse_source
        if coarse_source == "train_extra":
            self.splits = ("train", "val", "test")

    def _scan(self, split: str) -> list[Clip]:
        if split == "train" and self.coarse_source == "train_extra":
            snippets = [replace(clip, coarse={}) for clip in self._snippets("train")]
            return snippets + self._snippets("train_extra")
        return self._snippets(split)

    def _snippets(self, split: str) -> list[Clip]:
        images = self._walk("leftImg8bit", split).get("leftImg8bit", {})
        sequences = self._walk("leftImg8bit_sequence", split).get("leftImg8bit", {})
        if not images and not sequences:
            raise self.empty(split, self.root / "leftImg8bit" / split / "{city}" / "*_leftImg8bit.png")
        fine = self._walk("gtFine", split) if split in ("train", "val") else {}
        coarse = self._walk("gtCoarse", split)
        files = _SplitFiles(
            frames=_merged(sequences, images),
            labels=_merged(fine.get("gtFine_polygons"), fine.get("gtFine_labelIds")),
            coarse=_merged(coarse.get("gtCoarse_polygons"), coarse.get("gtCoarse_labelIds")),
            instances=_merged(fine.get("gtFine_polygons"), fine.get("gtFine_instanceIds")),
        )
        annotated = self._annotated(split, images, files)
        return [
            files.clip(recording, number, alone=len(numbers) == 1)
            for recording, numbers in annotated.items()
            for number in numbers
        ]

    def _walk(self, package: str, split: str) -> dict[str, _Files]:
        """Files of a package by kind, recording and frame number."""
        found: dict[str, _Files] = {}
        for city in list_folders(self.root / package / split):
            for path in list_files(city, (".json", *FRAME_SUFFIXES)):
                match = _NAME.match(path.stem)
                if match and path.stem.removesuffix(f"_{match['kind']}") not in _BLANK_IMAGES:
                    recording = _Recording(match["city"], match["sequence"])
                    files = found.setdefault(match["kind"], {}).setdefault(recording, {})
                    keep_preferred(files, int(match["frame"]), path)
        return found

    def _annotated(self, split: str, images: _Files, files: _SplitFiles) -> dict[_Recording, list[int]]:
        """Numbers of the annotated frames of every recording.

        Raises:
            DatasetError: A label has no frame, or a frame of `leftImg8bit` has no label.
        """
        labelled = files.labels or files.coarse
        if split == "test":
            return {name: sorted(numbers) for name, numbers in images.items()} or _middle_frames(files.frames)
        package = "gtCoarse" if split == "train_extra" else "gtFine"
        expected = images if labelled or images else _middle_frames(files.frames)
        for name, number in _absent(expected, labelled):
            path = self.root / package / split / name.city / f"{name}_{number:06d}_{package}_labelIds.png"
            raise self.missing("a frame has no label", path)
        for name, number in _absent(labelled, files.frames):
            path = self.root / "leftImg8bit" / split / name.city / f"{name}_{number:06d}_leftImg8bit.png"
            raise self.missing("a label has no frame, neither here nor in leftImg8bit_sequence", path)
        return {name: sorted(numbers) for name, numbers in labelled.items()}


@dataclass(frozen=True)
class _SplitFiles:
    frames: _Files
    labels: _Files
    coarse: _Files
    instances: _Files

    def clip(self, recording: _Recording, annotated: int, alone: bool) -> Clip:
        """The snippet around an annotated frame; all frames of the recording if it is the only one there."""
        numbers = sorted(self.frames.get(recording, {}))
        if not alone:
            numbers = [n for n in numbers if annotated - FRAMES_BEFORE <= n <= annotated + FRAMES_AFTER]

        def at_annotated(files: _Files) -> dict[int, Path]:
            path = files.get(recording, {}).get(annotated)
            return {} if path is None else {annotated: path}

        return Clip(
            video=f"{recording}_{annotated:06d}",
            frames={number: self.frames[recording][number] for number in numbers},
            labels=at_annotated(self.labels),
            coarse=at_annotated(self.coarse),
            instances=at_annotated(self.instances),
            drive=str(recording),
        )


def _merged(*indices: _Files | None) -> _Files:
    """Join file lists; later ones win."""
    merged: _Files = {}
    for index in indices:
        for recording, files in (index or {}).items():
            merged.setdefault(recording, {}).update(files)
    return merged


def _absent(wanted: Mapping[_Recording, Iterable[int]], present: _Files) -> Iterator[tuple[_Recording, int]]:
    """Entries of `wanted` without a file in `present`, in order."""
    for recording in sorted(wanted):
        for number in sorted(wanted[recording]):
            if number not in present.get(recording, {}):
                yield recording, number


def _middle_frames(sequences: _Files) -> dict[_Recording, list[int]]:
    """The frames that would be annotated if every 30 frames were one snippet."""
    length = FRAMES_BEFORE + 1 + FRAMES_AFTER
    middle: dict[_Recording, list[int]] = {}
    for recording, files in sequences.items():
        numbers = sorted(files)
        snippets = [numbers[start : start + length] for start in range(0, len(numbers), length)]
        middle[recording] = [snippet[min(FRAMES_BEFORE, len(snippet) - 1)] for snippet in snippets]
    return middle
