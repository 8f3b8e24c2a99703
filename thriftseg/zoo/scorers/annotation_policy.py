"""The agent of EVA-VOS, which chooses how to annotate a frame."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thriftseg.errors import ConfigError
from thriftseg.types import EMBEDDING_CHANNELS
from thriftseg.zoo.blocks.backbones import create_encoder, create_timm_model, init_classifier
from thriftseg.zoo.network import IMAGENET, Network, Preprocessing
from thriftseg.zoo.registry import register_network
from thriftseg.zoo.scorers.base import Scorer, check_scale, run_branch
from thriftseg.zoo.scorers.qnet import QNet

GIVEN_EMBEDDINGS = ("sam", "sam2")
QNET = "qnet"


class PolicyOutput(NamedTuple):
    """Judgement of an agent about states.

    Attributes:
        policy_logits: Of the actions, (B, num_actions).
        value: Expected return, (B, 1).

    Example:
        >>> output = PolicyOutput(torch.tensor([[0.0, 3.0]]).log1p(), torch.tensor([[0.5]]))
        >>> output.policy_logits.softmax(dim=1).tolist()  # a click, or a mask
        [[0.20000000298023224, 0.800000011920929]]
    """

    policy_logits: Tensor
    value: Tensor


@register_network("annotation_policy_resnet18", backbone="resnet18")
class AnnotationPolicy(Scorer):
    """Actor-critic of EVA-VOS [0, 1]: reads a frame's embedding and a mask, and weighs ways to annotate.

    The embedding is averaged over the frame and projected; the mask (0 and 1, repeated to three channels) goes through
    a ResNet; one linear layer gives the policy, another the value. The released agent has two actions: clicks, mask.

    `image_encoder` says where the embedding comes from. With "timm:<name>" the network has an encoder of [2] whose map
    of stride 16 (or the next finer one) is projected to 256 channels unless it has them; `forward` then takes frames or
    the result of `embed`. "qnet" is the branch by which a `QNet` of the same backbone reads frames: the weights of that
    QNet, of both branches, are what to start training from. "sam" and "sam2" are the embeddings of [3]: the network has
    no encoder then, and `forward` takes (B, 256, h, w) as computed elsewhere. Official weights belong to "sam".

    Random initialisation: ResNets keep that of their library (He normal), linear layers that of torch, the policy is
    small normal (std 0.01), so that an untrained agent tries all actions equally often.

    [0] Delatolas et al., Learning the What and How of Annotation in Video Object Segmentation, WACV 2024.
    [1] https://github.com/thanosDelatolas/eva-vos
    [2] https://github.com/huggingface/pytorch-image-models
    [3] Kirillov et al., Segment Anything, ICCV 2023; Ravi et al., SAM 2, ICLR 2025.

    Args:
        num_actions: Number of ways to annotate.
        image_encoder: "timm:<name>", "qnet", "sam" or "sam2".
        backbone: Encoder of the mask, a name of segmentation_models_pytorch.
        use_cost: Also read the cost spent so far, through a linear layer and ReLU.
        dropout: Share of the features dropped before the heads in training.
        pretrained: Start encoder and mask branch from ImageNet weights; otherwise random.
        scale: Size at which the mask branch works, and the frame branch of a QNet; see `QNet`.

    Attributes:
        given_embedding: "sam" or "sam2" where the network has no encoder, else `None`.
        embedding_channels: Channels of embeddings, 256 unless they are of a QNet.

    Raises:
        ConfigError: Unknown encoder or backbone, no action, or a scale out of range.
        CheckpointError: The ImageNet weights cannot be fetched.

    Example:
        >>> network = AnnotationPolicy(num_actions=3).eval()
        >>> policy_logits, value = network(torch.zeros(2, 3, 120, 214), torch.ones(2, 224, 224))
        >>> policy_logits.shape, value.shape
        (torch.Size([2, 3]), torch.Size([2, 1]))
    """

    def __init__(
        self,
        num_actions: int = 2,
        image_encoder: str = "timm:resnet18",
        backbone: str = "resnet18",
        use_cost: bool = False,
        dropout: float = 0.5,
        pretrained: bool = False,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.scale = check_scale(scale)
        if num_actions < 1:
            raise ConfigError("wrong number of actions", expected="1 or more", found=num_actions)
        self.given_embedding = image_encoder if image_encoder in GIVEN_EMBEDDINGS else None
        self.image_encoder: ImageEncoder | FrameBranch | None = None
        self.embedding_channels = EMBEDDING_CHANNELS
        if image_encoder == QNET:
            self.image_encoder = branch = FrameBranch(backbone, pretrained, scale)
            self.embedding_channels = branch.encoder.out_channels[-1]
        elif self.given_embedding is None:
            self.image_encoder = ImageEncoder(image_encoder, pretrained)
        if self.image_encoder is not None:
            self.preprocessing = self.image_encoder.preprocessing
        self.mask_branch = create_encoder(backbone, pretrained)
        width = self.mask_branch.out_channels[-1]
        self.embedding_branch = nn.Linear(self.embedding_channels, width)
        self.cost_branch = nn.Linear(1, width) if use_cost else None
        self.dropout = nn.Dropout(dropout)
        feature_channels = width * (3 if use_cost else 2)
        self.policy = nn.Linear(feature_channels, num_actions)
        self.value = nn.Linear(feature_channels, 1)
        init_classifier(self.policy)

    def forward(self, images: Tensor, masks: Tensor, costs: Tensor | None = None) -> PolicyOutput:
        """Weigh the actions.

        Args:
            images: Normalised frames (B, 3, H, W) of any size, or their embeddings (B, `embedding_channels`, h, w).
            masks: (B, 224, 224) or (B, 1, 224, 224), 0 or 1; see `fit` for other sizes.
            costs: Spent so far, (B,) or (B, 1); only with `use_cost`.

        Returns:
            Logits of the actions and the value of each state.

        Raises:
            ConfigError: A shape is another one, frames come without an encoder, or costs are missing or not wanted.
        """
        features = self.dropout(self.features(images, masks, costs))
        return PolicyOutput(self.policy(features), self.value(features))

    def features(self, images: Tensor, masks: Tensor, costs: Tensor | None = None) -> Tensor:
        """Features that both heads read, (B, D): D is 1024 with ResNet-18, 1536 with costs.

        Args:
            images: As for `forward`.
            masks: As for `forward`.
            costs: As for `forward`.
        """
        is_embedding = images.ndim == 4 and images.shape[1] == self.embedding_channels
        embeddings = images if is_embedding else self.embed(images)
        parts = [
            self.embedding_branch(embeddings.mean(dim=(2, 3))),
            run_branch(self.mask_branch, self._as_mask_images(masks), self.scale),
        ]
        if (self.cost_branch is None) != (costs is None):
            raise ConfigError(
                "this agent reads no costs" if self.cost_branch is None else "this agent reads costs, none are given",
                fix="build the network with the other value of use_cost",
            )
        if self.cost_branch is not None and costs is not None:
            parts.append(F.relu(self.cost_branch(costs.reshape(-1, 1))))
        return torch.cat(parts, dim=1)

    def embed(self, frames: Tensor) -> Tensor:
        """Embed frames once, for several decisions.

        Args:
            frames: (B, 3, H, W) normalised, of any size.

        Returns:
            (B, `embedding_channels`, h, w).

        Raises:
            ConfigError: The network has no encoder, or the shape is another one.
        """
        if self.image_encoder is None:
            raise ConfigError(
                "this agent has no image encoder",
                expected=f"embeddings (B, {self.embedding_channels}, h, w)",
                found=tuple(frames.shape),
                fix="embed the frames with SAM first, or build the network with image_encoder timm:<name>",
            )
        if frames.ndim != 4 or frames.shape[1] != 3:
            raise ConfigError(
                "AnnotationPolicy cannot take these frames",
                expected=f"(B, 3, H, W), or embeddings (B, {self.embedding_channels}, h, w)",
                found=tuple(frames.shape),
            )
        embeddings: Tensor = self.image_encoder(frames)
        return embeddings

    def official_key(self, key: str) -> str | None:
        """See `Network.official_key`; [1] wraps two linear layers in a sequence."""
        return key.replace("embed_branch.2.", "embedding_branch.").replace("cost_branch.0.", "cost_branch.")

    def start_from(self, source: Network) -> dict[str, Tensor]:
        """See `Network.start_from`; a QNet gives both branches, and the heads stay as they are.

        Raises:
            ConfigError: The QNet works at another scale.
        """
        if not isinstance(source, QNet):
            return super().start_from(source)
        if source.scale != self.scale:
            raise ConfigError("scale of an agent", expected=f"that of its QNet, {source.scale:g}", found=self.scale)
        branches = {key: value for key, value in source.state_dict().items() if not key.startswith("classifier.")}
        named = {key.replace("rgb_branch.", "image_encoder.encoder."): value for key, value in branches.items()}
        return self.state_dict() | named


class FrameBranch(nn.Module):
    """How a `QNet` reads frames, as an image encoder.

    Args:
        backbone: Encoder, a name of segmentation_models_pytorch.
        pretrained: Start from ImageNet weights; otherwise random.
        scale: As for `QNet`.
    """

    preprocessing = IMAGENET

    def __init__(self, backbone: str, pretrained: bool, scale: float) -> None:
        super().__init__()
        self.encoder, self.scale = create_encoder(backbone, pretrained), scale

    def forward(self, frames: Tensor) -> Tensor:
        """Embed frames (B, 3, H, W) as (B, C, 1, 1)."""
        frames = F.interpolate(frames, size=Scorer.working_size, mode="bilinear", antialias=True)
        return run_branch(self.encoder, frames, self.scale)[:, :, None, None]


class ImageEncoder(nn.Module):
    """An encoder of timm up to its deepest map of at most stride 16, projected to 256 channels.

    Args:
        name: "timm:<name of timm>"; convolutional and transformer networks work.
        pretrained: Fetch weights through timm; otherwise random.

    Raises:
        ConfigError: The name has another form, or timm does not know it.
        CheckpointError: The weights cannot be fetched.
    """

    STRIDE = 16

    def __init__(self, name: str, pretrained: bool) -> None:
        super().__init__()
        import timm

        prefix, _, model = name.partition(":")
        if prefix != "timm" or not timm.is_model(model):
            raise ConfigError(
                "unknown image encoder", expected="timm:<name of a model of timm>, qnet, sam or sam2", found=name
            )
        try:
            whole: Any = timm.create_model(model, features_only=True, feature_cls="getter")
        except (AttributeError, RuntimeError) as error:
            raise ConfigError(f"{model} of timm cannot be cut at a feature map", fix="take another model") from error
        reductions = whole.feature_info.reduction()
        level = max((index for index, reduction in enumerate(reductions) if reduction <= self.STRIDE), default=0)
        self.encoder = create_timm_model(model, pretrained, feature_cls="getter", out_indices=(level,))
        self.encoder.model.head = nn.Identity()  # of which early versions of timm leave a norm that nothing reads
        settings = self.encoder.pretrained_cfg
        self.preprocessing = Preprocessing(mean=tuple(settings["mean"]), std=tuple(settings["std"]))
        self.input_size = tuple(settings["input_size"][1:]) if settings.get("fixed_input_size") else None
        channels = self.encoder.feature_info.channels()[-1]
        self.project = (
            nn.Identity() if channels == EMBEDDING_CHANNELS else nn.Conv2d(channels, EMBEDDING_CHANNELS, kernel_size=1)
        )

    def forward(self, frames: Tensor) -> Tensor:
        """Embed frames (B, 3, H, W) as (B, 256, h, w); encoders bound to one size get the frames resized to it."""
        if self.input_size is not None and frames.shape[-2:] != self.input_size:
            frames = F.interpolate(frames, size=self.input_size, mode="bilinear", antialias=True)
        embeddings: Tensor = self.project(self.encoder(frames)[-1])
        return embeddings
