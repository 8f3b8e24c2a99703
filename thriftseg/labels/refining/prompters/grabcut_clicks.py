"""Corrects a mask by a click, without weights: one region around the click goes over to its side.

Sides are those of the click: what has its label already, and the rest, of which a region that holds the click changes.
How likely a pixel of the rest changes falls with the colour steps on the way to the click (the geodesic distance of
[0]), with its distance from the side of the click, measured by that of the click, and grows where its colour is more
frequent on the side of the click. A graph cut makes a region of that [1].

[0] Bai and Sapiro, Geodesic Matting: A Framework for Fast Interactive Image and Video Segmentation and Matting,
    International Journal of Computer Vision 82(2), 2009.
[1] Boykov and Jolly, Interactive Graph Cuts for Optimal Boundary & Region Segmentation of Objects in N-D Images, ICCV
    2001.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from thriftseg.arrays import BoolArray, Float32Array, Float64Array, Int32Array, UInt8Array

_FIELD_SIDE, _CUT_SIDE = 160, 400  # longest sides of the window: for how likely pixels change, and for the cut
_MARGIN, _LEAST_MARGIN = 0.6, 16.0  # around the mask and the click, by their longer side; px
_UNKNOWN = 5.0  # pixels whose logit is below its negative stay
_BINS = 16
_RARE = 1e-4  # added to the frequencies of colours
_FIRST_REACH = 0.1  # of the first click, by the diagonal of the frame


@dataclass(frozen=True)
class _Weights:
    """How the logit of a change comes about; fitted on six sequences of DAVIS-2017 train at half size."""

    constant: float
    from_click: float
    from_side: float
    colour_path: float
    colour: float


_ADDS = _Weights(constant=2.28, from_click=-0.57, from_side=-1.52, colour_path=-1.41, colour=0.76)
_REMOVES = _Weights(constant=3.51, from_click=-0.15, from_side=-2.2, colour_path=-1.61, colour=0.85)
_STARTS = _Weights(constant=2.58, from_click=-1.52, from_side=0.0, colour_path=-1.27, colour=0.74)

_SMOOTHNESS = 25.0  # of OpenCV's graph cut, whose edges weigh up to 50: what one unit of a logit weighs
_GREY_PER_LOGIT, _MODEL_DISTANCE, _LOGIT_LIMIT = 4.0, 8.0, 8.0


class Place(NamedTuple):
    """A click in a window.

    Attributes:
        x: Column.
        y: Row.
        positive: Whether it says that the object is here.
    """

    x: int
    y: int
    positive: bool


def corrected(frame: UInt8Array, mask: BoolArray, clicks: Sequence[Place], generosity: Sequence[float]) -> BoolArray:
    """A mask after its last click.

    Only pixels of one region that holds the click change, to the label of the click, in a window around the mask and
    the click. A positive click on the mask asks for more around it: what changes then is connected with the part of the
    mask that holds the click, and nothing does if generosity is below 0. A negative click beside the mask changes
    nothing. Earlier clicks keep their pixels. Without a mask, the window is the frame.

    Args:
        frame: (H, W, 3) uint8 RGB.
        mask: Mask so far, (H, W).
        clicks: Clicks on it, one at least, in the frame; all but the last have been heeded.
        generosity: Added to the logits of a change, for each answer.

    Returns:
        A mask per generosity, (M, H, W).

    Example:
        >>> frame = np.full((40, 60, 3), 40, np.uint8)
        >>> frame[10:30, 10:50] = 200
        >>> mask = np.zeros((40, 60), bool)
        >>> mask[10:30, 10:30] = True
        >>> (found,) = corrected(frame, mask, [Place(40, 20, True)], [0.0])
        >>> bool((found == (frame[..., 0] == 200)).all())
        True
    """
    click = clicks[-1]
    masks = np.repeat(mask[None], len(generosity), axis=0)
    agrees = bool(mask[click.y, click.x] == click.positive)
    if agrees and not click.positive:
        return masks
    rows, columns = _window(mask, click)
    image, part = frame[rows, columns], mask[rows, columns]
    inside = [Place(x - columns.start, y - rows.start, positive) for x, y, positive in clicks]
    diagonal = math.hypot(*mask.shape)
    small = _scaled(image, part, inside, agrees, _FIELD_SIDE)
    logits = _logits(small, diagonal * small.scale)
    large = _scaled(image, part, inside, agrees, _CUT_SIDE)
    logits = np.asarray(cv2.resize(logits, large.mask.shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)
    kept = _kept(part.shape, inside, click.positive)
    for answer, more in zip(masks, generosity, strict=True):
        if agrees and more < 0:
            continue
        region = _region(large, logits + np.float32(more))
        if large.scale < 1:
            size = part.shape[::-1]
            region = np.asarray(cv2.resize(region.astype(np.float32), size, interpolation=cv2.INTER_LINEAR) > 0.5)
        answer[rows, columns][region & ~kept] = click.positive
        answer[click.y, click.x] = click.positive
    return masks


class _View(NamedTuple):
    """The window at a size of its own; its last click is the one to heed."""

    image: UInt8Array
    mask: BoolArray
    clicks: list[Place]
    agrees: bool
    scale: float

    @property
    def side(self) -> BoolArray:
        """What has the label of the click, (h, w), the click itself only if it agrees."""
        x, y, positive = self.clicks[-1]
        side = self.mask.copy() if positive else ~self.mask
        side[y, x] = self.agrees
        return side


def _window(mask: BoolArray, click: Place) -> tuple[slice, slice]:
    height, width = mask.shape
    if not mask.any():
        return slice(0, height), slice(0, width)
    held = mask.copy()
    held[click.y, click.x] = True
    left, top, columns, rows = cv2.boundingRect(held.view(np.uint8))
    margin = round(max(_LEAST_MARGIN, _MARGIN * max(columns, rows)))
    return (
        slice(max(0, top - margin), min(height, top + rows + margin)),
        slice(max(0, left - margin), min(width, left + columns + margin)),
    )


def _scaled(image: UInt8Array, mask: BoolArray, clicks: Sequence[Place], agrees: bool, longest: int) -> _View:
    height, width = mask.shape
    scale = longest / max(height, width)
    if scale >= 1:
        return _View(image, mask, list(clicks), agrees, 1.0)
    rows, columns = max(1, round(scale * height)), max(1, round(scale * width))
    smaller = np.asarray(cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA), np.uint8)
    share = cv2.resize(mask.astype(np.float32), (columns, rows), interpolation=cv2.INTER_AREA)
    moved = [Place(x * columns // width, y * rows // height, positive) for x, y, positive in clicks]
    return _View(smaller, np.asarray(share > 0.5), moved, agrees, scale)


def _kept(size: tuple[int, ...], clicks: Sequence[Place], positive: bool) -> BoolArray:
    """Pixels of earlier clicks of the other kind."""
    kept = np.zeros(size, np.bool_)
    for x, y, other in clicks[:-1]:
        if other != positive and 0 <= x < size[1] and 0 <= y < size[0]:
            kept[y, x] = True
    return kept


def _logits(view: _View, diagonal: float) -> Float32Array:
    """How likely the pixels beside the side of the click change, (h, w).

    Args:
        view: The window.
        diagonal: That of the frame, at the scale of the window.
    """
    side, (x, y, positive) = view.side, view.clicks[-1]
    rows, columns = np.ogrid[: side.shape[0], : side.shape[1]]
    from_click = np.hypot(rows - y, columns - x)
    lab = np.asarray(cv2.bilateralFilter(cv2.cvtColor(view.image, cv2.COLOR_RGB2LAB), 5, 20, 3), np.uint8)
    start = np.zeros_like(side)
    start[y, x] = True
    path = np.log1p(_colour_path(lab, side if view.agrees else start) / 5)
    colours = _colour_bins(lab)
    if not view.mask.any():
        weights, reach = _STARTS, _FIRST_REACH * diagonal
        near = np.exp(-((from_click / (reach / 2 + 1)) ** 2))
        far = ((from_click - 1.5 * reach) / (2 * reach)).clip(0, 1)
        distances = weights.from_click * from_click / reach
    else:
        weights = _ADDS if positive else _REMOVES
        from_side = _distance_to(side)
        half = max(3.0, math.sqrt(max(50, int(view.mask.sum()))) / 2)
        reach = half / 2 if view.agrees else float(np.clip(from_side[y, x], 2, half))
        near = side * (_distance_to(~side) / 3).clip(0, 1)
        far = ~side * ((from_click - 1.5 * reach) / (2 * reach)).clip(0, 1)
        if positive:
            far *= 0.2 + (from_side > 2 * reach)
        distances = weights.from_click * np.log1p(from_click / reach)
        distances += weights.from_side * np.log1p(np.minimum(from_side / reach, 50))
    ratio = np.log(_frequency(colours, near) + _RARE) - np.log(_frequency(colours, far) + _RARE)
    logits = weights.constant + distances + weights.colour_path * path + weights.colour * ratio
    return np.asarray(logits, np.float32)


def _colour_path(lab: UInt8Array, start: BoolArray) -> Float64Array:
    """Least sum of colour steps from some pixels to every other, by the mean step, (h, w).

    Ways are swept row by row, down and up twice: those that wind more are overestimated.
    """
    colours = lab * np.array([100 / 255, 1, 1])
    across = np.sqrt(np.square(np.diff(colours, axis=1)).sum(axis=2))
    down = np.sqrt(np.square(np.diff(colours, axis=0)).sum(axis=2))
    mean = (across.sum() / max(1, across.size) + down.sum() / max(1, down.size)) / 2 + 0.5
    along = np.zeros(lab.shape[:2])
    along[:, 1:] = np.cumsum(across, axis=1)
    found = np.where(start, 0.0, np.inf)

    def sweep(row: int) -> None:
        rightwards = np.minimum.accumulate(found[row] - along[row]) + along[row]
        found[row] = np.minimum.accumulate((rightwards + along[row])[::-1])[::-1] - along[row]

    for _ in range(2):
        sweep(0)
        for row in range(1, len(found)):
            found[row] = np.minimum(found[row], found[row - 1] + down[row - 1])
            sweep(row)
        for row in range(len(found) - 2, -1, -1):
            found[row] = np.minimum(found[row], found[row + 1] + down[row])
            sweep(row)
    return np.asarray(found / mean, np.float64)


def _colour_bins(lab: UInt8Array) -> Int32Array:
    """Number of the colour of each pixel, (h, w); steps of a and b are half as wide as those of lightness."""
    wide = lab.astype(np.int32)
    wide[..., 1:] = (2 * (wide[..., 1:] - 128) + 128).clip(0, 255)
    steps = wide * _BINS // 256
    return np.asarray((steps[..., 0] * _BINS + steps[..., 1]) * _BINS + steps[..., 2], np.int32)


def _frequency(colours: Int32Array, weights: Float64Array) -> Float64Array:
    """How frequent the colour of each pixel is among weighted pixels, (h, w); 0 without any weight."""
    flat = np.bincount(colours.ravel(), weights=weights.ravel(), minlength=_BINS**3)
    counts: Float64Array = flat.astype(np.float64).reshape((_BINS,) * 3)
    for axis in range(3):
        padded = np.pad(counts, [(1, 1) if other == axis else (0, 0) for other in range(3)])
        before, middle, after = (padded.take(range(start, start + _BINS), axis) for start in range(3))
        counts = (before + 2 * middle + after) / 4
    return np.asarray(counts.ravel()[colours] / max(float(counts.sum()), 1e-9))


def _distance_to(mask: BoolArray) -> Float32Array:
    if not mask.any():
        return np.full(mask.shape, 1e3, np.float32)
    return np.asarray(cv2.distanceTransform((~mask).view(np.uint8), cv2.DIST_L2, 5), np.float32)


def _region(view: _View, logits: Float32Array) -> BoolArray:
    """The pixels that change, connected with the click, (h, w)."""
    side, (x, y, positive) = view.side, view.clicks[-1]
    states = np.where(logits > 0, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    states[logits < -_UNKNOWN] = cv2.GC_BGD
    states[side] = cv2.GC_FGD
    rim = np.ones_like(side)
    rim[1:-1, 1:-1] = False
    states[rim & ~side] = cv2.GC_BGD
    for column, row, other in view.clicks[:-1]:
        if other != positive:
            cv2.circle(states, (column, row), 1, cv2.GC_BGD, cv2.FILLED)
    cv2.circle(states, (x, y), 1, cv2.GC_FGD, cv2.FILLED)
    changes = _graph_cut(view.image, logits, states)
    if not view.agrees:
        changes &= ~side
    changes[y, x] = True
    _, regions = cv2.connectedComponents(changes.view(np.uint8), connectivity=4)
    return np.asarray((regions == regions[y, x]) & ~(side & view.agrees))


def _graph_cut(image: UInt8Array, logits: Float32Array, states: UInt8Array) -> BoolArray:
    """The graph cut of OpenCV with unaries of our own.

    It takes them from two colour models alone: the first channel is the logit here, in which the models are two
    Gaussians of the same width, so that their log ratio is linear in it. The other channels, in which they do not
    differ, are the two main axes of the colours of the image and make the edges.
    """
    if np.isin(states, (cv2.GC_FGD, cv2.GC_BGD)).all():
        return np.equal(states, cv2.GC_FGD)
    colours = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).reshape(-1, 3).astype(np.float64)
    colours -= colours.mean(axis=0)
    _, axes = np.linalg.eigh(colours.T @ colours)
    planes = (colours @ axes[:, 1:] + 128).reshape(*states.shape, 2)
    levels = 128 + _GREY_PER_LOGIT * logits.clip(-_LOGIT_LIMIT, _LOGIT_LIMIT)
    channels = np.ascontiguousarray(np.rint(np.dstack([levels, planes])).clip(0, 255).astype(np.uint8))
    background, foreground = _gaussian(128 - _MODEL_DISTANCE / 2), _gaussian(128 + _MODEL_DISTANCE / 2)
    no_box = (0, 0, 0, 0)
    found, *_ = cv2.grabCut(channels, states, no_box, background, foreground, 1, cv2.GC_EVAL_FREEZE_MODEL)
    return np.isin(found, (cv2.GC_FGD, cv2.GC_PR_FGD))


def _gaussian(level: float) -> Float64Array:
    """A colour model of OpenCV with one component: 5 weights, 5 means, 5 covariances."""
    model = np.zeros((1, 65))
    model[0, 0] = 1
    model[0, 5:8] = level, 128, 128
    model[0, 20:29] = np.diag([_MODEL_DISTANCE * _GREY_PER_LOGIT / _SMOOTHNESS, 1e4, 1e4]).ravel()
    return model
