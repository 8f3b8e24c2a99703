from __future__ import annotations

import pytest
import segmentation_models_pytorch as smp
import torch

from thriftseg.errors import CheckpointError, ConfigError
from thriftseg.zoo import DeepLabV3Plus, HRNet, PSPNet, SemanticNetwork


@pytest.mark.parametrize("output_stride", [8, 16])
def test_equals_the_network_of_the_library(output_stride):
    torch.manual_seed(0)
    ours = DeepLabV3Plus(4, decoder_channels=16, output_stride=output_stride).eval()
    theirs = smp.DeepLabV3Plus(
        "resnet18", encoder_weights=None, classes=4, decoder_channels=16, encoder_output_stride=output_stride
    ).eval()
    state = {key.replace("classifier.", "segmentation_head."): value for key, value in ours.state_dict().items()}
    theirs.load_state_dict(state)
    frames = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        assert torch.allclose(ours(frames), theirs(frames), atol=1e-6)


@pytest.mark.parametrize("network_class", [DeepLabV3Plus, PSPNet])
def test_unknown_backbone(network_class: type[SemanticNetwork]):
    with pytest.raises(ConfigError, match="unknown backbone 'resnet19'; expected resnet18"):
        network_class(3, backbone="resnet19")


def test_backbone_without_imagenet_weights():
    with pytest.raises(ConfigError, match="no ImageNet weights of resnext101_32x16d; fix: set pretrained to false"):
        PSPNet(3, backbone="resnext101_32x16d", pretrained=True)


@pytest.mark.parametrize("network_class", [DeepLabV3Plus, PSPNet])
def test_wrong_output_stride(network_class: type[SemanticNetwork]):
    with pytest.raises(ConfigError, match="wrong output stride; expected 8 or 16; found 32"):
        network_class(3, output_stride=32)


@pytest.mark.parametrize(
    ("network_class", "weights"), [(DeepLabV3Plus, "resnet18"), (PSPNet, "resnet18"), (HRNet, "hrnet_w18")]
)
def test_weights_that_cannot_be_fetched(network_class, weights, monkeypatch, tmp_path):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError) as caught:
        network_class(3, pretrained=True)
    assert f"ImageNet weights of {weights} cannot be fetched" in caught.value.headline
    assert f"/{weights}." in caught.value.headline
    assert "set pretrained to false" in caught.value.headline
