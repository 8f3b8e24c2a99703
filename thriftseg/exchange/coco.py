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
from thriftseg.datasets import COCOFile
from thriftseg.exchange.records import AnnotatedImage, ExportedFrame, Shape
from thriftseg.parsing import located, read_json
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
    content = read_json(path, COCOFile, lax=True)
    of_image, names = content.by_image(path), content.category_names
    images = []
    for image in content.images:
        shapes, size = [], (image.height, image.width)
        for position, annotation in of_image[image.id]:
            with located(path, f"annotations[{position}]"):
                regions = segmentation_regions(annotation.segmentation, size)
            shapes.append(Shape(names[annotation.category_id], regions))
        images.append(AnnotatedImage(path, image.file_name, tuple(shapes), size))
    return images


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
