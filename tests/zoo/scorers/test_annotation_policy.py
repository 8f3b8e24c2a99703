from __future__ import annotations

import pytest
import torch
from torch import Tensor

from thriftseg.cli.run_folder import start_from
from thriftseg.errors import CheckpointError, ConfigError
from thriftseg.lightning_modules import AnnotationTypeSelection
from thriftseg.zoo import IMAGENET, AnnotationPolicy, QNet, list_models, save_weights


@pytest.fixture(scope="module")
def network() -> AnnotationPolicy:
    torch.manual_seed(0)
    return AnnotationPolicy(num_actions=3).eval()


@pytest.fixture(scope="module")
def with_sam() -> AnnotationPolicy:
    torch.manual_seed(0)
    return AnnotationPolicy(image_encoder="sam", use_cost=True).eval()


def masks(batch: int = 2) -> Tensor:
    drawn = torch.zeros(batch, 224, 224)
    drawn[:, 50:150, 60:160] = 1
    return drawn


def test_is_a_scorer():
    assert "annotation_policy_resnet18" in list_models("scorer")


def test_heads_share_the_features(network):
    frames = torch.randn(2, 3, 90, 160)
    with torch.inference_mode():
        features = network.features(frames, masks())
        output = network(frames, masks())
        assert torch.equal(output.policy_logits, network.policy(features))
        assert torch.equal(output.value, network.value(features))
    assert features.shape == (2, 1024)
    assert output.policy_logits.shape == (2, 3)
    assert output.value.shape == (2, 1)


def test_embedding_stands_for_its_frames(network):
    frames = torch.randn(2, 3, 90, 161)
    with torch.inference_mode():
        embeddings = network.embed(frames)
        assert embeddings.shape == (2, 256, 6, 11)  # stride 16
        for given, computed in zip(network(embeddings, masks()), network(frames, masks()), strict=True):
            assert torch.equal(given, computed)


def test_the_grid_of_an_embedding_does_not_matter(with_sam):
    """Only its average counts, so SAM and SAM 2 embeddings of any grid fit."""
    embeddings = torch.randn(1, 256, 64, 64)
    average = embeddings.mean(dim=(2, 3), keepdim=True)
    cost = torch.tensor([4.0])
    with torch.inference_mode():
        fine, coarse = with_sam(embeddings, masks(1), cost), with_sam(average, masks(1), cost)
    assert torch.allclose(fine.policy_logits, coarse.policy_logits, atol=1e-5)
    assert torch.allclose(fine.value, coarse.value, atol=1e-5)


def test_untrained_policy_is_nearly_uniform(network):
    with torch.inference_mode():
        logits = network(torch.randn(4, 3, 64, 64), masks(4)).policy_logits
    assert logits.softmax(dim=1).max() < 0.6
    assert logits.std() > 0


def test_costs_change_value_and_policy(with_sam):
    embeddings = torch.randn(1, 256, 64, 64).expand(2, -1, -1, -1)
    with torch.inference_mode():
        output = with_sam(embeddings, masks(), torch.tensor([0.0, 80.0]))
        column = with_sam(embeddings, masks(), torch.tensor([[0.0], [80.0]]))
        features = with_sam.features(embeddings, masks(), torch.tensor([0.0, 80.0]))
    assert torch.equal(output.value, column.value)
    assert not torch.allclose(output.value[0], output.value[1])
    assert features.shape == (2, 1536)
    assert torch.equal(features[0, :1024], features[1, :1024])
    assert features[:, 1024:].min() == 0  # behind the ReLU


def test_missing_and_unwanted_costs(network, with_sam):
    with pytest.raises(ConfigError, match="reads costs, none are given; fix: build the network with the other value"):
        with_sam(torch.zeros(1, 256, 4, 4), masks(1))
    with pytest.raises(ConfigError, match="this agent reads no costs"):
        network(torch.zeros(1, 256, 4, 4), masks(1), torch.zeros(1))


def test_frames_without_an_encoder(with_sam):
    with pytest.raises(ConfigError) as caught:
        with_sam(torch.zeros(1, 3, 224, 224), masks(1), torch.zeros(1))
    assert caught.value.headline == (
        "this agent has no image encoder; expected embeddings (B, 256, h, w); found (1, 3, 224, 224); "
        "fix: embed the frames with SAM first, or build the network with image_encoder timm:<name>"
    )


