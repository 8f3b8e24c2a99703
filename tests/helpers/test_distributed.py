from __future__ import annotations

import os

import pytest
import torch
import torch.distributed

from tests.helpers.distributed import GlooPool


def total(rank: int, world: int, start: float) -> tuple[float, int, int]:
    value = torch.tensor(start + rank)
    torch.distributed.all_reduce(value)
    return value.item(), world, os.getpid()


def fail_on_rank_one(rank: int, world: int) -> None:
    if rank == 1:
        raise ValueError("a fault of rank one")


def leave(rank: int, world: int) -> None:
    torch.distributed.destroy_process_group()


def test_two_processes_work_together_and_stay(gloo_pool: GlooPool) -> None:
    first, second = gloo_pool.run(total, 1.0), gloo_pool.run(total, 2.0)
    assert [row[:2] for row in first] == [(3.0, 2), (3.0, 2)]
    assert [row[:2] for row in second] == [(5.0, 2), (5.0, 2)]
    assert [row[2] for row in first] == [row[2] for row in second]
    assert len({os.getpid(), *(row[2] for row in first)}) == 3


def test_the_group_is_joined_again_after_it_was_left(gloo_pool: GlooPool) -> None:
    gloo_pool.run(leave)
    assert [row[0] for row in gloo_pool.run(total, 1.0)] == [3.0, 3.0]


def test_a_failure_is_reported_and_survived(gloo_pool: GlooPool) -> None:
    with pytest.raises(RuntimeError, match=r"rank 1: .*\n(.*\n)*ValueError: a fault of rank one"):
        gloo_pool.run(fail_on_rank_one)
    assert [row[0] for row in gloo_pool.run(total, 1.0)] == [3.0, 3.0]
