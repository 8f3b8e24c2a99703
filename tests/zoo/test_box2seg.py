from __future__ import annotations

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import Tensor

from thriftseg.errors import CheckpointError, ConfigError
from thriftseg.zoo import IMAGENET, Box2Seg, list_models
from thriftseg.zoo.box2seg import add_input_channel


def small(**arguments: object) -> Box2Seg:
    torch.manual_seed(0)
    return Box2Seg(**{"backbone": "resnet18", "decoder_channels": 16, **arguments})


def box(height: int, width: int) -> Tensor:
    drawn = torch.zeros(1, height, width)
    drawn[:, height // 4 : height // 2, width // 4 : width // 2] = 1
    return drawn


def test_has_a_kind_of_its_own():
    assert list_models("box2seg") == ["box2seg_deeplabv3plus"]
    assert "box2seg_deeplabv3plus" not in list_models("semantic")


@pytest.mark.parametrize("output_stride", [8, 16])
def test_equals_the_network_of_the_library(output_stride):
    ours = small(output_stride=output_stride).eval()
    theirs = smp.DeepLabV3Plus(
        "resnet18",
        encoder_weights=None,
        in_channels=4,
        classes=1,
        decoder_channels=16,
        encoder_output_stride=output_stride,
    ).eval()
    theirs.load_state_dict(
        {key.replace("classifier.", "segmentation_head."): value for key, value in ours.state_dict().items()}
    )
    frames, boxes = torch.randn(1, 3, 64, 96), box(64, 96)
    with torch.inference_mode():
        expected = theirs(torch.cat([frames, boxes.unsqueeze(1)], dim=1))
        assert torch.allclose(ours(frames, boxes), expected, atol=1e-6)


@pytest.mark.parametrize("size", [(64, 96), (45, 71), (385, 385), (1, 1)])
def test_any_size(size):
    network = small().eval()
    with torch.inference_mode():
        logits = network(torch.randn(1, 3, *size), box(*size))
    assert logits.shape == (1, 1, *size)
    assert torch.isfinite(logits).all()


def test_padding_repeats_the_border_of_frame_and_box():
    network = small().eval()
    frames, boxes = torch.randn(1, 3, 45, 71), torch.ones(1, 1, 45, 71)
    rows, columns = torch.arange(48).clamp(max=44), torch.arange(80).clamp(max=70)
    with torch.inference_mode():
        padded = network(frames[..., rows[:, None], columns], boxes[..., rows[:, None], columns])
        assert torch.equal(network(frames, boxes), padded[..., :45, :71])


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float32])
def test_boxes_of_any_type_and_with_a_channel(dtype):
    network = small().eval()
    frames, boxes = torch.randn(1, 3, 32, 48), box(32, 48)
    with torch.inference_mode():
        expected = network(frames, boxes)
        assert torch.equal(network(frames, boxes.to(dtype)), expected)
        assert torch.equal(network(frames, boxes.to(dtype).unsqueeze(1)), expected)
        assert not torch.allclose(network(frames, 1 - boxes), expected)


@pytest.mark.parametrize("name", ["resnet18", "tu-test_resnet", "tu-mobilenetv3_small_050"])
def test_new_channel_leaves_the_learned_ones(name):
    """With zero weights for the box, the encoder computes what it did before."""
    encoder = smp.encoders.get_encoder(name, weights=None).eval()
    frames = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        before = encoder(frames)[-1]
        add_input_channel(encoder, zero=True)
        after = encoder(torch.cat([frames, torch.ones(1, 1, 64, 64)], dim=1))[-1]
    assert torch.allclose(before, after, atol=1e-5)


def test_new_channel_is_like_the_others_without_pretrained_weights():
    weight = small().encoder.conv1.weight.detach()
    assert weight.shape == (64, 4, 7, 7)
    assert weight[:, 3].std() == pytest.approx(float(weight[:, :3].std()), rel=0.05)


@pytest.mark.parametrize(
    "backbone", ["resnet101", pytest.param("tu-xception65", marks=pytest.mark.slow), "tu-test_efficientnet"]
)
def test_other_backbones(backbone):
    network = small(backbone=backbone).eval()
    with torch.inference_mode():
        assert network(torch.randn(1, 3, 33, 47), box(33, 47)).std() > 0


def test_preprocessing_follows_the_encoder():
    assert small().preprocessing == IMAGENET
    assert small(backbone="tu-test_resnet").preprocessing.mean == (0.5, 0.5, 0.5)


def test_learns_to_fill_the_box():
    network = small(backbone="tu-test_resnet", dropout=0.0).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    frames, boxes = torch.randn(2, 3, 64, 64), torch.cat([box(64, 64), box(64, 64).flip(1)])
    for _ in range(30):
        logits = network(frames, boxes)[:, 0]
        optimizer.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(logits, boxes).backward()
        optimizer.step()
    inside, predicted = boxes > 0, logits > 0
    assert (inside & predicted).sum() / (inside | predicted).sum() > 0.85


@pytest.mark.parametrize(
    ("frames", "boxes"),
    [((2, 3, 32, 32), (1, 32, 32)), ((2, 4, 32, 32), (2, 32, 32)), ((2, 3, 32, 32), (2, 32, 33)), ((3, 8, 8), (8, 8))],
)
def test_shapes_that_do_not_fit(frames, boxes):
    with pytest.raises(ConfigError, match="Box2Seg cannot take these frames and boxes; expected") as caught:
        small(backbone="tu-test_resnet")(torch.zeros(frames), torch.zeros(boxes))
    assert f"found {frames} and {boxes}" in caught.value.headline


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backbone": "resnet19"}, "unknown backbone 'resnet19'; expected resnet18"),
        ({"backbone": "tu-resnet19"}, "unknown backbone 'tu-resnet19'; expected tu-<name of a model of timm>"),
        ({"backbone": "tu-test_vit"}, "tu-test_vit is no encoder for DeepLabV3"),
        ({"output_stride": 32}, "wrong output stride; expected 8 or 16; found 32"),
        ({"backbone": "tu-test_resnet", "output_stride": 32}, "wrong output stride; expected 8 or 16; found 32"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ConfigError, match=message):
        small(**arguments)


@pytest.mark.parametrize(("backbone", "place"), [("resnet18", "smp-hub/resnet18"), ("tu-test_resnet", "timm/test_res")])
def test_weights_that_cannot_be_fetched(backbone, place, monkeypatch, tmp_path):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match=f"ImageNet weights of {backbone} cannot be fetched.*{place}"):
        small(backbone=backbone, pretrained=True)