def test_wrong_images(network):
    with pytest.raises(ConfigError, match=r"expected \(B, 3, H, W\), or embeddings \(B, 256, h, w\); found \(1, 64,"):
        network(torch.zeros(1, 64, 8, 8), masks(1))


def test_wrong_size_of_the_mask(network):
    with pytest.raises(ConfigError, match="AnnotationPolicy cannot take this size; expected 224 x 224"):
        network(torch.zeros(1, 256, 8, 8), torch.zeros(1, 120, 214))


@pytest.mark.parametrize(
    ("encoder", "size", "grid"),
    [
        ("timm:test_convnext", (96, 160), (6, 10)),
        ("timm:test_efficientnet", (96, 160), (6, 10)),
        ("timm:test_vit", (160, 160), (10, 10)),
        ("timm:test_vit", (45, 71), (10, 10)),  # bound to one size: the frames are resized
    ],
)
def test_encoders_of_timm(encoder, size, grid):
    torch.manual_seed(0)
    network = AnnotationPolicy(image_encoder=encoder)
    frames = torch.randn(2, 3, *size)
    assert network.embed(frames).shape == (2, 256, *grid)
    sum(output.square().mean() for output in network(frames, masks())).backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


def test_default_encoder_ends_at_stride_16_without_a_projection(network):
    assert isinstance(network.image_encoder.project, torch.nn.Identity)
    assert not any("layer4" in name for name, _ in network.image_encoder.named_parameters())


def test_preprocessing_is_the_encoders(network):
    assert network.preprocessing == IMAGENET
    assert AnnotationPolicy(image_encoder="timm:test_vit").preprocessing.mean == (0.5, 0.5, 0.5)
    assert AnnotationPolicy(image_encoder="sam2").preprocessing == IMAGENET


@pytest.mark.parametrize("encoder", ["resnet18", "timm:no_such_net", "sam3", "timm:"])
def test_unknown_encoder(encoder):
    with pytest.raises(
        ConfigError, match=f"unknown image encoder; expected timm:<name .*, sam or sam2; found {encoder}"
    ):
        AnnotationPolicy(image_encoder=encoder)


def test_wrong_number_of_actions():
    with pytest.raises(ConfigError, match="wrong number of actions; expected 1 or more; found 0"):
        AnnotationPolicy(num_actions=0)


def test_starts_from_a_qnet(tmp_path):
    torch.manual_seed(0)
    qnet = QNet(backbone="mobilenet_v2", scale=0.5).eval()
    save_weights(qnet, tmp_path / "qnet.safetensors")
    agent = AnnotationPolicy(image_encoder="qnet", backbone="mobilenet_v2", scale=0.5).eval()
    heads = {key: value.clone() for key, value in agent.state_dict().items() if key.startswith(("policy", "value"))}
    start_from(str(tmp_path / "qnet.safetensors"), AnnotationTypeSelection(agent))
    agent.eval()  # the module trains it
    frames = torch.rand(2, 3, 90, 160)
    with torch.inference_mode():
        whole = qnet.features(*qnet.fit(frames, masks()))
        embeddings = agent.embed(frames)
        assert torch.equal(embeddings.flatten(1), whole[:, :1280])
        assert torch.equal(agent.features(embeddings, masks())[:, 1280:], whole[:, 1280:])
        assert torch.equal(agent(frames, masks()).value, agent(embeddings, masks()).value)
    assert all(torch.equal(value, agent.state_dict()[key]) for key, value in heads.items())


def test_qnet_with_another_backbone(tmp_path):
    save_weights(QNet(), tmp_path / "qnet.safetensors")
    agent = AnnotationPolicy(image_encoder="qnet", backbone="mobilenet_v2")
    with pytest.raises(CheckpointError, match="another network than AnnotationPolicy"):
        start_from(str(tmp_path / "qnet.safetensors"), AnnotationTypeSelection(agent))


def test_qnet_of_another_scale():
    agent = AnnotationPolicy(image_encoder="qnet", scale=0.5)
    with pytest.raises(ConfigError, match=r"scale of an agent; expected that of its QNet, 1; found 0\.5"):
        agent.start_from(QNet())
