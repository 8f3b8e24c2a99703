"""What holds for every network of the registry."""

from __future__ import annotations

import io
import json

import pytest
import torch

from thriftseg.zoo import SemanticNetwork, create_model, list_models, rebuild

BIG = {"deeplabv3plus_resnet101", "pspnet_resnet101", "hrnet_w48", "td2_psp50", "tmanet_r50", "tmanet_r101"}
NUM_CLASSES = 5


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.slow if name in BIG else ()) for name in list_models("semantic")],
)
def network(request) -> SemanticNetwork:
    torch.manual_seed(0)
    return create_model(request.param, NUM_CLASSES)


def clips(network: SemanticNetwork, *size: int, batch: int = 1) -> torch.Tensor:
    return torch.randn(batch, network.past_frames + 1, 3, *size)


def forwards(network: SemanticNetwork, frames: torch.Tensor) -> list[torch.Tensor]:
    """Logits of every phase."""
    if network.num_phases == 1:
        return [network(frames)]
    return [network(frames, first_index=phase) for phase in range(network.num_phases)]


@pytest.mark.parametrize("size", [(64, 96), (45, 71)])
def test_forward_at_any_size(network, size):
    frames = clips(network, *size, batch=2)
    with torch.inference_mode():
        logits = network.eval()(frames)
        if network.past_frames == 0:
            assert torch.equal(network(frames[:, 0]), logits)
    assert logits.shape == (2, NUM_CLASSES, *size)
    assert torch.isfinite(logits).all()
    assert logits.std() > 0


def test_low_resolution_logits_are_those_of_forward_before_enlargement(network):
    extra = getattr(network, "size_remainder", 0)  # sides that are not padded: multiples of the stride plus this
    size = (64 + extra, 96 + extra)
    frames = clips(network, *size)
    with torch.inference_mode():
        low = network.eval().low_resolution_logits(frames)
        enlarged = torch.nn.functional.interpolate(low, size=size, mode="bilinear", align_corners=network.align_corners)
        assert torch.equal(enlarged, network(frames))
        odd = network.low_resolution_logits(frames[..., :45, :71])
    stride = 64 // (low.shape[-2] - extra)
    assert low.shape == (1, NUM_CLASSES, 64 // stride + extra, 96 // stride + extra)
    assert odd.shape == (1, NUM_CLASSES, -((extra - 45) // stride) + extra, -((extra - 71) // stride) + extra)


def test_every_parameter_gets_a_gradient(network):
    network.train()
    network.zero_grad()
    torch.stack(forwards(network, clips(network, 64, 64, batch=2))).square().mean().backward()
    without = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert without == []
    bad = [name for name, parameter in network.named_parameters() if not torch.isfinite(parameter.grad).all()]
    assert bad == []


def test_single_image_can_be_trained_on(network):
    """Branches that pool to one value per channel have no batch statistics then."""
    network.train()
    assert torch.isfinite(network(clips(network, 64, 64))).all()


def test_rebuilds_from_its_record_and_loads_its_state(network):
    network.eval()
    buffer = io.BytesIO()
    torch.save({"record": network.record, "state": network.state_dict()}, buffer)
    buffer.seek(0)
    stored = torch.load(buffer, weights_only=True)
    again = rebuild(json.loads(json.dumps(stored["record"]))).eval()
    again.load_state_dict(stored["state"])
    frames = clips(network, 64, 64)
    with torch.inference_mode():
        assert torch.equal(again(frames), network(frames))
    assert again.record == network.record


def test_streaming_equals_forward(network):
    network.eval()
    length = network.past_frames + 1
    frames = torch.randn(length + 1, 1, 3, 33, 40)
    with torch.inference_mode():
        state = network.start()
        for index, frame in enumerate(frames):
            phase = getattr(state, "index", 0)
            window = [frames[max(past, 0)] for past in range(index - network.past_frames, index + 1)]
            logits, state = network.step(frame, state)
            expected = forwards(network, torch.stack(window, dim=1))[(phase + 1) % network.num_phases]
            assert torch.allclose(logits, expected, atol=1e-5)


@pytest.mark.slow
def test_compiles_without_a_graph_break(network):
    frames = clips(network, 33, 41)
    torch.compiler.reset()  # the networks share one `forward`, and dynamo limits the compilations of one function
    compiled = torch.compile(network.eval(), backend="eager", fullgraph=True)
    with torch.no_grad():
        assert torch.equal(compiled(frames), network(frames))
