from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.labels.propagation.known_motion import merge_logits
from thriftseg.labels.propagation.merging import RunningMerge


def random_logits(objects: int, seed: int = 0, height: int = 40, width: int = 60) -> torch.Tensor:
    """Whole numbers, so that there are many ties, and zeros among them."""
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(-3, 3, (objects, height, width), generator=draw).float()


def textbook(logits: torch.Tensor, ids: list[int]) -> np.ndarray:
    """Pixel by pixel, by the words of the rule."""
    out = np.zeros(logits.shape[1:], np.uint16)
    for row, column in np.ndindex(out.shape):
        best = max([*zip(logits[:, row, column].tolist(), [-i for i in ids], strict=True), (0.0, 0)])
        out[row, column] = -best[1] if best[0] > 0 else 0
    return out


@pytest.mark.parametrize(
    ("logits", "ids", "expected"),
    [
        ([3, 4], [1, 2], 2),
        ([4, 3], [1, 2], 1),
        ([4, 4], [1, 2], 1),
        ([4, 4], [2, 1], 1),
        ([0, 0], [1, 2], 0),
        ([-1, -2], [1, 2], 0),
        ([-1, 1e-6], [1, 2], 2),
        ([float("nan"), 1], [1, 2], 2),
        ([1, float("nan")], [1, 2], 1),
    ],
)
@pytest.mark.parametrize("max_objects", [1, None])
def test_one_pixel(logits, ids, expected, max_objects):
    maps = np.array(logits, np.float32)[:, None, None]
    assert merge_logits(maps, ids, max_objects).tolist() == [[expected]]


@pytest.mark.parametrize("max_objects", [1, 2, 100])
def test_no_chunking_changes_the_map(max_objects):
    logits, ids = random_logits(9), [4, 2, 9, 1, 300, 7, 5, 65535, 3]
    merged = merge_logits(logits, ids, max_objects)
    assert merged.dtype == np.uint16
    np.testing.assert_array_equal(merged, textbook(logits, ids))


def test_no_objects():
    np.testing.assert_array_equal(merge_logits(torch.zeros(0, 2, 3), []), np.zeros((2, 3)))


def test_keeps_the_winning_logit():
    logits = random_logits(5)
    merge = RunningMerge(logits.shape[1:])
    merge.update(logits[:2], [1, 2])
    merge.update(logits[2:], [3, 4, 5])
    assert torch.equal(merge.best_logits, logits.amax(0).clamp(min=0))
    np.testing.assert_array_equal(merge.owners, merge.ids())


def test_every_map_needs_an_id():
    with pytest.raises(ValueError, match="zip"):
        RunningMerge((40, 60)).update(random_logits(3), [1, 2])
