"""What holds for every network of the registry."""

from __future__ import annotations

import importlib.util
import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.fixtures.reloading import reloaded
from thriftseg.errors import ConfigError
from thriftseg.zoo import Network, Scorer, SemanticNetwork, VOSNetwork, create_model, list_models
from thriftseg.zoo.undrawn import Undrawn
from thriftseg.zoo.weights.releases import recognise

NUM_CLASSES = 5
BIG = {
    "deeplabv3plus_resnet101",
    "eomt_base",
    "eomt_large",
    "eomt_small",
    "hrnet_w48",
    "pspnet_resnet101",
    "stm_r50",
    "td2_psp50",
    "td4_psp18",
    "tmanet_r50",
    "tmanet_r101",
    "videomt_large",
    "videomt_small",
}
MMSEG_CONFIG = {
    "type": "EncoderDecoder",
    "backbone": {"type": "ResNetV1c", "depth": 18, "base_channels": 8},
    "decode_head": {"type": "FCNHead", "in_channels": 64, "channels": 8, "num_convs": 1, "num_classes": NUM_CLASSES},
}
HF_CONFIG = {
    "model_type": "eomt_dinov3",
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "num_blocks": 1,
    "num_queries": 10,
}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "box2seg_deeplabv3plus": {"backbone": "resnet18"},
    "deeplabv3plus": {"backbone": "tu-test_efficientnet", "decoder_channels": 16},
    "fpn": {"backbone": "tu-test_resnet", "decoder_channels": 64},
    "hf": {"config": HF_CONFIG},
    "mmseg": {"config": MMSEG_CONFIG},
    "pspnet": {"backbone": "mobilenetv4_conv_small_035", "decoder_channels": 16},
    "segformer": {"backbone": "mit_b0", "decoder_channels": 16},
    "upernet": {"backbone": "tu-test_convnext", "decoder_channels": 16},
}
GOLDENS = [
    path
    for path in sorted((Path(__file__).parents[1] / "golden" / "models").glob("*.json"))
    if not path.stem.endswith(("_official_size", "_padded", "_a3"))
]


def names(kind: str | None = None) -> list[Any]:
    return [pytest.param(name, marks=marks(name)) for name in list_models(kind)]


def marks(name: str) -> list[pytest.MarkDecorator]:
    found = [pytest.mark.slow] if name in BIG else []
    for families, package, extra in ((("mmseg",), "mmseg", "mmseg"), (("eomt", "hf", "videomt"), "transformers", "hf")):
        if name.partition("_")[0] in families:
            absent = importlib.util.find_spec(package) is None
            found.append(pytest.mark.skipif(absent, reason=f'needs {package}: pip install "thriftseg[{extra}]"'))
    return found


def build(name: str, **arguments: Any) -> Network:
    torch.manual_seed(0)
    num_classes = NUM_CLASSES if name in list_models("semantic") and name != "mmseg" else None
    return create_model(name, num_classes, **ARGUMENTS.get(name, {}), **arguments)


@pytest.fixture(scope="module", params=names())
def network(request) -> Network:
    """Any network, with its auxiliary heads."""
    with Undrawn():
        takes_heads = "auxiliary" in inspect.signature(type(build(request.param))).parameters
    return build(request.param, auxiliary=True) if takes_heads else build(request.param)


@pytest.fixture(scope="module", params=names("semantic"))
def semantic(request) -> SemanticNetwork:
    return build(request.param)


def clips(network: SemanticNetwork, *size: int, batch: int = 1) -> Tensor:
    return torch.randn(batch, network.past_frames + 1, 3, *size)


def natural_size(network: Network) -> tuple[int, int]:
    return network.working_size if isinstance(network, Scorer) else (32, 64)


