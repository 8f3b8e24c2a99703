"""The weight format: everything survives a round trip, and everything else is refused in one line."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from thriftseg.errors import CheckpointError
from thriftseg.taxonomies import CAMVID
from thriftseg.zoo import QNet, SlidingWindow, WholeImage, create_model, list_published, load, save_weights
from thriftseg.zoo.network import Preprocessing
from thriftseg.zoo.weights.catalog import CatalogEntry, write_index
from thriftseg.zoo.weights.files import encode_weights, weights_digest


def small_network(seed: int = 0):
    torch.manual_seed(seed)
    network = create_model("deeplabv3plus_mobilenetv2", CAMVID.num_classes, decoder_channels=8)
    for _ in range(3):
        network.train()(torch.randn(2, 3, 32, 32))  # running statistics that fit the weights
    return network.eval()


@pytest.fixture(scope="module")
def network():
    return small_network()


@pytest.fixture
def saved(network, tmp_path: Path) -> Path:
    path = tmp_path / "deeplabv3plus_mobilenetv2.test.safetensors"
    save_weights(network, path, taxonomy=CAMVID, inference=SlidingWindow((32, 48), (16, 24)), eval_size=(64, 96))
    return path


def change_card(path: Path, **changes: object) -> None:
    card = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps(card | changes))


def refusal(source: str | Path) -> str:
    """The message of the refusal, which is one line."""
    with pytest.raises(CheckpointError) as caught:
        load(source)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_everything_comes_back(network, saved: Path) -> None:
    published = load(saved)
    frames = torch.rand(1, 3, 45, 61)
    assert torch.equal(published.network(frames), network(frames))
    assert not published.network.training
    assert published.network.record == network.record
    assert published.preprocessing == network.preprocessing
    assert published.taxonomy.class_names == CAMVID.class_names
    assert published.taxonomy.palette == CAMVID.palette
    assert published.inference == SlidingWindow((32, 48), (16, 24))
    assert published.eval_size == (64, 96)
    assert published.card["weights"]["parameters"] == sum(p.numel() for p in network.parameters())


def test_folder_and_json_mean_the_same_weights(network, saved: Path) -> None:
    expected = weights_digest(network)
    for source in (saved.parent, str(saved.parent), saved.with_suffix(".json"), str(saved)):
        assert weights_digest(load(source).network) == expected


def test_a_recorded_preprocessing_wins_over_that_of_the_class(saved: Path) -> None:
    own = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.1], "channel_order": "bgr"}
    change_card(saved, preprocessing=own)
    assert load(saved).preprocessing == Preprocessing((0.5, 0.4, 0.3), (0.2, 0.2, 0.1), "bgr")


def test_equal_weights_give_equal_bytes(network) -> None:
    assert encode_weights(network) == encode_weights(small_network())
    assert encode_weights(network) != encode_weights(small_network(seed=1))


def test_half_precision_rounds_once(network, tmp_path: Path) -> None:
    path = tmp_path / "half.safetensors"
    save_weights(network, path, half=True)
    save_weights(network, tmp_path / "single.safetensors")
    assert path.stat().st_size < 0.52 * (tmp_path / "single.safetensors").stat().st_size
    restored = load(path).network
    for name, value in network.state_dict().items():
        rounded = value.half().float() if value.is_floating_point() else value
        assert torch.equal(restored.state_dict()[name], rounded)
    assert encode_weights(restored, half=True) == path.read_bytes()


def test_networks_without_classes_are_published_too(tmp_path: Path) -> None:
    scorer = QNet().eval()
    save_weights(scorer, tmp_path / "scorer.safetensors")
    published = load(tmp_path / "scorer.safetensors")
    assert isinstance(published.network, QNet)
    assert published.taxonomy is None
    assert published.inference == WholeImage()
    assert weights_digest(published.network) == weights_digest(scorer)


def test_weights_that_diverged_are_not_written(tmp_path: Path) -> None:
    broken = small_network()
    with torch.no_grad():
        next(broken.parameters()).fill_(float("nan"))
    with pytest.raises(CheckpointError, match="is not finite; fix: the training diverged"):
        save_weights(broken, tmp_path / "x.safetensors")
    with torch.no_grad():
        next(broken.parameters()).fill_(1e6)
    with pytest.raises(CheckpointError, match="not finite in half precision; fix: publish in single precision"):
        save_weights(broken, tmp_path / "x.safetensors", half=True)
    assert not list(tmp_path.iterdir())


def test_truncated(saved: Path) -> None:
    content = saved.read_bytes()
    saved.write_bytes(content[: len(content) // 2])
    assert "the weight file is cut short; expected" in refusal(saved)


def test_wrong_hash(saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    content[-1] ^= 1
    saved.write_bytes(content)
    assert "the weights have another SHA-256 than stated" in refusal(saved)


def test_wrong_architecture(saved: Path) -> None:
    other = create_model("pspnet_mobilenetv2", CAMVID.num_classes, decoder_channels=8)
    change_card(saved, network=other.record)
    assert "weights belong to another network than PSPNet" in refusal(saved)


def test_wrong_number_of_classes(saved: Path) -> None:
    other = create_model("deeplabv3plus_mobilenetv2", 19, decoder_channels=8)
    change_card(saved, network=other.record)
    assert "2 of another shape, such as classifier.0.bias" in refusal(saved)


class Intruder:
    """Would leave a file behind when unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return (os.mkdir, (str(self.trace),))


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".ckpt"])
@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_files_with_pickled_code_are_not_run(saved: Path, suffix: str, form: str) -> None:
    trace, path = saved.with_name("trace"), saved.with_suffix(suffix)
    if form == "torch":
        torch.save({"state_dict": Intruder(trace)}, path)
    else:
        path.write_bytes(pickle.dumps(Intruder(trace)))
    assert "pickled files are not loaded because they can run code" in refusal(path)
    assert not trace.exists()


