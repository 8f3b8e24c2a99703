"""Polygon files, as Cityscapes and IDD ship them, and the label maps drawn from them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import msgspec
import numpy as np

from thriftseg.arrays import Int32Array, UInt8Array
from thriftseg.errors import DatasetError
from thriftseg.limits import COORDINATE, IMAGE_PIXELS
from thriftseg.parsing import Count, Finite, read_json
from thriftseg.regions import check_steps
from thriftseg.taxonomies import Taxonomy
from thriftseg.types import IGNORE_INDEX, INSTANCES_PER_CLASS


class _Object(msgspec.Struct):
    label: str
    polygon: list[tuple[Finite, Finite]]
    deleted: bool = False


class _File(msgspec.Struct):
    imgHeight: Count
    imgWidth: Count
    objects: list[_Object]


@dataclass(frozen=True)
class Polygon:
    """One drawn region.

    Attributes:
        label: Class name as in the file, such as `car` or `cargroup`.
        points: (P, 2) int32 corners as (column, row); may lie outside the image.

    Example:
        >>> group = Polygon("cargroup", np.array([[0, 0], [8, 0], [8, 5], [0, 5]], np.int32))
        >>> cv2.contourArea(group.points), group.label.removesuffix("group")
        (40.0, 'car')
    """

    label: str
    points: Int32Array


@dataclass(frozen=True)
class PolygonFile:
    """All regions of one image, in drawing order: later ones cover earlier ones.

    Raises:
        DatasetError: The image has no pixels, or too many.

    Example:
        >>> PolygonFile(Path("a_polygons.json"), height=0, width=2048, polygons=())
        Traceback (most recent call last):
        thriftseg.errors.DatasetError: a_polygons.json: an image without pixels; found 2048x0
    """

    path: Path
    height: int
    width: int
    polygons: tuple[Polygon, ...]

    def __post_init__(self) -> None:
        if min(self.height, self.width) < 1:
            raise DatasetError("an image without pixels", path=self.path, found=f"{self.width}x{self.height}")
        IMAGE_PIXELS.check(self.height * self.width, self.path)


def read_polygons(path: str | Path) -> PolygonFile:
    """Read `{imgHeight, imgWidth, objects: [{label, polygon: [[x, y], ...], deleted?}]}`.

    Deleted regions and those with fewer than three corners are left out.

    Raises:
        DatasetError: The file is missing, is no JSON or malformed.

    Example:
        >>> import tempfile
        >>> square = {"label": "car", "polygon": [[1, 1], [3, 1], [3, 3.4], [1, 3]]}
        >>> content = {"imgHeight": 5, "imgWidth": 6, "objects": [square, square | {"deleted": True}]}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "a_polygons.json")
        ...     size = path.write_text(json.dumps(content))
        ...     file = read_polygons(path)
        >>> file.height, [(polygon.label, polygon.points[2].tolist()) for polygon in file.polygons]
        (5, [('car', [3, 3])])
    """
    content = read_json(path, _File, lax=True)
    kept = [entry for entry in content.objects if not entry.deleted and len(entry.polygon) >= 3]
    for entry in kept:
        COORDINATE.check(float(np.abs(entry.polygon).max()), path)
    polygons = tuple(Polygon(entry.label, np.rint(entry.polygon).astype(np.int32)) for entry in kept)
    return PolygonFile(Path(path), content.imgHeight, content.imgWidth, polygons)


def encode_polygons(file: PolygonFile) -> bytes:
    """The content of a file that `read_polygons` reads; equal regions give equal bytes.

    Example:
        >>> import numpy as np
        >>> triangle = Polygon("car", np.array([[0, 0], [4, 0], [4, 4]], np.int32))
        >>> encode_polygons(PolygonFile(Path("a.json"), 5, 6, (triangle,))).decode().split('"objects"')[0]
        '{"imgHeight": 5, "imgWidth": 6, '
    """
    objects = [{"label": polygon.label, "polygon": polygon.points.tolist()} for polygon in file.polygons]
    return (json.dumps({"imgHeight": file.height, "imgWidth": file.width, "objects": objects}) + "\n").encode()


def draw_labels(file: PolygonFile, taxonomy: Taxonomy) -> UInt8Array:
    """Draw train ids, (H, W) uint8; 255 where no region lies.

    Raises:
        DatasetError: A label is not in the class table.

    Example:
        >>> from thriftseg.taxonomies import CITYSCAPES
        >>> road = Polygon("road", np.array([[0, 1], [3, 1], [3, 2], [0, 2]], np.int32))
        >>> car = Polygon("car", np.array([[1, 0], [2, 0], [2, 1], [1, 1]], np.int32))
        >>> draw_labels(PolygonFile(Path("a_polygons.json"), 3, 4, (road, car)), CITYSCAPES).tolist()
        [[255, 13, 13, 255], [0, 13, 13, 0], [0, 0, 0, 0]]
    """
    label = np.full((file.height, file.width), IGNORE_INDEX, dtype=np.uint8)
    for polygon, train_id, _ in _drawn(file, taxonomy):
        cv2.fillPoly(label, [polygon.points], train_id)
    return label


def draw_instances(file: PolygonFile, taxonomy: Taxonomy) -> Int32Array:
    """Draw `train_id * 1000 + k`, (H, W) int32; k counts the objects of a class from 1; 0 = no object.

    Groups (`cargroup`) and classes without instances cover what lies below them and are 0.

    Raises:
        DatasetError: A label is not in the class table.
    """
    instances = np.zeros((file.height, file.width), dtype=np.int32)
    things = set(taxonomy.thing_ids)
    counts: dict[int, int] = {}
    for polygon, train_id, group in _drawn(file, taxonomy):
        value = 0
        if train_id in things and not group:
            counts[train_id] = counts.get(train_id, 0) + 1
            value = train_id * INSTANCES_PER_CLASS + counts[train_id]
        cv2.fillPoly(instances, [polygon.points], value)
    return instances


@dataclass(frozen=True)
class Regions:
    """The visible parts of the regions of an image.

    Attributes:
        index: (H, W) int32; k where the k-th region, counted from 1 in drawing order, is in front, 0 where none is.
        train_ids: Class of each region, 255 for ignored ones.
        groups: Whether each region is a group of objects.

    Example:
        >>> index = np.array([[0, 1, 1], [2, 2, 1]], np.int32)
        >>> regions = Regions(index, train_ids=(13, 11), groups=(False, True))
        >>> np.array([255, *regions.train_ids])[regions.index].tolist()
        [[255, 13, 13], [11, 11, 13]]
    """

    index: Int32Array
    train_ids: tuple[int, ...]
    groups: tuple[bool, ...]


def draw_regions(file: PolygonFile, taxonomy: Taxonomy) -> Regions:
    """Draw which region is in front at each pixel.

    Raises:
        DatasetError: A label is not in the class table.

    Example:
        >>> from thriftseg.taxonomies import CITYSCAPES
        >>> left = Polygon("car", np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.int32))
        >>> right = Polygon("cargroup", np.array([[1, 0], [2, 0], [2, 1], [1, 1]], np.int32))
        >>> regions = draw_regions(PolygonFile(Path("a_polygons.json"), 2, 3, (left, right)), CITYSCAPES)
        >>> regions.index.tolist(), regions.train_ids, regions.groups
        ([[1, 2, 2], [1, 2, 2]], (13, 13), (False, True))
    """
    index = np.zeros((file.height, file.width), dtype=np.int32)
    regions = list(_drawn(file, taxonomy))
    for place, (polygon, _, _) in enumerate(regions, start=1):
        cv2.fillPoly(index, [polygon.points], place)
    train_ids = tuple(train_id for _, train_id, _ in regions)
    return Regions(index, train_ids, tuple(group for _, _, group in regions))


def _drawn(file: PolygonFile, taxonomy: Taxonomy) -> Iterator[tuple[Polygon, int, bool]]:
    """Regions with their train id and whether they are groups; those with a negative raw id are never drawn."""
    undrawn = {row.name for row in taxonomy.table if row.id < 0}
    train_ids = taxonomy.train_id_of_name
    for polygon in file.polygons:
        single = polygon.label.removesuffix("group")
        name = polygon.label if polygon.label in train_ids else single
        if name not in train_ids:
            raise DatasetError(
                f"region label outside the class table {taxonomy.name!r}", path=file.path, found=repr(polygon.label)
            )
        if name not in undrawn:
            check_steps(polygon.points, file.height, file.path)
            yield polygon, train_ids[name], name != polygon.label