def example(network: Network, *size: int, batch: int = 1) -> tuple[Tensor, ...]:
    """Arguments of `forward`."""
    if isinstance(network, SemanticNetwork):
        return (clips(network, *size, batch=batch),)
    if isinstance(network, VOSNetwork):
        masks = torch.zeros(batch, 2, *size)
        masks[:, 0, : size[0] // 2], masks[:, 1, size[0] // 2 :] = 1, 1
        return torch.randn(batch, 3, 3, *size), masks
    if network.kind == "superpixels":
        return (torch.randn(batch, 3, *size),)
    masks = torch.zeros(batch, *size)
    masks[:, size[0] // 4 : size[0] // 2] = 1
    return torch.randn(batch, 3, *size), masks


def tensors(output: Any) -> Iterator[Tensor]:
    """Everything that requires a gradient, in whatever a method returns."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, dict | tuple):
        for item in output.values() if isinstance(output, dict) else output:
            yield from tensors(item)


def forwards(network: SemanticNetwork, frames: Tensor) -> list[Tensor]:
    """Logits of every phase."""
    if network.num_phases == 1:
        return [network(frames)]
    return [network(frames, first_index=phase) for phase in range(network.num_phases)]


def training_outputs(network: Network, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """What the losses of a network may read, of all phases."""
    if not isinstance(network, SemanticNetwork):
        return list(tensors(network(*inputs)))
    phases = [{"first_index": phase} for phase in range(network.num_phases)] if network.num_phases > 1 else [{}]
    outputs = [network.forward_with_auxiliary(*inputs, **phase) for phase in phases]
    assert all(tuple(others) == network.further_outputs for _, others in outputs)
    return list(tensors(tuple(outputs)))


def test_forward_at_a_natural_size(network):
    size = natural_size(network)
    with torch.inference_mode():
        for output in tensors(network.eval()(*example(network, *size, batch=2))):
            assert output.shape[0] == 2
            assert torch.isfinite(output).all()
            assert output.std() > 0


def test_forward_at_an_odd_size(network):
    inputs = example(network.eval(), 45, 71, batch=2)
    with torch.inference_mode():
        if isinstance(network, Scorer):
            network(*network.fit(*inputs))
            with pytest.raises(ConfigError, match="cannot take this size; expected 224 x 224; found 45 x 71"):
                network(*inputs)
            return
        logits = network(*inputs)
    assert logits.shape[-2:] == (45, 71)
    assert torch.isfinite(logits).all()
    assert logits.std() > 0


def test_every_parameter_gets_a_gradient(network):
    network.train()
    network.zero_grad()
    size = natural_size(network)
    sum(output.square().mean() for output in training_outputs(network, example(network, *size, batch=2))).backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []
    bad = [name for name, parameter in network.named_parameters() if not torch.isfinite(parameter.grad).all()]
    assert bad == []


def test_rebuilds_from_its_record_and_loads_its_state(network):
    network.eval()
    again = reloaded(network)
    inputs = example(network, *natural_size(network))
    with torch.inference_mode():
        outputs = zip(tensors(again(*inputs)), tensors(network(*inputs)), strict=True)
        assert all(torch.equal(ours, theirs) for ours, theirs in outputs)
    assert again.record == network.record


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_parameters_are_those_of_the_authors(path):
    """One for one, by name and number; entries that the authors never use do not count."""
    golden = json.loads(path.read_text())
    shapes = dict(golden["keys"])
    recognised = recognise({name: torch.empty(shape, device="meta") for name, shape in shapes.items()})
    assert recognised is not None
    assert recognised.arch in list_models()
    with torch.device("meta"):
        network = create_model(recognised.arch, **recognised.arguments)
    parameters = [name for name, kind in zip(shapes, golden["kinds"], strict=True) if kind in _PARAMETER_KINDS]
    theirs = {network.official_key(name): torch.Size(shapes[name]) for name in parameters}
    theirs.pop(None, None)
    assert theirs == {name: parameter.shape for name, parameter in network.named_parameters()}
    assert sum(shape.numel() for shape in theirs.values()) == sum(p.numel() for p in network.parameters())


_PARAMETER_KINDS = {"w", "b", "norm_w", "norm_b"}


def test_goldens_cover_every_network_that_authors_publish():
    found = set()
    for path in GOLDENS:
        shapes = dict(json.loads(path.read_text())["keys"])
        found.add(recognise({name: torch.empty(shape, device="meta") for name, shape in shapes.items()}).arch)
    assert found == {
        "annotation_policy_resnet18",
        "qnet_resnet18",
        "spixelfcn",
        "stm_r50",
        "td2_fanet18",
        "td2_psp50",
        "td4_psp18",
        "tmanet_r50",
    }


# Semantic segmentation


@pytest.mark.parametrize("size", [(64, 96), (45, 71)])
def test_logits_have_the_size_of_the_frame(semantic, size):
    frames = clips(semantic, *size, batch=2)
    with torch.inference_mode():
        logits = semantic.eval()(frames)
        if semantic.past_frames == 0:
            assert torch.equal(semantic(frames[:, 0]), logits)
    assert logits.shape == (2, NUM_CLASSES, *size)


def test_low_resolution_logits_are_those_of_forward_before_enlargement(semantic):
    extra = getattr(semantic, "size_remainder", 0)  # sides that are not padded: multiples of the stride plus this
    size = (64 + extra, 96 + extra)
    frames = clips(semantic, *size)
    with torch.inference_mode():
        low = semantic.eval().low_resolution_logits(frames)
        enlarged = torch.nn.functional.interpolate(
            low, size=size, mode="bilinear", align_corners=semantic.align_corners
        )
        assert torch.equal(enlarged, semantic(frames))
        odd = semantic.low_resolution_logits(frames[..., :45, :71])
    stride = 64 // (low.shape[-2] - extra)
    assert low.shape == (1, NUM_CLASSES, 64 // stride + extra, 96 // stride + extra)
    assert odd.shape == (1, NUM_CLASSES, -((extra - 45) // stride) + extra, -((extra - 71) // stride) + extra)


def test_every_parameter_gets_a_gradient_without_auxiliary_heads(semantic):
    semantic.train()
    semantic.zero_grad()
    torch.stack(forwards(semantic, clips(semantic, 32, 64, batch=2))).square().mean().backward()
    assert [name for name, parameter in semantic.named_parameters() if parameter.grad is None] == []


def test_single_image_can_be_trained_on(semantic):
    """Branches that pool to one value per channel have no batch statistics then."""
    semantic.train()
    assert torch.isfinite(semantic(clips(semantic, 64, 64))).all()


def test_streaming_equals_forward(semantic):
    semantic.eval()
    length = semantic.past_frames + 1
    frames = torch.randn(length + 1, 1, 3, 33, 40)
    with torch.inference_mode():
        state = semantic.start()
        for index, frame in enumerate(frames):
            phase = getattr(state, "index", 0)
            window = [frames[max(past, 0)] for past in range(index - semantic.past_frames, index + 1)]
            logits, state = semantic.step(frame, state)
            options = {"first_index": phase + 1} if semantic.num_phases > 1 else {}
            expected = semantic(torch.stack(window, dim=1), **options)
            assert torch.allclose(logits, expected, atol=1e-5)


@pytest.mark.slow
def test_compiles_without_a_graph_break(semantic):
    frames = clips(semantic, 33, 41)
    torch.compiler.reset()  # the networks share one `forward`, and dynamo limits the compilations of one function
    compiled = torch.compile(semantic.eval(), backend="eager", fullgraph=True)
    with torch.no_grad():
        assert torch.equal(compiled(frames), semantic(frames))


# Video object segmentation


@pytest.mark.parametrize("name", names("vos"))
def test_streaming_of_objects_equals_forward(name):
    network = build(name).eval()
    frames, masks = example(network, 33, 40)
    with torch.inference_mode():
        expected = network(frames, masks)
        state = network.start()
        for index, frame in enumerate(frames.unbind(dim=1)):
            logits, state = network.step(frame, state, masks if index == 0 else None)
            assert torch.allclose(logits, expected[:, index], atol=1e-5)
