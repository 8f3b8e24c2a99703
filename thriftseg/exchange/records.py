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
