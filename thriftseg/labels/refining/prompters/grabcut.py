"""Masks without weights: GrabCut of OpenCV.

[0] Rother, Kolmogorov and Blake, "GrabCut": Interactive Foreground Extraction using Iterated Graph Cuts, ACM
    Transactions on Graphics 23(3), 2004.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import cv2
import numpy as np

from thriftseg.arrays import BoolArray, Float32Array, Int64Array, UInt8Array
from thriftseg.errors import ConfigError
from thriftseg.labels.refining.prompters.grabcut_clicks import Place, corrected
from thriftseg.labels.refining.prompters.protocol import Candidates, NumCandidates, Prompt

_SCALES: Mapping[NumCandidates, tuple[float, ...]] = {1: (1.0,), 3: (0.5, 1.0, 2.0)}
_GENEROSITY: Mapping[NumCandidates, tuple[float, ...]] = {1: (0.0,), 3: (-1.5, 0.0, 1.5)}
_SEED_RADIUS = 1
_LEAST_MARGIN = 8.0
_LOGIT = 10.0
CERTAIN = 15.0
"""Logits of a mask beyond this, in either direction, are taken for certain."""

_Window = tuple[slice, slice]


class GrabCutPrompter:
    """GrabCut in a window around each prompt: two colour models and a graph cut, without any training.

    Points are certain within a pixel, and so are logits of a mask beyond 15. What is likely the object at the start is
    the mask, the inside of the box, or else a disc around each positive point; outside of the box, and at the rim of
    the window, is background. With positive points, only regions that hold one of them count. The three candidates
    look at windows with half, the same and twice the margin.

    The score is the contrast of the mask: the mean, over its outline, of the colour difference across it (of the
    channel with the largest), from 0 to 1; 0 for an empty mask. Logits are 10 inside and -10 outside, at the size of
    the frame. Results depend on the prompt and the frame alone.

    A background that is fitted next to a point is fitted on the object if that is larger than the disc, and the cut
    then leaves nothing but the points. Clicks that come one by one go to `GrabCutEmbedded.correct` instead, which does
    without these settings.

    Args:
        iterations: Rounds of fitting the colours and cutting.
        reach: Margin of the window around points, by the diagonal of the frame.
        margin: Margin of the window around boxes and masks, by their longer side; at least 8 px.
        largest_side: Windows with a longer side than this are scaled down for the cut.

    Raises:
        ConfigError: A setting is out of range.

    Example:
        >>> frame = np.full((48, 64, 3), 40, np.uint8)
        >>> frame[10:30, 20:44] = 200
        >>> (answer,) = GrabCutPrompter().embed(frame).predict([Prompt(box=(16, 6, 48, 34))], candidates=1)
        >>> int(answer.masks.sum()), round(float(answer.scores[0]), 3)
        (480, 0.627)
    """

    name: ClassVar[str] = "grabcut"

    def __init__(self, iterations: int = 5, reach: float = 0.1, margin: float = 0.25, largest_side: int = 640) -> None:
        if iterations < 1 or reach <= 0 or margin <= 0 or largest_side < 1:
            raise ConfigError(
                "setting of GrabCut",
                expected="iterations and largest_side of at least 1, reach and margin above 0",
                found=f"iterations={iterations}, largest_side={largest_side}, reach={reach}, margin={margin}",
            )
        self.iterations, self.reach, self.margin, self.largest_side = iterations, reach, margin, largest_side

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Settings that the masks depend on."""
        return {
            "iterations": self.iterations,
            "reach": self.reach,
            "margin": self.margin,
            "largest_side": self.largest_side,
        }

    def embed(self, frame: UInt8Array) -> GrabCutEmbedded:
        """Keep a frame; see `Prompter.embed`."""
        return GrabCutEmbedded(frame, self)


