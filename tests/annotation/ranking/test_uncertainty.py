from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest
import torch

from thriftseg.annotation.ranking.uncertainty import Neighbour, UncertaintyRule, pixel_uncertainty
from thriftseg.errors import ConfigError
from thriftseg.losses import TemporalConsistencyLoss

CLASSES, HEIGHT, WIDTH = 4, 12, 16
STILL = torch.zeros(2, HEIGHT, WIDTH)


def random_probabilities(seed: int = 0, sharpness: float = 3.0) -> torch.Tensor:
    logits = torch.randn(CLASSES, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed))
    return (sharpness * logits).softmax(dim=0)


def one_hot(labels: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.one_hot(labels, CLASSES).permute(2, 0, 1).float()


@pytest.mark.parametrize(
    ("rule", "certain", "halves", "uniform", "skewed"),
    [
        ("entropy", 0.0, 0.5, 1.0, 1.75 / 2),  # in bits 0, 1, 2, 1.75
        ("margin", 0.0, 1.0, 1.0, 0.75),
        ("least_conf", 0.0, 0.5, 0.75, 0.5),
    ],
)
def test_by_hand(rule, certain, halves, uniform, skewed):
    columns = [[0, 1, 0, 0], [0.5, 0, 0.5, 0], [0.25] * 4, [0.5, 0.25, 0.125, 0.125]]
    probabilities = torch.tensor(columns).T[:, None]  # (4, 1, 4)
    found = pixel_uncertainty(probabilities, rule)
    assert found.shape == (1, 4)
    assert found.flatten().tolist() == pytest.approx([certain, halves, uniform, skewed], abs=1e-6)


@pytest.mark.parametrize("rule", get_args(UncertaintyRule))
@pytest.mark.parametrize("sharpness", [0.0, 1.0, 100.0])
def test_range_and_order_of_classes(rule, sharpness):
    probabilities, other = random_probabilities(0, sharpness), random_probabilities(1, sharpness)
    found = pixel_uncertainty(probabilities, rule, [Neighbour(other, STILL, STILL)])
    assert found.shape == (HEIGHT, WIDTH)
    assert found.min() >= 0
    assert found.max() <= 1
    swapped = pixel_uncertainty(probabilities.flip(0), rule, [Neighbour(other.flip(0), STILL, STILL)])
    torch.testing.assert_close(swapped, found, atol=1e-6, rtol=0)


def test_entropy_against_a_plain_loop():
    probabilities = random_probabilities()
    expected = [
        [-sum(p * math.log(p) for p in probabilities[:, y, x].tolist()) / math.log(CLASSES) for x in range(WIDTH)]
        for y in range(HEIGHT)
    ]
    np.testing.assert_allclose(pixel_uncertainty(probabilities), expected, atol=1e-5)


@pytest.mark.parametrize("rule", get_args(UncertaintyRule))
def test_half_precision_is_computed_in_float32(rule):
    probabilities = random_probabilities().bfloat16()
    found = pixel_uncertainty(probabilities, rule, [Neighbour(probabilities.flip(1), STILL, STILL)])
    assert found.dtype == torch.float32
    expected = pixel_uncertainty(probabilities.float(), rule, [Neighbour(probabilities.flip(1).float(), STILL, STILL)])
    assert torch.equal(found, expected)


def test_temporal_is_1_between_two_certain_opposites_and_0_between_equals():
    zeros = torch.zeros(HEIGHT, WIDTH, dtype=torch.int64)
    changed = zeros.clone()
    changed[3, 5] = 2
    found = pixel_uncertainty(one_hot(zeros), "temporal", [Neighbour(one_hot(changed), STILL, STILL)])
    assert found[3, 5] == 1
    assert found.sum() == 1


def test_temporal_follows_the_flow():
    """A square that moves by 3 px is no surprise, but would be one if it stood still."""
    before, after = torch.zeros(2, HEIGHT, WIDTH, dtype=torch.int64)
    before[4:8, 2:6], after[4:8, 5:9] = 1, 1
    back, forth = torch.zeros(2, 2, HEIGHT, WIDTH)
    back[0, 4:8, 5:9], forth[0, 4:8, 2:6] = -3, 3
    moved = pixel_uncertainty(one_hot(after), "temporal", [Neighbour(one_hot(before), back, forth)])
    still = pixel_uncertainty(one_hot(after), "temporal", [Neighbour(one_hot(before), STILL, STILL)])
    assert moved.sum() < 1e-12  # the uncovered strip points to what leaves it, so it fails the check
    assert still.sum() == 2 * 4 * 3


def test_temporal_averages_over_the_neighbours_that_can_be_compared():
    labels = torch.zeros(HEIGHT, WIDTH, dtype=torch.int64)
    previous, following = one_hot(labels), one_hot(labels + 1)
    outside = STILL.clone()
    outside[0, :, : WIDTH // 2] = -WIDTH  # the left half came from outside the image
    found = pixel_uncertainty(
        previous, "temporal", [Neighbour(previous, outside, STILL), Neighbour(following, STILL, STILL)]
    )
    assert (found[:, : WIDTH // 2] == 1).all()
    assert (found[:, WIDTH // 2 :] == 0.5).all()
    nobody = pixel_uncertainty(previous, "temporal", [Neighbour(following, outside, STILL)])
    assert (nobody[:, : WIDTH // 2] == 0).all()
    assert (nobody[:, WIDTH // 2 :] == 1).all()


def test_temporal_is_half_of_the_consistency_loss():
    logits, previous = torch.randn(2, CLASSES, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(3))
    found = pixel_uncertainty(logits.softmax(0), "temporal", [Neighbour(previous.softmax(0), STILL, STILL)])
    loss = TemporalConsistencyLoss("l2")(logits[None], previous[None], STILL[None])
    assert 2 * found.mean().item() == pytest.approx(loss.item(), rel=1e-5)


def test_a_video_of_one_frame_has_no_temporal_uncertainty():
    assert not pixel_uncertainty(random_probabilities(), "temporal").any()


def test_unknown_flow_is_not_compared():
    unknown = STILL.clone()
    unknown[:, 2, 3] = torch.nan
    labels = torch.zeros(HEIGHT, WIDTH, dtype=torch.int64)
    found = pixel_uncertainty(one_hot(labels), "temporal", [Neighbour(one_hot(labels + 1), unknown, STILL)])
    assert found[2, 3] == 0
    assert found.sum() == HEIGHT * WIDTH - 1


def test_no_gradient():
    assert not pixel_uncertainty(random_probabilities().requires_grad_()).requires_grad


def test_unknown_rules_and_shapes_are_refused():
    with pytest.raises(ConfigError, match="entropy, margin, least_conf, temporal; found variance"):
        pixel_uncertainty(random_probabilities(), "variance")
    for shape in [(1, 4, 5), (4, 5), (1, 3, 4, 5)]:
        with pytest.raises(ValueError, match="two classes or more"):
            pixel_uncertainty(torch.zeros(shape))
