"""Samplers that are aware of epoch, rank and source, and keep their order over interruptions.

They subclass `DistributedSampler` because Lightning leaves such samplers alone and replaces any other one when it
trains on several processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import DistributedSampler

from thriftseg.errors import ConfigError


class Draw(NamedTuple):
    """Request of a training sampler to a data set.

    Attributes:
        epoch: The epoch; sent along because persistent workers never see a changed attribute.
        position: Place in the epoch's order over all ranks; seeds the augmentation.
        sample: Index of the sample.
    """

    epoch: int
    position: int
    sample: int


def seeded_generator(*words: int) -> torch.Generator:
    """A generator seeded by a hash of non-negative integers."""
    state = np.random.SeedSequence(words).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> 1))


class EpochSampler(DistributedSampler[Draw]):
    """Shuffled draws for training, the same global batches for any number of ranks.

    With R ranks of batch size b, the union of the ranks' k-th batches equals the k-th batch of one process with batch
    size R * b. The last incomplete global batch of an epoch is dropped; a list shorter than one global batch is
    repeated to fill it.

    Args:
        size: Number of samples.
        batch_size: Samples per batch and rank.
        seed: Non-negative seed of the order.
        rank: Rank of this process.
        world_size: Number of processes.
        sources: Source of every sample, needed for `ratios`.
        ratios: Share of each source among the draws, in any unit; by default every sample is drawn once.
        begun: Asked whenever an iteration starts: the epoch under way, and how many of its batches this process has had
            before an interruption. Another epoch starts at its beginning.

    Raises:
        ConfigError: `ratios` does not name exactly the sources of the samples.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        *,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        sources: Sequence[str] | None = None,
        ratios: Mapping[str, float] | None = None,
        begun: Callable[[], tuple[int, int]] = lambda: (0, 0),
    ) -> None:
        super().__init__(range(size), num_replicas=world_size, rank=rank, seed=seed)  # type: ignore[arg-type]
        self.size = size
        global_batch = batch_size * world_size
        self.batch_size = batch_size
        self.num_samples = max(1, size // global_batch) * batch_size
        self.total_size = self.num_samples * world_size
        self._begun = begun
        self._pools = _pools(size, self.total_size, sources, ratios)

    def __iter__(self) -> Iterator[Draw]:
        """Draws of this rank in order."""
        order, (epoch, batches) = self.order(self.epoch), self._begun()
        start = batches * self.batch_size if epoch == self.epoch else 0
        for position in range(self.rank + start * self.num_replicas, self.total_size, self.num_replicas):
            yield Draw(self.epoch, position, order[position])

    def order(self, epoch: int) -> list[int]:
        """Sample indices of an epoch over all ranks."""
        generator = seeded_generator(self.seed, epoch)
        drawn: list[int] = []
        for indices, count in self._pools:
            of_source: list[int] = []
            while len(of_source) < count:  # one permutation after the other
                of_source += [indices[i] for i in torch.randperm(len(indices), generator=generator).tolist()]
            drawn += of_source[:count]
        if len(self._pools) == 1:
            return drawn
        return [drawn[i] for i in torch.randperm(len(drawn), generator=generator).tolist()]


class OrderedSampler(DistributedSampler[int]):
    """Indices 0 to size - 1 in order; for a data set that already holds only this rank's items."""

    def __init__(self, size: int) -> None:
        super().__init__(range(size), num_replicas=1, rank=0, shuffle=False)  # type: ignore[arg-type]


def _pools(
    size: int, total: int, sources: Sequence[str] | None, ratios: Mapping[str, float] | None
) -> list[tuple[list[int], int]]:
    """Sample indices of each source and how many draws of an epoch it gets."""
    if ratios is None:
        return [(list(range(size)), total)]
    if sources is None or set(ratios) != set(sources) or min(ratios.values()) < 0 or sum(ratios.values()) <= 0:
        raise ConfigError(
            "source_ratios must give a share for every source of the mixture",
            expected=", ".join(sorted(set(sources or ()))),
            found=dict(ratios),
        )
    names = sorted(ratios)
    exact = [total * ratios[name] / sum(ratios.values()) for name in names]
    counts = [int(share) for share in exact]
    by_remainder = sorted(range(len(names)), key=lambda k: counts[k] - exact[k])
    for k in by_remainder[: total - sum(counts)]:
        counts[k] += 1
    return [([i for i, s in enumerate(sources) if s == name], count) for name, count in zip(names, counts, strict=True)]
