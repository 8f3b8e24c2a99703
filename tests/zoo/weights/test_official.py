"""Loading of authors' checkpoints: every container, strictly, and atomically."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from thriftseg.errors import CheckpointError, ConfigError
from thriftseg.taxonomies import CITYSCAPES
from thriftseg.zoo import Network, SlidingWindow, create_model, import_checkpoint, load
from thriftseg.zoo.undrawn import Undrawn
from thriftseg.zoo.weights.official import KeyMismatchError, load_official, read_official, recognise_as, weights_in
from thriftseg.zoo.weights.releases import recognise

MODELS = Path(__file__).parents[2] / "golden" / "models"
GOLDENS = (
    "tmanet_r50",
    "td4_psp18",
    "td2_psp50",
    "td2_fanet18",
    "stm",
    "spixelfcn",
    "qnet_resnet18",
    "actor_critic_resnet18_a3",
)


class Layered(Network):
    """Takes `net.conv`, `net.bn`; the authors' `fc` is never used."""

    kind = "test"

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)

    def official_key(self, key: str) -> str | None:
        if key.startswith("fc."):
            return None
        return key.replace("net.conv", "convolution").replace("net.bn", "norm")


class Ours(Network):
    kind = "test"


@pytest.fixture
def weights() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {
        "net.conv.weight": torch.randn(4, 3, 1, 1),
        "net.conv.bias": torch.randn(4),
        "net.bn.weight": torch.randn(4),
        "net.bn.bias": torch.randn(4),
        "net.bn.running_mean": torch.randn(4),
        "net.bn.running_var": torch.rand(4),
        "net.bn.num_batches_tracked": torch.tensor(7),
        "fc.weight": torch.randn(10, 4),
    }


def assert_loaded(network: Network, weights: dict[str, Tensor]) -> None:
    own = network.state_dict()
    assert all(torch.equal(own[target], weights[name]) for name, target in places(network, weights).items())


def places(network: Network, weights: dict[str, Tensor]) -> dict[str, str]:
    targets = {name: network.official_key(name) for name in weights}
    return {name: target for name, target in targets.items() if target is not None}


CONTAINERS: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "bare": lambda weights: weights,
    "mmcv": lambda weights: {
        "meta": {"CLASSES": ("road",), "PALETTE": [[1, 2, 3]], "epoch": 9, "time": "Mon"},
        "state_dict": weights,
        "optimizer": {"state": {}, "param_groups": []},
    },
    "tdnet training": lambda weights: {"epoch": 1, "model_state": weights, "best_iou": np.float64(0.7)},
    "agent": lambda weights: {"network": weights, "step": np.int64(3), "done": np.bool_(False)},
    "data parallel": lambda weights: {f"module.{name}": value for name, value in weights.items()},
    "mmcv data parallel": lambda weights: {"state_dict": {f"module.{name}": value for name, value in weights.items()}},
}


