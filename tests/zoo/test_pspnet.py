from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from thriftseg.errors import ConfigError
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


@pytest.mark.parametrize("groups", [2, 4])
def test_groups_of_channels_add_up(groups):
    torch.manual_seed(0)
    network = PSPNet(3, decoder_channels=10).eval()  # 10 channels do not divide by 4
    frames = torch.randn(2, 3, 48, 64)
    normalised = []
    network.head[0][1].register_forward_hook(lambda module, inputs, output: normalised.append(inputs[0]))
    with torch.inference_mode():
        expected = network.low_resolution_logits(frames)
        maps = network.group_maps(frames, groups)
        logits, others = network.forward_groups(frames, groups)
    torch.testing.assert_close(torch.stack(maps).sum(0), normalised[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-6)
    assert len(maps) == len(others) == groups
    assert all((one - other).abs().max() > 1e-3 for one, other in pairwise(maps))


def test_groups_take_their_stretch_of_every_block():
    """Channels of the other group change a group's logits in no way."""
    torch.manual_seed(0)
    network = PSPNet(3, decoder_channels=8).eval()
    frames = torch.randn(1, 3, 45, 60)
    with torch.inference_mode():
        _, before = network.forward_groups(frames)
        first = [*range(256), *range(512, 516), *range(520, 524), *range(528, 532), *range(536, 540)]
        assert network.pyramid.channel_groups(2)[0] == first
        network.head[0][0].weight[:, first] = 0
        _, after = network.forward_groups(frames)
    assert torch.equal(before[1], after[1])
    assert (before[0] - after[0]).abs().max() > 1e-4
    assert before[0].shape == (1, 3, 6, 8)


def test_gain_scales_groups_before_they_are_normalised():
    torch.manual_seed(0)
    network = PSPNet(3, decoder_channels=8).eval()
    frames = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        whole, groups = network.forward_groups(frames, 4, gain=4.0)
        fused = 4.0 * network.group_maps(frames, 4)[2]
        assert torch.equal(groups[2], network.head[2](network.head[0][2](network.head[0][1](fused))))
        torch.testing.assert_close(whole, network.low_resolution_logits(frames), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("groups", [0, 9])
def test_wrong_number_of_groups(groups):
    with pytest.raises(ConfigError, match=f"wrong number of channel groups; expected 1 to 8; found {groups}"):
        PSPNet(3, decoder_channels=8).forward_groups(torch.zeros(1, 3, 32, 32), groups)
