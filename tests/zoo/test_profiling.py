"""Size and speed of networks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from thriftseg.cli.main import main
from thriftseg.errors import ConfigError
from thriftseg.reports.run_scores import read_profile
from thriftseg.zoo import SemanticNetwork, create_model, profile


class OneConvolution(SemanticNetwork):
    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.layer = nn.Conv2d(3, num_classes, 3, padding=1)

    def compute_logits(self, frames: Tensor) -> Tensor:
        return self.layer(frames[:, -1])


def test_a_convolution_by_hand() -> None:
    found = profile(OneConvolution(4), size=(20, 30), warm_up=1, frames=3)
    assert found.parameters == 3 * 4 * 9 + 4
    assert found.gflops == pytest.approx(2 * 20 * 30 * 3 * 4 * 9 / 1e9)
    assert found.fps == pytest.approx(1000 / found.milliseconds)
    assert found.size == (20, 30)
    assert f"{torch.get_num_threads()} threads" in found.device


def test_a_stream_encodes_every_frame_once() -> None:
    """A window of three frames would take nearly three times as much."""
    network = create_model("tmanet_r18", 5, memory_frames=1)
    one, two = (
        profile(network, (33, 65), frames=1),
        profile(create_model("tmanet_r18", 5, memory_frames=2), (33, 65), frames=1),
    )
    assert two.gflops < 1.3 * one.gflops


def test_the_mean_over_the_phases() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    network = create_model("td2_fanet18", 5).eval()
    state, counts = network.start(), []
    with torch.inference_mode():
        for _ in range(4):
            with FlopCounterMode(display=False) as counter:
                _, state = network.step(torch.rand(1, 3, 32, 64), state)
            counts.append(counter.get_total_flops())
    assert profile(network, (32, 64), frames=1).gflops == pytest.approx(sum(counts[-2:]) / 2e9)


def test_wrong_numbers() -> None:
    with pytest.raises(ConfigError, match="numbers of frames to profile with; expected 1 or more"):
        profile(OneConvolution(4), frames=0)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured = ["pspnet_mobilenetv2", "--size", "32", "64", "--num_classes", "5", "--frames", "1"]
    assert main(["zoo", "profile", *measured, "--out", str(tmp_path / "pspnet" / "profile.json")]) == 0
    told = capsys.readouterr().out
    network = create_model("pspnet_mobilenetv2", 5)
    assert f"{sum(p.numel() for p in network.parameters()) / 1e6:.2f} M parameters" in told
    assert "frames per second (median of 1)" in told
    found = read_profile(tmp_path / "pspnet")
    assert found.measures["params_m"] == sum(p.numel() for p in network.parameters()) / 1e6
    assert f"{found.measures['gflops']:.1f} GFLOPs" in told
    assert f", {found.measures['fps']:.2f} frames per second" in told
    assert found.how.startswith("at 32x64 on ")
    assert read_profile(tmp_path) is None
    assert main(["zoo", "profile", "pspnet_mobilenetv2", "--size", "32"]) == 2
    assert "--size" in capsys.readouterr().err
