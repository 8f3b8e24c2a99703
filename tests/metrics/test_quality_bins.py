from __future__ import annotations

from fractions import Fraction
from math import ceil

import numpy as np
import pytest
import torch

from thriftseg.errors import ConfigError
from thriftseg.metrics import QualityScores, expected_quality, quality_bins, rank_correlation


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_edges_belong_to_the_lower_bin(dtype):
    qualities = torch.tensor([0, 0.05, 0.0501, 0.5, 1], dtype=dtype)
    assert quality_bins(qualities).tolist() == [0, 0, 1, 9, 19]
    edges = torch.tensor([bin_ / 20 for bin_ in range(21)], dtype=dtype)
    assert quality_bins(edges).tolist() == [0, *range(20)]
    above = torch.nextafter(edges[:-1], torch.ones(1, dtype=dtype))
    assert quality_bins(above).tolist() == list(range(20))


def test_ratios_of_pixels_fall_where_exact_arithmetic_puts_them():
    rng = np.random.default_rng(0)
    unions = rng.integers(1, 400_000, 3000)
    unions[:1000] = 20 * rng.integers(1, 2000, 1000)
    ratios = [Fraction(int(rng.integers(0, union + 1)), int(union)) for union in unions]
    ratios += [Fraction(k * int(union), 20 * int(union)) for k, union in zip(range(21), unions, strict=False)]
    found = quality_bins(torch.tensor([r.numerator / r.denominator for r in ratios], dtype=torch.float64))
    assert found.tolist() == [max(0, ceil(r * 20) - 1) for r in ratios]


@pytest.mark.parametrize("quality", [-0.01, 1.01, float("nan")])
def test_no_sentinels(quality):
    with pytest.raises(ValueError, match=r"must be in \[0, 1\]"):
        quality_bins(torch.tensor([0.5, quality]))


def test_expected_quality_of_certain_and_uniform_predictions():
    assert torch.allclose(expected_quality(torch.eye(20)), torch.arange(20) / 20 + 0.025)
    assert expected_quality(torch.full((3, 4), 0.25)).tolist() == [0.5, 0.5, 0.5]


def test_rank_correlation_with_ties():
    first, second = torch.tensor([1.0, 2.0, 2.0, 5.0]), torch.tensor([0.3, 0.1, 0.4, 0.9])
    ranks = torch.tensor([[1, 2.5, 2.5, 4], [2, 1, 3, 4]], dtype=torch.float64)
    assert rank_correlation(first, second).item() == pytest.approx(torch.corrcoef(ranks)[0, 1].item(), abs=1e-5)
    assert rank_correlation(torch.ones(4), second).isnan()


def test_rank_correlation_of_many_equal_values_is_exact():
    """Sums of the ranks of half of 200 000 values do not fit into 32 bits."""
    true = torch.cat([torch.arange(100_000) / 100_000, torch.ones(100_000)])
    predicted = true.clone()
    predicted[:100_000] = predicted[:100_000].flip(0)
    ranks = np.concatenate([np.arange(1, 100_001), np.full(100_000, 150_000.5)])
    expected = np.corrcoef(ranks, np.concatenate([ranks[:100_000][::-1], ranks[100_000:]]))[0, 1]
    assert rank_correlation(predicted, true).item() == pytest.approx(expected, abs=1e-9)
    assert rank_correlation(true, true).item() == pytest.approx(1, abs=1e-12)


def test_rank_correlation_of_what_is_undefined():
    assert rank_correlation(torch.tensor([0.1, float("nan"), 0.3]), torch.tensor([0.1, 0.2, 0.3])).isnan()
    assert rank_correlation(torch.zeros(0), torch.zeros(0)).isnan()


def test_scores_are_those_of_a_plain_reference_and_do_not_depend_on_batches():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(50, 20, generator=generator)
    quality = torch.rand(50, generator=generator)
    at_once, in_parts = QualityScores(), QualityScores()
    at_once.update(logits, quality)
    for rows in (slice(0, 7), slice(7, 7), slice(7, 50)):
        in_parts.update(logits[rows], quality[rows])
    scores = at_once.compute()
    for name, value in in_parts.compute().items():
        assert torch.equal(value, scores[name])
    probabilities = np.exp(logits.double().numpy())
    expected = (probabilities / probabilities.sum(1, keepdims=True)) @ (np.arange(20) / 20 + 0.025)
    true, predicted = np.maximum(np.ceil(quality.numpy() * 20) - 1, 0).astype(int), logits.numpy().argmax(1)
    assert scores["mae"].item() == pytest.approx(np.abs(expected - quality.numpy()).mean(), abs=1e-6)
    assert scores["accuracy"].item() == pytest.approx((true == predicted).mean())
    ranks = [np.argsort(np.argsort(values)) for values in (expected, quality.numpy())]
    assert scores["rank_correlation"].item() == pytest.approx(np.corrcoef(ranks)[0, 1], abs=1e-6)
    confusion = np.zeros((20, 20), int)
    np.add.at(confusion, (true, predicted), 1)
    assert scores["confusion"].tolist() == confusion.tolist()


def test_without_masks_all_is_undefined():
    scores = QualityScores(3)
    assert all(scores.compute()[name].isnan() for name in ("mae", "accuracy", "rank_correlation"))


def test_wrong_input():
    with pytest.raises(ConfigError, match="wrong number of quality bins"):
        QualityScores(0)
    with pytest.raises(ValueError, match="do not fit"):
        QualityScores(4).update(torch.zeros(2, 3), torch.zeros(2))
