"""What a recording of annotation rounds is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from thriftseg.errors import ConfigError

CollectedSet = Literal["quality", "types", "both"]
"""What to record: the quality set, the type set, or both."""

QUALITY_FOLDER, TYPE_FOLDER = "quality_set", "type_set"
"""Names of the sets in the folder of a recording."""


@dataclass(frozen=True)
class CollectSettings:
    """How many rounds are recorded.

    Attributes:
        what: Which sets.
        quality_rounds: Rounds of an object in the quality set, the first mask included: in each of the others, the
            frame with the worst J is drawn.
        random_rounds: Further rounds in which any frame is drawn; they start from the first mask again.
        type_rounds: Rounds of an object in the type set, the first mask included. Each of the others is a state.
        state_clicks: Clicks that are tried in a state, one after the other.
        seed: Of the frames that are drawn at random.

    Raises:
        ConfigError: A setting is out of range.
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

    def of_quality(self) -> Mapping[str, Any]:
        """What the quality set depends on."""
        return {name: getattr(self, name) for name in ("quality_rounds", "random_rounds", "seed")}

    def of_types(self) -> Mapping[str, Any]:
        """What the type set depends on."""
        return {name: getattr(self, name) for name in ("type_rounds", "state_clicks")}
