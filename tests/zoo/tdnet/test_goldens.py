"""TDNets against what their authors' networks return."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tests.golden.adapters import tdnet as adapter
from tests.golden.compare import compare_output
from tests.golden.fill import fill, make_inputs
from thriftseg.zoo import TDNet, create_model
from thriftseg.zoo.undrawn import Undrawn
from thriftseg.zoo.weights.official import load_official

FOLDER = Path(__file__).resolve().parents[2] / "golden" / "models"


@dataclass
class Reference:
    """A golden, the network that holds its weights, and what it returns."""

    golden: dict
    network: TDNet
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]


def load(name: str) -> Reference:
    golden = json.loads((FOLDER / f"{name}.json").read_text())
    entries = fill(golden["keys"], golden["kinds"], golden["fill"])
    with Undrawn():
        network = adapter.build(golden["config"], {key: tuple(value.shape) for key, value in entries.items()})
    load_official(network, entries)
    inputs = make_inputs(golden["inputs"])
    return Reference(golden, network, inputs, run(network, inputs, golden))


def run(network: TDNet, inputs: dict[str, Tensor], golden: dict) -> dict[str, Tensor]:
    with torch.inference_mode():
        return adapter.run(network, inputs, golden)


@pytest.fixture(scope="module")
def td4_psp18() -> Reference:
    return load("td4_psp18")


@pytest.fixture(scope="module")
def td2_fanet18() -> Reference:
    return load("td2_fanet18")


@pytest.fixture(params=["td4_psp18", "td2_fanet18"])
def reference(request) -> Reference:
    return request.getfixturevalue(request.param)


def test_equals_the_authors_network_at_the_recorded_maps(reference):
    rows = {row["name"]: row for row in reference.golden["outputs"]}
    compared = rows.keys() & reference.outputs.keys()
    for name in sorted(compared):
        for deviation in compare_output(rows[name], reference.outputs[name]):
            assert deviation.ratio < 0.1, deviation
    # Keys and values of the other path's frame in a pair are not made by a module of their own here.
    missing = {name.partition(".")[0].partition("/")[2] for name in rows.keys() - compared}
    assert missing <= {"enc1", "enc2"}
    assert all(rows[name]["role"] == "tap" for name in rows.keys() - compared)


def test_every_official_entry_has_its_place(reference):
    golden, network = reference.golden, reference.network
    names = {key: network.official_key(key) for key, _ in golden["keys"]}
    used = [name for name in names.values() if name is not None]
    assert len(set(used)) == len(used)
    assert set(used) == set(network.state_dict())
    unused = {key.rpartition(".")[0] for key, name in names.items() if name is None}
    if golden["model"] == "td2_fanet18":
        blocks = [f"head_aux{p}." for p in (1, 2)]
        blocks += [f"ffm_{level}_{p}" for p in (1, 2) for level in ("32", "8", "4")]
        assert all(key.startswith(tuple(blocks)) for key in unused)
        assert {key.split(".")[1] for key in unused if key.startswith("ffm")} == {"smooth", "up"}
    else:
        assert unused == {f"pretrained{p + 1}.fc" for p in range(network.num_phases)}
    shapes = {key: torch.Size(shape) for key, shape in golden["keys"]}
    state = network.state_dict()
    assert all(state[name].shape == shapes[key] for key, name in names.items() if name is not None)


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("td2_fanet18", [f"head_aux2.{layer}.weight" for layer in ("conv.conv", "conv.bn", "conv_out")]),
        ("td4_psp18", [f"auxlayer2.conv5.{layer}.weight" for layer in range(0, 5, 4)]),
    ],
)
def test_entries_of_auxiliary_heads_are_placed_where_there_are_such_heads(name, keys):
    with torch.device("meta"):
        without, having = create_model(name, 19), create_model(name, 19, auxiliary=True)
    assert {without.official_key(key) for key in keys} == {None}
    places = [having.official_key(key) for key in keys]
    heads = having.state_dict()
    assert all(place.startswith("paths.1.auxiliary_head.") and heads[place].numel() for place in places)


@pytest.mark.parametrize(
    "key", ["fc.weight", "pretrained5.conv1.weight", "enc1.w_ps.0.conv.weight", "atn1_1.fc.0.conv.bias"]
)
def test_unknown_entries_have_no_place(td4_psp18, key):
    assert td4_psp18.network.official_key(key) not in td4_psp18.network.state_dict()


# Deliberate mistakes


def unscaled(network: TDNet) -> None:
    for path in network.paths:
        for parameter in path.encoding.query[-1].parameters():
            parameter.data.mul_(8)


def other_stride(network: TDNet) -> None:
    network.kv_stride = 7 - network.kv_stride


def corners(network: TDNet) -> None:
    network.align_corners = False


def rectified(network: TDNet) -> None:
    for module in network.modules():
        if isinstance(module, nn.LeakyReLU):
            module.negative_slope = 0.0


def unaffine(network: TDNet) -> None:
    for path in network.paths:
        nn.init.ones_(path.norm.weight)
        nn.init.zeros_(path.norm.bias)


def silent(network: TDNet) -> None:
    for path in network.paths:
        for propagation in path.propagations:
            nn.init.zeros_(propagation.project.weight)
            nn.init.zeros_(propagation.project.bias)


def exchanged(network: TDNet) -> None:
    order = network.paths[3].propagations
    order[0], order[2] = order[2], order[0]


def other_group(network: TDNet) -> None:
    for path in network.paths:
        path.subnetwork.pyramid.group = 1 - path.subnetwork.pyramid.group


def single_grid(network: TDNet) -> None:
    for path in network.paths:
        for block, dilation in zip(path.subnetwork.encoder.layer4, (2, 4), strict=True):
            block.conv1.dilation = block.conv1.padding = (dilation, dilation)


def unpadded(network: TDNet) -> None:
    for path in network.paths:
        for fusion in path.subnetwork.fusions[:3]:
            fusion.reduce[0].padding = (0, 0)


@pytest.mark.parametrize(
    ("mistake", "mutation"),
    [
        pytest.param(unscaled, "attention not scaled", marks=pytest.mark.slow),
        pytest.param(other_stride, "key/value subsampling", marks=pytest.mark.slow),
        (corners, "align_corners=False in the final"),
        (rectified, "ReLU instead"),
        pytest.param(exchanged, "atn4_1 and atn4_3", marks=pytest.mark.slow),
        pytest.param(other_group, "PSP channel-group", marks=pytest.mark.slow),
        (single_grid, "layer4 without multi-grid"),
    ],
)
def test_mistakes_in_td4_psp18_are_caught(mistake, mutation, td4_psp18):
    check_mistake(td4_psp18, mistake, mutation, [f"logits_t{t}" for t in range(4, 8)])


@pytest.mark.parametrize(
    ("mistake", "mutation"),
    [
        (unscaled, "attention not scaled"),
        (other_stride, "key/value subsampling"),
        (rectified, "ReLU instead"),
        (unaffine, "LayerNorm without"),
        (silent, "attention output replaced"),
        (unpadded, "FAModule.up without"),
    ],
)
def test_mistakes_in_td2_fanet18_are_caught(mistake, mutation, td2_fanet18):
    check_mistake(td2_fanet18, mistake, mutation, [f"logits_t{t}" for t in range(2, 4)])


def check_mistake(reference: Reference, mistake, mutation: str, frames: list[str]) -> None:
    """A mistake is refused, and moves the logits as far as the authors' logits, over the frames of the record."""
    network = copy.deepcopy(reference.network)
    with torch.no_grad():
        mistake(network)
    outputs = run(network, reference.inputs, reference.golden)
    rows = [row for row in reference.golden["outputs"] if row["name"] in frames]
    assert not all(entry.accepted for row in rows for entry in compare_output(row, outputs[row["name"]]))
    wrong, right = (torch.cat([values[name] for name in frames]) for values in (outputs, reference.outputs))
    recorded = next(row for row in reference.golden["sensitivity"] if row["mutation"].startswith(mutation))
    assert ((wrong - right).norm() / right.norm()).item() == pytest.approx(recorded["rel_l2"], rel=0.005)


# Speed


def test_step_of_td4_psp18_needs_few_operations():
    with torch.device("meta"), torch.inference_mode():
        network, teacher = create_model("td4_psp18", 19).eval(), create_model("pspnet_resnet101", 19).eval()
        frame = torch.empty(1, 3, 257, 513)
        _, state = network.step(frame, network.start())
        with FlopCounterMode(display=False) as step:
            network.step(frame, state)
        with FlopCounterMode(display=False) as forward:
            teacher(frame)
    assert step.get_total_flops() / forward.get_total_flops() < 0.22
