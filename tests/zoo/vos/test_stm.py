from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tests.fixtures.reloading import reloaded
from tests.golden.adapters import stm as adapter
from tests.golden.compare import compare_output
from tests.golden.fill import fill, make_inputs
from thriftseg.errors import ConfigError
from thriftseg.zoo import IDENTITY, STM, ObjectRows, create_model, list_models
from thriftseg.zoo.undrawn import Undrawn
from thriftseg.zoo.vos import network as vos_module
from thriftseg.zoo.vos import stm as module
from thriftseg.zoo.vos.padding import SplitPadding
from thriftseg.zoo.vos.reader import MemoryReader
from thriftseg.zoo.vos.stm import ResidualBlock
from thriftseg.zoo.weights.official import load_official

GOLDENS = Path(__file__).resolve().parents[2] / "golden" / "models"


def small() -> STM:
    torch.manual_seed(0)
    return STM("resnet18", key_channels=8, value_channels=16, decoder_channels=8)


def one_hot(batch: int, objects: int, *size: int) -> Tensor:
    owner = torch.randint(0, objects + 1, (batch, 1, *size))
    return (owner == torch.arange(1, objects + 1).view(1, -1, 1, 1)).float()


# Against the authors' network


@pytest.fixture(scope="module")
def goldens() -> dict[str, dict]:
    if not (GOLDENS / "stm.json").is_file():
        pytest.skip(f"{GOLDENS} is absent")
    return {name: json.loads((GOLDENS / f"{name}.json").read_text()) for name in ("stm", "stm_padded")}


@pytest.fixture(scope="module")
def official(goldens) -> STM:
    golden = goldens["stm"]
    entries = fill(golden["keys"], golden["kinds"], golden["fill"])
    with Undrawn():
        network = adapter.build(golden["config"], {name: tuple(value.shape) for name, value in entries.items()})
    load_official(network, entries)
    return network


def outputs(network: STM, golden: dict) -> dict[str, Tensor]:
    with torch.inference_mode():
        return adapter.run(network, make_inputs(golden["inputs"]), golden)


def both_logits(found: dict[str, Tensor]) -> Tensor:
    return torch.stack([found["logit1"], found["logit2"]])


@pytest.fixture(scope="module")
def correct(official, goldens) -> Tensor:
    return both_logits(outputs(official, goldens["stm_padded"]))


@pytest.mark.parametrize("name", ["stm", "stm_padded"])
def test_equals_the_authors_network_at_every_recorded_map(name, official, goldens):
    found = outputs(official, goldens[name])
    for row in goldens[name]["outputs"]:
        for deviation in compare_output(row, found[row["name"]]):
            assert deviation.ratio < 0.1, deviation


@contextmanager
def hooked(layer: nn.Module, hook) -> Iterator[None]:
    """Change what goes into a module."""
    handle = layer.register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def replaced(owner: object, name: str, value: object) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, value)
        yield


@contextmanager
def zeroed(weight: Tensor) -> Iterator[None]:
    kept = weight.detach().clone()
    weight.detach().zero_()
    yield
    weight.detach().copy_(kept)


def aligned(*args, **kwargs) -> Tensor:
    return torch.nn.functional.interpolate(*args, **{**kwargs, "align_corners": True})


class FunctionalAligned:
    """`torch.nn.functional` with the other convention of resizing."""

    interpolate = staticmethod(aligned)

    def __getattr__(self, name: str):
        return getattr(torch.nn.functional, name)


def over_queries(self, query, keys, values, unknown=None) -> Tensor:
    key = torch.cat([k.flatten(2) for k in keys], dim=2)
    value = torch.cat([v.flatten(2) for v in values], dim=2)
    scores = key.transpose(1, 2) @ query.flatten(2).expand(len(key), -1, -1) * query.shape[1] ** -0.5
    return (value @ scores.softmax(dim=2)).view(len(key), -1, *query.shape[-2:])


def without_activation(self, features: Tensor) -> Tensor:
    return features + self.conv2(F.relu(self.conv1(features)))


def bottom_right(height: int, width: int, multiple: int) -> SplitPadding:
    return SplitPadding(0, -width % multiple, 0, -height % multiple)


def swapped(self, read: Tensor, value: Tensor, rows: ObjectRows) -> Tensor:
    return self.compress(torch.cat([value.expand_as(read), read], dim=1))


MISTAKES = {
    "no 1/sqrt(128) in the memory read": lambda net: hooked(
        net.reader, lambda _, args: (args[0] * 128**0.5, *args[1:])
    ),
    "memory softmax over the query axis": lambda net: replaced(MemoryReader, "forward", over_queries),
    "concat [query value, memory] instead of [memory, query value]": lambda net: replaced(
        module.Decoder, "_compress", swapped
    ),
    "align_corners=True in the decoder": lambda net: replaced(module, "F", FunctionalAligned()),
    "'other objects' mask ignored": lambda net: zeroed(net.memory_encoder.conv1_others.weight),
    "query frame not normalised": lambda net: hooked(
        net.query_encoder, lambda _, args: (args[0] * net.query_encoder.std + net.query_encoder.mean,)
    ),
    "padding only at the bottom/right": lambda net: replaced(module.SplitPadding, "to_multiple", bottom_right),
    "ResBlock without the pre-activation ReLU": lambda net: replaced(ResidualBlock, "forward", without_activation),
}


