"""Settings of a run of HVSA."""

from __future__ import annotations

from dataclasses import dataclass

from thriftseg.annotation.hvsa.budget import BudgetUnit
from thriftseg.annotation.ranking.granularity import create_granularity
from thriftseg.annotation.ranking.selection import SampleSelection, Strategy
from thriftseg.annotation.ranking.uncertainty import UncertaintyRule
from thriftseg.errors import ConfigError


@dataclass(frozen=True)
class HVSARounds:
    """What is labelled in each round, and how long the network learns it.

    Attributes:
        unit: What the budget counts: pixels, clicks, seconds or samples.
        rounds: Rounds of selection, annotation and tuning.
        granularity: What is labelled at a time: frame, rec<N> such as rec40, or sp.
        strategy: By uncertainty, by diversity of features, by both, by k-means, or at random.
        uncertainty: How it is measured how unsure the network is of a pixel.
        pool_factor: Pool of both and kmeans, in multiples of the samples that are wanted.
        epochs: Epochs of tuning in every round.
        paste_manual: Put the manual labels over the predictions.
        superpixel_weights: Weights of SpixelFCN; SLIC makes the super-pixels without.

    Raises:
        ConfigError: A setting is out of range.

    Example:
        >>> HVSARounds(granularity="rec40", strategy="uncertainty").selection
        SampleSelection(strategy='uncertainty', pool_factor=5)
        >>> HVSARounds(rounds=0)
        Traceback (most recent call last):
        thriftseg.errors.ConfigError: number of rounds; expected at least 1; found 0
    """

    unit: BudgetUnit = "pixels"
    rounds: int = 3
    granularity: str = "frame"
    strategy: Strategy = "both"
    uncertainty: UncertaintyRule = "entropy"
    pool_factor: int = 5
    epochs: int = 15
    paste_manual: bool = True
    superpixel_weights: str | None = None

    def __post_init__(self) -> None:
        SampleSelection(self.strategy, self.pool_factor)
        if self.superpixel_weights is None:
            create_granularity(self.granularity)
        for name, least in (("rounds", 1), ("epochs", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"number of {name}", expected=f"at least {least}", found=getattr(self, name))

    @property
    def selection(self) -> SampleSelection:
        """In which order samples are chosen."""
        return SampleSelection(self.strategy, self.pool_factor)


@dataclass(frozen=True)
class HVSASettings(HVSARounds):
    """How the labels of one video are bought.

    Attributes:
        budget: What may be spent in all rounds: a number, or percent of labelling the whole video, such as 10%.
        target_miou: Stop after the round that reaches this mIoU; needs the truth.

    Raises:
        ConfigError: A setting is out of range.

    Example:
        >>> HVSASettings(budget=2000, unit="clicks").budget, HVSASettings().budget
        ('2000', '10%')
        >>> HVSASettings(target_miou=75)
        Traceback (most recent call last):
        thriftseg.errors.ConfigError: target_miou; expected above 0, at most 1; found 75
    """

    budget: str | int | float = "10%"
    target_miou: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "budget", str(self.budget))
        if self.target_miou is not None and not 0 < self.target_miou <= 1:
            raise ConfigError("target_miou", expected="above 0, at most 1", found=self.target_miou)
