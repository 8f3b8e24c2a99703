from __future__ import annotations

import pytest
import torch

from thriftseg.errors import ConfigError
from thriftseg.zoo import Memory, MemoryPolicy, ObjectRows

ONE = ObjectRows(((0, 0),), 1)


def remember(policy: MemoryPolicy, length: int, annotated: tuple[int, ...] = (0,)) -> Memory:
    memory = Memory(policy, ONE)
    for index in range(length):
        memory = memory.added((torch.full((1, 2), float(index)),), index, index in annotated)
    return memory


def indices(memory: Memory) -> list[int]:
    return [frame.index for frame in memory.frames]


@pytest.mark.parametrize(
    ("length", "kept"),
    [(1, [0]), (2, [0, 1]), (5, [0, 4]), (6, [0, 5]), (7, [0, 5, 6]), (17, [0, 5, 10, 15, 16])],
)
def test_every_fifth_frame_and_the_previous_one(length, kept):
    assert indices(remember(MemoryPolicy(every=5), length)) == kept


@pytest.mark.parametrize(("previous", "needed"), [(True, [0, 1, 2, 3, 4, 5, 6, 7]), (False, [0, 3, 4, 6])])
def test_frames_that_are_needed(previous, needed):
    policy = MemoryPolicy(every=3, previous=previous)
    assert [index for index in range(8) if policy.needs(index, annotated=index == 4)] == needed


def test_memory_holds_what_was_added():
    memory = remember(MemoryPolicy(every=2), 6)
    (values,) = memory.features()
    assert [value[0, 0].item() for value in values] == indices(memory) == [0, 2, 4, 5]


@pytest.mark.parametrize("max_frames", [2, 3, 7])
def test_the_bound_is_hard(max_frames):
    policy = MemoryPolicy(every=1, max_frames=max_frames)
    for length in range(1, 30):
        memory = remember(policy, length)
        assert len(memory) == min(length, max_frames)
        assert indices(memory)[0] == 0
        assert indices(memory)[-1] == length - 1
        assert memory.nbytes == 8 * len(memory)


def test_annotated_frames_outlive_the_others():
    memory = remember(MemoryPolicy(every=1, max_frames=5), 30, annotated=(0, 7, 12))
    assert indices(memory) == [0, 7, 12, 28, 29]


def test_annotated_frames_yield_to_newer_ones_only_when_nothing_else_is_left():
    memory = remember(MemoryPolicy(every=100, max_frames=4), 30, annotated=(0, 3, 7, 12, 20))
    assert indices(memory) == [0, 12, 20, 29]


def test_first_frame_stays_even_if_it_is_no_multiple():
    memory = Memory(MemoryPolicy(every=5), ONE)
    for index in range(3, 13):
        memory = memory.added((torch.zeros(1, 2),), index, annotated=index == 3)
    assert indices(memory) == [3, 5, 10, 12]


def test_adding_leaves_the_old_memory_as_it_was():
    before = remember(MemoryPolicy(every=1, max_frames=3), 3)
    after = before.added((torch.zeros(1, 2),), 3)
    assert indices(before) == [0, 1, 2]
    assert indices(after) == [0, 2, 3]


def test_new_objects_are_unknown_to_old_frames():
    memory = Memory(MemoryPolicy(every=1), ObjectRows(((0, 1), (1, 0)), 2))
    memory = memory.added((torch.tensor([[1.0], [2.0]]),), 0)
    assert memory.unknown(torch.device("cpu")) is None
    wider = memory.with_rows(ObjectRows(((0, 0), (0, 1), (1, 0), (1, 1)), 2))
    assert wider.frames[0].features[0].flatten().tolist() == [0, 1, 2, 0]
    wider = wider.added((torch.ones(4, 1),), 1)
    assert wider.unknown(torch.device("cpu")).tolist() == [[True, False], [False, False], [False, False], [True, False]]
    assert wider.with_rows(ObjectRows(wider.rows.places, 5)).rows.channels == 5


def test_moves_to_another_device():
    moved = remember(MemoryPolicy(every=1), 3).to("meta")
    assert {tensor.device.type for frame in moved.frames for tensor in frame.features} == {"meta"}
    assert indices(moved) == [0, 1, 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"every": 0}, "every of 1 or more; found 0"), ({"max_frames": 1}, "max_frames of 2 or more.*found 1")],
)
def test_wrong_policy(arguments, message):
    with pytest.raises(ConfigError, match=message):
        MemoryPolicy(**arguments)
