from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from thriftseg.errors import ConfigError
from thriftseg.zoo import IMAGENET, QNet, create_model, list_models


@pytest.fixture(scope="module")
def network() -> QNet:
    torch.manual_seed(0)
    return QNet().eval()


def blob(batch: int = 2, size: int = 224) -> torch.Tensor:
    masks = torch.zeros(batch, size, size)
    for index in range(batch):
        masks[index, 40 : 100 + 30 * index, 60:160] = 1
    return masks


def test_is_a_scorer():
    assert "qnet_resnet18" in list_models("scorer")
    assert create_model("qnet_resnet18", num_bins=7).init_args["num_bins"] == 7
    assert QNet.preprocessing == IMAGENET


def test_logits_read_the_features(network):
    images, masks = torch.randn(2, 3, 224, 224), blob()
    with torch.inference_mode():
        features = network.features(images, masks)
        assert features.shape == (2, 1024)
        assert torch.equal(network.classifier(features), network(images, masks))


def test_frame_and_mask_have_their_own_half(network):
    images, masks = torch.randn(2, 3, 224, 224), blob()
    with torch.inference_mode():
        features = network.features(images, masks)
        other_mask = network.features(images, 1 - masks)
        other_image = network.features(-images, masks)
    assert torch.equal(features[:, :512], other_mask[:, :512])
    assert not torch.allclose(features[:, 512:], other_mask[:, 512:])
    assert torch.equal(features[:, 512:], other_image[:, 512:])
    assert not torch.allclose(features[:, :512], other_image[:, :512])


def test_the_half_of_the_frame_can_be_kept(network):
    images, masks = torch.randn(3, 3, 224, 224), blob(3)
    with torch.inference_mode():
        kept = network.embed(images)
        assert kept.shape == (3, 512)
        assert torch.equal(network.features(kept, masks), network.features(images, masks))
        assert torch.allclose(network(kept, masks), network(images, masks), atol=1e-5)
    with pytest.raises(ConfigError, match=r"expected \(B, 3, H, W\); found \(3, 511\)"):
        network(kept[:, 1:], masks)


def test_masks_of_any_type_and_with_a_channel(network):
    images, masks = torch.randn(1, 3, 224, 224), blob(1)
    with torch.inference_mode():
        expected = network(images, masks)
        assert torch.equal(network(images, masks.bool()), expected)
        assert torch.equal(network(images, masks.to(torch.uint8).unsqueeze(1)), expected)


def test_pooling_is_a_window_of_seven(network):
    """At 256 pixels the last map is 8 x 8, of which the authors' pooling sees the first seven rows and columns."""
    images, masks = torch.randn(1, 3, 256, 256), blob(1, 256)
    with torch.inference_mode():
        last = network.rgb_branch(images)[-1]
        assert last.shape[-2:] == (8, 8)
        expected = last[..., :7, :7].mean(dim=(2, 3))
        assert torch.allclose(network.features(images, masks)[:, :512], expected, atol=1e-6)


@pytest.mark.parametrize("size", [(192, 224), (224, 417), (480, 854)])
def test_other_sizes_are_refused_with_the_one_that_works(network, size):
    with pytest.raises(ConfigError) as caught:
        network(torch.zeros(1, 3, *size), torch.zeros(1, *size))
    assert caught.value.headline == (
        f"QNet cannot take this size; expected 224 x 224; found {size[0]} x {size[1]}; "
        "fix: resize with the network's method fit"
    )


@pytest.mark.parametrize("size", [(193, 224), (416, 416)])
def test_sizes_whose_last_map_pools_to_one_value_pass(network, size):
    with torch.inference_mode():
        assert network(torch.zeros(1, 3, *size), torch.zeros(1, *size)).shape == (1, 20)


def test_fit_keeps_masks_binary(network):
    images, masks = torch.rand(2, 3, 96, 171), torch.rand(2, 1, 96, 171) > 0.5
    fitted, fitted_masks = network.fit(images, masks)
    assert fitted.shape == (2, 3, 224, 224)
    assert fitted_masks.shape == (2, 1, 224, 224)
    assert fitted_masks.dtype == torch.bool
    assert abs(fitted.mean() - images.mean()) < 0.01
    halves = torch.zeros(1, 448, 448, dtype=torch.uint8)
    halves[:, :, 224:] = 1
    assert torch.equal(network.fit(images[:1], halves)[1], halves[:, ::2, ::2])


@pytest.mark.parametrize("shape", [(2, 4, 224, 224), (3, 224, 224), (2, 1, 3, 224, 224)])
def test_wrong_frames(network, shape):
    with pytest.raises(ConfigError, match=r"QNet cannot take these frames; expected \(B, 3, H, W\); found \("):
        network(torch.zeros(shape), blob())


@pytest.mark.parametrize("shape", [(2, 3, 224, 224), (224, 224)])
def test_wrong_masks(network, shape):
    with pytest.raises(ConfigError, match=r"QNet cannot take these masks; expected \(B, H, W\) or \(B, 1, H, W\)"):
        network(torch.zeros(2, 3, 224, 224), torch.zeros(shape))


def test_wrong_number_of_bins():
    with pytest.raises(ConfigError, match="wrong number of quality bins; expected 2 or more; found 1"):
        QNet(num_bins=1)


def test_unknown_backbone():
    with pytest.raises(ConfigError, match="unknown backbone 'resnet19'"):
        QNet(backbone="resnet19")


def test_dropout_is_half_of_the_features_in_training():
    torch.manual_seed(0)
    network = QNet(num_bins=2).train()
    dropped = network.dropout(torch.ones(1000, 64))
    assert 0.45 < (dropped == 0).float().mean() < 0.55


def test_learns_the_area_of_a_mask():
    """Small masks are bad, large ones good: two steps tell them apart."""
    torch.manual_seed(0)
    network = QNet(num_bins=2, dropout=0.0).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    images, masks = torch.randn(2, 3, 224, 224), torch.zeros(2, 224, 224)
    masks[0, 100:120, 100:120], masks[1, 20:200, 20:200] = 1, 1
    losses = []
    for _ in range(3):
        loss = torch.nn.functional.cross_entropy(network(images, masks), torch.tensor([0, 1]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(0.69, abs=0.2)  # nearly equal chances at first
    assert losses[-1] < 0.3 * losses[0]


def test_smaller_branches():
    """At half the size, frames and masks are those that were shrunk before, and the window is the whole map."""
    torch.manual_seed(0)
    small = QNet(scale=0.5).eval()
    frames, masks = torch.rand(1, 3, 224, 224), (torch.rand(1, 224, 224) > 0.5).float()
    with torch.inference_mode():
        half = F.interpolate(frames, size=(112, 112), mode="bilinear", antialias=True)
        expected = small.rgb_branch(half)[-1].mean(dim=(2, 3))
        assert torch.allclose(small.features(frames, masks)[:, :512], expected, atol=1e-6)
        assert small(frames, masks).shape == (1, 20)


@pytest.mark.parametrize("scale", [0.0, 1.5])
def test_scale_out_of_range(scale):
    with pytest.raises(ConfigError, match=f"scale of a scorer; expected above 0, at most 1; found {scale}"):
        QNet(scale=scale)
