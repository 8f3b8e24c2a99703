"""Prompts that a network can answer in one pass."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from thriftseg.arrays import Float32Array
from thriftseg.errors import ConfigError
from thriftseg.labels.refining.prompters.protocol import Candidates, Prompt

_AT_ONCE = 16  # masks come at the size of the frame, 8 MB each for one of 2048 x 1024


def answer_in_batches(
    prompts: Sequence[Prompt],
    answer: Callable[[list[Prompt]], list[Candidates]],
    mask_size: tuple[int, int],
    mask_alone_at_once: int = _AT_ONCE,
) -> list[Candidates]:
    """Answer prompts in batches of the same make-up (number of points, box or not, mask or not), without padding.

    Args:
        prompts: The prompts.
        answer: Answers those of a batch.
        mask_size: Height and width of the mask logits that the network takes.
        mask_alone_at_once: Largest batch of prompts that are nothing but a mask.

    Returns:
        The answers, in the order of the prompts.

    Raises:
        ConfigError: The mask logits of a prompt have another size.
    """
    answers: dict[int, Candidates] = {}
    for places in _batches(prompts, mask_alone_at_once):
        batch = [prompts[place] for place in places]
        _check_masks(batch, mask_size)
        answers.update(zip(places, answer(batch), strict=True))
    return [answers[place] for place in range(len(prompts))]


def stacked_points(batch: Sequence[Prompt]) -> Float32Array | None:
    """Points of a batch, (N, P, 2) float32, or `None` where there are none."""
    return np.stack([prompt.points for prompt in batch]).astype(np.float32) if len(batch[0].points) else None


def stacked_flags(batch: Sequence[Prompt]) -> Float32Array | None:
    """1 for positive points and 0 for others, (N, P) float32, or `None` where there are none."""
    return np.stack([prompt.positive for prompt in batch]).astype(np.float32) if len(batch[0].points) else None


def stacked_boxes(batch: Sequence[Prompt]) -> Float32Array | None:
    """Boxes of a batch, (N, 4) float32, or `None` where there are none."""
    return None if batch[0].box is None else np.array([prompt.box for prompt in batch], np.float32)


def stacked_masks(batch: Sequence[Prompt]) -> Float32Array | None:
    """Mask logits of a batch, (N, 1, h, w) float32, or `None` where there are none."""
    masks = [prompt.mask_logits[None] for prompt in batch if prompt.mask_logits is not None]
    return np.stack(masks).astype(np.float32) if masks else None


def _batches(prompts: Sequence[Prompt], mask_alone_at_once: int) -> Iterator[list[int]]:
    """Places of the prompts of each batch."""
    alike: defaultdict[tuple[int, bool, bool], list[int]] = defaultdict(list)
    for place, prompt in enumerate(prompts):
        alike[len(prompt.points), prompt.box is None, prompt.mask_logits is None].append(place)
    for (points, no_box, _), places in alike.items():
        size = mask_alone_at_once if no_box and not points else _AT_ONCE
        yield from (places[start : start + size] for start in range(0, len(places), size))


def _check_masks(batch: Sequence[Prompt], size: tuple[int, int]) -> None:
    for prompt in batch:
        if prompt.mask_logits is not None and prompt.mask_logits.shape != size:
            raise ConfigError(
                "mask logits of a prompt",
                expected=f"{size[0]} x {size[1]}, as this prompter returns them",
                found=" x ".join(map(str, prompt.mask_logits.shape)),
            )
