"""Masks of boxes without weights: GrabCut that starts from shape, colours, motion and the other boxes of the frame.

A pixel belongs to the background or to one of the objects whose box it lies in. How likely each is follows from a shape
that fills a box as objects do on average, from the colours of each object and of what lies around the boxes, and from
how the frame moves there. Colours and motion are learned from the boxes of the frame alone, by turns with the masks, as
in expectation maximisation. A graph cut of each object [0] starts from that.

[0] Rother, Kolmogorov and Blake, "GrabCut": Interactive Foreground Extraction using Iterated Graph Cuts, ACM
    Transactions on Graphics 23(3), 2004.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import cv2
import numpy as np

from thriftseg.arrays import BoolArray, Float32Array, Int64Array, UInt8Array
from thriftseg.datasets import PixelBox
from thriftseg.errors import ConfigError
from thriftseg.flow import DIS
from thriftseg.labels.boxes.masks import ObjectMask, levels_of
from thriftseg.labels.refining.prompters.grabcut import CERTAIN, GrabCutPrompter
from thriftseg.labels.refining.prompters.protocol import Prompt

_COLOURS, _MOTIONS = (16, 24, 24), (24, 24)  # steps of L, a and b, and of both directions
_FASTEST = 15.0  # pixels
_MARGIN, _LEAST_MARGIN = 0.3, 8
_WORKING_SIDE, _ROUNDS = 480, 4
_SURE = 0.95  # what is as likely is certain for the graph cut
_LEAST_AGREEMENT = 0.3  # IoU of the graph cut and what it started from
_LEAST_SHARE = 0.1  # of a box that a mask fills


class BoxGrabCut:
    """GrabCut that looks at all boxes of a frame and at how it moves; see the module.

    Where the graph cut loses what it started from, that stands in, and the average shape where this is next to nothing
    in a box: every mask has pixels. The score is the IoU with the truth that the probabilities lead to expect.

    Args:
        colour: Weight of colours.
        motion: Weight of motion, which several objects share: it tells them from the background, not from each other.
        unsure: Pixels that are an object with at least this probability and belong to none are left without a label.
        iterations: Of the graph cut, as `reach`, `margin` and `largest_side` are; see `GrabCutPrompter`.
        settings: Those others.

    Raises:
        ConfigError: A setting is out of range.

    Example:
        >>> frame = np.full((48, 64, 3), 40, np.uint8)
        >>> frame[10:30, 20:44] = 200
        >>> (found,) = BoxGrabCut().segment(frame, {7: (16, 6, 48, 34)})
        >>> found.id, found.area
        (7, 480)
    """

    name: ClassVar[str] = "grabcut"

    def __init__(
        self,
        *,
        colour: float = 1.2,
        motion: float = 0.8,
        unsure: float = 0.35,
        iterations: int = 2,
        **settings: Any,
    ) -> None:
        if not (min(colour, motion) >= 0 and 0 < unsure <= 1):
            raise ConfigError(
                "setting of GrabCut of boxes",
                expected="colour and motion of at least 0, unsure above 0 and at most 1",
                found=f"colour={colour}, motion={motion}, unsure={unsure}",
            )
        self.colour, self.motion, self.unsure = colour, motion, unsure
        self.prompter = GrabCutPrompter(iterations, **settings)
        self.flow = DIS()

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Settings that the masks depend on."""
        own = {"colour": self.colour, "motion": self.motion, "unsure": self.unsure, "flow": repr(self.flow)}
        return {**self.prompter.arguments, **own}

    def segment(self, frame: UInt8Array, boxes: Mapping[int, PixelBox]) -> list[ObjectMask]:
        """Find the objects of a frame that stands alone; see `BoxSegmenter.segment`."""
        return self.segment_moving(frame, boxes, None)

    def segment_moving(
        self, frame: UInt8Array, boxes: Mapping[int, PixelBox], beside: UInt8Array | None
    ) -> list[ObjectMask]:
        """Find the objects of a frame; see `SeesMotion.segment_moving`."""
        if not boxes:
            return []
        posterior = self._posterior(frame, list(boxes.values()), beside)
        size, embedded = frame.shape[1::-1], self.prompter.embed(frame)
        objects = 1 - cv2.resize(posterior[0], size)
        masks = []
        for (object_id, box), small in zip(boxes.items(), posterior[1:], strict=True):
            (answer,) = embedded.predict([Prompt(box=box, mask_logits=_seeds(small))], candidates=1)
            x0, y0, x1, y1 = box
            inside = slice(y0, y1), slice(x0, x1)
            chance, among = cv2.resize(small, size)[inside], np.maximum(objects[inside], np.float32(1e-6))
            cut, likely = answer.masks[0][inside], chance > 0.5
            found = chance * (1 + cut / among) / 2
            if np.count_nonzero(cut & likely) < _LEAST_AGREEMENT * np.count_nonzero(cut | likely):
                found = chance
            if np.count_nonzero(found > 0.5) < _LEAST_SHARE * found.size:
                found = _shape(y1 - y0, x1 - x0)
            chosen = found > 0.5
            expected = float(found[chosen].sum() / (np.count_nonzero(chosen) + found[~chosen].sum()))
            masks.append(ObjectMask(object_id, self.name, levels_of(found), y0, x0, expected, self.unsure))
        return masks

    def _posterior(self, frame: UInt8Array, boxes: Sequence[PixelBox], beside: UInt8Array | None) -> Float32Array:
        """Probabilities of the background and of each box, (K + 1, h, w), in a frame with sides of at most 480."""
        scale = min(1.0, _WORKING_SIDE / max(frame.shape[:2]))
        height, width = (max(1, round(side * scale)) for side in frame.shape[:2])
        small = _resized(frame, (width, height))
        boxes = [_scaled(box, scale, width, height) for box in boxes]
        outside, around = np.ones((height, width), np.bool_), np.zeros((height, width), np.float32)
        for x0, y0, x1, y1 in boxes:
            outside[y0:y1, x0:x1] = False
            margin = max(_LEAST_MARGIN, round(_MARGIN * max(x1 - x0, y1 - y0)))
            around[max(0, y0 - margin) : y1 + margin, max(0, x0 - margin) : x1 + margin] = 1
        cues = [_Cue(_colour_steps(small), _COLOURS, self.colour, 1e-6)]
        if self.motion and beside is not None and outside.any():
            steps = _motion_steps(self.flow.estimate(small, _resized(beside, (width, height))), outside)
            cues.append(_Cue(steps, _MOTIONS, self.motion / len(boxes), 1e-4))
        prior = _prior(boxes, (height, width))
        posterior = _softmax(prior)
        for _ in range(_ROUNDS):
            evidence = prior.copy()
            for cue in cues:
                background = cue.log_density(posterior[0] * around)
                for part, chance in zip(evidence[1:], posterior[1:], strict=True):
                    ratio = (cue.log_density(chance) - background).clip(-2, 2)
                    part += cue.weight * ratio[cue.steps]
            posterior = _softmax(evidence)
        return posterior


