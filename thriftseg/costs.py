"""Cost of labels: counts of human actions, their seconds, and two models that turn labels into both.

`published` uses times that papers report and therefore serves only the data sets they report them for; `polygon`
counts the vertices an annotator would click and serves any label map. Figures of the two are not comparable, so a
report uses one of them throughout.

Example:
    >>> model = CostModel.named("published")
    >>> manual, clicked = model.manual_frame("cityscapes"), model.clicks(37)
    >>> manual.hours, clicked.seconds
    (1.5, 92.5)
    >>> sum([manual, clicked]).masks
    1
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import ClassVar, NamedTuple

import numpy as np
from msgspec.structs import asdict

from thriftseg.arrays import Int32Array, UInt8Array
from thriftseg.errors import ConfigError
from thriftseg.parsing import Amount, Count, Record
from thriftseg.types import IGNORE_INDEX

SIMULATED_COARSE_SHARE = 7 / 90
"""Cost of a simulated coarse label as a share of the manual one: 7 against 90 minutes (Cordts et al., CVPR 2016)."""

# EVA-VOS: Delatolas, Kalogeiton, Papadopoulos, "Learning the What and How of Annotation in Video Object
# Segmentation", WACV 2024, and its public code. Cityscapes: Cordts et al., CVPR 2016.
_CLICK_S = 1.5  # EVA-VOS
_OVERHEAD_S = 1.0  # finding the object: EVA-VOS
_MASK_S = 80.0  # one object's mask: the figure of COCO (Lin et al., ECCV 2014) that EVA-VOS uses
_BOX_S = 7.0  # extreme clicking: Papadopoulos et al., ICCV 2017
_ABSENT_S = 3.0  # code of EVA-VOS
_FINE_S = 90 * 60.0  # Cityscapes
_COARSE_S = 7 * 60.0  # Cityscapes


class AnnotationCost(Record, frozen=True):
    """Human work: seconds and counts of actions. Costs add up with `+` and `sum`.

    Attributes:
        seconds: Working time.
        masks: Label maps or object masks drawn by hand.
        boxes: Boxes drawn.
        clicks: Point clicks, and vertex clicks of polygons.
        class_clicks: Choices of a class, one per polygon.
        absent: Answers that an object is not in the frame.
        strokes: Strokes of a brush or an eraser.

    Example:
        >>> total = sum([AnnotationCost(seconds=80, masks=1), AnnotationCost(seconds=5.5, clicks=3)])
        >>> total.seconds, total.masks, total.clicks
        (85.5, 1, 3)
    """

    seconds: Amount = 0.0
    masks: Count = 0
    boxes: Count = 0
    clicks: Count = 0
    class_clicks: Count = 0
    absent: Count = 0
    strokes: Count = 0

    @property
    def hours(self) -> float:
        """Working time in hours."""
        return self.seconds / 3600

    def __add__(self, other: AnnotationCost) -> AnnotationCost:
        if not isinstance(other, AnnotationCost):
            return NotImplemented
        return AnnotationCost(*(getattr(self, name) + getattr(other, name) for name in self.__struct_fields__))

    def __radd__(self, other: object) -> AnnotationCost:
        return self if other == 0 else NotImplemented  # the start value of sum()

    def scaled(self, share: float) -> AnnotationCost:
        """This cost times a share; counts are rounded half up."""
        _, *counts = asdict(self).values()
        return AnnotationCost(self.seconds * share, *(math.floor(count * share + 0.5) for count in counts))

    def to_json(self) -> dict[str, float | int]:
        """Attributes that are not zero, by name."""
        return {name: value for name, value in asdict(self).items() if value}


@dataclass(frozen=True)
class CostModel(ABC):
    """Prices human actions. Point, box and mask times are the same in both models.

    Attributes:
        click_s: Seconds per click.
        overhead_s: Seconds to find the object, once per annotated object or polygon.
        mask_s: Seconds per object mask.
        box_s: Seconds per box.
        absent_s: Seconds to say that an object is absent.

    Example:
        >>> CostModel.named("polygon").clicks(10).seconds, CostModel.named("published").box().seconds
        (25.0, 7.0)
    """

    name: ClassVar[str]
    needs_label: ClassVar[bool]
    """Whether `manual_frame` and `coarse_frame` count on the label map itself."""

    click_s: float = _CLICK_S
    overhead_s: float = _OVERHEAD_S
    mask_s: float = _MASK_S
    box_s: float = _BOX_S
    absent_s: float = _ABSENT_S

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, (int, float)) and value < 0:
                raise ConfigError(f"{f.name} of a cost model is negative", found=value)

    @staticmethod
    def named(name: str | CostModel) -> CostModel:
        """The cost model of a name, with the published constants; a model is returned as it is.

        Raises:
            ConfigError: There is no model of this name.
        """
        if isinstance(name, CostModel):
            return name
        models: dict[str, type[CostModel]] = {"published": PublishedCost, "polygon": PolygonCost}
        if name not in models:
            raise ConfigError("no such cost model", expected=" or ".join(models), found=repr(name))
        return models[name]()

    @abstractmethod
    def manual_frame(self, dataset: str, label: UInt8Array | None = None) -> AnnotationCost:
        """Cost of a full label map drawn by hand.

        Args:
            dataset: Name of the data set.
            label: The label map, (H, W) uint8 train ids, for models that need it.
        """

    @abstractmethod
    def coarse_frame(self, dataset: str, label: UInt8Array | None = None, *, simulated: bool = False) -> AnnotationCost:
        """Cost of a coarse label map.

        Args:
            dataset: Name of the data set.
            label: The coarse label map or, when simulated, the manual one it was made from.
            simulated: Whether the coarse map was made from a manual one, which costs 7/90 of that.
        """

    def clicks(self, count: int, objects: int | None = None) -> AnnotationCost:
        """Cost of `count` clicks on `objects` objects (default: every click is on a new one)."""
        objects = count if objects is None else objects
        return AnnotationCost(seconds=count * self.click_s + objects * self.overhead_s, clicks=count)

    def box(self) -> AnnotationCost:
        """Cost of one box."""
        return AnnotationCost(seconds=self.box_s, boxes=1)

    def mask(self) -> AnnotationCost:
        """Cost of one object mask."""
        return AnnotationCost(seconds=self.mask_s, masks=1)

    def absent(self) -> AnnotationCost:
        """Cost of saying that an object is not in the frame."""
        return AnnotationCost(seconds=self.absent_s, absent=1)


@dataclass(frozen=True)
class PublishedCost(CostModel):
    """Times per frame that papers report: 90 minutes for a fine and 7 for a coarse label map.

    Measured for Cityscapes (Cordts et al., CVPR 2016); studies of label effort use the same two figures for IDD.

    Attributes:
        fine_s: Seconds per fine label map.
        coarse_s: Seconds per coarse label map.

    Example:
        >>> PublishedCost().coarse_frame("cityscapes").seconds / 60
        7.0
    """

    name: ClassVar[str] = "published"
    needs_label: ClassVar[bool] = False
    datasets: ClassVar[tuple[str, ...]] = ("cityscapes", "idd")

    fine_s: float = _FINE_S
    coarse_s: float = _COARSE_S

    def manual_frame(self, dataset: str, label: UInt8Array | None = None) -> AnnotationCost:
        """Cost of a fine label map; `label` is not looked at.

        Raises:
            ConfigError: No annotation time is published for this data set.
        """
        self._require_source(dataset)
        return AnnotationCost(seconds=self.fine_s, masks=1)

    def coarse_frame(self, dataset: str, label: UInt8Array | None = None, *, simulated: bool = False) -> AnnotationCost:
        """Cost of a coarse label map; `label` is not looked at.

        Raises:
            ConfigError: No annotation time is published for this data set.
        """
        self._require_source(dataset)
        return AnnotationCost(seconds=self.fine_s * SIMULATED_COARSE_SHARE if simulated else self.coarse_s, masks=1)

    def _require_source(self, dataset: str) -> None:
        if dataset.lower() not in self.datasets:
            raise ConfigError(
                f"no annotation time is published for {dataset!r}",
                expected=" or ".join(self.datasets),
                fix="set cost_model to polygon, which counts on the label maps themselves",
            )


@dataclass(frozen=True)
class PolygonCost(CostModel):
    """Vertex clicks of the polygons that outline a label map, at 1.5 s each, plus 1 s per polygon.

    Every 8-connected component of a class is one polygon: its outer contour, simplified by Douglas-Peucker
    (`cv2.approxPolyDP`) to `tolerance`. Holes cost nothing, since what fills them is drawn on top. Ignored pixels cost
    nothing. The figure depends on the resolution of the label map.

    Attributes:
        tolerance: Largest distance of the polygon from the contour, in pixels of the label map.

    Example:
        >>> label = np.full((20, 20), 255, np.uint8)
        >>> label[5:15, 5:15] = 3
        >>> cost = PolygonCost().manual_frame("camvid", label)
        >>> cost.clicks, cost.seconds
        (4, 7.0)
    """

    name: ClassVar[str] = "polygon"
    needs_label: ClassVar[bool] = True

    tolerance: float = 1.0

    def manual_frame(self, dataset: str, label: UInt8Array | None = None) -> AnnotationCost:
        """Cost of drawing `label`.

        Raises:
            ConfigError: The label map is not given.
        """
        if label is None:
            raise ConfigError(
                f"the polygon cost of a frame of {dataset!r} needs its label map", fix="pass label, or use published"
            )
        return self.drawn(*count_polygon_vertices(label, self.tolerance)) + AnnotationCost(masks=1)

    def drawn(self, vertices: int, polygons: int) -> AnnotationCost:
        """Cost of drawing `polygons` polygons that have `vertices` vertices together."""
        seconds = vertices * self.click_s + polygons * self.overhead_s
        return AnnotationCost(seconds=seconds, clicks=vertices, class_clicks=polygons)

    def coarse_frame(self, dataset: str, label: UInt8Array | None = None, *, simulated: bool = False) -> AnnotationCost:
        """Cost of drawing the coarse `label`, or 7/90 of drawing the manual one when simulated."""
        drawn = self.manual_frame(dataset, label)
        if not simulated:
            return drawn
        share = drawn.scaled(SIMULATED_COARSE_SHARE)
        return AnnotationCost(share.seconds, masks=1, clicks=share.clicks, class_clicks=share.class_clicks)


class Outline(NamedTuple):
    """The polygon around one 8-connected component of a class, as an annotator would click it.

    Attributes:
        train_id: The class.
        contour: Border pixels of the component in their order, holes left aside, (P, 2) int32 as (x, y).
        vertices: Corners of the simplified contour, (V, 2) int32 as (x, y).

    Example:
        >>> label = np.full((20, 30), 255, np.uint8)
        >>> label[5:15, 5:25] = 3
        >>> [outline] = trace_outlines(label)
        >>> outline.train_id, outline.contour.shape, outline.vertices.shape
        (3, (56, 2), (4, 2))
    """

    train_id: int
    contour: Int32Array
    vertices: Int32Array


def trace_outlines(label: UInt8Array, tolerance: float = 1.0) -> list[Outline]:
    """Outline a label map with polygons, classes in increasing order.

    Args:
        label: (H, W) uint8; 255 is not outlined.
        tolerance: Largest distance of a polygon from the contour, in pixels.

    Raises:
        ConfigError: The label map has another shape or type, or the tolerance is negative.

    Example:
        >>> label = np.full((20, 30), 255, np.uint8)
        >>> label[5:15, 5:25] = 3
        >>> [outline] = trace_outlines(label)
        >>> outline.vertices.tolist()
        [[5, 5], [5, 14], [24, 14], [24, 5]]
    """
    if label.ndim != 2 or label.dtype != np.uint8:
        raise ConfigError("not a label map", expected="(H, W) uint8", found=f"{label.shape} {label.dtype}")
    if tolerance < 0:
        raise ConfigError("negative polygon tolerance", found=tolerance)
    present = np.flatnonzero(np.bincount(label.ravel(), minlength=256)[:IGNORE_INDEX])
    return [outline for train_id in present.tolist() for outline in _outlines_of(label, train_id, tolerance)]


def count_polygon_vertices(label: UInt8Array, tolerance: float = 1.0) -> tuple[int, int]:
    """Vertices and polygons needed to outline a label map.

    Args:
        label: (H, W) uint8; 255 is not outlined.
        tolerance: Largest distance of the polygon from the contour, in pixels.

    Returns:
        Number of vertices and number of polygons.

    Raises:
        ConfigError: The label map has another shape or type, or the tolerance is negative.

    Example:
        >>> label = np.full((20, 30), 255, np.uint8)
        >>> label[5:15, 5:15] = 3
        >>> count_polygon_vertices(label)
        (4, 1)
    """
    outlines = trace_outlines(label, tolerance)
    return sum(len(outline.vertices) for outline in outlines), len(outlines)


def _outlines_of(label: UInt8Array, train_id: int, tolerance: float) -> Iterator[Outline]:
    import cv2  # a tenth of a second, needed here only

    mask = (label == train_id).view(np.uint8)
    contours, hierarchy = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    for contour, links in zip(contours, hierarchy[0], strict=True):
        if links[3] < 0:  # no parent: an outer contour
            vertices = cv2.approxPolyDP(contour, tolerance, True)
            yield Outline(train_id, contour.reshape(-1, 2), vertices.reshape(-1, 2))