class TestContainers:
    @pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
    @pytest.mark.parametrize("container", CONTAINERS)
    def test_file(self, container: str, zipped: bool, weights: dict[str, Tensor], tmp_path: Path):
        path = tmp_path / "weights.pkl"
        torch.save(CONTAINERS[container](weights), path, _use_new_zipfile_serialization=zipped)
        network = Layered()
        report = load_official(network, path)
        assert_loaded(network, weights)
        assert set(report.loaded) == weights.keys() - {"fc.weight"}
        assert (report.unused, report.counters) == (("fc.weight",), ())
        assert str(report) == "7 entries loaded, 1 stored but never used"

    @pytest.mark.parametrize("container", CONTAINERS)
    def test_mapping(self, container: str, weights: dict[str, Tensor]):
        network = Layered()
        load_official(network, CONTAINERS[container](weights))
        assert_loaded(network, weights)

    def test_safetensors(self, weights: dict[str, Tensor], tmp_path: Path):
        save_file({f"module.{name}": value for name, value in weights.items()}, tmp_path / "weights.safetensors")
        network = Layered()
        load_official(network, tmp_path / "weights.safetensors")
        assert_loaded(network, weights)

    def test_number_of_numpy_1(self, weights: dict[str, Tensor], tmp_path: Path):
        """Files of training runs from before NumPy 2 name another module."""
        path = tmp_path / "old.pkl"
        torch.save({"model_state": weights, "best_iou": np.float64(0.7)}, path, _use_new_zipfile_serialization=False)
        new, old = b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"
        content = path.read_bytes()
        assert content.count(new) == 1
        path.write_bytes(content.replace(new, old))
        assert read_official(path).keys() == weights.keys()

    def test_half_precision_is_widened(self, weights: dict[str, Tensor]):
        network = Layered()
        load_official(network, {name: value.half() for name, value in weights.items()})
        assert network.convolution.weight.dtype == torch.float32
        assert torch.equal(network.convolution.weight, weights["net.conv.weight"].half().float())

    def test_counters_may_be_absent(self, weights: dict[str, Tensor]):
        del weights["net.bn.num_batches_tracked"]
        report = load_official(Layered(), weights)
        assert report.counters == ("norm.num_batches_tracked",)

    @pytest.mark.parametrize(
        ("content", "found"),
        [
            ({}, "nothing"),
            ([], "a list"),
            ([torch.ones(1)], "a list"),
            (torch.ones(2), "a Tensor"),
            ({"epoch": 3, "model": {"a": torch.ones(1)}}, "'epoch' of type int"),
            ({"state_dict": {}}, "nothing"),
        ],
    )
    def test_nothing_to_load(self, content: object, found: str):
        with pytest.raises(CheckpointError) as caught:
            weights_in(content)
        containers = "'state_dict', 'model_state', 'network'"
        expected = f"tensors by name, or such a dictionary as {containers}"
        assert str(caught.value) == f"holds no weights; expected {expected}; found {found}"

    def test_clashing_names(self):
        with pytest.raises(CheckpointError, match=r"^holds names with and without 'module.' that clash$"):
            weights_in({"a": torch.ones(1), "module.a": torch.ones(1)})


class TestStrictness:
    def refused(self, network: Network, weights: dict[str, Tensor]) -> KeyMismatchError:
        before = {name: value.clone() for name, value in network.state_dict().items()}
        with pytest.raises(KeyMismatchError) as caught:
            load_official(network, weights)
        assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
        return caught.value

    def test_every_name_is_told(self, weights: dict[str, Tensor]):
        del weights["net.bn.bias"], weights["net.bn.running_var"]
        weights["net.head.weight"] = torch.ones(2)
        weights["net.conv.bias"] = torch.ones(5)
        error = self.refused(Layered(), weights)
        assert str(error) == (
            "entries do not fit this Layered; found left over: net.head.weight; missing: norm.bias, norm.running_var; "
            "of another shape: net.conv.bias (5,) where convolution.bias has (4,)"
        )
        assert error.left_over == ("net.head.weight",)
        assert error.missing == ("norm.bias", "norm.running_var")
        assert error.differing == ("net.conv.bias (5,) where convolution.bias has (4,)",)

    @pytest.mark.parametrize("name", ["net.conv.weight", "net.bn.running_mean"])
    def test_one_missing_entry(self, name: str, weights: dict[str, Tensor]):
        del weights[name]
        assert Layered().official_key(name) in str(self.refused(Layered(), weights))

    def test_long_lists_are_cut_in_the_message_only(self, weights: dict[str, Tensor]):
        weights |= {f"other.{index}": torch.ones(1) for index in range(50)}
        error = self.refused(Layered(), weights)
        assert "left over: 50 (such as other.0, other.1, other.2)" in str(error)
        assert len(str(error).splitlines()) == 1
        assert len(error.left_over) == 50

    def test_two_entries_for_one_place(self, weights: dict[str, Tensor]):
        weights["convolution.bias"] = weights["net.conv.bias"].clone()
        load_official(Layered(), weights)
        weights["convolution.bias"] += 1
        assert self.refused(Layered(), weights).left_over == ("convolution.bias",)

    def test_network_of_ours(self, weights: dict[str, Tensor]):
        with pytest.raises(ConfigError, match=r"^Ours has no checkpoint of its authors; found net\.conv\.weight$"):
            load_official(Ours(), weights)


class Intruder:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