class _Cue(NamedTuple):
    """Something that tells objects from the background.

    Attributes:
        steps: Step of each pixel, (h, w).
        shape: Numbers of steps.
        weight: Its say.
        rare: Density of what was never seen.
    """

    steps: Int64Array
    shape: tuple[int, ...]
    weight: float
    rare: float

    def log_density(self, weights: Float32Array) -> Float32Array:
        """Logarithm of the share of each step, to which neighbouring steps add."""
        counts = np.bincount(self.steps.ravel(), weights.ravel(), int(np.prod(self.shape)))
        smooth = (counts / max(counts.sum(), 1e-6)).reshape(self.shape)
        for axis in range(smooth.ndim):
            padded = np.pad(smooth, [(int(each == axis),) * 2 for each in range(smooth.ndim)], mode="edge")
            first, last = (np.take(padded, range(start, start + smooth.shape[axis]), axis) for start in (0, 2))
            smooth = 0.58 * smooth + 0.21 * (first + last)
        return np.asarray(np.log(smooth.ravel() + self.rare), np.float32)


def _shape(height: int, width: int) -> Float32Array:
    """Probability that a pixel of a box is the object: one half on an ellipse that nearly fills it."""
    rows, columns = (np.linspace(-1 + 1 / side, 1 - 1 / side, side) for side in (height, width))
    return np.asarray(1 / (1 + np.exp(2 * (np.hypot(columns[None], rows[:, None]) - 0.95))), np.float32)


