from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.fixtures.two_layers import TwoLayers
from thriftseg.errors import CheckpointError, ConfigError
from thriftseg.zoo import QNet, create_model
from thriftseg.zoo.weights import onnx_stream
from thriftseg.zoo.weights.export import export_onnx

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module", params=[False, pytest.param(True, marks=pytest.mark.slow)], ids=["small", "student"])
def network(request: pytest.FixtureRequest):
    torch.manual_seed(0)
    network = create_model("deeplabv3plus_mobilenetv2", 5, decoder_channels=8) if request.param else TwoLayers(5)
    for _ in range(3):
        network.train()(torch.randn(2, 3, 32, 32))
    return network.eval()


def test_the_exported_file_normalises_and_agrees_with_torch(network, tmp_path: Path) -> None:
    import onnx
    import onnxruntime

    path = tmp_path / "student.onnx"
    report = export_onnx(network, path, (33, 50), class_names=list("abcde"))
    assert report.max_difference <= 1e-4 * report.max_logit
    assert report.equal_classes > 0.999
    assert report.bytes == path.stat().st_size
    frames = torch.rand(1, 3, 33, 50)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"frames": frames.numpy()})
    with torch.inference_mode():
        expected = network(network.preprocessing(frames)).numpy()
    np.testing.assert_allclose(logits, expected, atol=1e-4 * report.max_logit)
    properties = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert json.loads(properties["class_names"]) == list("abcde")


def test_a_file_that_disagrees_is_not_kept(tmp_path: Path) -> None:
    network = TwoLayers(5).train()
    with pytest.raises(CheckpointError, match="the exported network disagrees with torch; expected logits within 0 of"):
        export_onnx(network, tmp_path / "student.onnx", (32, 32), tolerance=0)
    assert not list(tmp_path.iterdir())
    assert network.training


def test_other_kinds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="only networks that segment, or follow objects by a memory of frames, are"):
        export_onnx(QNet(), tmp_path / "x.onnx")


def test_an_empty_size_is_refused(network, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such frame size"):
        export_onnx(network, tmp_path / "x.onnx", (0, 32))


def test_missing_packages_are_named(network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_stream, "_PACKAGES", ("onnx", "a_package_that_nobody_has"))
    with pytest.raises(
        ConfigError, match=r"ONNX needs a_package_that_nobody_has; fix: pip install 'thriftseg\[export\]'"
    ):
        export_onnx(network, tmp_path / "x.onnx")