def test_missing_json(saved: Path) -> None:
    saved.with_suffix(".json").unlink()
    assert "the JSON file that belongs to the weights is missing" in refusal(saved)


def test_missing_weights(saved: Path) -> None:
    saved.unlink()
    assert "no such weight file" in refusal(saved)
    assert "the weight file is missing" in refusal(saved.with_suffix(".json"))
    assert "not a folder of one published checkpoint" in refusal(saved.parent)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "malformed at $; expected object"),
        ("{}", "does not describe weights of this package; expected format thriftseg-weights"),
        ('{"format": "thriftseg-weights", "format_version": 99}', "unknown version of the weight format; expected 1"),
        ('{"format": "thriftseg-weights", "format_version": 1}', "malformed at $; expected an entry network"),
    ],
)
def test_damaged_descriptions(saved: Path, content: str, message: str) -> None:
    saved.with_suffix(".json").write_text(content)
    assert message in refusal(saved)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"class_path": "torch.nn.Conv2d", "init_args": {}}, "the recorded class is no network"),
        ({"class_path": "os.system", "init_args": {"command": "true"}}, "the recorded class is no network"),
        ({"class_path": "thriftseg.zoo.Nothing", "init_args": {}}, "the recorded class is no network that is known"),
        ({"class_path": "thriftseg.zoo.PSPNet", "init_args": {"depth": 3}}, "cannot be built from its recorded"),
        ({"class_path": "thriftseg.zoo.PSPNet", "init_args": {"num_classes": -1}}, "wrong number of classes"),
        (None, "malformed at $.network; expected object; found None"),
    ],
)
def test_descriptions_of_no_network(saved: Path, record: object, message: str) -> None:
    change_card(saved, network=record)
    assert message in refusal(saved)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preprocessing": {"mean": [0.0]}}, "malformed at $.preprocessing.mean; expected array of length 3"),
        (
            {"preprocessing": {"mean": [0, 0, 0], "std": [1, 0, 1], "channel_order": "rgb"}},
            "malformed at $.preprocessing.std[1]; expected float >= 1e-06; found 0",
        ),
        ({"taxonomy": {"name": "x"}}, "malformed at $.taxonomy; expected an entry version"),
        (
            {"taxonomy": {"name": "x", "version": 1, "classes": [{"name": "a", "color": [0, 0, 0]}] * 255}},
            "class table 'x' has too many classes; expected at most 253; found 255",
        ),
        (
            {"inference": {"class_path": "thriftseg.zoo.SlidingWindow", "init_args": {"crop": [0, 0]}}},
            "inference is malformed at $: windows would leave gaps; expected 0 < stride <= crop",
        ),
        (
            {"inference": {"class_path": "thriftseg.zoo.SlidingWindow", "init_args": {"crop": [0, "x"]}}},
            "inference is malformed at $.crop[1]; expected int; found 'x'",
        ),
        ({"eval_size": [64, 10**9]}, "malformed at $.eval_size[1]; expected int <= 65536; found 1000000000"),
    ],
)
def test_incomplete_descriptions(saved: Path, changes: dict[str, object], message: str) -> None:
    change_card(saved, **changes)
    assert message in refusal(saved)


