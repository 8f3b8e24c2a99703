from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor

from tests.fixtures.turns import Turns
from thriftseg.errors import CheckpointError, ConfigError
from thriftseg.zoo import STM, OnnxNetwork, OnnxStream, UPerNet, VOSNetwork, create_model
from thriftseg.zoo.weights.export import export_onnx

onnxruntime = pytest.importorskip("onnxruntime")

Masks = dict[int, tuple[Tensor, Tensor]]
"""By number of the frame, the masks that are given on it, and which of them are meant."""


def stream(path: Path, frames: Tensor, masks: Masks | None = None, objects: int = 0) -> list[np.ndarray]:
    """What a deployer does, without this package: zeros before the first frame, then what came out goes in."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    types = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(bool)": np.bool_}
    names = [output.name for output in session.get_outputs()]
    feed = {
        value.name: np.zeros([side if isinstance(side, int) else 1 for side in value.shape], types[value.type])
        for value in session.get_inputs()
    }
    logits = []
    for number, frame in enumerate(frames):
        feed["frames"] = frame.numpy()
        if masks is not None:
            nothing = torch.zeros(1, objects, *frame.shape[-2:]), torch.zeros(1, objects, dtype=torch.bool)
            feed["masks"], feed["given"] = (each.numpy() for each in masks.get(number, nothing))
        found = dict(zip(names, session.run(names, feed), strict=True))
        logits.append(found["logits"])
        feed |= {name.removeprefix("next_"): value for name, value in found.items() if name.startswith("next_")}
    return logits


@torch.inference_mode()
def in_torch(network: Any, frames: Tensor, masks: Masks | None = None) -> list[np.ndarray]:
    state, logits = network.start(), []
    for number, frame in enumerate(frames):
        found, state = network.step(network.preprocessing(frame), state, *(masks or {}).get(number, ()))
        logits.append(found.numpy())
    return logits


def trained(network: Any) -> Any:
    """With statistics of its batch norms that are not those of a new network."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return network.eval()


def video(count: int, size: tuple[int, int], batch: int = 1) -> Tensor:
    """(T, B, 3, H, W): a pattern that moves, and noise."""
    torch.manual_seed(1)
    canvas = torch.rand(batch, 3, size[0], size[1] + count)
    return torch.stack([canvas[..., i : i + size[1]] for i in range(count)]) * 0.7 + 0.3 * torch.rand(
        count, batch, 3, *size
    )


def assert_equal(found: list[np.ndarray], expected: list[np.ndarray], share: float = 1e-3) -> None:
    for number, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        np.testing.assert_allclose(ours, theirs, atol=share * np.abs(theirs).max(), rtol=0, err_msg=f"frame {number}")


def test_a_memory_that_fills_and_parts_that_take_turns(tmp_path: Path) -> None:
    path = tmp_path / "turns.onnx"
    network = Turns()
    report = export_onnx(network, path, (13, 18))
    assert report.max_difference < 1e-5 * report.max_logit
    frames = video(12, (13, 18))
    found, expected = stream(path, frames), in_torch(network, frames)
    assert_equal(found, expected, 1e-5)
    assert np.abs(expected[1] - expected[5]).max() > 0.01, "the memory has no effect"
    names = [value.name for value in onnx.load(path).graph.input]
    assert names == ["frames", "place", "past_0", "past_1"]


def test_sizes_and_batches_between_the_bounds(tmp_path: Path) -> None:
    path = tmp_path / "turns.onnx"
    network = Turns()
    export_onnx(network, path, (16, 24), min_size=(8, 24), max_size=(32, 40), batch=2, min_batch=1, max_batch=3)
    for size, batch in (((8, 24), 3), ((16, 24), 1), ((19, 37), 2), ((32, 40), 1)):
        frames = video(6, size, batch)
        assert_equal(stream(path, frames), in_torch(network, frames), 1e-5)
    inputs = {value.name: value.type.tensor_type.shape.dim for value in onnx.load(path).graph.input}
    assert [side.dim_param or side.dim_value for side in inputs["frames"]] == ["batch", 3, "height", "width"]
    assert [side.dim_param or side.dim_value for side in inputs["past_0"]] == ["batch", 5, "past_0_2", "past_0_3"]


def test_weights_of_several_branches_are_stored_once(tmp_path: Path) -> None:
    path = tmp_path / "tmanet.onnx"
    network = trained(create_model("tmanet_r18", 5, key_channels=8, value_channels=16, head_channels=16))
    report = export_onnx(network, path, (17, 25))
    parameters = 4 * sum(parameter.numel() for parameter in network.parameters())
    assert parameters < report.bytes < 1.05 * parameters
    twice = export_onnx(network, tmp_path / "fast.onnx", (17, 25), share_weights=False)
    assert 1.95 * parameters < twice.bytes < 2.1 * parameters
    frames = video(12, (17, 25))
    for exported in (path, tmp_path / "fast.onnx"):
        assert_equal(stream(exported, frames), in_torch(network, frames), 1e-4)
    assert "site-packages" not in str(path.read_bytes())
    assert __file__.encode() not in path.read_bytes()


def small_stm(**options: Any) -> VOSNetwork:
    torch.manual_seed(0)
    sizes = {"key_channels": 8, "value_channels": 16, "decoder_channels": 8, "max_memory_frames": 3, "memory_every": 3}
    return trained(STM("resnet18", stride=8, **sizes, **options))


def masks_of(size: tuple[int, int], *channels: int, objects: int = 3, shift: int = 0) -> tuple[Tensor, Tensor]:
    masks, given = torch.zeros(1, objects, *size), torch.zeros(1, objects, dtype=torch.bool)
    for channel in channels:
        left = 12 * channel + shift
        masks[0, channel, 8:24, left : left + 12] = 1
        given[0, channel] = True
    return masks, given


