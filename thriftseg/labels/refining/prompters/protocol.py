"""Protocol of methods that turn points, boxes and masks into masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from thriftseg.arrays import BoolArray, Float32Array, UInt8Array
from thriftseg.errors import ConfigError

NumCandidates = Literal[1, 3]
"""Masks per prompt: the best guess, or three guesses where a prompt is ambiguous."""


def _no_points() -> Float32Array:
    return np.zeros((0, 2), np.float32)


def _no_flags() -> BoolArray:
    return np.zeros(0, np.bool_)


@dataclass(frozen=True)
class Prompt:
    """What is known of one object; at least one of points, box and mask.

    Attributes:
        points: Points as (x, y) in pixels of the frame, (P, 2) float32.
        positive: Whether each point lies on the object, (P,) bool.
        box: Box around the object, (x0, y0, x1, y1) in pixels of the frame.
        mask_logits: `Candidates.low_res_logits` of an earlier answer to be improved, (h, w) float32.

    Raises:
        ConfigError: There is nothing, or the shapes do not fit.

    Example:
        >>> Prompt(box=(4, 4, 20, 12)).points.shape
        (0, 2)
    """

    points: Float32Array = field(default_factory=_no_points)
    positive: BoolArray = field(default_factory=_no_flags)
    box: tuple[float, float, float, float] | None = None
    mask_logits: Float32Array | None = None

    def __post_init__(self) -> None:
        if self.points.shape != (len(self.positive), 2):
            raise ConfigError(
                "points of a prompt",
                expected="(P, 2) points and (P,) flags",
                found=f"{self.points.shape} and {self.positive.shape}",
            )
        if not len(self.points) and self.box is None and self.mask_logits is None:
            raise ConfigError("empty prompt", expected="points, a box or a mask")


@dataclass(frozen=True)
class Candidates:
    """Masks that answer one prompt.

    Attributes:
        masks: (M, H, W) bool, M = 1 or 3.
        scores: Quality of each mask as the method sees it, (M,) float32.
        low_res_logits: Logits of each mask at a size of the method's own, (M, h, w) float32, to be fed back.

    Example:
        >>> masks = np.zeros((3, 4, 6), bool)
        >>> masks[1, 1:3, 1:5] = True
        >>> answer = Candidates(masks, np.float32([0.2, 0.9, 0.5]), np.zeros((3, 1, 1), np.float32))
        >>> int(answer.masks[answer.scores.argmax()].sum())
        8
    """

    masks: BoolArray
    scores: Float32Array
    low_res_logits: Float32Array


class Embedded(Protocol):
    """A frame that was looked at once and answers any number of prompts.

    Example:
        >>> class Bright:
        ...     def __init__(self, frame):
        ...         self.mask = frame[..., 0] > 128
        ...     def predict(self, prompts, candidates):
        ...         masks, scores = np.stack([self.mask] * candidates), np.full(candidates, 0.5, np.float32)
        ...         return [Candidates(masks, scores, np.zeros((candidates, 1, 1), np.float32)) for _ in prompts]
        >>> embedded: Embedded = Bright(np.array([[[200] * 3, [10] * 3]], np.uint8))
        >>> [answer.masks.tolist() for answer in embedded.predict([Prompt(box=(0, 0, 2, 1))], candidates=1)]
        [[[[True, False]]]]
    """

    def predict(self, prompts: Sequence[Prompt], candidates: NumCandidates) -> list[Candidates]:
        """Answer prompts, several at once where the method can.

        Args:
            prompts: The prompts; each is answered as if it were alone.
            candidates: Masks per prompt.

        Returns:
            The masks of each prompt, in the order of the prompts.
        """


class Prompter(Protocol):
    """Turns prompts into masks.

    One that computes on an accelerator offers `MovesToDevice.to` as well.

    Example:
        >>> class WholeBox:
        ...     name, arguments = "whole_box", {}
        ...     def embed(self, frame):
        ...         self.size = frame.shape[:2]
        ...         return self
        ...     def predict(self, prompts, candidates):
        ...         masks = np.zeros((len(prompts), candidates, *self.size), bool)
        ...         for mask, (x0, y0, x1, y1) in zip(masks, (prompt.box for prompt in prompts), strict=True):
        ...             mask[:, y0:y1, x0:x1] = True
        ...         scores = np.ones(candidates, np.float32)
        ...         return [Candidates(mask, scores, mask.astype(np.float32)) for mask in masks]
        >>> prompter: Prompter = WholeBox()
        >>> embedded = prompter.embed(np.zeros((48, 64, 3), np.uint8))
        >>> [answer] = embedded.predict([Prompt(box=(4, 4, 20, 12))], candidates=1)
        >>> int(answer.masks.sum())
        128
    """

    @property
    def name(self) -> str:
        """Name of the method."""

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Settings that the masks depend on, JSON values only."""

    def embed(self, frame: UInt8Array) -> Embedded:
        """Look at a frame, which is most of the work.

        Args:
            frame: (H, W, 3) uint8 RGB.
        """


@runtime_checkable
class CorrectsMasks(Protocol):
    """A frame whose masks can be corrected wherever they come from, other than by a network that knows its own only.

    Example:
        >>> from thriftseg.labels import GrabCutPrompter
        >>> frame = np.full((40, 60, 3), 40, np.uint8)
        >>> frame[10:30, 10:50] = 200
        >>> half, embedded = np.zeros((40, 60), bool), GrabCutPrompter().embed(frame)
        >>> half[10:30, 10:30] = True
        >>> found = embedded.correct(half, np.float32([[40, 20]]), np.array([True]), candidates=1)
        >>> isinstance(embedded, CorrectsMasks), int(half.sum()), int(found.masks.sum())
        (True, 400, 800)
    """

    def correct(
        self, mask: BoolArray | None, points: Float32Array, positive: BoolArray, candidates: NumCandidates
    ) -> Candidates:
        """Heed one more click on a mask.

        Args:
            mask: Mask so far, (H, W), or `None` before the first click.
            points: All clicks as (x, y) in pixels of the frame, (P, 2), P > 0; the last is new.
            positive: Whether each lies on the object, (P,).
            candidates: Number of masks.

        Returns:
            The masks.
        """


@runtime_checkable
class MaskGenerator(Protocol):
    """Finds masks without prompts."""

    @property
    def name(self) -> str:
        """Name of the method."""

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Settings that the masks depend on, JSON values only."""

    def automatic_masks(self, frame: UInt8Array) -> list[BoolArray]:
        """Masks of whatever is in a frame, each (H, W) bool; they may overlap.

        Args:
            frame: (H, W, 3) uint8 RGB.
        """
