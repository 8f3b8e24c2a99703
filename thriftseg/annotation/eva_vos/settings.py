"""What a run of EVA-VOS is told."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from thriftseg.errors import ConfigError

Ranking = Literal["none", "value", "oracle"]
"""Which object is annotated next: each in turn, that of the highest value per second, or of the highest gain."""

_LEAST_VALUE, _DECAY = 0.04, 0.6


@dataclass(frozen=True)
class EVAVOSSettings:
    """When to stop, and in which order objects are annotated.

    Attributes:
        hours: What may be spent on all objects; the last annotation may go beyond. No limit when absent.
        rounds: Annotations per object beside the first mask.
        target: J&F with which an object is finished; needs a truth.
        ranking: "none" annotates each object once before any of them again. "value" takes the object with the highest
            (V + 0.04) * 0.6^rounds / seconds, with the value V of the agent and the cost of the type that it wants.
            "oracle" takes the one whose annotation adds most J&F per second.
        seed: Of everything random.

    Raises:
        ConfigError: A setting is out of range.
    """

    hours: float | None = None
    rounds: int = 60
    target: float | None = None
    ranking: Ranking = "none"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.ranking not in get_args(Ranking):
            raise ConfigError("no such ranking", expected=", ".join(get_args(Ranking)), found=repr(self.ranking))
        if self.rounds < 0 or self.seed < 0:
            raise ConfigError("rounds and seed", expected="0 or more", found=f"{self.rounds} and {self.seed}")
        if self.hours is not None and not self.hours > 0:
            raise ConfigError("hours", expected="more than 0", found=self.hours)
        if self.target is not None and not 0 < self.target <= 1:
            raise ConfigError("target", expected="above 0, at most 1", found=self.target)

    def to_dict(self) -> dict[str, Any]:
        """All settings as plain values."""
        return asdict(self)


def value_score(value: float, round: int, seconds: float) -> float:
    """Place of an annotation in the ranking by value, as the code of EVA-VOS has it: the highest comes first.

    Args:
        value: What the agent expects of the annotation.
        round: Annotations that the object has had, 1 or more.
        seconds: What the annotation costs.

    Example:
        >>> round(value_score(0.46, round=2, seconds=5.5), 6)
        0.054545
    """
    return (value + _LEAST_VALUE) * _DECAY ** (round - 1) / seconds
