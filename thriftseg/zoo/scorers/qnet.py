"""QNet, which says how good the mask of an object is."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from thriftseg.errors import ConfigError
from thriftseg.zoo.blocks.backbones import create_encoder, init_classifier
from thriftseg.zoo.registry import register_network
from thriftseg.zoo.scorers.base import Scorer, check_scale, run_branch


@register_network("qnet_resnet18", backbone="resnet18")
class QNet(Scorer):
    """Quality network of EVA-VOS [0, 1]: two ResNets read a frame and a mask, a linear layer sorts them into bins.

    The mask enters as 0 and 1, repeated to three channels and not normalised. Bin i of n stands for a quality (the
    intersection over union with the true mask) in (i / n, (i + 1) / n]; the lowest has 0 as well. Frame selection
    compares `features`, whose first half, `embed`, does not depend on the mask. Random initialisation: the branches
    keep that of their library (He normal), the classifier is small normal (std 0.01).

    [0] Delatolas et al., Learning the What and How of Annotation in Video Object Segmentation, WACV 2024.
    [1] https://github.com/thanosDelatolas/eva-vos

    Args:
        num_bins: Number of quality bins.
        backbone: Encoder of both branches, a name of segmentation_models_pytorch.
        dropout: Share of the features dropped before the classifier in training.
        pretrained: Start both branches from ImageNet weights; otherwise random.
        scale: Size at which the branches work, as a share of 224 pixels: at 0.5 they take a quarter of the time.

    Raises:
        ConfigError: Unknown backbone, fewer than two bins, or a scale out of range.
        CheckpointError: The ImageNet weights cannot be fetched.

    Example:
        >>> network = QNet().eval()
        >>> frames, masks = torch.zeros(2, 3, 224, 224), torch.ones(2, 224, 224)
        >>> network(frames, masks).shape, network.features(frames, masks).shape
        (torch.Size([2, 20]), torch.Size([2, 1024]))
    """

    def __init__(
        self,
        num_bins: int = 20,
        backbone: str = "resnet18",
        dropout: float = 0.5,
        pretrained: bool = False,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.scale = check_scale(scale)
        if num_bins < 2:
            raise ConfigError("wrong number of quality bins", expected="2 or more", found=num_bins)
        self.rgb_branch = create_encoder(backbone, pretrained)
        self.mask_branch = create_encoder(backbone, pretrained)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(2 * self.rgb_branch.out_channels[-1], num_bins)
        init_classifier(self.classifier)

    def forward(self, images: Tensor, masks: Tensor) -> Tensor:
        """Sort masks by quality.

        Args:
            images: (B, 3, 224, 224) normalised frames, see `fit` for other sizes; or the result of `embed`.
            masks: (B, 224, 224) or (B, 1, 224, 224), 0 or 1.

        Returns:
            Logits of the quality bins, (B, num_bins), the lowest quality first.

        Raises:
            ConfigError: The branches cannot take the shapes.
        """
        logits: Tensor = self.classifier(self.dropout(self.features(images, masks)))
        return logits

    def features(self, images: Tensor, masks: Tensor) -> Tensor:
        """Pooled maps of both branches, the frame's first: (B, 1024) with ResNet-18.

        Args:
            images: As for `forward`.
            masks: As for `forward`.
        """
        mask_images = self._as_mask_images(masks)
        is_embedding = images.ndim == 2 and images.shape[1] == self.rgb_branch.out_channels[-1]
        embeddings = images if is_embedding else self.embed(images)
        return torch.cat([embeddings, run_branch(self.mask_branch, mask_images, self.scale)], dim=1)

    def embed(self, frames: Tensor) -> Tensor:
        """Embed frames once, for masks that change.

        Args:
            frames: (B, 3, 224, 224) normalised.

        Returns:
            The half of `features` that does not depend on the mask, (B, 512) with ResNet-18.

        Raises:
            ConfigError: The branch cannot take the shape.
        """
        if frames.ndim != 4 or frames.shape[1] != 3:
            raise ConfigError("QNet cannot take these frames", expected="(B, 3, H, W)", found=tuple(frames.shape))
        self._check_size(frames)
        return run_branch(self.rgb_branch, frames, self.scale)

    def official_key(self, key: str) -> str | None:
        """See `Network.official_key`; [1] names the classifier differently."""
        return key.replace("out_layer.", "classifier.")
