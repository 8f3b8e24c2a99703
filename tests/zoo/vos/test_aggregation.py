from __future__ import annotations

import math

import pytest
import torch

from thriftseg.zoo.vos.aggregation import aggregate, probabilities

ABSENT = math.log(1e-7 / (1 - 1e-7))


def test_two_objects_by_hand():
    logits = aggregate(torch.tensor([0.9, 0.2]).view(1, 2, 1, 1)).flatten()
    odds = [0.08 / 0.92, 0.9 / 0.1, 0.2 / 0.8]
    assert logits.tolist() == pytest.approx([math.log(value) for value in odds], abs=1e-5)
    shares = probabilities(logits.view(1, 3, 1, 1)).flatten()
    assert shares.tolist() == pytest.approx([value / sum(odds) for value in odds[1:]], abs=1e-6)


def test_absent_and_certain_objects_stay_finite():
    logits = aggregate(torch.tensor([0.0, 1.0, 0.0]).view(1, 3, 1, 1)).flatten()
    assert logits[[0, 1, 3]].tolist() == pytest.approx([ABSENT] * 3, abs=1e-4)
    assert round(ABSENT, 3) == -16.118
    assert logits[2] == pytest.approx(-ABSENT, abs=0.2)  # 1 - 1e-7 has few digits in float32


def test_no_object_is_background():
    logits = aggregate(torch.zeros(2, 0, 4, 5))
    assert logits.shape == (2, 1, 4, 5)
    assert (logits > 15).all()


def test_probabilities_of_all_channels_sum_to_one():
    logits = aggregate(torch.rand(2, 5, 4, 5))
    assert torch.allclose(logits.softmax(1).sum(1), torch.ones(2, 4, 5))
    assert torch.allclose(probabilities(logits), logits.softmax(1)[:, 1:])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    objects = torch.tensor([0.0, 1.0, 0.5]).view(1, 3, 1, 1)
    logits = aggregate(objects.to(dtype))
    assert logits.dtype == torch.float32
    assert torch.equal(logits, aggregate(objects))


def test_gradient():
    objects = (0.1 + 0.8 * torch.rand(1, 3, 2, 2, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(aggregate, (objects,))


def test_gradient_is_finite_at_the_clamp():
    objects = torch.tensor([0.0, 1.0, 0.3]).view(1, 3, 1, 1).requires_grad_()
    aggregate(objects).sum().backward()
    assert torch.isfinite(objects.grad).all()