class GrabCutEmbedded:
    """A frame to be cut; see `Embedded`."""

    def __init__(self, frame: UInt8Array, prompter: GrabCutPrompter) -> None:
        self._frame, self._prompter = frame, prompter
        self._size: tuple[int, int] = frame.shape[0], frame.shape[1]

    def predict(self, prompts: Sequence[Prompt], candidates: NumCandidates) -> list[Candidates]:
        """Answer prompts one by one; see `Embedded.predict`."""
        return [self._answer(prompt, _SCALES[candidates]) for prompt in prompts]

    def correct(
        self, mask: BoolArray | None, points: Float32Array, positive: BoolArray, candidates: NumCandidates
    ) -> Candidates:
        """Give a region around the last click its label; see `CorrectsMasks.correct` and `grabcut_clicks`.

        The three candidates change less, as much, and more. The score is the IoU with the middle one, or 1 for a single
        mask: contrast would choose worse.
        """
        columns, rows = _nearest_pixels(points, self._size)
        clicks = [Place(*click) for click in zip(columns.tolist(), rows.tolist(), positive.tolist(), strict=True)]
        start = np.zeros(self._size, np.bool_) if mask is None else mask
        masks = corrected(self._frame, start, clicks, _GENEROSITY[candidates])
        middle = masks[len(masks) // 2]
        pixels = [(np.count_nonzero(each & middle), np.count_nonzero(each | middle)) for each in masks]
        scores = np.array([both / either if either else 1.0 for both, either in pixels], np.float32)
        return Candidates(masks, scores, np.where(masks, np.float32(_LOGIT), np.float32(-_LOGIT)))

    def _answer(self, prompt: Prompt, scales: Sequence[float]) -> Candidates:
        likely = self._likely(prompt)
        masks = np.zeros((len(scales), *self._size), np.bool_)
        scores = np.zeros(len(scales), np.float32)
        for number, scale in enumerate(scales):
            window = self._window(prompt, likely, scale)
            masks[number][window] = self._cut(prompt, likely, window)
            scores[number] = contrast(self._frame[window], masks[number][window])
        return Candidates(masks, scores, np.where(masks, np.float32(_LOGIT), np.float32(-_LOGIT)))

    def _likely(self, prompt: Prompt) -> BoolArray:
        """What is the object at the start, (H, W)."""
        if prompt.mask_logits is not None:
            return np.asarray(self._full_size(prompt.mask_logits) > 0)
        likely = np.zeros(self._size, np.uint8)
        if prompt.box is not None:
            rows, columns = _pixels_of(prompt.box, self._size)
            likely[rows, columns] = 1
        else:
            _draw(likely, prompt.points[prompt.positive], self._reach() / 4, 1)
        return likely.astype(np.bool_)

    def _full_size(self, logits: Float32Array) -> Float32Array:
        if logits.shape == self._size:
            return logits
        height, width = self._size
        resized = cv2.resize(logits.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
        return np.asarray(resized, np.float32)

    def _reach(self) -> float:
        return self._prompter.reach * math.hypot(*self._size)

    def _window(self, prompt: Prompt, likely: BoolArray, scale: float) -> _Window:
        """The part of the frame that the cut looks at."""
        corners = [prompt.points]
        if prompt.box is not None:
            corners.append(np.array(prompt.box, np.float32).reshape(2, 2))
        if prompt.mask_logits is not None and likely.any():
            x, y, width, height = cv2.boundingRect(likely.view(np.uint8))
            corners.append(np.array([[x, y], [x + width, y + height]], np.float32))
        found = np.concatenate(corners)
        (x0, y0), (x1, y1) = found.min(axis=0), found.max(axis=0)
        only_points = len(corners) == 1
        margin = self._reach() if only_points else max(_LEAST_MARGIN, self._prompter.margin * max(x1 - x0, y1 - y0))
        margin *= scale
        return _pixels_of((x0 - margin, y0 - margin, x1 + margin + 1, y1 + margin + 1), self._size)

    def _cut(self, prompt: Prompt, likely: BoolArray, window: _Window) -> BoolArray:
        """Mask of the object in the window."""
        image, states = self._frame[window], self._states(prompt, likely, window)
        full_size = states.shape[::-1]
        shrink = min(1.0, self._prompter.largest_side / max(full_size))
        if shrink < 1:
            small_size = [max(1, round(shrink * side)) for side in full_size]
            image = _resize(image, small_size, cv2.INTER_AREA)
            states = _resize(states, small_size, cv2.INTER_NEAREST_EXACT)
        mask = _grabcut(image, states, self._prompter.iterations)
        if shrink < 1:
            mask = _resize(mask.view(np.uint8) * np.uint8(255), full_size, cv2.INTER_LINEAR) > 127
        positive = _inside(prompt.points[prompt.positive], window)
        return _regions_with(mask, positive) if len(positive) else mask

    def _states(self, prompt: Prompt, likely: BoolArray, window: _Window) -> UInt8Array:
        """What OpenCV is told of each pixel of the window."""
        states = np.where(likely[window], cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
        if prompt.mask_logits is not None:
            logits = self._full_size(prompt.mask_logits)[window]
            states[logits > CERTAIN], states[logits < -CERTAIN] = cv2.GC_FGD, cv2.GC_BGD
        if prompt.box is not None:
            outside = np.ones(self._size, np.bool_)
            outside[_pixels_of(prompt.box, self._size)] = False
            states[outside[window]] = cv2.GC_BGD
        states[[0, -1]] = states[:, [0, -1]] = cv2.GC_BGD
        _draw(states, _inside(prompt.points[~prompt.positive], window), _SEED_RADIUS, cv2.GC_BGD)
        _draw(states, _inside(prompt.points[prompt.positive], window), _SEED_RADIUS, cv2.GC_FGD)
        return states


def contrast(frame: UInt8Array, mask: BoolArray) -> float:
    """Mean colour difference across the outline of a mask, 0..1; 0 where there is no outline.

    Args:
        frame: (H, W, 3) uint8.
        mask: (H, W) bool.

    Example:
        >>> frame = np.zeros((4, 4, 3), np.uint8)
        >>> frame[:, :2] = 255
        >>> contrast(frame, frame[..., 0] > 0), contrast(frame, frame[..., 0] > 255)
        (1.0, 0.0)
    """
    differences = []
    for axis in (0, 1):
        before = np.nonzero(np.diff(mask, axis=axis))
        after = before[0] + (axis == 0), before[1] + (axis == 1)
        steps = np.abs(frame[before].astype(np.int16) - frame[after])
        differences.append(steps.max(axis=1))
    found = np.concatenate(differences)
    return float(found.mean() / 255) if len(found) else 0.0


def _resize(image: UInt8Array, size: Sequence[int], interpolation: int) -> UInt8Array:
    return np.asarray(cv2.resize(image, tuple(size), interpolation=interpolation), np.uint8)


def _grabcut(image: UInt8Array, states: UInt8Array, iterations: int) -> BoolArray:
    foreground = _is_foreground(states)
    if not foreground.any() or foreground.all():
        return foreground  # nothing to tell apart
    cv2.setRNGSeed(0)  # the colour models start from random centres
    bgr = np.ascontiguousarray(image[..., ::-1])
    background_model, foreground_model = np.zeros((1, 65)), np.zeros((1, 65))
    no_box = (0, 0, 0, 0)
    found, *_ = cv2.grabCut(
        bgr, states.copy(), no_box, background_model, foreground_model, iterations, cv2.GC_INIT_WITH_MASK
    )
    return _is_foreground(np.asarray(found, np.uint8))


def _is_foreground(states: UInt8Array) -> BoolArray:
    return np.asarray((states == cv2.GC_FGD) | (states == cv2.GC_PR_FGD))


def _regions_with(mask: BoolArray, points: Float32Array) -> BoolArray:
    """The connected regions of a mask that hold one of the points."""
    _, regions = cv2.connectedComponents(mask.view(np.uint8), connectivity=8)
    columns, rows = _nearest_pixels(points, mask.shape)
    held = np.setdiff1d(regions[rows, columns], [0])
    return np.isin(regions, held)


def _inside(points: Float32Array, window: _Window) -> Float32Array:
    """Points as (x, y) in the window."""
    rows, columns = window
    return points - np.array([columns.start, rows.start], np.float32)


def _nearest_pixels(points: Float32Array, size: Sequence[int]) -> tuple[Int64Array, Int64Array]:
    """Columns and rows of points, inside of the image."""
    columns, rows = np.rint(points).astype(np.int64).T
    return columns.clip(0, size[1] - 1), rows.clip(0, size[0] - 1)


def _draw(canvas: UInt8Array, points: Float32Array, radius: float, value: int) -> None:
    columns, rows = _nearest_pixels(points, canvas.shape)
    for column, row in zip(columns.tolist(), rows.tolist(), strict=True):
        cv2.circle(canvas, (column, row), max(1, round(radius)), value, thickness=cv2.FILLED)


def _pixels_of(box: Sequence[float], size: Sequence[int]) -> _Window:
    """Pixels that a box touches, at least one, inside of the frame."""
    x0, y0, x1, y1 = box
    rows, columns = _interval(y0, y1, size[0]), _interval(x0, x1, size[1])
    return slice(*rows), slice(*columns)


def _interval(low: float, high: float, end: int) -> tuple[int, int]:
    start = min(max(0, math.floor(low)), end - 1)
    return start, max(start + 1, min(end, math.ceil(high)))
