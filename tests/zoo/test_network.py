from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

from thriftseg.errors import ConfigError
from thriftseg.zoo import IMAGENET, DeepLabV3Plus, Preprocessing, SemanticNetwork, StreamState
from thriftseg.zoo.blocks.batch_norm import PooledBatchNorm2d


class FadingMemory(SemanticNetwork):
    """Sees the newest frame most and older ones less; strides of 4."""

    size_multiple = 8
    past_frames = 2

    def __init__(self, num_classes: int, fading: tuple[float, float, float] = (0.1, 0.3, 1.0), **extra: int) -> None:
        super().__init__(num_classes)
        self.fading = fading
        self.conv = nn.Conv2d(3, num_classes, kernel_size=4, stride=4)

    def compute_logits(self, frames: Tensor) -> Tensor:
        mixed = sum(factor * frames[:, t] for t, factor in enumerate(self.fading))
        return self.conv(mixed)


class Inherits(FadingMemory):
    pass


@pytest.fixture
def network() -> FadingMemory:
    torch.manual_seed(0)
    return FadingMemory(num_classes=4)


def test_records_the_arguments_of_the_outermost_constructor():
    assert FadingMemory(4, extra_steps=3).init_args == {"num_classes": 4, "fading": [0.1, 0.3, 1.0], "extra_steps": 3}
    assert Inherits(num_classes=2, fading=(0.0, 0.0, 1.0)).init_args == {"num_classes": 2, "fading": [0.0, 0.0, 1.0]}


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])  # noqa: S301
def test_record_survives_copies(duplicate):
    network = DeepLabV3Plus(3, decoder_channels=8)
    assert duplicate(network).record == network.record


def test_record_is_not_changed_by_its_readers(network):
    network.init_args["num_classes"] = 99
    assert network.init_args["num_classes"] == 4


def test_arguments_that_cannot_be_stored_are_refused():
    with pytest.raises(ConfigError, match=r"argument 'fading' of a network cannot be recorded.*found Tensor"):
        FadingMemory(4, fading=torch.ones(3))


@pytest.mark.parametrize("num_classes", [0, 256, -1])
def test_wrong_number_of_classes(num_classes):
    with pytest.raises(ConfigError, match=f"expected num_classes from 1 to 255; found {num_classes}"):
        FadingMemory(num_classes)


@pytest.mark.parametrize("shape", [(2, 1, 3, 16, 16), (2, 4, 3, 16, 16), (2, 3, 4, 16, 16), (2, 3, 8, 8), (3, 8, 8)])
def test_wrong_clip_shape(network, shape):
    with pytest.raises(ConfigError) as caught:
        network(torch.zeros(shape))
    assert caught.value.headline == (
        f"FadingMemory cannot take these frames; expected (B, 3, 3, H, W); found {shape}; "
        "fix: set past_frames to 2 where the clips are made, and use RGB frames"
    )


@pytest.mark.parametrize("shape", [(2, 2, 3, 16, 16), (2, 4, 16, 16), (2, 1, 1, 16, 16), (3, 16, 16)])
def test_wrong_image_shape(shape):
    with pytest.raises(ConfigError, match=r"expected \(B, 1, 3, H, W\) or \(B, 3, H, W\); found"):
        DeepLabV3Plus(3, decoder_channels=8)(torch.zeros(shape))


@pytest.mark.parametrize("size", [(360, 480), (385, 512), (769, 33), (180, 240), (1, 1)])
def test_padding_repeats_the_border_and_is_cut_off(network, size):
    clip = torch.randn(1, 3, 3, *size)
    height, width = size
    rows = torch.arange(height + -height % 8).clamp(max=height - 1)
    columns = torch.arange(width + -width % 8).clamp(max=width - 1)
    padded = clip[..., rows[:, None], columns]
    assert torch.equal(network(clip), network(padded)[..., :height, :width])


