"""Splitting work among processes without dropping or repeating an item."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from thriftseg.errors import ConfigError

Item = TypeVar("Item")


def shard(items: Sequence[Item], rank: int, world: int) -> list[Item]:
    """The contiguous share of one process; lengths differ by at most one.

    Unlike a distributed sampler, this never pads the shares to equal length, so a share may be empty.

    Args:
        items: All the work, in an order that every process agrees on.
        rank: This process, 0..world-1.
        world: Number of processes.

    Raises:
        ConfigError: `rank` is not one of `world` processes.

    Example:
        >>> [shard("abcdefg", rank, 3) for rank in range(3)]
        [['a', 'b', 'c'], ['d', 'e'], ['f', 'g']]
    """
    if not 0 <= rank < world:
        raise ConfigError("no such rank", expected=f"0..{world - 1}", found=rank)
    share, longer = divmod(len(items), world)
    start = rank * share + min(rank, longer)
    return list(items[start : start + share + (rank < longer)])
