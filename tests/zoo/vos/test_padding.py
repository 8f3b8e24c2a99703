from __future__ import annotations

import pytest
import torch

from thriftseg.zoo import SplitPadding


@pytest.mark.parametrize(
    ("size", "sides"),
    [((96, 160), (0, 0, 0, 0)), ((90, 151), (4, 5, 3, 3)), ((1, 17), (7, 8, 7, 8)), ((95, 161), (7, 8, 0, 1))],
)
def test_splits_evenly_with_the_odd_one_after(size, sides):
    padding = SplitPadding.to_multiple(*size, 16)
    assert (padding.left, padding.right, padding.top, padding.bottom) == sides
    image = torch.rand(2, 3, *size) + 1
    padded = padding.pad(image)
    assert padded.shape[-2] % 16 == padded.shape[-1] % 16 == 0
    assert padded.sum() == pytest.approx(image.sum().item(), rel=1e-5)
    assert torch.equal(padding.crop(padded), image)
    assert torch.equal(padded[..., padding.top : padding.top + size[0], padding.left : padding.left + size[1]], image)