def test_multiples_are_not_padded(network):
    clip = torch.randn(1, 3, 3, 16, 24)
    low = network.compute_logits(clip)
    assert torch.equal(network.low_resolution_logits(clip), low)


def test_streaming_equals_forward_on_the_window(network):
    frames = torch.randn(2, 5, 3, 20, 12)
    state = network.start()
    for t in range(5):
        logits, state = network.step(frames[:, t], state)
        window = frames[:, [max(t - 2, 0), max(t - 1, 0), t]]
        assert torch.equal(logits, network(window))
        assert len(state.frames) == 2


class Turns(FadingMemory):
    """Adds 1 to the class of every second frame."""

    num_phases = 2

    def compute_logits(self, frames: torch.Tensor, first_index: int = 0) -> torch.Tensor:
        return super().compute_logits(frames).roll((first_index + self.past_frames) % 2, dims=1)


def test_a_stream_counts_the_phases_of_a_network_that_does_not_do_so_itself():
    torch.manual_seed(0)
    network, frames = Turns(3).eval(), torch.randn(1, 5, 3, 20, 12)
    state = network.start()
    for t in range(5):
        logits, state = network.step(frames[:, t], state)
        window = frames[:, [max(t - 2, 0), max(t - 1, 0), t]]
        assert torch.equal(logits, network(window, first_index=t - 2))
        assert not torch.equal(logits, network(window, first_index=t - 1))


def test_state_of_another_network_is_refused(network):
    with pytest.raises(ConfigError, match="state of another network; expected FrameWindow; found StreamState"):
        network.step(torch.zeros(1, 3, 16, 16), StreamState())


def test_streaming_state_can_be_reused(network):
    first, second = torch.randn(2, 1, 3, 16, 16)
    _, state = network.step(first, network.start())
    once, _ = network.step(second, state)
    twice, _ = network.step(second, state)
    assert torch.equal(once, twice)


def test_no_auxiliary_outputs_by_default(network):
    clip = torch.randn(1, 3, 3, 16, 16)
    logits, auxiliary = network.forward_with_auxiliary(clip)
    assert torch.equal(logits, network(clip))
    assert auxiliary == {}


def test_preprocessing_normalises_by_channel():
    frames = torch.rand(2, 4, 3, 5, 6)
    mean = torch.tensor(IMAGENET.mean).view(3, 1, 1)
    std = torch.tensor(IMAGENET.std).view(3, 1, 1)
    assert torch.allclose(IMAGENET(frames), (frames - mean) / std, atol=1e-6)


def test_preprocessing_turns_the_channels_after_normalising():
    frames = torch.rand(1, 3, 2, 2)
    bgr = Preprocessing(IMAGENET.mean, IMAGENET.std, "bgr")
    assert torch.equal(bgr(frames), IMAGENET(frames).flip(1))


def test_preprocessing_refuses_bytes():
    with pytest.raises(TypeError, match=r"float in \[0, 1\], got torch.uint8"):
        IMAGENET(torch.zeros(1, 3, 2, 2, dtype=torch.uint8))


def test_pooled_batch_norm_is_batch_norm_where_that_is_defined():
    ours, theirs = PooledBatchNorm2d(3), nn.BatchNorm2d(3)
    maps = torch.randn(2, 3, 1, 1)
    assert torch.equal(ours.train()(maps), theirs.train()(maps))
    assert torch.equal(ours.running_mean, theirs.running_mean)


def test_pooled_batch_norm_of_a_single_value_uses_and_keeps_the_running_statistics():
    norm = PooledBatchNorm2d(3)
    norm.train()(torch.randn(4, 3, 1, 1))
    before = norm.running_mean.clone()
    single = torch.randn(1, 3, 1, 1)
    trained = norm(single)
    assert torch.equal(norm.running_mean, before)
    assert torch.equal(trained, norm.eval()(single))


def test_compiles_without_a_graph_break(network):
    clip = torch.randn(1, 3, 3, 33, 41)
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    assert torch.equal(compiled(clip), network(clip))
