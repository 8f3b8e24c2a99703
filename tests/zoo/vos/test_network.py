"""Streaming, objects that come and go, and bounded memory, on a small STM."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from thriftseg.errors import ConfigError
from thriftseg.zoo import STM, ObjectIds, ObjectRows, ObjectTracker, VOSState

ABSENT = -16.118
SIZE = (29, 45)  # inside 32 x 48


def small(**arguments) -> STM:
    torch.manual_seed(0)
    network = STM("resnet18", key_channels=8, value_channels=16, decoder_channels=8, **arguments)
    nn.init.normal_(network.decoder.classifier.weight, std=0.3)  # opinions, as after training
    return network.eval()


@pytest.fixture(scope="module")
def network() -> STM:
    return small()


@pytest.fixture(autouse=True)
def _no_gradient():
    torch.manual_seed(1)
    with torch.inference_mode():
        yield


def video(length: int, batch: int = 1) -> Tensor:
    return torch.rand(batch, length, 3, *SIZE)


def blocks(batch: int, objects: int) -> Tensor:
    """Disjoint random masks."""
    owner = torch.randint(0, objects + 1, (batch, 1, 4, 6)).repeat_interleave(8, 2).repeat_interleave(8, 3)
    return (owner[..., : SIZE[0], : SIZE[1]] == torch.arange(1, objects + 1).view(1, -1, 1, 1)).float()


def stream(network: STM, frames: Tensor, annotations: dict[int, tuple[Tensor, Tensor | None]]) -> list[Tensor]:
    state, logits = network.start(), []
    for index, frame in enumerate(frames.unbind(1)):
        step, state = network.step(frame, state, *annotations.get(index, (None, None)))
        logits.append(step)
    return logits


@pytest.mark.parametrize("objects", [1, 2, 5])
def test_streaming_equals_forward(network, objects):
    frames, masks = video(7, batch=2), blocks(2, objects)
    logits = network(frames, masks)
    assert logits.shape == (2, 7, objects + 1, *SIZE)
    streamed = torch.stack(stream(network, frames, {0: (masks, None)}), dim=1)
    assert torch.allclose(streamed, logits, atol=1e-5)
    assert (logits[:, 1] - logits[:, 6]).abs().max() > 0.01


def test_first_frame_states_the_given_masks(network):
    masks = blocks(2, 3)
    logits = network(video(1, batch=2), masks)[:, 0]
    assert torch.equal(logits.argmax(1), (masks * torch.arange(1.0, 4.0).view(1, 3, 1, 1)).sum(1).long())


def test_clips_of_different_object_counts_equal_each_alone(network):
    counts = [1, 5, 0, 3]
    frames, masks = video(3, batch=4), blocks(4, 5)
    together = network(frames, masks, torch.tensor(counts))
    for index, count in enumerate(counts):
        alone = network(frames[index : index + 1], masks[index : index + 1, :count])[0]
        assert torch.allclose(together[index, :, : count + 1], alone, atol=1e-4)
        absent = together[index, :, count + 1 :]
        assert torch.allclose(absent, torch.full_like(absent, ABSENT), atol=1e-3)


def test_objects_may_be_permuted(network):
    frames, masks, order = video(3), blocks(1, 4), [2, 0, 3, 1]
    logits = network(frames, masks)
    permuted = network(frames, masks[:, order])
    assert torch.allclose(permuted[:, :, 0], logits[:, :, 0], atol=1e-4)
    assert torch.allclose(permuted[:, :, 1:], logits[:, :, 1:][:, :, order], atol=1e-4)
    assert (permuted - logits).abs().max() > 0.01


def test_objects_in_sparse_channels(network):
    frames, masks = video(3), blocks(1, 2)
    sparse = torch.zeros(1, 5, *SIZE)
    sparse[:, [1, 4]] = masks
    given = torch.tensor([[False, True, False, False, True]])
    logits = stream(network, frames, {0: (sparse, given)})[2]
    dense = stream(network, frames, {0: (masks, None)})[2]
    assert torch.allclose(logits[:, [0, 2, 5]], dense, atol=1e-4)
    assert torch.allclose(logits[:, [1, 3, 4]], torch.full_like(logits[:, [1, 3, 4]], ABSENT), atol=1e-3)


def test_nothing_but_background_before_the_first_object(network):
    frames, masks = video(4), blocks(1, 1)
    logits = stream(network, frames, {2: (masks, None)})
    for early in logits[:2]:
        assert early.shape == (1, 1, *SIZE)
    assert torch.equal(logits[2].argmax(1), masks[:, 0].long())
    later = stream(network, frames[:, 2:], {0: (masks, None)})
    assert torch.allclose(logits[3], later[1], atol=1e-5)


def test_object_that_appears_later(network):
    frames, masks = video(5), blocks(1, 3)
    late = torch.tensor([[False, False, True]])
    logits = stream(network, frames, {0: (masks[:, :2], None), 2: (masks, late)})
    without = stream(network, frames, {0: (masks[:, :2], None)})
    assert torch.equal(logits[1], without[1])
    assert logits[1].shape[1] == 3
    assert logits[2].shape[1] == logits[4].shape[1] == 4
    new = masks[:, 2] > 0
    assert (logits[2].argmax(1) == 3).equal(new)
    before, after = without[2].softmax(1), logits[2].softmax(1)[:, :3]
    assert torch.allclose(after, before * ~new.unsqueeze(1), atol=1e-5)
    assert logits[4][:, 3].std() > 0.01


def test_late_object_reads_only_frames_that_know_it(network):
    frames, masks = video(4), blocks(1, 2)
    state = network.start()
    _, state = network.step(frames[:, 0], state, masks[:, :1])
    _, state = network.step(frames[:, 1], state, masks, torch.tensor([[False, True]]))
    assert [frame.known for frame in state.memory.frames] == [(True, False), (True, True)]
    logits = network.segment(frames[:, 2], state.memory)
    for tensor in state.memory.frames[0].features:
        tensor[1] = 1e3
    assert torch.equal(network.segment(frames[:, 2], state.memory), logits)
    state.memory.frames[0].features[1][0] = 1e3
    assert not torch.allclose(network.segment(frames[:, 2], state.memory), logits, atol=1e-3)


def test_corrected_masks_win_and_are_memorised(network):
    frames, masks, truth = video(4), blocks(1, 2), blocks(1, 2)
    logits = stream(network, frames, {0: (masks, None), 2: (truth, torch.tensor([[True, False]]))})
    without = stream(network, frames, {0: (masks, None)})
    assert ((logits[2].argmax(1) == 1) == (truth[:, 0] > 0)).all()
    assert torch.equal(logits[1], without[1])
    assert (logits[3] - without[3]).abs().max() > 0.01


def test_object_that_is_stated_to_be_gone_vanishes(network):
    frames, masks = video(3), blocks(1, 2)
    logits = stream(network, frames, {0: (masks, None), 1: (torch.zeros(1, 2, *SIZE), torch.tensor([[True, False]]))})
    assert not (logits[1].argmax(1) == 1).any()
    assert all(torch.isfinite(step).all() for step in logits)


def test_soft_masks_are_memorised(network, monkeypatch):
    from thriftseg.zoo.vos import network as module

    frames, masks = video(3), blocks(1, 2)
    soft = network(frames, masks)[:, 2]
    original = module.probabilities
    monkeypatch.setattr(module, "probabilities", lambda logits: (original(logits) > 0.5).float())
    assert (network(frames, masks)[:, 2] - soft).abs().max() > 0.01


def test_memory_is_bounded_over_sixty_frames():
    network = small(memory_every=2, max_memory_frames=5)
    masks, state, sizes = blocks(1, 3), network.start(), []
    for index, frame in enumerate(video(60).unbind(1)):
        _, state = network.step(frame, state, masks if index == 0 else None)
        sizes.append(state.memory.nbytes)
    per_frame = 3 * (8 + 16) * (2 * 3) * 4
    assert sizes[0] == per_frame
    assert set(sizes[8:]) == {5 * per_frame}
    assert [frame.index for frame in state.memory.frames] == [0, 54, 56, 58, 59]
    assert {tuple(tensor.shape) for frame in state.memory.frames for tensor in frame.features} == {
        (3, 8, 2, 3),
        (3, 16, 2, 3),
    }


def test_without_the_previous_frame_only_every_third_is_encoded(monkeypatch):
    network, encoded = small(memory_every=3, remember_previous=False), []
    memorise = network.memorise

    def watched(frame: Tensor, masks: Tensor, rows: ObjectRows) -> tuple[Tensor, ...]:
        encoded.append(int(frame[0, 0, 0, 0]))
        return memorise(frame, masks, rows)

    monkeypatch.setattr(network, "memorise", watched)
    frames, masks = video(9), blocks(1, 2)
    frames[:, :, 0, 0, 0] = torch.arange(9.0)
    streamed = torch.stack(stream(network, frames, {0: (masks, None), 4: (masks, None)}), dim=1)
    assert encoded == [0, 3, 4, 6]
    encoded.clear()
    logits = network(frames[:, :4], masks)
    assert encoded == [0]  # nothing reads the fourth frame
    assert torch.allclose(streamed[:, :4], logits, atol=1e-5)
    both = small(memory_every=3)(frames, masks)
    assert torch.allclose(both[:, 1], logits[:, 1])
    assert (both[:, 2] - logits[:, 2]).abs().max() > 0.01


def test_all_frames_of_a_clip_for_training_are_remembered():
    sparse, dense = small(remember_previous=False), small(memory_every=1)
    frames, masks = video(4), blocks(1, 2)
    assert torch.equal(sparse(frames, masks, remember_all=True), dense(frames, masks))
    assert (sparse(frames, masks)[:, 3] - dense(frames, masks)[:, 3]).abs().max() > 0.01


def test_a_state_is_never_changed(network):
    frames, masks = video(4), blocks(1, 2)
    _, state = network.step(frames[:, 0], network.start(), masks)
    first, _ = network.step(frames[:, 1], state)
    network.step(frames[:, 2], state, blocks(1, 3))
    again, _ = network.step(frames[:, 1], state)
    assert torch.equal(first, again)


def test_start_clears_and_the_state_moves(network):
    frames, masks = video(2), blocks(1, 2)
    _, state = network.step(frames[:, 0], network.start(), masks)
    moved = state.to("meta")
    assert isinstance(moved, VOSState)
    assert {tensor.device.type for tensor in moved.memory.frames[0].features} == {"meta"}
    back = state.to("cpu")
    assert torch.equal(network.step(frames[:, 1], back)[0], network.step(frames[:, 1], state)[0])
    assert len(network.start().memory) == network.start().index == 0
    assert state.index == 1


def test_the_policy_can_be_exchanged(network):
    every = small(memory_every=1, max_memory_frames=9)
    frames, masks = video(5), blocks(1, 1)
    with torch.no_grad():
        assert (every(frames, masks)[:, 4] - network(frames, masks)[:, 4]).abs().max() > 1e-4
    assert every.init_args["memory_every"] == 1


def test_detached_feedback_changes_gradients_only(network):
    frames, masks = video(3), blocks(1, 2)
    with torch.inference_mode(False), torch.enable_grad():
        frames, masks = frames.clone(), masks.clone()
        results = {}
        for detach in (False, True):
            network.zero_grad()
            logits = network(frames, masks, detach_feedback=detach)
            logits[:, 2].square().mean().backward()
            results[detach] = logits.detach(), network.decoder.classifier.weight.grad.clone()
        network.zero_grad()
    assert torch.equal(results[False][0], results[True][0])
    assert not torch.allclose(results[False][1], results[True][1], rtol=1e-3)


@pytest.mark.parametrize(
    ("frames", "masks", "counts", "message"),
    [
        ((1, 3, 16, 16), (1, 1, 16, 16), None, r"expected \(B, T, 3, H, W\)"),
        ((1, 2, 1, 16, 16), (1, 1, 16, 16), None, r"expected \(B, 3, H, W\)"),
        ((1, 2, 3, 16, 16), (1, 1, 16, 15), None, r"expected \(1, N, 16, 16\); found \(1, 1, 16, 15\)"),
        ((2, 2, 3, 16, 16), (1, 1, 16, 16), None, r"expected \(2, N, 16, 16\)"),
        ((1, 2, 3, 16, 16), (1, 2, 16, 16), [3], r"expected 1 numbers up to 2; found \[3\]"),
        ((1, 2, 3, 16, 16), (1, 2, 16, 16), [1, 1], "expected 1 numbers"),
    ],
)
def test_wrong_shapes(network, frames, masks, counts, message):
    counts = None if counts is None else torch.tensor(counts)
    with pytest.raises(ConfigError, match=message):
        network(torch.zeros(frames), torch.zeros(masks), counts)


def test_wrong_table_and_foreign_state(network):
    frames, masks = video(1, batch=2), blocks(2, 1)
    with pytest.raises(ConfigError, match=r"expected \(2, 1\) bool; found \(2, 1\) torch.float32"):
        network.step(frames[:, 0], network.start(), masks, torch.ones(2, 1))
    _, state = network.step(frames[:, 0], network.start(), masks)
    with pytest.raises(
        ConfigError, match=r"another batch of videos; expected 2 or more frames; found 1; fix: call start"
    ):
        network.step(frames[:1, 0], state)


def label_map(ids: list[int]) -> Tensor:
    return ObjectIds(tuple(ids)).labels(torch.cat([torch.full((1, 1, *SIZE), 0.5), blocks(1, len(ids))], dim=1))[0]


def test_tracker_speaks_in_ids(network):
    tracker = ObjectTracker(network)
    labels, frames = label_map([3, 7, 12]), video(4)[0]
    assert torch.equal(tracker.step(frames[0], labels), labels)
    assert tracker.objects.ids == (3, 7, 12)
    assert set(tracker.step(frames[1]).unique().tolist()) <= {0, 3, 7, 12}
    late = torch.where(label_map([5]) == 5, 5, 0)
    late[0, 0] = 255
    found = tracker.step(frames[2], late)
    assert ((found == 5) == (late == 5)).all()
    assert tracker.objects.ids == (3, 7, 12, 5)
    assert tracker.step(frames[3]).shape == SIZE
    tracker.reset()
    assert tracker.objects.ids == ()
    assert not tracker.step(frames[0]).any()


def test_tracker_equals_the_network(network):
    labels, frames = label_map([9, 2]), video(3)
    masks = ObjectIds((2, 9)).masks(labels).unsqueeze(0)
    tracker = ObjectTracker(network)
    for index, logits in enumerate(stream(network, frames, {0: (masks, None)})):
        found = tracker.step(frames[0, index], labels if index == 0 else None)
        assert torch.equal(found, ObjectIds((2, 9)).labels(logits[0]))


def test_tracker_takes_objects_without_pixels(network):
    tracker = ObjectTracker(network)
    labels = label_map([4])
    tracker.step(video(1)[0, 0], labels)
    assert not tracker.step(video(1)[0, 0], torch.zeros(SIZE, dtype=torch.int64), ids=[4]).any()
    with pytest.raises(ConfigError, match="label map does not fit the frame"):
        tracker.step(video(1)[0, 0], labels[1:])