def test_a_card_cannot_point_out_of_its_folder(saved: Path) -> None:
    card = json.loads(saved.with_suffix(".json").read_text())
    change_card(saved, weights=card["weights"] | {"file": "../../secret.safetensors"})
    assert "names no weight file" in refusal(saved.with_suffix(".json"))


class TestNames:
    @pytest.fixture(autouse=True)
    def folder(self, saved: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        card = json.loads(saved.with_suffix(".json").read_text())
        self.entry = CatalogEntry(
            saved.name, card["weights"]["sha256"], saved.stat().st_size, "deeplabv3plus_mobilenetv2", "test"
        )
        write_index(saved.parent, {"deeplabv3plus_mobilenetv2.test": self.entry})
        monkeypatch.setenv("THRIFTSEG_CHECKPOINTS", str(saved.parent))
        return saved.parent

    def test_a_name_is_found_from_any_folder(self, network, tmp_path_factory, monkeypatch) -> None:
        monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
        assert weights_digest(load("deeplabv3plus_mobilenetv2.test").network) == weights_digest(network)
        assert list_published()["deeplabv3plus_mobilenetv2.test"] == self.entry

    def test_an_unknown_name_gets_a_suggestion(self) -> None:
        message = refusal("deeplabv3plus_mobilenet.tset")
        assert "is called 'deeplabv3plus_mobilenet.tset'; fix: did you mean deeplabv3plus_mobilenetv2.test" in message
        assert "fix: `thriftseg zoo list` shows the names" in refusal("qqq")

    def test_the_index_pins_the_hash(self, network, saved: Path) -> None:
        save_weights(small_network(seed=1), saved)
        assert "the weights have another SHA-256 than stated" in refusal("deeplabv3plus_mobilenetv2.test")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("{", "is not JSON"),
            ('{"version": 2, "checkpoints": {}}', "unknown version of the index; expected 1; found 2"),
            (
                '{"version": 1, "checkpoints": {"a.b": {"file": "a"}}}',
                "index is malformed at $['a.b']; expected an entry sha256",
            ),
            (
                '{"version": 1, "checkpoints": {"a.b": {"file": "../a", "sha256": "", "bytes": 1, '
                '"architecture": "a", "tag": "b"}}}',
                "the weights of a.b lie outside the folder; found ../a",
            ),
        ],
    )
    def test_a_damaged_index(self, folder: Path, content: str, message: str) -> None:
        (folder / "index.json").write_text(content)
        assert message in refusal("deeplabv3plus_mobilenetv2.test")


def test_the_digest_sees_names_shapes_and_values() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(2, 3)
    digests = {weights_digest(layer), weights_digest(nn.Sequential(layer)), weights_digest(nn.Linear(3, 2))}
    with torch.no_grad():
        layer.bias[0] += 1e-6
    assert len(digests | {weights_digest(layer)}) == 4
