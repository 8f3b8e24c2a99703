"""Annotations in the JSON format of COCO: run lengths, compressed or not, and polygons.

Compressed run lengths are byte for byte those of COCO's own tools. Those draw polygons on a grid of a fifth of a pixel,
which decides otherwise than the pixel centre for about one pixel in twenty along the outline.

[0] Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014; https://cocodataset.org/#format-data.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from thriftseg.arrays import Int64Array
from thriftseg.atomic import write_bytes
from thriftseg.exchange.records import AnnotatedImage, ExportedFrame, Shape, load_json, located
from thriftseg.regions import MaskRegion, PolygonRegion, Region, bounding_box, run_lengths
from thriftseg.taxonomies import Taxonomy

ANNOTATION_FILE = "annotations.json"

_BITS, _MORE, _SIGN, _BASE = 5, 0x20, 0x10, 48


def encode_counts(counts: Sequence[int]) -> str:
    """Compress run lengths to text.

    From the fourth run on, the difference to the run two before is kept. A number becomes characters of five bits,
    lowest first, each plus 48 and, unless it is the last one, plus 32; the sign is that of the last one's fifth bit.

    Example:
        >>> encode_counts([6, 1, 40, 4, 5, 4, 5, 4, 21])
        '61X13mN000`0'
    """
    values = [int(count) for count in counts]
    text = bytearray()
    for position, value in enumerate(values):
        left = value - values[position - 2] if position > 2 else value
        more = True
        while more:
            bits = left & (_MORE - 1)
            left >>= _BITS
            more = left != (-1 if bits & _SIGN else 0)
            text.append(_BASE + bits + (_MORE if more else 0))
    return text.decode("ascii")


def decode_counts(text: str) -> list[int]:
    """The inverse of `encode_counts`.

    Raises:
        ValueError: The text has other characters, ends within a number or gives a negative run.

    Example:
        >>> decode_counts("61X13mN000`0")
        [6, 1, 40, 4, 5, 4, 5, 4, 21]
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - _BASE
        if not 0 <= bits < 2 * _MORE:
            raise ValueError(f"compressed run lengths with the character {character!r}")
        value |= (bits & (_MORE - 1)) << shift
        shift += _BITS
        if not bits & _MORE:
            value -= (1 << shift) if bits & _SIGN else 0
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("compressed run lengths that end within a number")
    return counts


def read_coco(path: Path) -> list[AnnotatedImage]:
    """Read instance annotations; an annotation later in the file is in front.

    Args:
        path: The JSON file, or the folder of `annotations.json`.

    Raises:
        DatasetError: The file is missing or malformed.
    """
    path = path / ANNOTATION_FILE if path.is_dir() else path
    content = load_json(path)
    with located(path, "the file"):
        images, annotations = list(content["images"]), list(content["annotations"])
        names = {category["id"]: str(category["name"]) for category in content["categories"]}
    sizes: dict[Any, tuple[int, int]] = {}
    for position, image in enumerate(images):
        with located(path, f"images[{position}]"):
            if image["id"] in sizes:
                raise ValueError(f"id {image['id']} a second time")
            sizes[image["id"]] = int(image["height"]), int(image["width"])
            str(image["file_name"])
    shapes: dict[Any, list[Shape]] = {image_id: [] for image_id in sizes}
    for position, annotation in enumerate(annotations):
        place = f"annotations[{position}]"
        with located(path, place):
            image_id, category = annotation["image_id"], annotation["category_id"]
            if image_id not in sizes or category not in names:
                kind, value = ("image_id", image_id) if image_id not in sizes else ("category_id", category)
                raise ValueError(f"{kind} {value}, which the file does not list")
            regions = segmentation_regions(annotation["segmentation"], sizes[image_id])
            shapes[image_id].append(Shape(names[category], regions))
    return [
        AnnotatedImage(path, str(image["file_name"]), tuple(shapes[image["id"]]), sizes[image["id"]])
        for image in images
    ]


def write_coco(folder: Path, frames: Iterable[ExportedFrame], taxonomy: Taxonomy) -> list[Path]:
    """Write `annotations.json` with compressed run lengths.

    Args:
        folder: Target folder.
        frames: The frames.
        taxonomy: Gives the categories; their ids are the train ids plus 1.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, frame in enumerate(frames, start=1):
        height, width = frame.ids.shape
        images.append({"id": image_id, "file_name": frame.name, "height": height, "width": width})
        for annotation in _annotations(frame):
            annotations.append({"id": len(annotations) + 1, "image_id": image_id, **annotation})
    categories = [
        {
            "id": row.train_id + 1,
            "name": row.name,
            "supercategory": row.category,
            "color": list(row.color),
            "isthing": int(row.has_instances),
        }
        for row in taxonomy.classes
    ]
    head = {"info": {"description": f"class table {taxonomy.name} version {taxonomy.version}"}, "licenses": []}
    content = {**head, "images": images, "annotations": annotations, "categories": categories}
    path = folder / ANNOTATION_FILE
    write_bytes(path, json.dumps(content).encode())
    return [path]


def _annotations(frame: ExportedFrame) -> Iterator[dict[str, Any]]:
    for item, mask in frame.masks():
        counts: Int64Array = run_lengths(mask.ravel(order="F"))
        yield {
            "category_id": item.train_id + 1,
            "iscrowd": int(item.instance is None),
            "area": int(np.count_nonzero(mask)),
            "bbox": list(bounding_box(mask)),
            "segmentation": {"size": list(mask.shape), "counts": encode_counts(counts.tolist())},
        }


def segmentation_regions(segmentation: Any, size: tuple[int, int]) -> tuple[Region, ...]:
    """The regions of an annotation's `segmentation`: polygons, or run lengths of either kind.

    Args:
        segmentation: As in the file.
        size: Height and width of the image.

    Raises:
        ValueError: It is neither, or does not fit the image.
    """
    if isinstance(segmentation, dict):
        height, width = (int(value) for value in segmentation["size"])
        if (height, width) != size:
            raise ValueError(f"run lengths of size {width}x{height} in an image of {size[1]}x{size[0]}")
        counts = segmentation["counts"]
        return (MaskRegion(decode_counts(counts) if isinstance(counts, str) else counts, width, height, 0, 0, True),)
    if not isinstance(segmentation, list) or not segmentation:
        raise ValueError(f"segmentation {segmentation!r}, expected run lengths or polygons")
    return tuple(PolygonRegion(np.asarray(ring, np.float64).reshape(-1, 2)) for ring in segmentation)