class TestDamagedFiles:
    @pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
    @pytest.mark.parametrize("share", [0.01, 0.1, 0.3, 0.5, 0.9, 0.99])
    def test_cut_short(self, share: float, zipped: bool, weights: dict[str, Tensor], tmp_path: Path):
        path = tmp_path / "cut.pth"
        torch.save(weights, path, _use_new_zipfile_serialization=zipped)
        content = path.read_bytes()[: int(share * path.stat().st_size)]
        path.write_bytes(content)
        self.assert_damaged(path)

    @pytest.mark.parametrize("content", [b"", b"hello world" * 100, b"<!DOCTYPE html>", pickle.dumps({"a": 1})])
    @pytest.mark.parametrize("suffix", ["pth", "safetensors"])
    def test_other_content(self, content: bytes, suffix: str, tmp_path: Path):
        path = tmp_path / f"weights.{suffix}"
        path.write_bytes(content)
        self.assert_damaged(path)

    def test_cut_safetensors(self, weights: dict[str, Tensor], tmp_path: Path):
        path = tmp_path / "cut.safetensors"
        save_file(weights, path)
        path.write_bytes(path.read_bytes()[:-8])
        self.assert_damaged(path)

    def assert_damaged(self, path: Path) -> None:
        size = path.stat().st_size
        with pytest.raises(CheckpointError) as caught:
            load_official(Layered(), path)
        problem = f"not a checkpoint, or cut short; found {size} bytes; fix: fetch it again"
        assert str(caught.value) == f"{path}: {problem}"

    @pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
    def test_code_is_not_run(self, zipped: bool, weights: dict[str, Tensor], tmp_path: Path):
        path, trace = tmp_path / "evil.pth", tmp_path / "made"
        content = {"state_dict": weights, "meta": Intruder(trace)}
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(CheckpointError) as caught:
            load_official(Layered(), path)
        assert str(caught.value) == (
            f"{path}: holds pickled objects, which are not loaded because they can run code; expected tensors and "
            "plain values; found posix.mkdir; fix: where the file can be trusted, save its weights alone"
        )
        assert not trace.exists()

    def test_whole_modules_are_refused(self, tmp_path: Path):
        torch.save(nn.Linear(2, 2), tmp_path / "module.pth")
        with pytest.raises(CheckpointError, match=r"holds pickled objects.*found torch\.nn\.modules\.linear\.Linear"):
            read_official(tmp_path / "module.pth")

    def test_no_such_file(self, tmp_path: Path):
        with pytest.raises(CheckpointError, match=r"nowhere\.pth: no such checkpoint$"):
            read_official(tmp_path / "nowhere.pth")


def read_golden(name: str) -> dict[str, Any]:
    golden: dict[str, Any] = json.loads((MODELS / f"{name}.json").read_text())
    return golden


def entries(name: str) -> dict[str, Tensor]:
    """Entries of a golden, in the shapes of the authors, without memory behind them."""
    golden = read_golden(name)
    return {name: torch.zeros(()).expand(shape) for name, shape in golden["keys"]}


