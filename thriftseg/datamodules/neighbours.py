"""Choice of the unlabelled frames that accompany a training frame."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from thriftseg.errors import ConfigError
from thriftseg.types import TrainingSample


@dataclass(frozen=True)
class NeighbourPolicy:
    """Chooses neighbour frames of a target frame, as in WeClick (Liu et al., ACM Multimedia 2021, section 3).

    "forward" means that memory flows forward in time into the target: its neighbours are past frames.

    Attributes:
        direction: Past frames, both sides (past first), or future frames.
        n: Frames in all, the target included.
        distance: Fixed distance: the neighbours are the nearest multiples of it. `None` draws them at random.
        reach: Random neighbours lie at most this many steps away.

    Example:
        >>> NeighbourPolicy("two_sided", n=5, distance=4).possible_offsets()
        [-8, -4, 4, 8]
    """

    direction: Literal["forward", "two_sided", "backward"] = "forward"
    n: int = 3
    distance: int | None = None
    reach: int = 4

    def __post_init__(self) -> None:
        if self.direction not in ("forward", "two_sided", "backward"):
            raise ConfigError("unknown direction", expected="forward, two_sided or backward", found=self.direction)
        if self.n < 1 or self.reach < 1 or (self.distance is not None and self.distance < 1):
            raise ConfigError("n, distance and reach of neighbours start at 1", found=self)
        if self.distance is None and max(self._counts()) > self.reach:
            raise ConfigError(
                f"cannot draw {max(self._counts())} distinct neighbours within {self.reach} frames", fix="raise reach"
            )

    def offsets(self, rng: np.random.Generator) -> list[int]:
        """Offsets of the `n - 1` neighbours, nearest first."""
        sides = []
        for count in self._counts():
            steps = self._steps(count)
            if self.distance is None:
                steps = [int(step) for step in rng.choice(steps, size=count, replace=False)]
            sides.append(steps)
        past, future = sides
        return sorted([-step for step in past] + future, key=lambda offset: (abs(offset), offset))

    def possible_offsets(self) -> list[int]:
        """Every offset that `offsets` can return, increasing."""
        sides = [self._steps(count) if count else [] for count in self._counts()]
        return sorted([-step for step in sides[0]] + sides[1])

    def check(self, samples: Iterable[TrainingSample]) -> None:
        """Raise `ConfigError` naming the first sample that lacks a possible neighbour."""
        offsets = self.possible_offsets()
        for sample in samples:
            for offset in offsets:
                number = sample.clip.number_at(sample.number, offset)
                if number not in sample.clip.frames:
                    raise ConfigError(
                        f"neighbour at offset {offset} of frame {sample.id} does not exist",
                        expected=f"frame {number} of {sample.clip.video}",
                        found=f"frames {min(sample.clip.frames)} to {max(sample.clip.frames)}",
                        fix="use a smaller n, distance or reach, or clips with more frames",
                    )

    def _counts(self) -> tuple[int, int]:
        """Numbers of past and of future neighbours."""
        total = self.n - 1
        return {"forward": (total, 0), "backward": (0, total)}.get(self.direction, (total - total // 2, total // 2))

    def _steps(self, count: int) -> list[int]:
        """Distances that the neighbours of one side have, or are drawn from."""
        if self.distance is not None:
            return [self.distance * k for k in range(1, count + 1)]
        return list(range(1, self.reach + 1))
