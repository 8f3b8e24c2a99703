"""Coarse labels made from fine ones: polygons with few corners, drawn well inside the objects.

They stand in for a coarse annotation where a data set has none. Annotators of Cityscapes [0] were told to draw polygons
that hold pixels of one class only, in 7 minutes a frame; the rest of the frame stays without a label.

[0] Cordts, Omran, Ramos, Rehfeld, Enzweiler, Benenson, Franke, Roth, Schiele, "The Cityscapes Dataset for Semantic
    Urban Scene Understanding", CVPR 2016.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from thriftseg.arrays import BoolArray, Int32Array, UInt8Array
from thriftseg.atomic import write_bytes
from thriftseg.costs import AnnotationCost, CostModel
from thriftseg.datasets import Polygon, PolygonFile, VideoDataset, draw_labels, encode_polygons
from thriftseg.errors import ConfigError
from thriftseg.labels.jobs.generate import generate
from thriftseg.labels.jobs.job import FrameJob, LabelTask, annotated_frames
from thriftseg.labels.jobs.summary import Summary
from thriftseg.stores import ActionRow, LabelStore, action_id, check_free, objects_of, store_root
from thriftseg.types import Clip, LabelKind
from thriftseg.workers import Accelerator, Workers

_REFERENCE_HEIGHT, _REFERENCE_WIDTH = 1024, 2048
_MOST_OF_RADIUS = 0.5  # erosion takes at most this share of an object's inner radius, so that thin objects stay
_UNSTEADINESS = 0.5  # erosion differs by up to this share from polygon to polygon
_TOLERANCE_STEP = 0.1  # pixels


@dataclass(frozen=True)
class CoarseStyle:
    """How coarse an annotator draws. Lengths and areas are those of a 2048 x 1024 frame and scale with the frame's.

    Attributes:
        vertices: Most corners of a polygon.
        erosion: Mean distance of a polygon from the border of its object, in pixels; it differs by up to a half from
            polygon to polygon, and is at most half the object's inner radius. The border of the frame is none.
        min_area: Smallest polygon that is drawn, in pixels.
        jitter: Standard deviation of the error of a corner, in pixels along both axes. Annotators of Cityscapes gave
            97 % of the pixels the class of the fine label [0]; without errors it is nearly all of them.
        gap: Parts and objects of a class that are nearer than this, in pixels, are drawn as one, with what lies between
            them; 0 draws each by itself.

    Raises:
        ConfigError: A value is out of range.

    Example:
        >>> label = np.full((1024, 2048), 255, np.uint8)
        >>> label[300:500, 200:600] = 13
        >>> [polygon.area for polygon in generate_coarse(label, style=CoarseStyle(erosion=0))]
        [80000]
        >>> generate_coarse(label, style=CoarseStyle(min_area=100_000))
        []
    """

    vertices: int = 12
    erosion: float = 32.0
    min_area: float = 256.0
    jitter: float = 0.0
    gap: float = 0.0

    def __post_init__(self) -> None:
        for name, least in (("vertices", 4), ("erosion", 0), ("min_area", 0), ("jitter", 0), ("gap", 0)):
            value = getattr(self, name)
            if not least <= value < math.inf:
                raise ConfigError(f"{name} of coarse polygons", expected=f"at least {least}", found=value)


@dataclass(frozen=True)
class CoarsePolygon:
    """A polygon inside an object.

    Attributes:
        train_id: Class of the object.
        points: (P, 2) int32 corners as (column, row).
        area: Pixels that it covers.

    Example:
        >>> label = np.full((1024, 2048), 255, np.uint8)
        >>> label[300:500, 200:600], label[0:100, 0:100] = 13, 11
        >>> polygons: list[CoarsePolygon] = generate_coarse(label)
        >>> [polygon.train_id for polygon in polygons], polygons[0].area > polygons[1].area
        ([13, 11], True)
    """

    train_id: int
    points: Int32Array
    area: int


def generate_coarse(
    label: UInt8Array,
    instances: Int32Array | None = None,
    thing_ids: Collection[int] = (),
    style: CoarseStyle | None = None,
    seed: int | str = 0,
) -> list[CoarsePolygon]:
    """Draw polygons inside the objects of a label map.

    Every 8-connected component of a class, and of an instance where there are some, is one object. It is eroded, and
    what is left is outlined by its outer contour, simplified by Douglas-Peucker to the number of corners allowed: the
    tolerance is found by bisection. Holes are not cut out, since what fills them is drawn in front.

    Args:
        label: Train ids, (H, W) uint8, 255 = ignore.
        instances: Instance ids `train_id * 1000 + k`, 0 = none, (H, W) int32; `None` for data without instances.
        thing_ids: Train ids of the classes with instances.
        style: How coarse to draw.
        seed: Seed of the differences between polygons.

    Returns:
        The polygons in drawing order: large ones first, so that where two overlap the smaller lies in front, as small
        objects do.

    Example:
        >>> label = np.full((1024, 2048), 255, np.uint8)
        >>> label[300:500, 200:600] = 13
        >>> (polygon,) = generate_coarse(label)
        >>> polygon.train_id, len(polygon.points), polygon.area < 200 * 400
        (13, 4, True)
    """
    style = style or CoarseStyle()
    height, width = label.shape
    scale = math.hypot(height, width) / math.hypot(_REFERENCE_HEIGHT, _REFERENCE_WIDTH)
    min_area = style.min_area * height * width / (_REFERENCE_HEIGHT * _REFERENCE_WIDTH)
    draw = random.Random(seed)
    polygons = [
        CoarsePolygon(train_id, points + corner, area)
        for train_id, mask in _objects(label, instances, thing_ids, round(style.gap * scale))
        for corner, component in _components(mask, min_area)
        for points, area in _inner_polygons(
            component,
            style.erosion * scale * draw.uniform(1 - _UNSTEADINESS, 1 + _UNSTEADINESS),
            style.vertices,
            lambda: draw.gauss(0, style.jitter * scale) if style.jitter else 0.0,
        )
        if area >= min_area
    ]
    return sorted(polygons, key=lambda polygon: -polygon.area)


def _objects(
    label: UInt8Array, instances: Int32Array | None, thing_ids: Collection[int], gap: int
) -> Iterator[tuple[int, BoolArray]]:
    """Class and mask of each object, or of each class where objects of a class become one."""
    objects = objects_of(label, instances, "instance", thing_ids)
    if not gap:
        yield from ((item.train_id, objects.ids == item.id) for item in objects.objects)
        return
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (gap + 1, gap + 1))
    for train_id in sorted({item.train_id for item in objects.objects}):
        closed = cv2.morphologyEx((label == train_id).view(np.uint8), cv2.MORPH_CLOSE, disk)
        yield train_id, np.asarray(closed, np.uint8).view(np.bool_)


def _components(mask: BoolArray, min_area: float) -> Iterator[tuple[Int32Array, UInt8Array]]:
    """Corner (column, row) and mask of each component, with a margin of one pixel but beyond the frame."""
    height, width = mask.shape
    _, components, stats, _ = cv2.connectedComponentsWithStatsWithAlgorithm(
        mask.view(np.uint8), 8, cv2.CV_32S, cv2.CCL_GRANA
    )
    # The numbering of components is OpenCV's own business, so order them by place before drawing random numbers.
    for index in sorted(range(1, len(stats)), key=lambda i: stats[i].tolist()):
        left, top, columns, rows, area = stats[index].tolist()
        if area < min_area:
            continue
        left, right = max(0, left - 1), min(width, left + columns + 1)
        top, bottom = max(0, top - 1), min(height, top + rows + 1)
        yield np.array([left, top], np.int32), (components[top:bottom, left:right] == index).view(np.uint8)


def _inner_polygons(
    component: UInt8Array, erosion: float, vertices: int, error: Callable[[], float]
) -> Iterator[tuple[Int32Array, int]]:
    """Polygons of what erosion leaves of a component, each with the pixels that it covers."""
    depth = cv2.distanceTransform(component, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    inner = (depth > min(erosion, _MOST_OF_RADIUS * float(depth.max()))).view(np.uint8)
    contours, _ = cv2.findContours(inner, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    for contour in contours:
        points = _simplify(np.asarray(contour, np.int32), vertices)
        if len(points) >= 3:
            points += np.array([[round(error()), round(error())] for _ in points], np.int32)
            yield points, _area(points)


def _simplify(contour: Int32Array, vertices: int) -> Int32Array:
    """The contour, (N, 1, 2), with the least tolerance that leaves at most `vertices` corners; (P, 2)."""
    low, high = 0.0, math.hypot(*cv2.boundingRect(contour)[2:])
    points = cv2.approxPolyDP(contour, low, True)
    if len(points) > vertices:
        points = cv2.approxPolyDP(contour, high, True)
        while high - low > _TOLERANCE_STEP:
            middle = (low + high) / 2
            candidate = cv2.approxPolyDP(contour, middle, True)
            if len(candidate) > vertices:
                low = middle
            else:
                high, points = middle, candidate
    return np.asarray(points, np.int32).reshape(-1, 2)


def _area(points: Int32Array) -> int:
    left, top, columns, rows = cv2.boundingRect(points)
    canvas = np.zeros((rows, columns), np.uint8)
    cv2.fillPoly(canvas, [points - np.array([left, top], np.int32)], 1)
    return int(np.count_nonzero(canvas))


def polygon_path(store: LabelStore, video: str, number: int) -> Path:
    """Where the polygons of a frame lie: beside its label map."""
    return store.path_of(video, number).with_suffix(".json")


@dataclass(frozen=True)
class CoarseSummary(Summary):
    """What `label_coarse` did.

    Example:
        >>> cost = AnnotationCost(seconds=2 * 420, clicks=90)
        >>> print(CoarseSummary(Path("coarse"), written=2, kept=0, ignored_share=0.4, cost=cost))
        2 coarse labels written to coarse, 0 were there already; 60.0 % of their pixels are covered; 0.23 h
    """

    cost: AnnotationCost = field(default_factory=AnnotationCost)

    def __str__(self) -> str:
        return (
            f"{self.written} coarse labels written to {self.folder}, {self.kept} were there already; "
            f"{100 * (1 - self.ignored_share):.1f} % of their pixels are covered; {self.cost.hours:.2f} h"
        )


def label_coarse(
    dataset: VideoDataset,
    split: str,
    *,
    store: str | Path | None = None,
    source: str = "coarse",
    style: CoarseStyle | None = None,
    seed: int = 0,
    cost_model: str | CostModel = "polygon",
    accelerator: Accelerator = "cpu",
    **workers: Any,
) -> CoarseSummary:
    """Make coarse labels for all annotated frames of a split from their fine label maps.

    Beside each label map lie its polygons, in the form of Cityscapes; drawing them gives the map again. Each frame is
    one human action that costs 7/90 of the fine label. A killed run goes on where it stopped when it is started again.

    Args:
        dataset: The data set.
        split: Its split.
        store: Folder of the label store; `labels/<dataset>` when absent.
        source: Name of the labels in the store.
        style: How coarse to draw.
        seed: Seed; every frame has its own random numbers.
        cost_model: Prices the fine label.
        accelerator: Where to work; there is nothing to do for a GPU.
        workers: Those of `thriftseg.workers.Workers`: `devices`, `accelerator`, `engine` and so on.

    Raises:
        ConfigError: The cost model knows no price for this data set, or the data set has coarse labels of its own and
            `source` is "coarse", which names those in a mixture.
        LabelStoreError: The split has no annotated frames, the source holds labels that were made in another way, or
            a process died.
        UnfinishedError: Some labels could not be made (the others are stored).

    Example:
        >>> import tempfile
        >>> from thriftseg.datasets import Folder, read_polygons, write_label_png
        >>> with tempfile.TemporaryDirectory() as root:
        ...     size = Path(root, "classes.yaml").write_text("classes: [{name: road}, {name: car}]")
        ...     for name in ("frames/7.png", "labels/7.png"):
        ...         write_label_png(Path(root, "train/drive", name), np.ones((48, 64), np.uint8))
        ...     summary = label_coarse(Folder(root), "train", store=Path(root, "labels"), progress=False)
        ...     drawn = read_polygons(summary.folder / "drive/000007.json")
        >>> summary.written, [(polygon.label, len(polygon.points)) for polygon in drawn.polygons]
        (1, [('car', 4)])
    """
    check_free(source, dataset, split)
    target = LabelStore(store_root(store, dataset.name), source, dataset.taxonomy)
    job = _CoarseJob(dataset, target, style or CoarseStyle(), seed, CostModel.named(cost_model))
    return generate(
        job,
        annotated_frames(dataset, split),
        Workers(accelerator=accelerator, shared=True, **workers),
        lambda summary, _: CoarseSummary(**vars(summary)),
    )


class _CoarseJob(FrameJob[LabelTask]):
    """Makes the coarse label of one frame."""

    dataset: VideoDataset

    def __init__(
        self, dataset: VideoDataset, store: LabelStore, style: CoarseStyle, seed: int, model: CostModel
    ) -> None:
        errors = ("jitter", "gap")  # labels without them go on where an older version stopped
        recorded = {name: value for name, value in asdict(style).items() if value or name not in errors}
        super().__init__(
            dataset,
            store,
            "thriftseg.labels.refining.coarse",
            {**recorded, "seed": seed, "cost_model": repr(model)},
            cost_model=model,
            description="coarse labels",
        )
        self._style, self._seed, self._model = style, seed, model

    def is_done(self, clip: Clip, number: int) -> bool:
        return super().is_done(clip, number) and polygon_path(self.store, clip.video, number).is_file()

    def make(self, task: LabelTask, number: int) -> None:
        video = task.clip.video
        label = self.dataset.read_label(task.clip, number)
        polygons = generate_coarse(
            label,
            self.dataset.read_instances(task.clip, number),
            self.dataset.taxonomy.thing_ids,
            self._style,
            f"{self._seed}/{video}/{number}",
        )
        names = self.dataset.taxonomy.class_names
        regions = tuple(Polygon(names[polygon.train_id], polygon.points) for polygon in polygons)
        drawn = PolygonFile(polygon_path(self.store, video, number), label.shape[0], label.shape[1], regions)
        cost = self._model.coarse_frame(self.dataset.name, label, simulated=True)
        action = ActionRow(
            action_id(self.store.source, self.dataset.name, video, number),
            self.store.source,
            video,
            number,
            cost,
            cost_model=self._model.name,
        )
        write_bytes(drawn.path, encode_polygons(drawn))
        coarse = draw_labels(drawn, self.dataset.taxonomy)
        self.write(task, number, coarse, LabelKind.COARSE, [action.id], actions=[action])