class TestAuthors:
    @pytest.fixture(autouse=True)
    def _undrawn(self) -> Iterator[None]:
        with Undrawn():
            yield

    @pytest.mark.parametrize("name", GOLDENS)
    def test_shapes_tell_the_network(self, name: str):
        golden, weights = read_golden(name), entries(name)
        recognised = recognise(weights)
        assert recognised is not None
        network = create_model(recognised.arch, **recognised.arguments)
        report = load_official(network, weights)
        assert report.counters == ()
        kinds = dict(zip(weights, golden["kinds"], strict=True))
        parameters = [entry for entry in report.loaded if kinds[entry] in {"w", "b", "norm_w", "norm_b"}]
        own = sum(parameter.numel() for parameter in network.parameters())
        assert sum(weights[entry].numel() for entry in parameters) == own

    def test_other_numbers(self):
        weights = entries("tmanet_r50")
        weights["decode_head.conv_seg.weight"] = torch.zeros(12, 512, 1, 1)
        weights["decode_head.conv_seg.bias"] = torch.zeros(12)
        for kind in ("key", "value"):
            prefix = f"decode_head.memory_{kind}_conv."
            first = {name: value for name, value in weights.items() if name.startswith(prefix)}
            for name, value in first.items():
                stage, position, rest = name.removeprefix(prefix).split(".", 2)
                weights[f"{prefix}{stage}.{int(position) + 2}.{rest}"] = value
        network = create_model("tmanet_r50", **recognise_as("tmanet_r50", weights).arguments)
        load_official(network, weights)
        assert (network.num_classes, network.past_frames, network.align_corners) == (12, 4, False)

    def test_arguments_given_win(self, tmp_path: Path):
        theirs, ours = tmp_path / "agent.pth", tmp_path / "agent.safetensors"
        torch.save(entries("actor_critic_resnet18_a3"), theirs)
        report = import_checkpoint("annotation_policy_resnet18", theirs, ours, {"image_encoder": "sam2"})
        assert report.arguments == {"num_actions": 3, "image_encoder": "sam2", "use_cost": False}
        assert load(ours).network.given_embedding == "sam2"

    @pytest.mark.parametrize(
        ("name", "bound", "frames"),
        [
            ("td4_psp18", (97, 193), (769, 1537)),
            ("td2_psp50", (13, 25), (97, 193)),
            ("td2_fanet18", (96, 192), (768, 1536)),
        ],
    )
    def test_frames_that_a_layer_norm_is_bound_to(self, name: str, bound: tuple[int, int], frames: tuple[int, int]):
        weights = entries(name) | {"layer_norm1.ln.weight": torch.zeros(()).expand(bound)}
        recognised = recognise(weights)
        assert recognised is not None
        assert recognised.arguments["layer_norm_size"] == bound
        assert recognised.protocol == {"eval_size": frames, "taxonomy": CITYSCAPES}

    @pytest.mark.parametrize(("num_classes", "crop", "stride"), [(19, 769, 513), (12, 640, 512)])
    def test_windows_of_tmanet(self, num_classes: int, crop: int, stride: int):
        weights = entries("tmanet_r50") | {"decode_head.conv_seg.weight": torch.zeros(num_classes, 512, 1, 1)}
        recognised = recognise(weights)
        assert recognised is not None
        assert recognised.protocol["inference"] == SlidingWindow((crop, crop), (stride, stride))
        assert ("taxonomy" in recognised.protocol) == (num_classes == 19)

    def test_layer_norm_of_another_size(self):
        network = create_model("td4_psp18", 19, layer_norm_size=(97, 193))
        with pytest.raises(KeyMismatchError) as caught:
            load_official(network, entries("td4_psp18"))
        assert "layer_norm1.ln.weight (13, 25) where" in str(caught.value)
        assert str(caught.value).endswith(
            "fix: they look like those of create_model('td4_psp18', num_classes=19, layer_norm_size=(13, 25), "
            "warm_up='no_attention')"
        )

    def test_another_network(self):
        with pytest.raises(KeyMismatchError) as caught:
            load_official(Layered(), entries("qnet_resnet18"))
        assert len(str(caught.value).splitlines()) == 1
        assert str(caught.value).endswith("fix: they look like those of create_model('qnet_resnet18', num_bins=20)")

    def test_weights_of_another_network(self):
        with pytest.raises(CheckpointError) as caught:
            recognise_as("stm_r50", entries("qnet_resnet18"), "qnet.pth")
        assert str(caught.value) == (
            "qnet.pth: not the weights of the authors of stm_r50; found those of qnet_resnet18; "
            "fix: import them as qnet_resnet18"
        )

    def test_unknown_entries(self):
        with pytest.raises(CheckpointError) as caught:
            recognise_as("stm_r50", {"a": torch.ones(1), "b": torch.ones(1)})
        assert str(caught.value) == (
            "not the weights of the authors of stm_r50; found such entries as a, b; "
            "fix: pass a file of the network's authors"
        )

    def test_heads_for_training_only(self):
        """A training run of the authors stores heads that no result depends on."""
        weights = entries("td4_psp18")
        weights["auxlayer1.conv5.0.weight"] = torch.zeros(64, 256, 3, 3)
        report = load_official(create_model("td4_psp18", **recognise_as("td4_psp18", weights).arguments), weights)
        assert "auxlayer1.conv5.0.weight" in report.unused
