from __future__ import annotations

import itertools
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from tests.fixtures.reloading import reloaded
from thriftseg.errors import CheckpointError, ConfigError
from thriftseg.zoo import FrameWindow, TDNet, TDNetFANet, TDNetPSP, create_model
from thriftseg.zoo.tdnet.blocks import Propagation, SpatialLayerNorm

NUM_CLASSES = 5
VARIANTS = {
    "psp2": partial(TDNetPSP, num_paths=2),
    "psp4": partial(TDNetPSP, num_paths=4),
    "fanet": TDNetFANet,
}


def small(variant: str, **arguments) -> TDNet:
    """A network on ResNet-18 whose residual branches and norms do something, as they do after training."""
    torch.manual_seed(0)
    network = VARIANTS[variant](NUM_CLASSES, **arguments)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | SpatialLayerNorm):
            nn.init.uniform_(module.weight, 0.5, 1)
            nn.init.normal_(module.bias, std=0.1)
    for path in network.paths:
        nn.init.normal_(path.head[-1].weight, std=0.1)
        path.encoding.query[-1].weight.data.mul_(4)  # far from uniform attention, which the norm would hide
    return network.eval()


@pytest.fixture(scope="module", params=VARIANTS)
def network(request) -> TDNet:
    return small(request.param)


def clips(network: TDNet, *size: int, batch: int = 1) -> Tensor:
    return torch.randn(batch, network.num_phases, 3, *size)


# Blocks


def test_attention_equals_its_formula():
    torch.manual_seed(0)
    propagation = Propagation(6).eval()
    query, key, value = torch.randn(2, 7, 64), torch.randn(2, 5, 64), torch.randn(2, 5, 6)
    nn.init.normal_(propagation.project.bias)
    attended = torch.softmax(query @ key.transpose(1, 2) / 8, dim=2) @ value
    expected = propagation.project(attended.transpose(1, 2).unsqueeze(3)).squeeze(3).transpose(1, 2)
    torch.testing.assert_close(propagation(query, key, value), expected, rtol=1e-5, atol=1e-5)


def test_gradients_of_attention():
    torch.manual_seed(0)
    propagation = Propagation(3).double().eval()
    query, key, value = (
        torch.randn(1, n, c, dtype=torch.float64, requires_grad=True) for n, c in ((4, 64), (3, 64), (3, 3))
    )
    assert torch.autograd.gradcheck(propagation, (query, key, value))


def test_layer_norm_forms():
    features = torch.randn(2, 3, 4, 5)
    bound, free = SpatialLayerNorm(3, (4, 5)), SpatialLayerNorm(3)
    assert bound.weight.shape == (4, 5)
    assert free.weight.shape == (3, 1, 1)
    torch.testing.assert_close(bound(features), nn.LayerNorm([4, 5])(features))
    torch.testing.assert_close(free(features), nn.InstanceNorm2d(3)(features))
    nn.init.normal_(bound.weight)
    assert not torch.allclose(bound(features), bound.weight.mean() * free(features))


# Streaming


@pytest.mark.parametrize(("size", "starts"), [((17, 25), (0, 1, 2, 3)), ((46, 35), (1,))])
def test_streaming_equals_forward_in_every_phase(network, size, starts):
    length = network.num_phases
    frames = torch.randn(length + 1, 1, 3, *size)
    with torch.inference_mode():
        for start in starts[:length]:
            state = network.start(first_index=start)
            for t, frame in enumerate(frames):
                logits, state = network.step(frame, state)
                window = torch.stack([frames[max(t - age, 0)] for age in range(length - 1, -1, -1)], dim=1)
                expected = network(window, first_index=start + t - (length - 1))
                torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)


def test_phases_differ(network):
    frames = clips(network, 33, 41)
    with torch.inference_mode():
        logits = [network(frames, first_index=index) for index in range(network.num_phases)]
        assert all((one - other).abs().max() > 0.05 for one, other in itertools.pairwise(logits))
        assert torch.equal(network(frames), logits[0])
        assert torch.equal(network(frames, first_index=network.num_phases), logits[0])


def test_every_frame_of_the_window_counts(network):
    frames = clips(network, 33, 41)
    with torch.inference_mode():
        logits = network(frames)
        for t in range(network.num_phases):
            other = frames.clone()
            other[:, t] = torch.randn(3, 33, 41)
            assert (network(other) - logits).abs().max() > 1e-4


