"""Polygons around the regions of a label map, exact or coarse, in the form of Cityscapes' JSON files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from thriftseg.arrays import Int32Array, UInt8Array
from thriftseg.types import IGNORE_INDEX


@dataclass(frozen=True)
class TracedRegion:
    """A polygon and the train id it is filled with (255 = no class).

    Attributes:
        train_id: Class of the region.
        points: (P, 2) int32 corners as (column, row), P >= 3.
    """

    train_id: int
    points: Int32Array


def trace_regions(label: UInt8Array, instances: Int32Array) -> list[TracedRegion]:
    """Outlines that, filled in this order, give the label map back exactly.

    A region that lies in a hole of another one has a smaller outline and so comes later.

    Args:
        label: (H, W) train ids, 255 = no class.
        instances: (H, W) object ids; touching objects get their own outlines.

    Example:
        >>> label = np.zeros((6, 6), dtype=np.uint8); label[2:4, 2:4] = 5
        >>> [(region.train_id, len(region.points)) for region in trace_regions(label, np.zeros((6, 6), np.int32))]
        [(0, 4), (5, 4)]
    """
    found: list[tuple[float, TracedRegion]] = []
    for train_id, window, mask in _parts(label, instances):
        # Pieces that touch at a corner only are two: else classes could cross there, and no drawing order would do.
        count, pieces, boxes, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
        for piece in range(1, count):
            x, y, width, height = (int(value) for value in boxes[piece][:4])
            component = (pieces[y : y + height, x : x + width] == piece).astype(np.uint8)
            (contour,), _ = cv2.findContours(component, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
            points = _corners(contour, (window[0] + x, window[1] + y))
            found.append((_filled_area(contour), TracedRegion(train_id, points)))
    found.sort(key=lambda entry: (-entry[0], entry[1].points.tolist()))
    return [region for _, region in found]


def trace_coarse_regions(
    label: UInt8Array, instances: Int32Array, margin: int, tolerance: float, min_area: int
) -> list[TracedRegion]:
    """Simple outlines that stay inside the regions, as an annotator in a hurry draws them.

    Args:
        label: (H, W) train ids, 255 = no class.
        instances: (H, W) object ids.
        margin: Pixels kept free inside every border.
        tolerance: Pixels by which an outline may deviate from the shrunken region.
        min_area: Regions with fewer pixels are left out.

    Returns:
        Polygons in drawing order; those with train id 255 free the holes of the one before.
    """
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1, 2 * margin + 1))
    found: list[tuple[float, int, list[TracedRegion]]] = []
    for train_id, window, mask in _parts(label, instances):
        if train_id == IGNORE_INDEX:
            continue
        core = cv2.erode(cv2.copyMakeBorder(mask, margin, margin, margin, margin, cv2.BORDER_REPLICATE), kernel)
        core = core[margin:-margin, margin:-margin]
        contours, hierarchy = cv2.findContours(core, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        for index, contour in enumerate(contours):
            if hierarchy[0][index][3] < 0 and cv2.contourArea(contour) >= min_area:
                group = [TracedRegion(train_id, _simplified(contour, tolerance, window))]
                group += [
                    TracedRegion(IGNORE_INDEX, _simplified(hole, tolerance, window))
                    for child, hole in enumerate(contours)
                    if hierarchy[0][child][3] == index and cv2.contourArea(hole) >= min_area / 4
                ]
                found.append((_filled_area(contour), len(found), group))
    found.sort(key=lambda entry: (-entry[0], entry[1]))
    return [region for _, _, group in found for region in group]


def fill_regions(regions: list[TracedRegion], height: int, width: int) -> UInt8Array:
    """Fill polygons in order; (height, width) train ids, 255 where none lies."""
    label = np.full((height, width), IGNORE_INDEX, dtype=np.uint8)
    for region in regions:
        cv2.fillPoly(label, [region.points], region.train_id)
    return label


def polygon_json(regions: list[TracedRegion], names: dict[int, str], height: int, width: int) -> dict[str, Any]:
    """Content of a `*_polygons.json` file.

    Args:
        regions: Polygons in drawing order.
        names: Class name by train id, including 255.
        height: Rows of the image.
        width: Columns of the image.
    """
    objects = [{"label": names[region.train_id], "polygon": region.points.tolist()} for region in regions]
    return {"imgHeight": height, "imgWidth": width, "objects": objects}


def _parts(label: UInt8Array, instances: Int32Array) -> list[tuple[int, tuple[int, int], UInt8Array]]:
    """Every class or object with the upper left corner (column, row) of its window and its mask therein."""
    combined = label.astype(np.int64) << 32 | instances.astype(np.int64)
    values, inverse = np.unique(combined, return_inverse=True)
    inverse = inverse.reshape(label.shape)
    parts = []
    for index, value in enumerate(values):
        mask = (inverse == index).astype(np.uint8)
        x, y, width, height = cv2.boundingRect(mask)
        parts.append((int(value >> 32), (x, y), np.ascontiguousarray(mask[y : y + height, x : x + width])))
    return parts


def _corners(contour: npt.NDArray[Any], window: tuple[int, int]) -> Int32Array:
    points = contour.reshape(-1, 2) + np.array(window)
    repeated = np.concatenate([points, np.repeat(points[-1:], max(0, 3 - len(points)), axis=0)])  # readers want three
    return np.asarray(repeated, dtype=np.int32)


def _simplified(contour: npt.NDArray[Any], tolerance: float, window: tuple[int, int]) -> Int32Array:
    simple = cv2.approxPolyDP(contour, tolerance, True)
    return _corners(simple if len(simple) >= 3 else contour, window)


def _filled_area(contour: npt.NDArray[Any]) -> float:
    """Pixels covered by a filled outline, borders included."""
    x, y, width, height = cv2.boundingRect(contour)
    canvas = np.zeros((height, width), dtype=np.uint8)
    cv2.fillPoly(canvas, [contour.reshape(-1, 2) - np.array([x, y])], 1)
    return float(canvas.sum())
