"""Settings of runs and recordings of EVA-VOS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from thriftseg.errors import ConfigError

Ranking = Literal["none", "value", "oracle"]
"""Which object is annotated next: each in turn, that of the highest value per second, or of the highest gain."""

CollectedSet = Literal["quality", "types", "both"]
"""What to record: the quality set, the type set, or both."""

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
        seed: Seed of everything random.

    Raises:
        ConfigError: A setting is out of range.

    Example:
        >>> EVAVOSSettings(hours=0)
        Traceback (most recent call last):
        thriftseg.errors.ConfigError: hours; expected more than 0; found 0
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


@dataclass(frozen=True)
class CollectSettings:
    """How many rounds are recorded.

    Attributes:
        what: Masks and how good they are, for qnet; what came of clicks and masks, for the agent; or both.
        quality_rounds: Rounds of an object in the quality set, the first mask included: in each of the others, the
            frame with the worst J is drawn.
        random_rounds: Further rounds in which any frame is drawn; they start from the first mask again.
        type_rounds: Rounds of an object in the type set, the first mask included. Each of the others is a state.
        state_clicks: Clicks that are tried in a state, one after the other.
        seed: Seed of the frames that are drawn at random.

    Raises:
        ConfigError: A setting is out of range.

    Example:
        >>> CollectSettings("types", type_rounds=1)
        Traceback (most recent call last):
        thriftseg.errors.ConfigError: type_rounds of a recording; expected 2 or more; found 1
    """

    what: CollectedSet = "both"
    quality_rounds: int = 8
    random_rounds: int = 4
    type_rounds: int = 10
    state_clicks: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.what not in get_args(CollectedSet):
            raise ConfigError("no such set", expected=", ".join(get_args(CollectedSet)), found=repr(self.what))
        least = {"quality_rounds": 1, "random_rounds": 0, "type_rounds": 2, "state_clicks": 1, "seed": 0}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ConfigError(f"{name} of a recording", expected=f"{bound} or more", found=getattr(self, name))


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