@pytest.mark.parametrize("variant", [pytest.param("psp4", marks=pytest.mark.slow), "fanet"])
def test_without_attention_early_frames_are_those_of_the_path_alone(variant):
    network, repeating = small(variant, warm_up="no_attention"), small(variant)
    frames = clips(network, 33, 41)
    with torch.inference_mode():
        state, other = network.start(first_index=1), repeating.start(first_index=1)
        for t in range(network.past_frames):
            logits, state = network.step(frames[:, t], state)
            with_attention, other = repeating.step(frames[:, t], other)
            window = frames[:, t : t + 1].expand(-1, network.num_phases, -1, -1, -1)
            _, others = network.forward_with_auxiliary(window, first_index=1 + t - network.past_frames)
            torch.testing.assert_close(logits, others["sub_path"], rtol=0, atol=1e-5)
            assert (with_attention - logits).abs().max() > 1e-3
            assert len(state.memory) == t + 1
        logits, state = network.step(frames[:, -1], state)
        torch.testing.assert_close(logits, network(frames, first_index=1), rtol=0, atol=1e-5)


def test_warm_up_without_attention_runs_one_path_per_frame():
    network = small("psp4", warm_up="no_attention")
    calls = []
    for index, path in enumerate(network.paths):
        path.subnetwork.register_forward_hook(lambda *_, index=index: calls.append(index))
    with torch.inference_mode():
        state = network.start(first_index=2)
        for _ in range(5):
            _, state = network.step(torch.randn(1, 3, 17, 17), state)
        assert calls == [2, 3, 0, 1, 2]
        network.warm_up = "repeat"
        calls.clear()
        _, state = network.step(torch.randn(1, 3, 17, 17), network.start(first_index=2))
        assert sorted(calls) == [0, 1, 2, 3]
        network.step(torch.randn(1, 3, 17, 17), state)
        assert calls[4:] == [3]


def test_state_is_a_bounded_value(network):
    frames = torch.randn(3 * network.num_phases, 1, 3, 40, 56)
    with torch.inference_mode():
        first, state = network.step(frames[0], network.start())
        again, _ = network.step(frames[0], network.start())
        assert torch.equal(first, again)
        kept, index = state.memory, state.index
        second, _ = network.step(frames[1], state)
        assert torch.equal(network.step(frames[1], state)[0], second)
        assert state.index == index
        assert state.memory is kept
        for frame in frames:
            _, state = network.step(frame, state)
    assert len(state.memory) == network.past_frames
    assert 0 <= state.index < network.num_phases
    positions = 4 if isinstance(network, TDNetPSP) else 2 * 3  # of 6 x 8, or 5 x 7
    assert {q.shape[1] for q, _, _ in state.memory} == {positions}
    moved = state.to("meta")
    assert {tensor.device.type for memory in moved.memory for tensor in memory} == {"meta"}
    assert moved.index == state.index
    assert network.start().memory == ()


def test_detached_state_stops_the_gradient():
    network = small("fanet").train()
    first, second = torch.randn(2, 1, 3, 64, 64, requires_grad=True).unbind()
    _, state = network.step(first, network.start())
    assert torch.autograd.grad(network.step(second, state)[0].sum(), first, retain_graph=True)[0].abs().sum() > 0
    (none,) = torch.autograd.grad(network.step(second, state.detach())[0].sum(), first, allow_unused=True)
    assert none is None


def test_unfit_states_and_frames_are_refused(network):
    with pytest.raises(ConfigError, match="state of another network; expected TDNetState; found FrameWindow"):
        network.step(torch.zeros(1, 3, 33, 33), FrameWindow())
    with pytest.raises(ConfigError, match=r"expected \(B, 3, H, W\); found \(1, 4, 33, 33\)"):
        network.step(torch.zeros(1, 4, 33, 33), network.start())
    with torch.inference_mode():
        _, state = network.step(torch.zeros(1, 3, 33, 33), network.start())
    for frame in (torch.zeros(1, 3, 97, 97), torch.zeros(2, 3, 33, 33)):
        with pytest.raises(ConfigError, match=r"before this one were of another size.*call start\(\)"), torch.no_grad():
            network.step(frame, state)


# Sizes


