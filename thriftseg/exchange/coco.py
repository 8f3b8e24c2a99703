"""Annotations in the JSON format of COCO: run lengths, compressed or not, and polygons.

Compressed run lengths are byte for byte those of COCO's own tools. Those draw polygons on a grid of a fifth of a pixel,
which gives another answer than the pixel centre for about one pixel in twenty along the outline.

[0] Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014; https://cocodataset.org/#format-data.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from thriftseg.arrays import Int64Array
from thriftseg.atomic import write_bytes
from thriftseg.exchange.records import AnnotatedImage, ExportedFrame, Shape
from thriftseg.parsing import load_json, located
from thriftseg.regions import (
    bounding_box,
    encode_counts,
    run_lengths,
    segmentation_regions,
)
from thriftseg.taxonomies import Taxonomy

COCO_FILE = "annotations.json"


def read_coco(path: Path) -> list[AnnotatedImage]:
    """Read instance annotations; an annotation later in the file is in front.

    Args:
        path: The JSON file, or the folder of `annotations.json`.

    Raises:
        DatasetError: The file is missing or malformed.
    """
    path = path / COCO_FILE if path.is_dir() else path
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
    path = folder / COCO_FILE
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