def _prior(boxes: Sequence[PixelBox], size: tuple[int, int]) -> Float32Array:
    """Log probability of the background and of each box; where boxes overlap, small ones are more likely."""
    chances: Float32Array = np.zeros((len(boxes), *size), np.float32)
    for chance, (x0, y0, x1, y1) in zip(chances, boxes, strict=True):
        chance[y0:y1, x0:x1] = _shape(y1 - y0, x1 - x0)
    background = np.prod(1 - chances, axis=0)
    shares = chances / np.array([(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in boxes], np.float32)[:, None, None]
    objects = shares / np.maximum(shares.sum(axis=0), 1e-12) * (1 - background)
    return np.asarray(np.log(np.maximum(np.concatenate([background[None], objects]), 1e-13)), np.float32)


def _softmax(evidence: Float32Array) -> Float32Array:
    powers = np.exp(evidence - evidence.max(axis=0))
    return np.asarray(powers / powers.sum(axis=0), np.float32)


def _colour_steps(frame: UInt8Array) -> Int64Array:
    lightness, a, b = np.moveaxis(cv2.cvtColor(frame, cv2.COLOR_RGB2LAB).astype(np.int64), -1, 0)
    a, b = (((channel - 64) * 24 // 128).clip(0, 23) for channel in (a, b))  # few colours lie beyond the middle half
    return np.asarray((lightness // 16 * 24 + a) * 24 + b, np.int64)


def _motion_steps(flow: Float32Array, outside: BoolArray) -> Int64Array:
    """Steps of the flow (2, h, w) less the affine motion of the background."""
    rows, columns = np.indices(outside.shape).reshape(2, -1) / max(outside.shape)
    places, moved = np.stack([np.ones_like(rows), columns, rows], axis=1), flow.reshape(2, -1).T.astype(np.float64)
    trust, left = outside.ravel().astype(np.float64), moved
    for _ in range(5):  # the background has parts of its own that move
        fit = np.linalg.lstsq(places[::7] * trust[::7, None], moved[::7] * trust[::7, None], rcond=None)[0]
        left = moved - places @ fit
        trust = outside.ravel() / (1 + (np.hypot(*left.T) / 0.5) ** 2)
    steps = ((np.arcsinh(left) / np.arcsinh(_FASTEST) / 2 + 0.5) * 24).astype(np.int64).clip(0, 23)
    return np.asarray(steps[:, 0] * 24 + steps[:, 1], np.int64).reshape(outside.shape)


def _seeds(chance: Float32Array) -> Float32Array:
    """Logits that the graph cut starts from; what is likely enough is certain."""
    likely = chance.clip(1e-6, 1 - 1e-6)
    return np.asarray(np.log(likely / (1 - likely)) * (CERTAIN / np.log(_SURE / (1 - _SURE))), np.float32)


def _resized(frame: UInt8Array, size: tuple[int, int]) -> UInt8Array:
    if frame.shape[1::-1] == size:
        return frame
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)


def _scaled(box: PixelBox, scale: float, width: int, height: int) -> PixelBox:
    """A box at working size, with at least one pixel."""
    x0, y0 = min(int(box[0] * scale), width - 1), min(int(box[1] * scale), height - 1)
    x1, y1 = min(round(box[2] * scale), width), min(round(box[3] * scale), height)
    return x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)
