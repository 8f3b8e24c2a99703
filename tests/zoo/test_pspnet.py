from __future__ import annotations

import pytest
import torch

from thriftseg.zoo import PSPNet
from thriftseg.zoo.pspnet import PyramidPooling


@pytest.mark.parametrize("backbone", ["resnet18", "mobilenet_v2"])
@pytest.mark.parametrize("output_stride", [8, 16])
def test_encoder_is_dilated_to_the_output_stride(backbone, output_stride):
    network = PSPNet(3, backbone=backbone, output_stride=output_stride, decoder_channels=8).eval()
    with torch.inference_mode():
        features = network.encoder(torch.randn(1, 3, 64, 96))
    assert features[-1].shape[-2:] == (64 // output_stride, 96 // output_stride)
    assert network.low_resolution_logits(torch.zeros(1, 3, 64, 96)).shape[-2:] == features[-1].shape[-2:]


@pytest.mark.parametrize(("backbone", "channels"), [("resnet18", 512), ("resnet34", 512), ("mobilenet_v2", 1280)])
def test_head_is_as_wide_as_published(backbone, channels):
    """Each of the four branches has a quarter of the encoder's channels, so the map doubles."""
    network = PSPNet(3, backbone=backbone)
    assert network.pyramid.out_channels == 2 * channels
    assert network.head[-1].in_channels == channels // 4


def test_pyramid_pools_to_its_grids():
    pyramid = PyramidPooling(2, 1, bins=(1, 2)).eval()
    features = torch.rand(1, 2, 6, 8)
    for branch in pyramid.branches:
        torch.nn.init.constant_(branch[1].weight, 0.5)
    out = pyramid(features)
    assert torch.equal(out[:, :2], features)
    # Fresh batch norm in eval divides by sqrt(1 + eps) only.
    assert torch.allclose(out[0, 2], features.mean().expand(6, 8), atol=1e-4)
    corner = features[0, :, :3, :4].mean()
    assert out[0, 3, 0, 0].item() == pytest.approx(corner.item(), abs=1e-4)


def test_auxiliary_head_has_its_own_method_and_trains():
    torch.manual_seed(0)
    network = PSPNet(3, decoder_channels=8, auxiliary=True).train()
    frames = torch.randn(2, 3, 45, 60)
    assert network(frames).shape == (2, 3, 45, 60)  # a tensor in training mode too
    logits, auxiliary = network.forward_with_auxiliary(frames)
    assert list(auxiliary) == ["auxiliary"]
    assert auxiliary["auxiliary"].shape == logits.shape
    (logits.square().mean() + auxiliary["auxiliary"].square().mean()).backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


def test_auxiliary_logits_do_not_change_the_others():
    network = PSPNet(3, decoder_channels=8, auxiliary=True).eval()
    frames = torch.randn(1, 3, 45, 60)
    with torch.inference_mode():
        assert torch.equal(network.forward_with_auxiliary(frames)[0], network(frames))
        assert PSPNet(3, decoder_channels=8).eval().forward_with_auxiliary(frames)[1] == {}


def test_first_predictions_are_nearly_uniform():
    torch.manual_seed(0)
    network = PSPNet(11).train()
    p = network(torch.randn(2, 3, 64, 64)).softmax(1)
    assert p.max().item() < 0.3
