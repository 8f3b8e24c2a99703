from __future__ import annotations

from collections import Counter

import pytest
from torch.utils.data import DataLoader, DistributedSampler

from thriftseg.datamodules.sampling import Draw, EpochSampler, OrderedSampler
from thriftseg.errors import ConfigError


def epoch_of(sampler: EpochSampler, epoch: int) -> list[Draw]:
    sampler.set_epoch(epoch)
    return list(sampler)


def test_every_sample_once_in_an_order_that_depends_on_seed_and_epoch():
    sampler = EpochSampler(24, 4, seed=3)
    first, second = epoch_of(sampler, 0), epoch_of(sampler, 1)
    assert sorted(d.sample for d in first) == list(range(24))
    assert [d.sample for d in first] != [d.sample for d in second]
    assert [d.position for d in first] == list(range(24))
    assert {d.epoch for d in second} == {1}
    assert epoch_of(EpochSampler(24, 4, seed=3), 1) == second
    assert epoch_of(EpochSampler(24, 4, seed=4), 1) != second


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_ranks_share_the_batches_of_one_process(world_size: int):
    single = EpochSampler(50, 12, seed=1)
    per_rank = 12 // world_size
    ranks = [EpochSampler(50, per_rank, seed=1, rank=r, world_size=world_size) for r in range(world_size)]
    whole = epoch_of(single, 5)
    parts = [epoch_of(sampler, 5) for sampler in ranks]
    assert {len(part) for part in parts} == {len(sampler) for sampler in ranks} == {48 // world_size}
    for k in range(4):
        together = [draw for part in parts for draw in part[k * per_rank : (k + 1) * per_rank]]
        assert sorted(together) == sorted(whole[k * 12 : (k + 1) * 12])


def test_dropped_samples_change_from_epoch_to_epoch():
    sampler = EpochSampler(10, 4)
    seen = Counter(d.sample for epoch in range(20) for d in epoch_of(sampler, epoch))
    assert len(sampler) == 8
    assert set(seen) == set(range(10))


def test_list_shorter_than_a_batch_is_repeated():
    draws = epoch_of(EpochSampler(3, 8), 0)
    assert len(draws) == 8
    assert Counter(d.sample for d in draws).most_common()[-1][1] == 2
    assert len({d.position for d in draws}) == 8


def test_resume_continues_the_epoch_and_the_next_starts_anew():
    begun = [(3, 5)]
    sampler, resumed = EpochSampler(32, 4, seed=2), EpochSampler(32, 4, seed=2, begun=lambda: begun[0])
    whole = epoch_of(sampler, 3)
    assert epoch_of(resumed, 3) == whole[20:]
    assert epoch_of(resumed, 4) == epoch_of(sampler, 4)
    begun[0] = (3, 0)
    assert epoch_of(resumed, 3) == whole


def test_resume_on_two_ranks():
    for rank in range(2):
        whole = epoch_of(EpochSampler(32, 4, rank=rank, world_size=2), 1)
        sampler = EpochSampler(32, 4, rank=rank, world_size=2, begun=lambda: (1, 3))
        assert epoch_of(sampler, 1) == whole[12:]


def test_ratios_set_the_share_of_each_source():
    sources = ["manual"] * 10 + ["flow"] * 90
    sampler = EpochSampler(100, 10, sources=sources, ratios={"manual": 1, "flow": 3})
    draws = epoch_of(sampler, 0)
    drawn = Counter(sources[d.sample] for d in draws)
    assert drawn == {"manual": 25, "flow": 75}
    repeats = Counter(d.sample for d in draws)
    assert max(repeats[i] for i in range(10)) == 3
    assert max(repeats[i] for i in range(10, 100)) == 1
    halves = Counter(sources[d.sample] for d in draws[:50])
    assert 4 < halves["manual"] < 21


@pytest.mark.parametrize("ratios", [{"manual": 1.0}, {"manual": 1, "flow": 1, "clicks": 1}, {"manual": 0, "flow": 0}])
def test_ratios_must_name_the_sources(ratios: dict[str, float]):
    with pytest.raises(ConfigError, match="share for every source of the mixture; expected flow, manual"):
        EpochSampler(4, 2, sources=["manual", "flow"] * 2, ratios=ratios)


def test_epoch_reaches_persistent_workers():
    class Echo:
        def __len__(self) -> int:
            return 8

        def __getitem__(self, draw: Draw) -> Draw:
            return draw

    sampler = EpochSampler(8, 2)
    loader = DataLoader(
        Echo(), 2, sampler=sampler, num_workers=2, persistent_workers=True, collate_fn=lambda items: items
    )
    for epoch in (0, 1, 7):
        sampler.set_epoch(epoch)
        draws = [draw for batch in loader for draw in batch]
        assert {draw.epoch for draw in draws} == {epoch}
        assert [draw.sample for draw in draws] == sampler.order(epoch)


def test_lightning_leaves_these_samplers_alone():
    assert isinstance(EpochSampler(4, 2), DistributedSampler)
    assert list(OrderedSampler(5)) == [0, 1, 2, 3, 4]
    assert isinstance(OrderedSampler(5), DistributedSampler)
