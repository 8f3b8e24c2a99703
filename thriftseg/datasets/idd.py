"""IDD, the India Driving Dataset: single labelled frames, with their video neighbours as a separate package."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

from thriftseg.datasets.files import frame_number, list_files, list_folders, usual_step
from thriftseg.datasets.images import probe_size
from thriftseg.datasets.polygon_dataset import PolygonDataset
from thriftseg.datasets.tools.frame_matching import match_frames
from thriftseg.errors import ConfigError, DatasetError
from thriftseg.taxonomies import IDD19, IDD26, Taxonomy
from thriftseg.types import Clip

_FRAME, _LABEL, _POLYGONS = "_leftImg8bit", "_gtFine_", "polygons"
_TEMPORAL = re.compile(r"idd_temporal_(?P<split>train|val|test)_\w+$")
_Key = tuple[int | str, str]  # drive and name of an image


class _View(NamedTuple):
    taxonomy: Taxonomy
    label_kind: str
    instance_kind: str | None  # level-3 instance files cannot tell persons from animals, so the 19 classes have none


_VIEWS = {
    "level3": _View(IDD26, "labellevel3Ids", "instancelevel3Ids"),
    "cityscapes": _View(IDD19, "labelcsTrainIds", None),
}


class _Image(NamedTuple):
    drive: str
    name: str
    path: Path

    @property
    def key(self) -> _Key:
        return drive_key(self.drive), self.name


class IDD(PolygonDataset):
    """Reader of IDD, parts I (`IDD_Segmentation`) and II (`idd20kII`), which may be unpacked into one folder.

        root/leftImg8bit/{train,val,test}/{drive}/{image}_leftImg8bit.{png|jpg}
        root/gtFine/{train,val}/{drive}/{image}_gtFine_polygons.json
        root/gtFine/{train,val}/{drive}/{image}_gtFine_{labellevel3Ids|labelcsTrainIds|instancelevel3Ids}.png
        root/idd_temporal_{split}_{part}/{drive:05d}/{image}_leftImg8bit/{frame:07d}.jpeg

    Labels come from the PNGs that the authors' scripts make, or are drawn from the polygons where there are none.
    With the temporal package a clip holds the neighbours of an annotated image. Which of them is the annotated one is
    not published: the file with the smallest mean absolute difference is taken and remembered in the user's cache
    folder (the first listing therefore opens images; a warning tells when nothing resembles the image). Without it, a
    clip is a single frame.

    Drive folders are matched by number, as the temporal package pads them with zeros. `test` has no public labels.
    Frames differ in size between clips. Licence: registration at idd.insaan.iiit.ac.in, research use; cite Varma et
    al., "IDD: A Dataset for Exploring Problems of Autonomous Navigation in Unconstrained Environments", WACV 2019.

    Args:
        root: Folder that holds the packages above.
        view: The 26 classes of level 3 (`level3`) or the 19 classes of Cityscapes (`cityscapes`).
        frame_size: Height and width of the images to keep, such as (1080, 1920), which most have; all by default. The
            first listing then opens the header of every image.

    Example:
        >>> IDD("data/idd").taxonomy.num_classes, IDD("data/idd", view="cityscapes").taxonomy.num_classes
        (26, 19)
    """

    name: ClassVar[str] = "idd"
    layout: ClassVar[str] = (
        "  leftImg8bit/{split}/{drive}/{image}_leftImg8bit.png|jpg\n"
        "  gtFine/{split}/{drive}/{image}_gtFine_polygons.json       or _labellevel3Ids.png, _labelcsTrainIds.png\n"
        "  idd_temporal_{split}_{part}/{drive:05d}/{image}_leftImg8bit/{frame:07d}.jpeg       optional"
    )
    how_to_get: ClassVar[str] = (
        "register at idd.insaan.iiit.ac.in and unpack IDD_Segmentation, idd20kII and, for video, the IDD temporal "
        "packages into one folder"
    )

    def __init__(
        self,
        root: str | Path | None = None,
        view: Literal["level3", "cityscapes"] = "level3",
        frame_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(root)
        if view not in _VIEWS:
            raise ConfigError(f"IDD has no view {view!r}", expected=", ".join(_VIEWS))
        self.view = view
        self.frame_size = tuple(frame_size) if frame_size is not None else None

    @property
    def taxonomy(self) -> Taxonomy:
        """The classes of the chosen view."""
        return _VIEWS[self.view].taxonomy

    def files_beside(self, clip: Clip, number: int) -> dict[str, Path]:
        """What is read of a frame beside the files of its clip: the frame of the video that the image stands for."""
        image = clip.frames[number]
        folders = {path.parent for path in clip.frames.values()} if image.stem.endswith(_FRAME) else set()
        listed = [path for folder in folders - {image.parent} for path in list_files(folder)]
        found = next((path for path in listed if frame_number(path.stem) == number), None)
        return {} if found is None else {"video": found}

    def _scan(self, split: str) -> list[Clip]:
        images = []
        for folder in list_folders(self.root / "leftImg8bit" / split):
            # of several formats the PNG comes last in the listing and wins
            named = {path.stem.removesuffix(_FRAME): path for path in list_files(folder) if path.stem.endswith(_FRAME)}
            images += [_Image(folder.name, name, path) for name, path in named.items()]
        if not images:
            raise self.empty(split, self.root / "leftImg8bit" / split / "{drive}" / "*_leftImg8bit.png")
        if self.frame_size is not None:
            images = _of_size(images, self.frame_size)
        labels = {} if split == "test" else self._label_files(split)
        temporal = self._temporal_frames(split)
        annotated = match_frames(
            {image.path: temporal[image.key] for image in images if image.key in temporal}, self.root
        )
        return [
            self._clip(image, temporal.get(image.key, {}), annotated.get(image.path), labels.get(image.key, {}), split)
            for image in images
        ]

    def _label_files(self, split: str) -> dict[_Key, dict[str, Path]]:
        """Label files by image and kind."""
        found: dict[_Key, dict[str, Path]] = {}
        for folder in list_folders(self.root / "gtFine" / split):
            for path in list_files(folder, (".json", ".png")):
                name, separator, kind = path.stem.rpartition(_LABEL)
                if separator:
                    found.setdefault((drive_key(folder.name), name), {})[kind] = path
        return found

    def _temporal_frames(self, split: str) -> dict[_Key, dict[int, Path]]:
        """Neighbour frames by image and frame number."""
        found: dict[_Key, dict[int, Path]] = {}
        for package in list_folders(self.root):
            match = _TEMPORAL.match(package.name)
            if match and match["split"] == split:
                for drive in list_folders(package):
                    for folder in list_folders(drive):
                        frames = {frame_number(path.stem): path for path in list_files(folder)}
                        key = drive_key(drive.name), folder.name.removesuffix(_FRAME)
                        found[key] = {number: path for number, path in frames.items() if number is not None}
        return {key: frames for key, frames in found.items() if frames}

    def _clip(
        self, image: _Image, neighbours: dict[int, Path], annotated: int | None, files: dict[str, Path], split: str
    ) -> Clip:
        number = annotated if annotated is not None else frame_number(image.name) or 0
        frames = dict(sorted((neighbours | {number: image.path}).items()))
        view = _VIEWS[self.view]
        label = files.get(view.label_kind, files.get(_POLYGONS))
        instances = files.get(view.instance_kind or "", files.get(_POLYGONS))
        if label is None and split != "test":
            expected = self.root / "gtFine" / split / image.drive / f"{image.name}{_LABEL}{view.label_kind}.png"
            raise self.missing("an image has neither label nor polygons", expected)
        return Clip(
            video=f"{image.drive}_{image.name}",
            frames=frames,
            labels={} if label is None else {number: label},
            instances={} if instances is None else {number: instances},
            frame_step=usual_step(frames),
            drive=str(drive_key(image.drive)),
        )


def _of_size(images: list[_Image], wanted: tuple[int, ...]) -> list[_Image]:
    sizes = [probe_size(image.path) for image in images]
    kept = [image for image, size in zip(images, sizes, strict=True) if size == wanted]
    if not kept:
        raise DatasetError(
            "no image has the wanted frame_size",
            path=images[0].path.parents[1],
            expected="{1}x{0}".format(*wanted),
            found=", ".join(f"{width}x{height}" for height, width in sorted(set(sizes))),
            fix="give frame_size as height and width",
        )
    return kept


def drive_key(folder: str) -> int | str:
    """Drives are numbers, padded with zeros in some packages only.

    Example:
        >>> drive_key("007") == drive_key("7"), drive_key("frankfurt")
        (True, 'frankfurt')
    """
    return int(folder) if folder.isdecimal() else folder