@pytest.mark.parametrize("shared", [True, False])
def test_objects_are_followed_from_slots(tmp_path: Path, shared: bool) -> None:
    path, size = tmp_path / "stm.onnx", (33, 42)
    network = small_stm(shared_keys=shared, similarity="l2" if shared else "dot", remember_previous=not shared)
    export_onnx(network, path, size, objects=3)
    masks = {1: masks_of(size, 0, 1), 5: masks_of(size, 2), 9: masks_of(size, 0, shift=4)}
    frames = video(14, size)
    found = stream(path, frames, masks, objects=3)
    expected = in_torch(network, frames, masks)
    assert_equal(probabilities(found, expected), probabilities(expected, expected), 1e-4)
    assert all((logits[0, 3] < -15.9).all() for logits in found[:5]), "object 2 has not appeared"
    assert found[8][0, 3].max() > -1


def probabilities(videos: list[np.ndarray], of: list[np.ndarray]) -> list[np.ndarray]:
    """Of the channels that another one has; those of sure pixels are equal where logits hang on the last digit."""
    pairs = zip(videos, of, strict=True)
    return [torch.from_numpy(logits[:, : other.shape[1]]).softmax(1).numpy() for logits, other in pairs]


def test_pooling_of_unknown_sizes_is_named(tmp_path: Path) -> None:
    network = UPerNet(5, "resnet18", decoder_channels=16)
    with pytest.raises(ConfigError, match=r"UPerNet cannot be exported for several sizes; found .* pools to a grid"):
        export_onnx(network, tmp_path / "x.onnx", (64, 64), max_size=(96, 96))


def test_a_network_of_one_size_says_so(tmp_path: Path) -> None:
    network = create_model("td2_fanet18", 5, layer_norm_size=(4, 6))
    with pytest.raises(ConfigError, match="layer norms of this TDNetFANet are bound to one size of frame"):
        export_onnx(network, tmp_path / "x.onnx", (32, 48), max_size=(64, 96))
    assert not list(tmp_path.iterdir())


def test_networks_of_objects_are_exported_for_one_video(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"STM is exported for one video.*found 1 to 2 frames at once"):
        export_onnx(small_stm(), tmp_path / "x.onnx", (32, 32), max_batch=2)
    with pytest.raises(ConfigError, match="room for objects; expected 1 or more; found 0"):
        export_onnx(small_stm(), tmp_path / "x.onnx", (32, 32), objects=0)


def test_sizes_have_an_order(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="smallest <= usual <= largest; found 64, 32, 32"):
        export_onnx(Turns(), tmp_path / "x.onnx", (32, 32), min_size=(64, 32))


def test_a_changed_or_foreign_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "turns.onnx"
    export_onnx(Turns(), path, (16, 16))
    content = path.read_bytes()
    weight = next(each for each in onnx.load(path).graph.initializer if each.raw_data)
    place = content.index(weight.raw_data)
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    with pytest.raises(CheckpointError, match="the graph is not the one that was exported"):
        OnnxStream(path)
    model = onnx.ModelProto.FromString(content)
    del model.metadata_props[:]
    path.write_bytes(model.SerializeToString())
    with pytest.raises(CheckpointError, match="not a network that this package exported"):
        OnnxStream(path)
    path.write_bytes(content[:-40])
    with pytest.raises(CheckpointError, match="not an ONNX file, or damaged"):
        OnnxStream(path)
    with pytest.raises(CheckpointError, match="no such file"):
        OnnxStream(tmp_path / "nothing.onnx")


def test_frames_of_another_shape_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "turns.onnx"
    export_onnx(Turns(), path, (16, 24), max_size=(32, 24))
    exported = OnnxStream(path)
    with pytest.raises(ConfigError, match="expected number x height x width of 1 x 16 to 32 x 24; found 1 x 16 x 16"):
        exported.step(torch.rand(1, 3, 16, 16), exported.start())
    _, state = exported.step(torch.rand(1, 3, 16, 24), exported.start())
    with pytest.raises(ConfigError, match="the frames before this one were of another shape"):
        exported.step(torch.rand(1, 3, 32, 24), state)
    with pytest.raises(ConfigError, match="state of another network; expected OnnxState"):
        exported.step(torch.rand(1, 3, 16, 24), Turns().start())


def test_a_record_cannot_name_a_file() -> None:
    with pytest.raises(CheckpointError, match="the record of an OnnxNetwork names a file"):
        OnnxNetwork.check_record({"path": "/etc/passwd"})


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tmanet_r18", "td2_fanet18", "td4_psp18"])
def test_three_hundred_frames(name: str, tmp_path: Path) -> None:
    path, size = tmp_path / "x.onnx", (49, 73)
    network = trained(create_model(name, 5))
    export_onnx(network, path, size)
    frames = video(300, size)
    assert_equal(stream(path, frames), in_torch(network, frames))


@pytest.mark.slow
def test_three_hundred_frames_of_objects(tmp_path: Path) -> None:
    path, size = tmp_path / "x.onnx", (48, 80)
    torch.manual_seed(0)
    network = trained(create_model("stm_r18"))
    export_onnx(network, path, size, objects=3, memory_frames=6)
    network.memory_policy = type(network.memory_policy)(5, 6, False)
    masks = {0: masks_of(size, 0, 1), 40: masks_of(size, 2), 155: masks_of(size, 1, shift=20)}
    frames = video(300, size)
    found, expected = stream(path, frames, masks, objects=3), in_torch(network, frames, masks)
    assert_equal(probabilities(found, expected), probabilities(expected, expected))
