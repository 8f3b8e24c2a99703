"""Annotations in the XML format "CVAT for images 1.1", and the shapes that "CVAT for video 1.1" shares with it.

[0] https://docs.cvat.ai/docs/other/xml_format
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement

import numpy as np

from thriftseg.arrays import BoolArray
from thriftseg.atomic import write_bytes
from thriftseg.errors import DatasetError
from thriftseg.exchange.records import AnnotatedImage, ExportedFrame, Shape
from thriftseg.parsing import dump_xml, located, read_xml
from thriftseg.regions import (
    MaskRegion,
    PointRegion,
    PolygonRegion,
    Region,
    bounding_box,
    box_region,
    run_lengths,
)
from thriftseg.taxonomies import Taxonomy, hex_color

CVAT_FILE = "annotations.xml"
CVAT_LABEL_FILE = "labels.json"
"""Label constructor of a CVAT project (the text of its "Raw" tab)."""

MACHINE = "auto"
"""Source of shapes that a machine made and no person has changed."""

_NO_SHAPES = {"tag", "attribute"}


def read_cvat(path: Path) -> list[AnnotatedImage]:
    """Read the shapes of all images; `z_order` decides what is in front, then the order of the file.

    Args:
        path: The XML file, or the folder of `annotations.xml`.

    Raises:
        DatasetError: The file is missing, malformed, of the video format, or holds shapes without area.
    """
    path = path / CVAT_FILE if path.is_dir() else path
    root = read_xml(path)
    images = root.findall("image")
    if root.tag != "annotations" or (not images and root.find("track") is not None):
        found = "tracks" if root.find("track") is not None else f"<{root.tag}>"
        raise DatasetError(
            "not a file of CVAT for images", path=path, expected="<image> in <annotations>", found=found,
            fix="export it from CVAT as 'CVAT for images 1.1', or use --format cvat-video",
        )  # fmt: skip
    return [_image(element, position, path) for position, element in enumerate(images)]


def write_cvat(folder: Path, frames: Iterable[ExportedFrame], taxonomy: Taxonomy) -> list[Path]:
    """Write `annotations.xml` with masks, and `labels.json` for the labels of the project.

    Args:
        folder: Target folder.
        frames: The frames.
        taxonomy: Gives the labels.
    """
    root = Element("annotations")
    SubElement(root, "version").text = "1.1"
    task = SubElement(SubElement(root, "meta"), "task")
    images = [_image_element(frame, position, taxonomy) for position, frame in enumerate(frames)]
    for tag, text in {"size": str(len(images)), "mode": "annotation"}.items():
        SubElement(task, tag).text = text
    add_labels(task, taxonomy)
    root.extend(images)
    write_bytes(folder / CVAT_FILE, dump_xml(root))
    return [folder / CVAT_FILE, write_label_constructor(folder, taxonomy)]


def add_labels(task: Element, taxonomy: Taxonomy) -> None:
    """Add the class table to the description of a task."""
    labels = SubElement(task, "labels")
    for row in taxonomy.classes:
        label = SubElement(labels, "label")
        for tag, text in {"name": row.name, "color": hex_color(row.color), "type": "any"}.items():
            SubElement(label, tag).text = text
        SubElement(label, "attributes")


def write_label_constructor(folder: Path, taxonomy: Taxonomy) -> Path:
    """Write `labels.json`, to be pasted where CVAT asks for the labels of a new project.

    Example:
        >>> import tempfile
        >>> from thriftseg.taxonomies import CITYSCAPES
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     road, *_ = json.loads(write_label_constructor(Path(folder), CITYSCAPES).read_text())
        >>> road["name"], road["color"]
        ('road', '#804080')
    """
    labels = [
        {"name": row.name, "color": hex_color(row.color), "type": "any", "attributes": []} for row in taxonomy.classes
    ]
    write_bytes(folder / CVAT_LABEL_FILE, json.dumps(labels, indent=1).encode())
    return folder / CVAT_LABEL_FILE


def region_of(element: Element) -> Region:
    """The pixels of a shape element.

    Raises:
        KeyError: It lacks an attribute.
        ValueError: An attribute is malformed, or the shape has no area.
    """
    values = element.attrib
    if element.tag == "mask":
        counts = [int(count) for count in values["rle"].split(",")]
        left, top, width, height = (int(float(values[name])) for name in ("left", "top", "width", "height"))
        return MaskRegion(counts, width, height, left, top)
    if element.tag == "polygon":
        return PolygonRegion(shape_points(element))
    if element.tag == "points":
        return PointRegion(shape_points(element))
    if element.tag == "box":
        return box_region(*box_sides(element), float(values.get("rotation", 0)))
    raise ValueError(f"a {element.tag}, expected mask, polygon, box or points; convert it to a mask in CVAT")


def shape_points(element: Element) -> list[tuple[float, float]]:
    """Corners or points of a shape element as (x, y)."""
    pairs = [pair.split(",") for pair in element.attrib["points"].split(";")]
    return [(float(x), float(y)) for x, y in pairs]


def box_sides(element: Element) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a box element."""
    left, top, right, bottom = (float(element.attrib[name]) for name in ("xtl", "ytl", "xbr", "ybr"))
    return left, top, right, bottom


def mask_attributes(mask: BoolArray) -> dict[str, str]:
    """Attributes of a mask element: row-major run lengths inside the box of the mask."""
    counts, box = mask_counts(mask)
    sides = zip(("left", "top", "width", "height"), map(str, box), strict=True)
    return {"rle": ", ".join(map(str, counts)), **dict(sides)}


def mask_counts(mask: BoolArray) -> tuple[list[int], tuple[int, int, int, int]]:
    """Row-major run lengths inside the box of a mask, and that box as left, top, width and height."""
    left, top, width, height = box = bounding_box(mask)
    part = np.ascontiguousarray(mask[top : top + height, left : left + width])
    return run_lengths(part.ravel()).tolist(), box


def _image(element: Element, position: int, path: Path) -> AnnotatedImage:
    with located(path, f"image {position}"):
        name = element.attrib["name"]
        size = int(element.attrib["height"]), int(element.attrib["width"])
    shapes: list[Shape] = []
    for index, child in enumerate(child for child in element if child.tag not in _NO_SHAPES):
        with located(path, f"shape {index} of image {name!r}"):
            region = region_of(child)
            order, by_machine = int(child.attrib.get("z_order", 0)), child.attrib.get("source") == MACHINE
            shapes.append(Shape(child.attrib["label"], (region,), order, by_machine))
    return AnnotatedImage(path, name, tuple(shapes), size)


def _image_element(frame: ExportedFrame, position: int, taxonomy: Taxonomy) -> Element:
    height, width = frame.ids.shape
    image = Element("image", {"id": str(position), "name": frame.name, "width": str(width), "height": str(height)})
    for item, mask in frame.masks():
        label = taxonomy.class_names[item.train_id]
        head = {"label": label, "source": MACHINE, "occluded": "0"}
        SubElement(image, "mask", {**head, **mask_attributes(mask), "z_order": "0"})
    return image
