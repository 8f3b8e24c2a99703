"""The records of all annotation formats: images with shapes on the way in, frames with objects on the way out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from thriftseg.arrays import BoolArray, UInt8Array, UInt16Array
from thriftseg.parsing import located
from thriftseg.regions import Region
from thriftseg.types import IGNORE_INDEX, Clip


@dataclass(frozen=True)
class Shape:
    """One annotated object.

    Attributes:
        label: Class name as in the file.
        regions: Its parts.
        z_order: Objects of higher order are in front; among equals the later one is.
        by_machine: Whether the file says that a machine made it and no person has changed it.

    Example:
        >>> from thriftseg.regions import box_region
        >>> front, back = Shape("car", (box_region(0, 0, 2, 1),), z_order=1), Shape("road", (box_region(0, 0, 3, 2),))
        >>> AnnotatedImage(Path("a.json"), "a.png", (front, back)).paint((2, 4), {"car": 13, "road": 0}).tolist()
        [[13, 13, 0, 255], [0, 0, 0, 255]]
    """

    label: str
    regions: tuple[Region, ...]
    z_order: int = 0
    by_machine: bool = False


@dataclass(frozen=True)
class AnnotatedImage:
    """The shapes of one image, in the order of the file.

    Attributes:
        path: The annotation file.
        name: Name of the image as in the file or, with a position, of the video.
        shapes: Its shapes.
        size: Height and width of the image, where the file tells them.
        position: Place of the frame in its video, from 0, for formats that count frames.

    Example:
        >>> from thriftseg.regions import box_region
        >>> shapes = Shape("car", (box_region(0, 0, 2, 1),)), Shape("sun", (box_region(0, 0, 4, 1),))
        >>> image = AnnotatedImage(Path("a.xml"), "drive", shapes, position=7)
        >>> image.title, image.paint((1, 3), {"car": 13, "sun": None}).tolist()
        ('drive frame 7', [[13, 13, 255]])
    """

    path: Path
    name: str
    shapes: tuple[Shape, ...]
    size: tuple[int, int] | None = None
    position: int | None = None

    @property
    def title(self) -> str:
        """Name for messages."""
        return self.name if self.position is None else f"{self.name} frame {self.position}"

    def paint(self, size: tuple[int, int], train_ids: Mapping[str, int | None]) -> UInt8Array:
        """Label map of the image.

        Args:
            size: Height and width.
            train_ids: What each class name becomes; shapes of `None` are left out.

        Returns:
            (H, W) uint8, 255 where no shape lies.

        Raises:
            DatasetError: A polygon would take too long to fill.
        """
        label = np.full(size, IGNORE_INDEX, np.uint8)
        for shape in sorted(self.shapes, key=lambda shape: shape.z_order):
            if (train_id := train_ids[shape.label]) is not None:
                with located(self.path, self.title):
                    for region in shape.regions:
                        region.paint(label, train_id)
        return label


@dataclass(frozen=True)
class ExportedObject:
    """One object of a frame that goes to an annotation tool.

    Attributes:
        train_id: Its class.
        instance: Number within the class, from 1; `None` for a whole class, or what is left beside its instances.

    Example:
        >>> ids, objects = np.array([[0, 1, 2, 2]], np.uint16), (ExportedObject(0), ExportedObject(13, instance=1))
        >>> frame = ExportedFrame(Clip("drive", {7: Path("data/f_007.png")}), 7, ids, objects)
        >>> [(item.train_id, item.instance, int(mask.sum())) for item, mask in frame.masks()]
        [(0, None, 1), (13, 1, 2)]
    """

    train_id: int
    instance: int | None = None


@dataclass(frozen=True)
class ExportedFrame:
    """A frame and its objects on the way to an annotation tool.

    Attributes:
        clip: The clip.
        number: Native frame number.
        ids: Object ids, (H, W) uint16, 0 = no label.
        objects: The objects; the first has id 1.

    Example:
        >>> ids, objects = np.array([[0, 2, 2]], np.uint16), (ExportedObject(0), ExportedObject(13, instance=1))
        >>> frame = ExportedFrame(Clip("drive", {7: Path("data/f_007.png")}), 7, ids, objects)
        >>> frame.name, [item.train_id for item, _ in frame.masks()]
        ('drive/f_007.png', [13])
    """

    clip: Clip
    number: int
    ids: UInt16Array
    objects: tuple[ExportedObject, ...]

    @property
    def name(self) -> str:
        """Name of the image for the tool, unique in the data set: the video and the file name."""
        return image_name(self.clip, self.number)

    def masks(self) -> Iterator[tuple[ExportedObject, BoolArray]]:
        """Every object that has pixels with its mask, (H, W)."""
        for position, item in enumerate(self.objects, start=1):
            mask = self.ids == position
            if mask.any():
                yield item, mask


def image_name(clip: Clip, number: int) -> str:
    """Name that a frame has in annotation tools.

    Example:
        >>> image_name(Clip("drive", {7: Path("data/f_007.png")}), 7)
        'drive/f_007.png'
    """
    return f"{clip.video}/{clip.frames[number].name}"
