"""A prompter without weights: every click adds a disc to the mask, or takes one away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from thriftseg.arrays import BoolArray, UInt8Array
from thriftseg.labels.refining.prompters.protocol import Candidates, NumCandidates, Prompt


class DiscPrompter:
    """Starts from the mask of the prompt and applies its clicks in their order; keeps the prompts it has answered.

    The three candidates have discs of half, the same and twice the radius; the second scores best. A box is filled.
    """

    name = "disc"

    def __init__(self, radius: float = 4) -> None:
        self.radius = radius
        self.prompts: list[Prompt] = []

    @property
    def arguments(self) -> Mapping[str, Any]:
        return {"radius": self.radius}

    def embed(self, frame: UInt8Array) -> EmbeddedDiscs:
        return EmbeddedDiscs(self, frame.shape[:2])


class EmbeddedDiscs:
    def __init__(self, prompter: DiscPrompter, size: tuple[int, ...]) -> None:
        self._prompter, self._size = prompter, size

    def predict(self, prompts: Sequence[Prompt], candidates: NumCandidates) -> list[Candidates]:
        self._prompter.prompts += prompts
        scales, scores = ((1,), (0.9,)) if candidates == 1 else ((0.5, 1, 2), (0.5, 0.9, 0.1))
        answers = []
        for prompt in prompts:
            masks = np.stack([self._mask(prompt, scale * self._prompter.radius) for scale in scales])
            answers.append(Candidates(masks, np.array(scores, np.float32), np.where(masks, 8, -8).astype(np.float32)))
        return answers

    def _mask(self, prompt: Prompt, radius: float) -> BoolArray:
        mask = np.zeros(self._size, bool) if prompt.mask_logits is None else prompt.mask_logits > 0
        if prompt.box is not None:
            left, top, right, bottom = (int(edge) for edge in prompt.box)
            mask[top:bottom, left:right] = True
        rows, columns = np.ogrid[: self._size[0], : self._size[1]]
        for (x, y), positive in zip(prompt.points, prompt.positive, strict=True):
            mask = np.where((columns - x) ** 2 + (rows - y) ** 2 <= radius**2, positive, mask)
        return mask
