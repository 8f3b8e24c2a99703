"""Gap between the frames of training clips, which grows over training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from thriftseg.datamodules.sampling import EpochSampler
from thriftseg.errors import ConfigError


class ClipDraw(NamedTuple):
    """Request of the sampler, as `Draw`, with the gap of the moment, which persistent workers could not see change.

    Attributes:
        epoch: The epoch.
        position: Place in the epoch's order over all ranks.
        sample: Index of the sample.
        gap: Most frames of the video to leave out between two frames of the clip.
    """

    epoch: int
    position: int
    sample: int
    gap: int


@dataclass(frozen=True)
class GapCurriculum:
    """The largest gap between the frames of a clip, in frames of the video that are left out.

    In data of which only every n-th frame has a mask, such as YouTube-VOS (n = 5), a gap of g frames is one of g // n
    masks. Published training [0] grows from 0 to 25.

    [0] https://github.com/haochenheheda/Training-Code-of-STM

    Attributes:
        first: Gap at the start; 0 takes adjacent masks.
        last: Largest gap.
        step: Growth.
        every: Training batches between two growths.
        annotation_step: Frames from one mask to the next; by default the usual distance in the numbers of each video.

    Raises:
        ConfigError: A setting is out of range.

    Example:
        >>> [GapCurriculum(step=5, every=100).gap(batch) for batch in (0, 99, 100, 250, 10_000)]
        [0, 0, 5, 10, 25]
    """

    first: int = 0
    last: int = 25
    step: int = 1
    every: int = 3000
    annotation_step: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("first", 0), ("last", self.first), ("step", 0), ("every", 1), ("annotation_step", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"{name} of the gap must be at least {least}", found=value)

    def gap(self, batch: int) -> int:
        """Largest gap in the `batch`-th training batch of the run, from 0."""
        return min(self.first + self.step * (batch // self.every), self.last)

    def masks_between(self, gap: int, step: int) -> int:
        """Most masks to leave out where masks lie `step` frames apart."""
        return gap // (self.annotation_step or max(step, 1))


class CurriculumSampler(EpochSampler):
    """Shuffled draws as those of `EpochSampler`, each with the gap that its batch has in the whole run.

    Args:
        size: Number of samples.
        batch_size: Samples per batch and rank.
        curriculum: The gap.
        settings: Further arguments of `EpochSampler`.

    Attributes:
        batches: Batches of an epoch of which the Trainer takes part; set it where that takes fewer than there are.
    """

    def __init__(self, size: int, batch_size: int, curriculum: GapCurriculum, **settings: Any) -> None:
        super().__init__(size, batch_size, **settings)
        self.curriculum = curriculum
        self.batches = self.num_samples // batch_size

    def __iter__(self) -> Iterator[ClipDraw]:  # type: ignore[override]
        """Draws of this rank in order."""
        for draw in super().__iter__():
            batch = draw.epoch * self.batches + draw.position // (self.batch_size * self.num_replicas)
            yield ClipDraw(*draw, self.curriculum.gap(batch))


def draw_positions(rng: np.random.Generator, available: int, count: int, skip: int) -> list[int]:
    """Draw increasing positions, each at most `skip` positions beyond the next.

    Args:
        rng: Source of randomness.
        available: Positions there are, at least `count`.
        count: Positions to draw.
        skip: Most positions to leave out between two drawn ones.

    Example:
        >>> draw_positions(np.random.default_rng(0), available=3, count=3, skip=5)
        [0, 1, 2]
    """
    positions = [int(rng.integers(0, available - count + 1))]
    for left in range(count - 1, 0, -1):
        next_, end = positions[-1] + 1, available - left + 1
        positions.append(int(rng.integers(next_, min(next_ + skip + 1, end))))
    return positions