@pytest.mark.parametrize(
    "mistake", [pytest.param(name, marks=pytest.mark.slow if place > 1 else ()) for place, name in enumerate(MISTAKES)]
)
def test_mistakes_are_caught_and_shift_the_result_as_they_shift_the_authors(mistake, official, goldens, correct):
    golden = goldens["stm_padded"]
    with MISTAKES[mistake](official):
        wrong = both_logits(outputs(official, golden))
    row = next(row for row in golden["outputs"] if row["name"] == "logit2")
    assert not all(deviation.accepted for deviation in compare_output(row, wrong[1]))
    recorded = next(row for row in golden["sensitivity"] if row["mutation"] == mistake)
    assert ((wrong - correct).norm() / correct.norm()).item() == pytest.approx(recorded["rel_l2"], rel=0.01)
    assert (wrong - correct).abs().max().item() == pytest.approx(recorded["absmax"], rel=0.01)


def test_hard_masks_in_the_memory_are_caught(official, goldens):
    golden = goldens["stm_padded"]
    soft = vos_module.probabilities

    def hard(logits: Tensor) -> Tensor:
        return F.one_hot(logits.argmax(1), logits.shape[1]).movedim(3, 1)[:, 1:].to(soft(logits))

    with replaced(vos_module, "probabilities", hard):
        wrong = outputs(official, golden)
    for name, accepted in (("logit1", True), ("logit2", False)):
        row = next(row for row in golden["outputs"] if row["name"] == name)
        assert all(deviation.accepted for deviation in compare_output(row, wrong[name])) == accepted


def test_every_official_entry_has_its_place(official, goldens):
    names = [official.official_key(key) for key, _ in goldens["stm"]["keys"]]
    assert len(names) == 558
    assert set(names) == set(official.state_dict())
    assert official.official_key("Encoder_Q.res5.0.conv1.weight") not in official.state_dict()
    assert sum(parameter.numel() for parameter in official.parameters()) == 38925570


def test_only_resnet50_has_an_official_checkpoint():
    with pytest.raises(ConfigError, match="STM has no checkpoint of its authors"):
        small().official_key("Encoder_M.conv1.weight")


# Parts


def test_overlapping_others_are_clamped():
    """Two objects that cover the whole image say no more about a third than one does."""
    network, frame, full = small().eval(), torch.rand(1, 3, 32, 48), torch.ones(1, 1, 32, 48)
    mask = one_hot(1, 1, 32, 48)
    rows = ObjectRows(((0, 0), (0, 1), (0, 2)), 3)
    with torch.inference_mode():
        both = network.memorise(frame, torch.cat([mask, full, full], 1), rows)
        one = network.memorise(frame, torch.cat([mask, full, 0 * full], 1), rows)
        none = network.memorise(frame, torch.cat([mask, 0 * full, 0 * full], 1), rows)
    assert torch.allclose(both[1][0], one[1][0], atol=1e-5)
    assert not torch.allclose(one[1][0], none[1][0], atol=1e-2)


# As a network of the zoo


@pytest.mark.parametrize("name", list_models("vos"))
def test_rebuilds_from_its_record_and_loads_its_state(name):
    network = create_model(name).eval()
    again = reloaded(network)
    frames, masks = torch.rand(1, 2, 3, 32, 32), one_hot(1, 1, 32, 32)
    with torch.inference_mode():
        logits = network(frames, masks)
        assert torch.equal(again(frames, masks), logits)
    assert again.record == network.record
    assert network.preprocessing == IDENTITY
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("size", [(33, 47), (16, 16), (7, 90)])
def test_any_size(size):
    logits = small().eval()(torch.rand(1, 2, 3, *size), one_hot(1, 2, *size))
    assert logits.shape == (1, 2, 3, *size)
    assert torch.isfinite(logits).all()
    assert logits[:, 1].std() > 0


@pytest.mark.parametrize("detach", [False, True])
def test_every_parameter_gets_a_gradient(detach):
    network = create_model("stm_r18").train()
    logits = network(torch.rand(2, 3, 3, 32, 48), one_hot(2, 3, 32, 48), torch.tensor([3, 2]), detach_feedback=detach)
    logits[:, 1:].square().mean().backward()
    silent = [
        n for n, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all() or not p.grad.any()
    ]
    assert silent == []


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(dtype):
    network = small().eval()
    frames, masks = torch.rand(1, 3, 3, 32, 48), one_hot(1, 2, 32, 48)
    with torch.inference_mode():
        full = network(frames, masks)
        with torch.autocast("cpu", dtype):
            half = network(frames, masks)
    assert half.dtype == torch.float32
    assert torch.allclose(half, full, atol=0.05)


