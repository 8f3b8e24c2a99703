"""How much work evaluation takes."""

from __future__ import annotations

from dataclasses import dataclass

from thriftseg.errors import ConfigError
from thriftseg.workers import Workers


@dataclass(frozen=True)
class Effort:
    """How much to compute, and who does it.

    Attributes:
        workers: Who reads and compares files.
        resamples: Draws of the bootstrap.
        seed: Seed of the draws.

    Raises:
        ConfigError: A number is out of range.
    """

    workers: Workers
    resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.resamples < 0:
            raise ConfigError("number of bootstrap resamples", expected="at least 0", found=self.resamples)
        if self.seed < 0:
            raise ConfigError("seed of the bootstrap", expected="0 or more", found=self.seed)
