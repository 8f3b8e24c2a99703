from __future__ import annotations

import pytest
import timm
import torch

from thriftseg.errors import ConfigError
from thriftseg.zoo import HRNet


@pytest.mark.parametrize(
    ("arguments", "channels"),
    [
        ({"width": 18}, 270),
        ({"width": 18, "small": True}, 240),
        pytest.param({"width": 48}, 720, marks=pytest.mark.slow),
    ],
)
def test_feature_channels_at_stride_4(arguments, channels):
    network = HRNet(3, **arguments).eval()
    with torch.inference_mode():
        assert network.features(torch.randn(1, 3, 64, 96)).shape == (1, channels, 16, 24)
        assert network.features(torch.randn(1, 1, 3, 45, 71)).shape == (1, channels, 12, 18)


def test_head_reads_the_features():
    network = HRNet(3, small=True).eval()
    frames = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(
            network.classifier(network.fuse(network.features(frames))), network.low_resolution_logits(frames)
        )


def test_branches_are_those_of_the_classification_network():
    """Same names and same values, so its ImageNet weights fit; the classification head is not built."""
    torch.manual_seed(0)
    reference = timm.create_model("hrnet_w18_small").eval()
    network = HRNet(3, small=True).eval()
    left_over = network.encoder.load_state_dict(reference.state_dict(), strict=False)
    assert left_over.missing_keys == []
    heads = ("incre_modules", "downsamp_modules", "final_layer", "classifier")
    assert all(key.startswith(heads) for key in left_over.unexpected_keys)
    frames = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        stem = reference.act2(reference.bn2(reference.conv2(reference.act1(reference.bn1(reference.conv1(frames))))))
        finest, *coarser = reference.stages(stem)
        enlarged = [
            torch.nn.functional.interpolate(branch, size=(16, 16), mode="bilinear", align_corners=False)
            for branch in coarser
        ]
        assert torch.allclose(network.features(frames), torch.cat([finest, *enlarged], dim=1), atol=1e-6)


@pytest.mark.parametrize("arguments", [{"width": 17}, {"width": 48, "small": True}])
def test_no_such_width(arguments):
    with pytest.raises(ConfigError, match="no such HRNet; expected width 18, 30"):
        HRNet(3, **arguments)
