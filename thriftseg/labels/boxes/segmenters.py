"""Methods that turn boxes into masks, behind one protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from thriftseg.arrays import UInt8Array
from thriftseg.datasets import PixelBox
from thriftseg.labels.boxes.masks import ObjectMask
from thriftseg.labels.methods import Licensed
from thriftseg.labels.propagation.propagators.protocol import MovesToDevice
from thriftseg.labels.refining.prompters.protocol import Prompt, Prompter


class BoxSegmenter(Protocol):
    """Finds the object of each box.

    One that computes on an accelerator offers `MovesToDevice.to` as well.

    Example:
        >>> class WholeBox:
        ...     name, arguments = "whole_box", {}
        ...     def segment(self, frame, boxes):
        ...         sizes = {number: (y1 - y0, x1 - x0) for number, (x0, y0, x1, y1) in boxes.items()}
        ...         return [
        ...             ObjectMask(number, self.name, np.full(size, 255, np.uint8), boxes[number][1], boxes[number][0])
        ...             for number, size in sizes.items()
        ...         ]
        >>> segmenter: BoxSegmenter = WholeBox()
        >>> [found] = segmenter.segment(np.zeros((48, 64, 3), np.uint8), {7: (16, 6, 48, 34)})
        >>> found.id, found.pixels, found.area
        (7, (slice(6, 34, None), slice(16, 48, None)), 896)
    """

    @property
    def name(self) -> str:
        """Name of the method."""

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Settings that the masks depend on, JSON values only."""

    def segment(self, frame: UInt8Array, boxes: Mapping[int, PixelBox]) -> list[ObjectMask]:
        """Find the objects of a frame, each as if it were alone.

        Args:
            frame: (H, W, 3) uint8 RGB.
            boxes: Box inside of the frame by id of the object.
        """


@runtime_checkable
class SeesMotion(Protocol):
    """A method that finds objects better when it sees how they move."""

    def segment_moving(
        self, frame: UInt8Array, boxes: Mapping[int, PixelBox], beside: UInt8Array | None
    ) -> list[ObjectMask]:
        """Find the objects of a frame, as `BoxSegmenter.segment` does.

        Args:
            frame: (H, W, 3) uint8 RGB.
            boxes: Box inside of the frame by id of the object.
            beside: The next frame or the one before, likewise; `None` where there is none.
        """


@runtime_checkable
class LearnsOneMask(Protocol):
    """A method that becomes better at an object when it is shown one drawn mask of it."""

    @property
    def tuning_arguments(self) -> Mapping[str, Any]:
        """Settings of that learning, JSON values only."""

    def fine_tuned(self, frame: UInt8Array, mask: UInt8Array, seed: Sequence[int]) -> BoxSegmenter:
        """A copy that has learned one object; the method itself stays as it is.

        Args:
            frame: (H, W, 3) uint8 RGB.
            mask: (H, W) uint8, 1 on the object, 0 beside it, 255 = ignore.
            seed: All that is random follows from it.
        """


class PromptedSegmenter:
    """Masks of a prompter, such as GrabCut or SAM, that is given the boxes.

    Its masks are hard: every pixel of them has probability 1. The score is that of the prompter.

    Args:
        prompter: See `create_prompter`.

    Example:
        >>> from thriftseg.labels import GrabCutPrompter
        >>> frame = np.full((48, 64, 3), 40, np.uint8)
        >>> frame[10:30, 20:44] = 200
        >>> [found] = PromptedSegmenter(GrabCutPrompter()).segment(frame, {7: (16, 6, 48, 34)})
        >>> found.id, found.source, found.area
        (7, 'grabcut', 480)
    """

    def __init__(self, prompter: Prompter) -> None:
        self._prompter = prompter

    @property
    def name(self) -> str:
        """Name of the prompter."""
        return self._prompter.name

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Settings of the prompter."""
        return self._prompter.arguments

    @property
    def licence(self) -> str | None:
        """Licence of the prompter's weights; see `Licensed`."""
        return self._prompter.licence if isinstance(self._prompter, Licensed) else None

    def to(self, device: str) -> None:
        """Compute on a device from now on; see `MovesToDevice.to`."""
        if isinstance(self._prompter, MovesToDevice):
            self._prompter.to(device)

    def segment(self, frame: UInt8Array, boxes: Mapping[int, PixelBox]) -> list[ObjectMask]:
        """Prompt with every box; see `BoxSegmenter.segment`."""
        prompts = [Prompt(box=box) for box in boxes.values()]
        answers = self._prompter.embed(frame).predict(prompts, candidates=1) if prompts else []
        return [
            ObjectMask(
                object_id,
                self.name,
                np.where(answer.masks[0], np.uint8(255), np.uint8(0)),
                score=float(answer.scores[0].clip(0, 1)),
            )
            for object_id, answer in zip(boxes, answers, strict=True)
        ]
