"""SceneNet RGB-D: rendered trajectories through furnished rooms."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from thriftseg.arrays import Int32Array
from thriftseg.datasets.base import VideoDataset
from thriftseg.datasets.files import keep_preferred, list_files, list_folders
from thriftseg.datasets.images import FRAME_SUFFIXES, read_label_png
from thriftseg.errors import DatasetError
from thriftseg.taxonomies import NYU13
from thriftseg.types import INSTANCES_PER_CLASS, Clip

SCENENET_FRAME_STEP = 25
"""Native numbers between rendered frames, which are a second apart."""

_CONVERSION = (
    "apply NYU_WNID_TO_CLASS of convert_instance2class.py in github.com/jmccormac/pySceneNetRGBD to the instance maps, "
    "and write class/{frame}.png with values 0..13 (0 = unknown)"
)


class SceneNet(VideoDataset):
    """Reader of SceneNet RGB-D, trajectories of 300 rendered frames of 320x240, a second apart.

        root/{train,val}/{group}/{trajectory}/photo/{frame}.jpg          frame = 0, 25, 50, ...
        root/{train,val}/{group}/{trajectory}/class/{frame}.png          MADE by the user: NYU-13 ids 0..13, 0 = unknown
        root/{train,val}/{group}/{trajectory}/instance/{frame}.png       optional: 16 bits, numbers of the objects
        root/{train,val}/{group}/{trajectory}/depth/{frame}.png          not read

    The publication has no class maps but a wordnet id for each object of a trajectory; its tools hold the table from
    these to the 13 classes. A trajectory without a folder `class` is a clip without labels; where there is one, every
    photo must have its map. Numbers of objects are the same in all frames of a trajectory; ceiling, floor and wall
    count as no objects.

    A clip is a trajectory, called `{split}_{group}_{trajectory}`. `val` is the folder 0 with 1000 trajectories; `test`
    was not published and is read if it is there. 13 classes: bed, books, ceiling, chair, floor, furniture, objects,
    picture, sofa, table, tv, wall, window. For terms see the page of the data; the authors' tools are GPL-3.0.

    Reference: McCormac et al., "SceneNet RGB-D: Can 5M Synthetic Images Beat Generic ImageNet Pre-training on Indoor
    Segmentation?", ICCV 2017.

    Args:
        root: Folder that holds `train/` and `val/`.

    Example:
        >>> SceneNet("data/scenenet").taxonomy.class_names[:3]
        ['bed', 'books', 'ceiling']
    """

    name: ClassVar[str] = "scenenet"
    layout: ClassVar[str] = (
        "  {split}/{group}/{trajectory}/photo/{frame}.jpg|png       such as val/0/223/photo/25.jpg\n"
        "  {split}/{group}/{trajectory}/class/{frame}.png           one channel, NYU-13 ids 0..13\n"
        "  {split}/{group}/{trajectory}/instance/{frame}.png        optional"
    )
    how_to_get: ClassVar[str] = (
        f"download archives and protobuf files from robotvault.bitbucket.io/scenenet-rgbd.html, then {_CONVERSION}"
    )
    taxonomy = NYU13
    """The 13 classes of NYUv2."""

    def read_instances(self, clip: Clip, number: int) -> Int32Array | None:
        """Instance ids of a frame, (H, W) int32 as `train_id * 1000 + k`, 0 = none.

        `k` is the number that the object has in its trajectory. `None` where the frame has no map of objects.

        Raises:
            DatasetError: A file is missing, unreadable, of another size, or numbers an object above 999.
        """
        path = clip.instances.get(number)
        if path is None:
            return None
        objects = read_label_png(path).astype(np.int32)
        self._check_size(clip, objects, path)
        if objects.max() >= INSTANCES_PER_CLASS:
            expected = f"numbers below {INSTANCES_PER_CLASS}"
            raise DatasetError("an object has too large a number", path=path, expected=expected, found=objects.max())
        label = self.read_label(clip, number)
        single = np.isin(label, self.taxonomy.thing_ids) & (objects > 0)
        return np.where(single, label.astype(np.int32) * INSTANCES_PER_CLASS + objects, 0)

    def _scan(self, split: str) -> list[Clip]:
        trajectories = [path for group in list_folders(self.root / split) for path in list_folders(group)]
        if not trajectories:
            raise self.empty(split, self.root / split / "{group}" / "{trajectory}")
        if not any(map(_has_classes, trajectories)):
            raise DatasetError(
                f"split {split!r} of {self.name} has no class maps",
                path=trajectories[0] / "class",
                fix=_CONVERSION,
                detail=self._drawn_layout,
            )
        return [self._clip(split, trajectory) for trajectory in trajectories]

    def _clip(self, split: str, trajectory: Path) -> Clip:
        photos = self._numbered(trajectory / "photo")
        if not photos:
            raise self.missing("a trajectory has no photos", trajectory / "photo" / "0.jpg")
        labels = self._numbered(trajectory / "class", (".png",))
        if _has_classes(trajectory):
            self._check_pairs(photos, labels, trajectory)
        objects = self._numbered(trajectory / "instance", (".png",))
        name = f"{split}_{trajectory.parent.name}_{trajectory.name}"
        return Clip(
            video=name,
            frames=photos,
            labels=labels,
            instances={number: path for number, path in objects.items() if number in labels},  # their class is needed
            frame_step=SCENENET_FRAME_STEP,
            drive=name,
        )

    def _numbered(self, folder: Path, suffixes: tuple[str, ...] = FRAME_SUFFIXES) -> dict[int, Path]:
        """Files by frame number, increasing; none when the folder is absent."""
        files: dict[int, Path] = {}
        for path in list_files(folder, suffixes):
            if not path.stem.isdecimal():
                raise self.missing("the name of a file is no frame number", path)
            keep_preferred(files, int(path.stem), path)
        return dict(sorted(files.items()))

    def _check_pairs(self, photos: dict[int, Path], labels: dict[int, Path], trajectory: Path) -> None:
        """Raise unless photos and class maps have the same numbers."""
        for number in sorted(photos.keys() ^ labels.keys()):
            if number in photos:
                raise DatasetError(
                    "a photo has no class map",
                    path=trajectory / "class" / f"{number}.png",
                    found=f"{len(labels)} maps for {len(photos)} photos",
                    fix=_CONVERSION,
                )
            raise self.missing("a class map has no photo", trajectory / "photo" / f"{number}.jpg")


def _has_classes(trajectory: Path) -> bool:
    return trajectory / "class" in list_folders(trajectory)
