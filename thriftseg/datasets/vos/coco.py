"""COCO: photographs with masks of instances."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import msgspec
import numpy as np

from thriftseg.arrays import BoolArray, Int32Array, UInt8Array
from thriftseg.datasets.vos.base import VideoObject, VOSClip, VOSDataset
from thriftseg.errors import DatasetError
from thriftseg.limits import IMAGE_PIXELS
from thriftseg.parsing import Count, FileName, located, read_json
from thriftseg.regions import segmentation_regions
from thriftseg.types import IGNORE_INDEX

YEAR = "2017"
_NUMBER = 0  # of the only frame of a clip


class COCOImage(msgspec.Struct):
    """An image, as files of COCO list it."""

    id: int | str
    file_name: FileName
    height: Count
    width: Count


class COCOCategory(msgspec.Struct):
    """A category, as files of COCO list it."""

    id: int | str
    name: str


class COCOAnnotation(msgspec.Struct):
    """An object of an image, as files of COCO list it; `segmentation_regions` tells what its segmentation may be."""

    image_id: int | str
    category_id: int | str
    segmentation: Any
    iscrowd: bool = False


class PlacedAnnotation(NamedTuple):
    """An annotation and its position in the file."""

    position: int
    annotation: COCOAnnotation


class COCOFile(msgspec.Struct):
    """Instance annotations in the format of COCO; each image and category stands there once.

    Example:
        >>> content = b'''{"images": [{"id": 7, "file_name": "a.jpg", "height": 4, "width": 6}],
        ...     "annotations": [{"image_id": 7, "category_id": 18, "segmentation": [[0, 0, 4, 0, 4, 3]]}],
        ...     "categories": [{"id": 18, "name": "dog"}]}'''
        >>> file = msgspec.json.decode(content, type=COCOFile)
        >>> [file.category_names[item.annotation.category_id] for item in file.by_image(Path("a.json"))[7]]
        ['dog']
    """

    images: list[COCOImage]
    annotations: list[COCOAnnotation]
    categories: list[COCOCategory]

    @property
    def category_names(self) -> dict[int | str, str]:
        """Names by id."""
        return {category.id: category.name for category in self.categories}

    def by_image(self, path: Path) -> dict[int | str, list[PlacedAnnotation]]:
        """Annotations by the id of their image.

        Args:
            path: The file, for messages.

        Raises:
            DatasetError: An image stands there twice, or an annotation is of an image or category that does not.
        """
        found: dict[int | str, list[PlacedAnnotation]] = {}
        for position, image in enumerate(self.images):
            if image.id in found:
                raise DatasetError(f"images[{position}] has the id of another", path=path, found=image.id)
            found[image.id] = []
        known = self.category_names.keys()
        for position, item in enumerate(self.annotations):
            for name, value, listed in (
                ("image_id", item.image_id, found.keys()),
                ("category_id", item.category_id, known),
            ):
                if value not in listed:
                    problem = f"annotations[{position}] has the {name} {value}, which the file does not list"
                    raise DatasetError(problem, path=path)
            found[item.image_id].append(PlacedAnnotation(position, item))
        return found


class COCO(VOSDataset):
    """Reader of the instances of COCO 2017: 118 287 training and 5 000 validation images, 80 categories.

        root/{train,val}2017/{image:012d}.jpg
        root/annotations/instances_{train,val}2017.json      polygons and run lengths; images, annotations, categories

    An image is a video of one frame, number 0, so that whatever reads masks of objects reads these, too. Its objects
    have the ids 1, 2, ... in the order of the file, without 255; regions marked `iscrowd` are no objects but ignored.
    Where instances overlap, the smaller one is in front in `read_mask`; `read_object_mask` gives each in full. Images
    without annotations are clips without objects.

    The annotations of a split are held in memory once they have been asked for, a few hundred megabytes for `train`.

    Annotations under CC BY 4.0; the images have their own terms. Cite Lin et al., "Microsoft COCO: Common Objects in
    Context", ECCV 2014.

    Args:
        root: Folder that holds `annotations`.

    Example:
        >>> COCO("data/coco").splits
        ('train', 'val')
    """

    name: ClassVar[str] = "coco"
    layout: ClassVar[str] = "  {train,val}2017/000000000139.jpg\n  annotations/instances_{train,val}2017.json"
    how_to_get: ClassVar[str] = "take the images and instance annotations of 2017 from cocodataset.org"

    def __init__(self, root: str | Path | None = None) -> None:
        super().__init__(root)
        self._annotations: dict[str, list[tuple[int, PlacedAnnotation]]] = {}

    def objects(self, clip: VOSClip) -> tuple[VideoObject, ...]:
        """The instances of an image, in the order of the file."""
        return clip.listed

    def read_mask(self, clip: VOSClip, number: int) -> UInt8Array | Int32Array:
        """Ids of the instances, smaller ones in front of larger ones; crowds are 255 where no instance is.

        Returns:
            (H, W) uint8, or int32 beyond 254 instances.

        Raises:
            DatasetError: A segmentation is malformed or does not fit the image.
        """
        masks = {item.id: self._painted(clip, item.id) for item in clip.listed}
        ids = np.zeros(self.clip_size(clip), np.int32 if max(masks, default=0) > IGNORE_INDEX else np.uint8)
        ids[self._painted(clip, IGNORE_INDEX)] = IGNORE_INDEX
        for object_id in sorted(masks, key=lambda key: (-int(masks[key].sum()), key)):
            ids[masks[object_id]] = object_id
        return ids

    def read_object_mask(self, clip: VOSClip, number: int, object_id: int) -> UInt8Array:
        """Mask of one instance, (H, W) uint8: 1 on it, 255 on crowds beside it, else 0.

        Raises:
            DatasetError: There is no such instance, or its segmentation is malformed or does not fit the image.
        """
        if object_id not in {item.id for item in clip.listed}:
            raise DatasetError(f"image {clip.video} has no instance {object_id}", expected=f"1 to {len(clip.listed)}")
        mask = np.where(self._painted(clip, IGNORE_INDEX), IGNORE_INDEX, 0).astype(np.uint8)
        mask[self._painted(clip, object_id)] = 1
        return mask

    def _painted(self, clip: VOSClip, value: int) -> BoolArray:
        """Pixels of the instance with an id, or of all crowds for `IGNORE_INDEX`."""
        canvas: UInt8Array = np.zeros(self.clip_size(clip), np.uint8)
        for object_id, (position, entry) in self._annotations[clip.video]:
            if object_id == value:
                with located(clip.labels[_NUMBER], f"annotations[{position}]"):
                    for region in segmentation_regions(entry.segmentation, self.clip_size(clip)):
                        region.paint(canvas, 1)
        return canvas.astype(np.bool_)

    def _scan(self, split: str) -> list[VOSClip]:
        path = self.root / "annotations" / f"instances_{split}{YEAR}.json"
        if not path.is_file():
            raise self.empty(split, path)
        content = read_json(path, COCOFile, lax=True)
        of_image, names = content.by_image(path), content.category_names
        for position, entry in enumerate(content.annotations):
            if isinstance(entry.segmentation, list):  # arrays take an eighth of the memory of lists
                with located(path, f"annotations[{position}]"):
                    entry.segmentation = [np.asarray(ring, np.float32) for ring in entry.segmentation]
        return [self._image_clip(split, image, of_image[image.id], names, path) for image in content.images]

    def _image_clip(
        self,
        split: str,
        image: COCOImage,
        placed: list[PlacedAnnotation],
        names: dict[int | str, str],
        path: Path,
    ) -> VOSClip:
        frame = self.root / f"{split}{YEAR}" / image.file_name
        IMAGE_PIXELS.check(image.height * image.width, path)
        self._sizes[frame.stem] = image.height, image.width
        object_ids = (number for number in count(1) if number != IGNORE_INDEX)
        entries = [(IGNORE_INDEX if item.annotation.iscrowd else next(object_ids), item) for item in placed]
        self._annotations[frame.stem] = entries
        return VOSClip(
            video=frame.stem,
            frames={_NUMBER: frame},
            labels={_NUMBER: path},
            drive=frame.stem,
            scored=(_NUMBER,),
            listed=tuple(
                VideoObject(object_id, _NUMBER, names[item.annotation.category_id], (_NUMBER,))
                for object_id, item in entries
                if not item.annotation.iscrowd
            ),
        )