@pytest.mark.parametrize("size", [(45, 71), (8, 9)])
def test_any_size(network, size):
    with torch.inference_mode():
        logits = network(clips(network, *size, batch=2))
    assert logits.shape == (2, NUM_CLASSES, *size)
    assert torch.isfinite(logits).all()
    assert logits.std() > 0


@pytest.mark.parametrize(
    ("variant", "natural", "other", "low"),
    [("psp2", (49, 65), (43, 60), (7, 9)), ("fanet", (48, 64), (43, 60), (6, 8))],
)
def test_natural_sizes_are_not_padded_and_others_are_extended(variant, natural, other, low):
    network = small(variant)
    frames = clips(network, *other)
    extended = nn.functional.pad(
        frames.flatten(0, 1), (0, natural[1] - other[1], 0, natural[0] - other[0]), mode="replicate"
    ).unflatten(0, (1, 2))
    with torch.inference_mode():
        expected = network(extended)
        assert network.low_resolution_logits(extended).shape[-2:] == low
        torch.testing.assert_close(network.low_resolution_logits(extended), network.compute_logits(extended))
        torch.testing.assert_close(network(frames), expected[..., : other[0], : other[1]])


def test_low_resolution_logits_are_the_others_where_corners_are_aligned():
    network = small("psp2")
    frames = clips(network, 41, 57)
    with torch.inference_mode():
        low = network.low_resolution_logits(frames, first_index=1)
        torch.testing.assert_close(network(frames, first_index=1)[..., ::8, ::8], low, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("variant", "bound", "natural"),
    [("psp2", (5, 7), (33, 49)), ("psp4", (97, 193), (769, 1537)), ("fanet", (4, 6), (32, 48))],
)
def test_bound_layer_norms_refuse_other_sizes_and_name_the_one_that_works(variant, bound, natural):
    network = small(variant, layer_norm_size=bound)
    message = rf"bound to one size of frame; expected {natural[0]}x{natural[1]}; found 64x64; fix: resize"
    with pytest.raises(ConfigError, match=message) as error:
        network(clips(network, 64, 64))
    assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match=message):
        network.step(torch.zeros(1, 3, 64, 64), network.start())
    if natural[0] < 100:
        with torch.inference_mode():
            assert network(clips(network, *natural)).shape[-2:] == natural


def test_stride_of_keys_and_values_depends_on_the_mode():
    network = small("psp2")
    shapes = {}
    for mode in (True, False):
        _, state = network.train(mode).step(torch.zeros(2, 3, 65, 97), network.start())
        shapes[mode] = state.memory[0][1].shape
    assert shapes == {True: (2, 3 * 5, 64), False: (2, 3 * 4, 64)}


# Construction


@pytest.mark.parametrize("variant", ["psp2", "fanet"])
def test_rebuilds_from_its_record_and_loads_its_state(variant):
    network = small(variant, layer_norm_size=(5, 7), warm_up="no_attention")
    again = reloaded(network)
    frames = clips(network, 40, 56)
    with torch.inference_mode():
        assert torch.equal(again(frames, first_index=1), network(frames, first_index=1))
    assert again.record == network.record
    assert again.warm_up == "no_attention"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (partial(TDNetPSP, num_paths=3), "wrong number of paths; expected 2 or 4; found 3"),
        (
            partial(TDNetPSP, backbone="resnet101"),
            "unknown backbone 'resnet101'; expected resnet18, resnet34, resnet50",
        ),
        (partial(TDNetFANet, backbone="resnet50"), "no FANet on 'resnet50' here; expected resnet18 or resnet34"),
        (partial(TDNetPSP, warm_up="zeros"), "unknown warm-up; expected repeat or no_attention; found zeros"),
        (partial(TDNetPSP, kv_stride=0), "wrong stride of keys and values; expected 1 or more; found 0"),
        (partial(TDNetFANet, layer_norm_size=(97,)), r"wrong layer_norm_size; expected height and width.*\(97,\)"),
    ],
)
def test_wrong_arguments_are_refused(build, message):
    with pytest.raises(ConfigError, match=message):
        build(NUM_CLASSES)


def test_weights_that_cannot_be_fetched_are_one_error(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match=r"resnet18 cannot be fetched.*timm/resnet18.tv_in1k is cached"):
        TDNetFANet(NUM_CLASSES, pretrained=True)


