"""What holds for every network of the registry."""

from __future__ import annotations

import io
import json

import pytest
import torch

from thriftseg.zoo import SemanticNetwork, create_model, list_models, rebuild

BIG = {"deeplabv3plus_resnet101", "pspnet_resnet101", "hrnet_w48"}
NUM_CLASSES = 5


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.slow if name in BIG else ()) for name in list_models("semantic")],
)
def network(request) -> SemanticNetwork:
    torch.manual_seed(0)
    return create_model(request.param, NUM_CLASSES)


@pytest.mark.parametrize("size", [(64, 96), (45, 71)])
def test_forward_at_any_size(network, size):
    frames = torch.randn(2, 3, *size)
    with torch.inference_mode():
        logits = network.eval()(frames)
        assert torch.equal(network(frames.unsqueeze(1)), logits)
    assert logits.shape == (2, NUM_CLASSES, *size)
    assert torch.isfinite(logits).all()
    assert logits.std() > 0


def test_low_resolution_logits_are_those_of_forward_before_enlargement(network):
    frames = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        low = network.eval().low_resolution_logits(frames)
        enlarged = torch.nn.functional.interpolate(
            low, size=(64, 96), mode="bilinear", align_corners=network.align_corners
        )
        assert torch.equal(enlarged, network(frames))
        odd = network.low_resolution_logits(frames[..., :45, :71])
    stride = 64 // low.shape[-2]
    assert low.shape == (1, NUM_CLASSES, 64 // stride, 96 // stride)
    assert odd.shape == (1, NUM_CLASSES, -(-45 // stride), -(-71 // stride))


def test_every_parameter_gets_a_gradient(network):
    network.train()
    network.zero_grad()
    network(torch.randn(2, 3, 64, 64)).square().mean().backward()
    without = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert without == []
    bad = [name for name, parameter in network.named_parameters() if not torch.isfinite(parameter.grad).all()]
    assert bad == []


def test_single_image_can_be_trained_on(network):
    """Branches that pool to one value per channel have no batch statistics then."""
    network.train()
    assert torch.isfinite(network(torch.randn(1, 3, 64, 64))).all()


def test_rebuilds_from_its_record_and_loads_its_state(network):
    network.eval()
    buffer = io.BytesIO()
    torch.save({"record": network.record, "state": network.state_dict()}, buffer)
    buffer.seek(0)
    stored = torch.load(buffer, weights_only=True)
    again = rebuild(json.loads(json.dumps(stored["record"]))).eval()
    again.load_state_dict(stored["state"])
    frames = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(again(frames), network(frames))
    assert again.record == network.record


def test_streaming_equals_forward(network):
    network.eval()
    with torch.inference_mode():
        state = network.start()
        for frame in torch.randn(2, 1, 3, 33, 40):
            logits, state = network.step(frame, state)
            assert torch.equal(logits, network(frame))


@pytest.mark.slow
def test_compiles_without_a_graph_break(network):
    frames = torch.randn(1, 1, 3, 33, 41)
    torch.compiler.reset()  # the networks share one `forward`, and dynamo limits the compilations of one function
    compiled = torch.compile(network.eval(), backend="eager", fullgraph=True)
    with torch.no_grad():
        assert torch.equal(compiled(frames), network(frames))