def test_bfloat16_weights():
    network = small().eval().to(torch.bfloat16)
    with torch.inference_mode():
        logits = network(torch.rand(1, 3, 3, 32, 48).bfloat16(), one_hot(1, 2, 32, 48))
    assert logits.dtype == torch.float32
    assert torch.isfinite(logits).all()


def test_unknown_backbone():
    with pytest.raises(ConfigError, match="unknown backbone 'vgg16'; expected resnet18, resnet34, resnet50, resnet101"):
        STM("vgg16")


def test_other_resnets():
    assert STM("resnet34", decoder_channels=8).query_encoder.out_channels == [64, 128, 256]


def test_a_new_network_finds_a_place_again_by_its_looks():
    """Keys of the same frame match at their own place before any training."""
    torch.manual_seed(0)
    network = STM("resnet18", decoder_channels=8).train()
    frame = F.interpolate(torch.rand(1, 3, 12, 20), scale_factor=8, mode="bilinear", align_corners=False)
    masks = one_hot(1, 1, 96, 160)
    with torch.no_grad():
        key, _ = network.memorise(frame, masks, ObjectRows(((0, 0),), 1))
        query = network.query_head.key(network.query_encoder(frame)[-1])
    likeness = torch.einsum("bcq,bcm->bqm", query.flatten(2), key.flatten(2))[0]
    ranks = (likeness >= likeness.diagonal()[:, None]).sum(dim=1)
    assert ranks.float().mean() < 10  # of 60; by chance 30


def test_shared_keys_see_no_masks():
    torch.manual_seed(0)
    network, frame = create_model("stm_r18").eval(), torch.rand(1, 3, 32, 48)
    rows = ObjectRows(((0, 0), (0, 1)), 2)
    with torch.inference_mode():
        key, value = network.memorise(frame, one_hot(1, 2, 32, 48), rows)
        query, _ = network.query_head(network.query_encoder(frame)[-1])
    assert key.shape == (2, 64, 4, 6)
    assert torch.equal(key[0], query[0])
    assert torch.equal(key[1], query[0])
    assert not torch.allclose(value[0], value[1])


@pytest.mark.parametrize("stride", [8, 16])
def test_stride_of_the_memory(stride):
    network = STM("resnet18", decoder_channels=8, stride=stride).eval()
    with torch.inference_mode():
        key, _ = network.memorise(torch.rand(1, 3, 33, 47), one_hot(1, 1, 33, 47), ObjectRows(((0, 0),), 1))
        logits = network(torch.rand(1, 2, 3, 33, 47), one_hot(1, 1, 33, 47))
    assert key.shape == (1, 128, math.ceil(33 / stride), math.ceil(47 / stride))
    assert logits.shape == (1, 2, 2, 33, 47)


def test_other_strides_are_refused():
    with pytest.raises(ConfigError, match="stride of the memory; expected 8 or 16; found 4"):
        STM("resnet18", stride=4)


# Training and speed


def moving_squares(clips: int, objects: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Coloured squares that move over a dark ground: frames (B, 3, 3, 32, 48) and labels (B, 3, 32, 48)."""
    frames, labels = 0.1 * torch.rand(clips, 3, 3, 32, 48, generator=generator), torch.zeros(clips, 3, 32, 48).long()
    for clip in range(clips):
        for number in range(1, objects + 1):
            y, x = (int(torch.randint(4, side - 16, (1,), generator=generator)) for side in (32, 48))
            dy, dx = torch.randint(-2, 3, (2,), generator=generator).tolist()
            colour = torch.rand(3, 1, 1, generator=generator)
            for t in range(3):
                window = (slice(y + t * dy, y + t * dy + 12), slice(x + t * dx, x + t * dx + 12))
                frames[clip, t, :, *window], labels[clip, t, *window] = colour, number
    return frames, labels


def test_learns_to_follow_moving_squares():
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    network, losses = create_model("stm_r18").train(), []
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(30):
        frames, labels = moving_squares(1, 2, generator)
        masks = F.one_hot(labels[:, 0], 3).movedim(3, 1)[:, 1:].float()
        logits = network(frames, masks, detach_feedback=True)
        loss = F.cross_entropy(logits[:, 1:].flatten(0, 1), labels[:, 1:].flatten(0, 1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.4 * sum(losses[:5])


@pytest.mark.parametrize("name", ["stm_r18", "stm_r50"])
def test_three_objects_in_one_pass_cost_less_than_three_passes(name):
    """Counted in operations; `python -m benchmarks` measures the time."""
    with Undrawn():
        network = create_model(name).eval()
    frames = torch.rand(2, 1, 3, 64, 96)

    def operations(objects: int) -> int:
        _, state = network.step(frames[0], network.start(), one_hot(1, objects, 64, 96))
        with FlopCounterMode(display=False) as counter:
            network.step(frames[1], state)
        return counter.get_total_flops()

    with torch.inference_mode():
        assert operations(3) <= 0.65 * 3 * operations(1)
