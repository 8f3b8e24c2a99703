"""A simulated person who clicks polygons along the true label map, and what that costs.

Training sees the polygons that were clicked, not the truth behind them.

[0] Qiao, Sun, Liu, Xia, Luo, Zhang, Kuo, "Human-in-the-Loop Video Semantic Segmentation Auto-Annotation", WACV 2023:
    8-connected components, polygons simplified to 1 px, clicks = vertices.
[1] Cai, Xu, Liew, Foo, "Revisiting Superpixels for Active Learning in Semantic Segmentation With Realistic Annotation
    Costs", CVPR 2021: one click per polygon for its class, one click per super-pixel for its dominant class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, Literal, get_args

import cv2
import numpy as np
from msgspec.structs import replace

from thriftseg.annotation.people.requests import Answer, Request
from thriftseg.arrays import UInt8Array
from thriftseg.costs import AnnotationCost, Outline, PolygonCost, trace_outlines
from thriftseg.errors import ConfigError, DatasetError
from thriftseg.types import IGNORE_INDEX

SUPERPIXELS = "sp"
"""The granularity whose regions may be labelled with one click."""

SuperpixelLabel = Literal["dominant", "precise"]
"""One click with the most frequent class, or polygons as anywhere else."""


class PolygonAnnotator:
    """A simulated person who knows the truth and draws it with polygons.

    The seconds are those of `PolygonCost`: 1.5 per vertex and 1 per polygon, whether class clicks are counted or not.
    Regions where the truth is 255 stay 255, since there is nothing to tell.

    Args:
        truth: Reads the true label map of a frame, (H, W) uint8 train ids, by video and native frame number.
        cost_model: Prices the polygons, and says how closely they follow the contour.
        count_class_clicks: Whether every polygon takes a further click for its class [1].
        superpixel_label: How super-pixels are labelled.

    Raises:
        ConfigError: There is no such way to label super-pixels.

    Example:
        >>> truth = np.full((20, 20), 255, np.uint8)
        >>> truth[5:15, 5:15] = 3
        >>> from thriftseg.annotation.ranking.selection import Sample
        >>> request = Request.of("drive", Sample(0, 0), np.ones((20, 20), bool), "frame")
        >>> [answer] = PolygonAnnotator(lambda video, number: truth).ask([request], round=1)
        >>> answer.cost.clicks, answer.cost.class_clicks, answer.cost.seconds
        (4, 1, 7.0)
    """

    def __init__(
        self,
        truth: Callable[[str, int], UInt8Array],
        *,
        cost_model: PolygonCost | None = None,
        count_class_clicks: bool = True,
        superpixel_label: SuperpixelLabel = "dominant",
    ) -> None:
        if superpixel_label not in get_args(SuperpixelLabel):
            expected = " or ".join(get_args(SuperpixelLabel))
            raise ConfigError("superpixel_label", expected=expected, found=repr(superpixel_label))
        self._truth, self._model = truth, cost_model or PolygonCost()
        self._count_class_clicks, self._superpixel_label = count_class_clicks, superpixel_label

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Settings that the labels depend on, JSON values only."""
        return {"count_class_clicks": self._count_class_clicks, "superpixel_label": self._superpixel_label}

    def ask(self, requests: Sequence[Request], round: int) -> list[Answer]:
        """Label regions; see `Annotator`. Every frame is read once.

        Raises:
            DatasetError: The truth of a frame is of another size than the request says.
        """
        answers: dict[int, Answer] = {}
        in_order = sorted(range(len(requests)), key=lambda position: requests[position].frame)
        for frame, positions in groupby(in_order, key=lambda position: requests[position].frame):
            truth = self._truth(*frame)
            answers |= {position: self._label(requests[position], truth) for position in positions}
        return [answers[position] for position in range(len(requests))]

    def full_cost(self, truths: Iterable[UInt8Array]) -> AnnotationCost:
        """Cost of drawing whole frames, which the shares in reports refer to.

        Args:
            truths: Their true label maps, (H, W) uint8.
        """
        return sum((self._drawn(trace_outlines(truth, self._model.tolerance)) for truth in truths), AnnotationCost())

    def _label(self, request: Request, truth: UInt8Array) -> Answer:
        if truth.shape != request.size:
            raise DatasetError(
                f"the truth of frame {request.sample.number} of {request.video!r} has another size than the frame",
                expected=f"{request.size[1]}x{request.size[0]}",
                found=f"{truth.shape[1]}x{truth.shape[0]}",
            )
        shown = np.where(request.mask, request.cut(truth), np.uint8(IGNORE_INDEX))
        if request.granularity == SUPERPIXELS and self._superpixel_label == "dominant":
            # One click gives all known pixels their most frequent class, the lowest of equally frequent ones.
            areas = np.bincount(shown.ravel(), minlength=256)[:IGNORE_INDEX]
            patch = np.where(shown == IGNORE_INDEX, shown, np.uint8(areas.argmax()))
            return Answer(request, patch, self._model.clicks(int(areas.any())))
        outlines = trace_outlines(shown, self._model.tolerance)
        return Answer(request, paint_outlines(outlines, shown), self._drawn(outlines), self._model.name)

    def _drawn(self, outlines: Sequence[Outline]) -> AnnotationCost:
        cost = self._model.drawn(sum(len(outline.vertices) for outline in outlines), len(outlines))
        return cost if self._count_class_clicks else replace(cost, class_clicks=0)


def paint_outlines(outlines: Iterable[Outline], label: UInt8Array) -> UInt8Array:
    """Label map of the polygons that were drawn around a label map.

    Polygons that enclose more come first, so what lies in a hole is painted on top. Components whose polygon has less
    than three vertices are painted as they are, and 255 comes back where the label map has it.

    Args:
        outlines: The outlines of `label`, from `trace_outlines`.
        label: (H, W) uint8.

    Returns:
        (H, W) uint8, 255 where no polygon lies.
    """
    painted = np.full_like(label, IGNORE_INDEX)
    for outline in sorted(outlines, key=_painting_order):
        if len(outline.vertices) >= 3:
            cv2.fillPoly(painted, [outline.vertices], outline.train_id)
            continue
        left, top, width, height = cv2.boundingRect(outline.contour)
        inside = np.zeros((height, width), np.uint8)
        cv2.fillPoly(inside, [outline.contour - (left, top)], 1)
        box = np.s_[top : top + height, left : left + width]
        painted[box][(inside == 1) & (label[box] == outline.train_id)] = outline.train_id
    painted[label == IGNORE_INDEX] = IGNORE_INDEX
    return painted


def _painting_order(outline: Outline) -> tuple[float, int, int, int]:
    # Not the number of pixels: a thin ring has fewer than what it surrounds. OpenCV's order is its own business.
    column, row = outline.contour[0].tolist()
    return -cv2.contourArea(outline.contour), outline.train_id, row, column
