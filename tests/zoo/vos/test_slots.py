from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from thriftseg.errors import ConfigError
from thriftseg.zoo import STM, MemoryPolicy
from thriftseg.zoo.vos.slots import SlotStream

SIZE, OBJECTS = (45, 60), 3


def small(shared_keys: bool = True) -> STM:
    torch.manual_seed(0)
    sizes = {"key_channels": 8, "value_channels": 16, "decoder_channels": 8}
    return STM("resnet18", stride=8, shared_keys=shared_keys, similarity="l2", **sizes).eval()


def masks_of(*channels: int) -> tuple[torch.Tensor, torch.Tensor]:
    masks, given = torch.zeros(1, OBJECTS, *SIZE), torch.zeros(1, OBJECTS, dtype=torch.bool)
    for channel in channels:
        masks[0, channel, 8:30, 14 * channel : 14 * channel + 20] = 1
        given[0, channel] = True
    return masks, given


@pytest.mark.parametrize("previous", [False, True])
@pytest.mark.parametrize("slots", [2, 4])
def test_logits_and_remembered_frames_are_those_of_the_memory(previous: bool, slots: int) -> None:
    network = small()
    network.memory_policy = MemoryPolicy(3, slots, previous)
    stream = SlotStream(network, OBJECTS)
    given = {1: masks_of(0, 1), 8: masks_of(2), 10: masks_of(0), 11: masks_of(1), 12: masks_of(0, 2), 13: masks_of(2)}
    state, other = network.start(), stream.start()
    largest = 0
    with torch.inference_mode():
        for number in range(24):
            frame = torch.rand(1, 3, *SIZE)
            expected, state = network.step(frame, state, *given.get(number, ()))
            found, other = stream.step(frame, other, *given.get(number, masks_of()))
            torch.testing.assert_close(found[:, : expected.shape[1]], expected, atol=1e-5, rtol=0)
            remembered = [number - 1 for number in other.numbers.tolist() if number]
            assert sorted(remembered) == [each.index for each in state.memory.frames], number
            largest = max(largest, len(remembered))
    assert largest == slots


def test_a_frame_that_is_not_needed_is_not_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    network = small()
    network.memory_policy = MemoryPolicy(5, 3, previous=False)
    stream, encoded = SlotStream(network, OBJECTS), []
    memorise = network.memorise
    monkeypatch.setattr(network, "memorise", lambda *inputs: encoded.append(number) or memorise(*inputs))
    state = stream.start()
    for number in range(12):
        _, state = stream.step(torch.rand(1, 3, *SIZE), state, *masks_of(*([0] if number in (0, 7) else [])))
    assert encoded == [0, 5, 7, 10]
    assert state.index == 12


def test_slots_may_be_fewer_than_the_policy_has() -> None:
    network = small()
    assert SlotStream(network, 1, slots=4).start().numbers.shape == (4,)
    assert SlotStream(network, 1).start().known.shape == (1, network.memory_policy.max_frames)
    with pytest.raises(ConfigError, match="too few memory frames"):
        SlotStream(network, 1, slots=1)


def test_a_state_moves_as_a_whole() -> None:
    state = SlotStream(small(), 2).start().to("meta")
    assert {tensor.device.type for tensor in state.tensors.values()} == {"meta"}
    assert list(replace(state, features=(torch.zeros(1),)).tensors)[-1] == "features_0"
