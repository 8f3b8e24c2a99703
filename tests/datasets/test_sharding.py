from __future__ import annotations

import pytest

from thriftseg.datasets.sharding import shard
from thriftseg.errors import ConfigError


@pytest.mark.parametrize("count", [0, 1, 2, 7, 12, 100])
@pytest.mark.parametrize("world", [1, 2, 3, 5, 8])
def test_chunks_are_contiguous_complete_and_even(count, world):
    shares = [shard(range(count), rank, world) for rank in range(world)]
    assert [item for share in shares for item in share] == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize(("rank", "world"), [(2, 2), (-1, 2), (0, 0)])
def test_rank_outside_the_world(rank, world):
    with pytest.raises(ConfigError, match="no such rank"):
        shard([1, 2], rank, world)