def test_encoders_are_those_of_the_papers():
    with torch.device("meta"):
        network, four = create_model("td2_psp50", NUM_CLASSES), create_model("td4_psp18", NUM_CLASSES)
    encoder = network.paths[0].subnetwork.encoder
    assert [block.conv2.dilation for block in encoder.layer3] == [(1, 1)] + 5 * [(2, 2)]
    assert [block.conv2.dilation for block in encoder.layer4] == [(4, 4), (8, 8), (16, 16)]
    assert encoder.conv1[6].out_channels == 128
    shallow = four.paths[3].subnetwork.encoder
    assert [(block.conv1.dilation[0], block.conv2.dilation[0]) for block in shallow.layer3] == [(1, 2), (2, 2)]
    assert [(block.conv1.dilation[0], block.conv2.dilation[0]) for block in shallow.layer4] == [(4, 4), (8, 4)]


# Training


@pytest.mark.parametrize("variant", ["psp2", "fanet", pytest.param("psp4", marks=pytest.mark.slow)])
def test_every_parameter_gets_a_gradient_over_the_phases(variant):
    network = small(variant, auxiliary=True).train()
    for index in range(network.num_phases):
        logits, auxiliary = network.forward_with_auxiliary(clips(network, 33, 49, batch=2), first_index=index)
        assert list(auxiliary) == ["sub_path", "auxiliary"]
        assert auxiliary["auxiliary"].shape == logits.shape == (2, NUM_CLASSES, 33, 49)
        (logits.square().mean() + auxiliary["auxiliary"].square().mean()).backward()
        missing = {name for name, parameter in network.named_parameters() if parameter.grad is None}
        assert bool(missing) == (index < network.num_phases - 1)
    zero = [name for name, parameter in network.named_parameters() if not parameter.grad.abs().sum() > 0]
    assert zero == []


def test_outputs_of_training_belong_together(network):
    frames = clips(network, 42, 50)
    with torch.inference_mode():
        logits, others = network.strided_outputs(frames, first_index=1)
        assert torch.equal(logits.at(1), network(frames, first_index=1))
        assert torch.equal(logits.values, network.low_resolution_logits(frames, first_index=1))
        assert torch.equal(network.forward_with_auxiliary(frames, first_index=1)[0], logits.at(1))
        current_only = torch.cat([torch.randn_like(frames[:, :-1]), frames[:, -1:]], dim=1)
        _, again = network.strided_outputs(current_only, first_index=1)
    assert list(others) == ["sub_path"]
    torch.testing.assert_close(again["sub_path"].values, others["sub_path"].values)
    assert (others["sub_path"].at(1) - logits.at(1)).abs().max() > 1e-3
    assert others["sub_path"].values.shape == logits.values.shape


def test_small_clips_can_be_trained_on(network):
    for size in ((9, 9), (64, 64)):
        assert torch.isfinite(network.train()(clips(network, *size))).all()
    network.eval()


@pytest.mark.parametrize("variant", ["fanet", pytest.param("psp2", marks=pytest.mark.slow)])
def test_loss_falls_in_training(variant):
    torch.manual_seed(0)
    network = VARIANTS[variant](NUM_CLASSES).train()
    frames, labels = clips(network, 33, 33, batch=2), torch.randint(NUM_CLASSES, (2, 3, 3))
    labels = labels.repeat_interleave(11, dim=1).repeat_interleave(11, dim=2)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for iteration in range(12):
        logits, others = network.forward_with_auxiliary(frames, first_index=iteration)
        loss = nn.functional.cross_entropy(logits, labels)
        sub_path_loss = nn.functional.cross_entropy(others["sub_path"], labels)
        optimizer.zero_grad()
        (loss + 0.5 * sub_path_loss).backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(torch.tensor(NUM_CLASSES).log().item(), abs=0.15)
    assert sum(losses[-4:]) / 4 < 0.75 * losses[0]


@pytest.mark.parametrize("variant", ["psp2", "fanet"])
def test_mixed_precision_stays_close(variant):
    network = small(variant)
    frames = clips(network, 33, 49)
    with torch.inference_mode():
        expected = network(frames)
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(frames)
    assert torch.isfinite(logits).all()
    assert (logits.float() - expected).abs().max() < 0.1 * expected.std() + 0.1
