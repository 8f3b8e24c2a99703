"""Masks that a prompter proposes, click by click."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from thriftseg.annotation.page.frame_state import mask_of_patch
from thriftseg.annotation.page.refusals import PageError
from thriftseg.annotation.people.mask_clicker import PromptedMask, by_score, rebuild_mask
from thriftseg.annotation.people.masks import MaskClick
from thriftseg.arrays import BoolArray
from thriftseg.datasets import read_frame
from thriftseg.labels import Candidates, CorrectsMasks, Embedded, NumCandidates, Prompt, Prompter
from thriftseg.stores import Patch

PromptBox = tuple[float, float, float, float]

_FRAMES = 4  # that stay embedded
_ANSWERS = 8  # of sessions, which keep their frames


class Question(NamedTuple):
    """What a prompter is asked.

    Attributes:
        clicks: All clicks so far.
        box: Box around the object, (x0, y0, x1, y1) in pixels.
        base: Mask to be corrected, 1 = object.
    """

    clicks: Sequence[MaskClick]
    box: PromptBox | None = None
    base: Patch | None = None


class MaskProposals:
    """Answers of a prompter, which looks at each frame once and is asked by one session at a time.

    Args:
        prompter: The prompter.
    """

    def __init__(self, prompter: Prompter) -> None:
        self.prompter = prompter
        self._lock = threading.Lock()
        self._embedded: OrderedDict[Path, tuple[Embedded, tuple[int, int]]] = OrderedDict()
        self._asked: OrderedDict[str, tuple[Any, _Answer]] = OrderedDict()

    def answer(self, session: str, frame: Path, question: Question) -> tuple[BoolArray, float]:
        """Mask of an object.

        Args:
            session: Who asks; clicks that follow on the last ones of a session build on the answer to these.
            frame: File of the frame.
            question: What it asks.

        Returns:
            The mask, (H, W), and its score as the prompter defines it.

        Raises:
            PageError: There is nothing to go by, or it lies outside of the frame.
            DatasetError: The frame cannot be read.
        """
        clicks, box, base = question
        if not clicks and box is None:
            raise PageError("a question without clicks and without a box")
        with self._lock:
            embedded, size = self._look(frame)
            height, width = size
            if any(not (0 <= x < width and 0 <= y < height) for x, y, _ in clicks):
                raise PageError("a click outside of the frame", expected=f"inside of {width}x{height}")
            if box is not None:
                left, top, right, bottom = box = _ordered(box)
                if not (0 <= left < right <= width and 0 <= top < bottom <= height):
                    raise PageError("a box outside of the frame", expected=f"inside of {width}x{height}", found=box)
            about = (frame, box, base)
            known, answer = self._asked.pop(session, (None, None))  # not kept when it fails
            if answer is None or known != about or not answer.goes_on_with(clicks):
                mask = None if base is None else mask_of_patch(base, size)
                answer = _Answer(embedded, box, mask)
            found = answer.to(clicks)
            _keep(self._asked, session, (about, answer), _ANSWERS)
            return found

    def _look(self, frame: Path) -> tuple[Embedded, tuple[int, int]]:
        found = self._embedded.get(frame)
        if found is None:
            image = read_frame(frame)
            found = self.prompter.embed(image), (image.shape[0], image.shape[1])
        _keep(self._embedded, frame, found, _FRAMES)
        return found


class _Answer:
    """What a prompter says to a box, a mask and clicks that become more.

    Args:
        embedded: The frame.
        box: A box around the object.
        mask: A mask to be corrected.
    """

    def __init__(self, embedded: Embedded, box: PromptBox | None, mask: BoolArray | None) -> None:
        self._embedded, self._box, self._score = embedded, box, 1.0
        corrects = isinstance(embedded, CorrectsMasks)
        self._candidates: NumCandidates = 1 if corrects else 3
        self._asks_at_once = box is not None and not corrects
        self._clicks: list[MaskClick] = []
        if mask is not None:
            self._prompted = rebuild_mask(embedded, mask, self._candidates)
        else:
            first = self._predicted([]) if box is not None else None
            self._prompted = PromptedMask(embedded, self._candidates, first)

    def goes_on_with(self, clicks: Sequence[MaskClick]) -> bool:
        """Whether these clicks begin with those that were answered."""
        return self._clicks == list(clicks[: len(self._clicks)])

    def to(self, clicks: Sequence[MaskClick]) -> tuple[BoolArray, float]:
        """Mask and score for these clicks."""
        new, self._clicks = clicks[len(self._clicks) :], list(clicks)
        if self._asks_at_once and new:
            self._prompted.mask = self._predicted(clicks)
        elif not self._asks_at_once:
            for click in new:
                self._prompted.add(click, self._choose)
        mask = self._prompted.mask
        if mask is None:  # of clicks, which are there without a box
            raise PageError("a question without clicks and without a box")
        return mask, self._score

    def _predicted(self, clicks: Sequence[MaskClick]) -> BoolArray:
        points = np.array([click[:2] for click in clicks], np.float32).reshape(-1, 2)
        positive = np.array([click.positive for click in clicks], np.bool_)
        (found,) = self._embedded.predict([Prompt(points, positive, self._box)], self._candidates)
        mask: BoolArray = found.masks[self._choose(found)]
        return mask

    def _choose(self, candidates: Candidates) -> int:
        chosen = by_score(candidates)
        self._score = float(candidates.scores[chosen])
        return chosen


def _ordered(box: PromptBox) -> PromptBox:
    x0, y0, x1, y1 = box
    return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)


def _keep(kept: OrderedDict[Any, Any], key: Any, value: Any, most: int) -> None:
    """Keep what was used last."""
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > most:
        kept.popitem(last=False)
