"""The budget for labels, round by round."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from thriftseg.arrays import Float64Array, Int64Array
from thriftseg.errors import ConfigError

BudgetUnit = Literal["pixels", "clicks", "seconds", "samples"]

_ROUNDING = 1e-9  # share of the total that sums of floats may be off by


@dataclass
class Budget:
    """A total in one unit, in equal shares for the rounds; what a round leaves or overspends counts for the next.

    The pixels of a sample are known before it is labelled: one that does not fit into the round is passed over, but the
    first round may borrow from later ones to get one sample. Clicks and seconds are known afterwards: a round ends with
    the sample that uses it up. Either way at most one sample is spent above the total.

    Attributes:
        total: What may be spent in all rounds.
        rounds: Their number.
        unit: "pixels", "clicks", "seconds" or "samples".
        round: The current round, from 1.
        spent: What has been spent in all rounds so far.
        samples: How many samples that bought.

    Raises:
        ConfigError: A value is out of range.

    Example:
        >>> budget = Budget(total=90, rounds=3, unit="pixels")
        >>> budget.plan([7, 5, 6], costs=[20, 20, 10])
        [7, 6]
        >>> budget.charge(20)
        >>> budget.next_round()
        >>> budget.left
        40.0
    """

    total: float
    rounds: int
    unit: BudgetUnit
    round: int = 1
    spent: float = 0.0
    samples: int = 0

    def __post_init__(self) -> None:
        if self.unit not in get_args(BudgetUnit):
            raise ConfigError("unknown unit of a budget", expected=", ".join(get_args(BudgetUnit)), found=self.unit)
        if self.rounds < 1 or not 1 <= self.round <= self.rounds:
            found = f"round {self.round} of {self.rounds}"
            raise ConfigError("rounds of a budget", expected="at least 1", found=found)
        if not (0 <= self.total < math.inf and 0 <= self.spent < math.inf and self.samples >= 0):
            found = f"{self.spent:g} of {self.total:g} for {self.samples} samples"
            raise ConfigError("amounts of a budget", expected="0 or more, and not infinite", found=found)

    @property
    def left(self) -> float:
        """What this round may still spend."""
        left = self.total * self.round / self.rounds - self.spent
        return left if left > self.total * _ROUNDING else 0.0

    @property
    def known_before(self) -> bool:
        """Whether the cost of a sample is known before it is labelled."""
        return self.unit in ("pixels", "samples")

    def needed(self, cost: float) -> int:
        """How many samples this round will take, as far as one can tell; 0 if nothing is left.

        Args:
            cost: What a sample is expected to cost, in the unit of the budget. Clicks and seconds take the mean of what
                has been bought instead, once there is any.

        Raises:
            ConfigError: The cost is not above 0.
        """
        if not 0 < cost < math.inf:
            raise ConfigError("expected cost of a sample", expected="more than 0", found=cost)
        if self.known_before:
            return max(1, math.floor(self.left / cost + _ROUNDING)) if self.left else 0
        return math.ceil(self.left / (self.spent / self.samples if self.spent else cost))

    def plan(
        self, ranking: Sequence[int] | Int64Array, costs: Sequence[float] | Int64Array | Float64Array
    ) -> list[int]:
        """The samples of a ranking that this round can take, in their order; spends nothing yet.

        Args:
            ranking: Samples, the most wanted first.
            costs: What each costs or is expected to cost, in the unit of the budget.

        Raises:
            ValueError: There are not as many costs as samples.
        """
        taken, left, tolerance = [], self.left, self.total * _ROUNDING
        for sample, cost in zip(ranking, costs, strict=True):
            if left <= tolerance:
                break
            if not self.known_before or cost <= left + tolerance:
                taken.append(int(sample))
                left -= cost
        may_borrow = self.round == 1 and self.samples == 0 and self.total > 0
        return [int(ranking[0])] if may_borrow and not taken and len(ranking) else taken

    def charge(self, cost: float) -> None:
        """Note what a sample has cost, in the unit of the budget.

        Raises:
            ValueError: The cost is negative or not finite.
        """
        if not 0 <= cost < math.inf:
            raise ValueError(f"expected a cost of at least 0, found {cost}")
        self.spent += cost
        self.samples += 1

    def next_round(self) -> None:
        """End this round.

        Raises:
            ValueError: It is the last one.
        """
        if self.round == self.rounds:
            raise ValueError(f"round {self.round} is the last one")
        self.round += 1

    def to_dict(self) -> dict[str, Any]:
        """All attributes as plain values, to go on later."""
        return asdict(self)


def parse_amount(text: str | float, full: float | None = None) -> float:
    """Read an amount: a number, or percent of everything.

    Args:
        text: Such as "12000" or "10%".
        full: What 100 percent are.

    Raises:
        ConfigError: The text is no amount, negative, above 100 percent, or in percent of something unknown.

    Example:
        >>> parse_amount("12000"), parse_amount("4.3%", full=50000)
        (12000.0, 2150.0)
    """
    number, percent, rest = str(text).strip().partition("%")
    try:
        amount = float(number)
    except ValueError:
        amount = math.nan
    if rest or not 0 <= amount < math.inf or (percent and amount > 100):
        raise ConfigError("not an amount", expected="a number such as 12000, or 0% to 100%", found=repr(text))
    if not percent:
        return amount
    if full is None:
        raise ConfigError("percent of an unknown amount", found=repr(text), fix="give a number such as 12000")
    return full * amount / 100
