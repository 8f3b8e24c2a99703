"""Quality of masks in bins: the targets of a network that judges masks, and the scores of its predictions."""

from __future__ import annotations

import torch
from torch import Tensor

from thriftseg.errors import ConfigError
from thriftseg.metrics.gathering import RowMetric

NUM_BINS = 20


def quality_bins(quality: Tensor, num_bins: int = NUM_BINS) -> Tensor:
    """Bins of qualities: the smallest i with quality <= (i + 1) / num_bins, so that an edge belongs to the lower bin.

    Edges are rounded to the type of `quality`; 0.05 is on the edge in float32 as well as in float64.

    Args:
        quality: Any shape, of a floating type, in [0, 1].
        num_bins: Number of bins n, all equally wide.

    Returns:
        int64 from 0 to n - 1, of the same shape.

    Raises:
        ConfigError: There is no bin.
        ValueError: A quality is not in [0, 1]. Only tensors on the CPU are looked through: elsewhere the program would
            have to wait for the device.

    Example:
        >>> quality_bins(torch.tensor([0.0, 0.05, 0.0501, 0.5, 1.0])).tolist()
        [0, 0, 1, 9, 19]
    """
    _check_num_bins(num_bins)
    if quality.device.type == "cpu" and not bool(((quality >= 0) & (quality <= 1)).all()):
        raise ValueError("qualities must be in [0, 1]")
    edges = torch.arange(1, num_bins + 1, dtype=torch.float64) / num_bins
    return torch.bucketize(quality, edges.to(quality))


def expected_quality(probabilities: Tensor) -> Tensor:
    """Mean quality of a distribution over bins, each of which stands for its centre.

    Args:
        probabilities: (..., n), summing to 1 along the last dimension, the lowest quality first.

    Returns:
        (...), in [0.5 / n, 1 - 0.5 / n].

    Example:
        >>> expected_quality(torch.tensor([0.5, 0.0, 0.0, 0.5]))
        tensor(0.5000)
    """
    num_bins = probabilities.shape[-1]
    centres = (torch.arange(num_bins, device=probabilities.device) + 0.5) / num_bins
    return (probabilities * centres.to(probabilities)).sum(dim=-1)


def rank_correlation(predicted: Tensor, true: Tensor) -> Tensor:
    """Spearman's correlation of ranks, equal values sharing their mean rank.

    Args:
        predicted: (N,).
        true: (N,).

    Returns:
        Scalar float64 in [-1, 1]; NaN where either has fewer than two different values, or a NaN among them.

    Example:
        >>> round(rank_correlation(torch.tensor([1.0, 2.0, 9.0]), torch.tensor([0.1, 0.2, 0.3])).item(), 4)
        1.0
    """
    if bool(predicted.isnan().any() | true.isnan().any()):
        return torch.tensor(float("nan"), dtype=torch.float64)
    first, second = (ranks - ranks.mean() for ranks in (_mean_ranks(predicted), _mean_ranks(true)))
    return ((first * second).sum() / (first.square().sum() * second.square().sum()).sqrt()).clamp(-1, 1)


class QualityScores(RowMetric):
    """Agreement of predicted qualities with true ones, over all masks of the data set.

    Args:
        num_bins: Number of quality bins n.

    Raises:
        ConfigError: There is no bin.

    Example:
        >>> scores = QualityScores(num_bins=2)
        >>> scores.update(torch.tensor([[9.0, 0.0], [0.0, 9.0]]), torch.tensor([0.2, 0.4]))
        >>> result = scores.compute()
        >>> result["accuracy"].item(), result["confusion"].tolist()
        (0.5, [[1, 1], [0, 0]])
    """

    higher_is_better = True

    def __init__(self, num_bins: int = NUM_BINS) -> None:
        super().__init__()
        _check_num_bins(num_bins)
        self.num_bins = num_bins
        self.add_row_state("qualities", 2, dtype=torch.float32)
        self.add_row_state("bins", 2, dtype=torch.int64)

    def update(self, logits: Tensor, quality: Tensor) -> None:
        """Add masks.

        Args:
            logits: (B, n), of the bins.
            quality: True qualities, (B,).

        Raises:
            ValueError: The shapes do not fit, or a quality is not in [0, 1].
        """
        if logits.shape != (len(quality), self.num_bins):
            shapes = f"{tuple(logits.shape)} and {tuple(quality.shape)}"
            raise ValueError(f"logits (B, {self.num_bins}) and quality (B,) do not fit: {shapes}")
        expected = expected_quality(logits.float().softmax(dim=1))
        self.append_rows("qualities", torch.stack([expected, quality.float()], dim=1))
        self.append_rows("bins", torch.stack([quality_bins(quality, self.num_bins), logits.argmax(dim=1)], dim=1))

    def compute(self) -> dict[str, Tensor]:
        """The scores so far.

        Returns:
            `accuracy` of the bins, `mae`, the mean distance of expected and true quality, their `rank_correlation`
            (all float64, NaN where undefined), and `confusion`, (n, n) int64: rows are true bins, columns predicted.
        """
        expected, quality = self.rows("qualities").double().unbind(dim=1)
        true, predicted = self.rows("bins").unbind(dim=1)
        cells = torch.bincount(true * self.num_bins + predicted, minlength=self.num_bins**2)
        return {
            "accuracy": (true == predicted).double().mean(),
            "mae": (expected - quality).abs().mean(),
            "rank_correlation": rank_correlation(expected, quality),
            "confusion": cells.view(self.num_bins, self.num_bins),
        }


def _mean_ranks(values: Tensor) -> Tensor:
    """Ranks from 1, equal values sharing their mean, (N,) float64: exact for any number of equal values."""
    _, places, counts = values.unique(return_inverse=True, return_counts=True)
    counts = counts.double()
    ranks: Tensor = (counts.cumsum(dim=0) - (counts - 1) / 2)[places]
    return ranks


def _check_num_bins(num_bins: int) -> None:
    if num_bins < 1:
        raise ConfigError("wrong number of quality bins", expected="1 or more", found=num_bins)
