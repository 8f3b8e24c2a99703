"""Annotations as `*_gtFine_polygons.json`, the format of the labelling tool of Cityscapes.

[0] Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding", CVPR 2016;
    https://github.com/mcordts/cityscapesScripts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from thriftseg.arrays import Int32Array, UInt16Array
from thriftseg.atomic import write_bytes
from thriftseg.datasets import read_polygons
from thriftseg.errors import DatasetError
from thriftseg.exchange.class_names import unlabelled_name
from thriftseg.exchange.records import AnnotatedImage, ExportedFrame, Shape
from thriftseg.regions import DrawnPolygon
from thriftseg.stores import click_key
from thriftseg.taxonomies import CITYSCAPES, Taxonomy

_ENDING = "_polygons.json"


def read_cityscapes(path: Path) -> list[AnnotatedImage]:
    """Read polygon files; a later polygon is in front.

    Args:
        path: A `*_polygons.json`, or a folder with some at any depth.

    Raises:
        DatasetError: There is none, or one is malformed.
    """
    files = sorted(path.rglob(f"*{_ENDING}")) if path.is_dir() else [path]
    if not files:
        raise DatasetError("no annotations", path=path, expected=f"*{_ENDING}", found="none")
    return [_image(file) for file in files]


def write_cityscapes(folder: Path, frames: Iterable[ExportedFrame], taxonomy: Taxonomy) -> list[Path]:
    """Write a `<folder>/<city or video>/<name>_gtFine_polygons.json` per frame.

    Drawn one after the other, the polygons give the same label map again: each is the outline of a 4-connected
    component, and one that lies in the hole of another comes after it. Unlabelled areas are polygons too.

    Args:
        folder: Target folder.
        frames: The frames.
        taxonomy: Gives the class names.
    """
    written = []
    for frame in frames:
        height, width = frame.ids.shape
        names = [unlabelled_name(taxonomy), *(taxonomy.class_names[item.train_id] for item in frame.objects)]
        objects = [
            {"label": names[object_id], "polygon": corners.tolist()} for object_id, corners in outlines(frame.ids)
        ]
        content: dict[str, Any] = {"imgHeight": height, "imgWidth": width, "objects": objects}
        written.append(folder / _file_name(frame, taxonomy))
        write_bytes(written[-1], json.dumps(content).encode())
    return written


def outlines(ids: UInt16Array) -> Iterator[tuple[int, Int32Array]]:
    """Polygons that give a map again when they are drawn, outline included, one after the other.

    Args:
        ids: (H, W) uint16.

    Yields:
        A value of the map and (P, 2) corners as (column, row), P at least 3.

    Example:
        >>> [(value, corners.tolist()) for value, corners in outlines(np.array([[5, 5], [5, 5]], np.uint16))]
        [(5, [[0, 0], [0, 1], [1, 1], [1, 0]])]
    """
    found: list[tuple[int, int, Int32Array]] = []
    for value in np.unique(ids).tolist():
        _, components, stats, _ = cv2.connectedComponentsWithStats((ids == value).view(np.uint8), connectivity=4)
        for component in range(1, len(stats)):
            left, top, width, height, _ = stats[component].tolist()
            mask = components[top : top + height, left : left + width] == component
            (outline, *_), _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
            corners = (outline[:, 0] + np.array([left, top], np.int32)).astype(np.int32)
            missing = max(0, 3 - len(corners))  # of lines and single pixels: polygons of fewer corners are never drawn
            found.append((width * height, value, np.concatenate([corners, np.repeat(corners[-1:], missing, axis=0)])))
    # What lies in a hole has a smaller bounding box than what surrounds it.
    for _, value, corners in sorted(found, key=lambda entry: -entry[0]):
        yield value, corners


def _image(path: Path) -> AnnotatedImage:
    content = read_polygons(path)
    shapes = tuple(Shape(polygon.label, (DrawnPolygon(polygon.points),)) for polygon in content.polygons)
    return AnnotatedImage(path, path.name.removesuffix(_ENDING), shapes, (content.height, content.width))


def _file_name(frame: ExportedFrame, taxonomy: Taxonomy) -> Path:
    video, number = frame.clip.video, frame.number
    if taxonomy is CITYSCAPES:
        name = click_key("cityscapes", video, number)
        return Path(name.split("_")[0]) / f"{name}_gtFine{_ENDING}"
    return Path(video) / f"{Path(video).name}_{number:06d}_gtFine{_ENDING}"
