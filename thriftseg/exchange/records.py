"""What all annotation formats have in common: images with shapes on the way in, frames with objects on the way out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from thriftseg.arrays import BoolArray, UInt8Array, UInt16Array
from thriftseg.errors import DatasetError
from thriftseg.regions import Region
from thriftseg.types import IGNORE_INDEX, Clip


@dataclass(frozen=True)
class Shape:
    """One annotated object.

    Attributes:
        label: Class name as in the file.
        regions: Its parts.
        z_order: Objects of higher order are in front; among equals the later one is.
    """

    label: str
    regions: tuple[Region, ...]
    z_order: int = 0


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
        """
        label = np.full(size, IGNORE_INDEX, np.uint8)
        for shape in sorted(self.shapes, key=lambda shape: shape.z_order):
            if (train_id := train_ids[shape.label]) is not None:
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


@contextmanager
def located(path: Path, place: str) -> Iterator[None]:
    """Turn what goes wrong on a malformed entry into one line that names the file and the place."""
    try:
        yield
    except KeyError as error:
        raise DatasetError(f"{place} has no {error}", path=path) from error
    except (TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise DatasetError(f"{place} is malformed", path=path, found=str(error)) from error


def load_json(path: Path) -> Any:
    """Content of a JSON file.

    Raises:
        DatasetError: The file is missing or no JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise DatasetError("cannot read the annotations", path=path, found=error.strerror) from error
    except ValueError as error:
        raise DatasetError("not a JSON file", path=path, found=str(error)) from error


def load_xml(path: Path) -> ElementTree.Element:
    """Root element of an XML file.

    Raises:
        DatasetError: The file is missing or no XML.
    """
    try:
        return ElementTree.fromstring(path.read_bytes())  # noqa: S314 - expat limits the growth of entities
    except OSError as error:
        raise DatasetError("cannot read the annotations", path=path, found=error.strerror) from error
    except (ElementTree.ParseError, ValueError) as error:
        raise DatasetError("not an XML file", path=path, found=str(error)) from error


def dump_xml(root: ElementTree.Element) -> bytes:
    """Content of an XML file."""
    ElementTree.indent(root)
    content: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return content


def hex_color(color: tuple[int, int, int]) -> str:
    """RGB as `#rrggbb`.

    Example:
        >>> hex_color((128, 64, 0))
        '#804000'
    """
    return "#{:02x}{:02x}{:02x}".format(*color)
