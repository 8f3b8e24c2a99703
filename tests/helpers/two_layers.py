"""A network of two convolutions, the same weights each time."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from thriftseg.zoo import IMAGENET, SemanticNetwork


class TwoLayers(SemanticNetwork):
    """Two convolutions at stride 2; batch norm and dropout between them on demand."""

    preprocessing = IMAGENET
    size_multiple = 2

    def __init__(self, num_classes: int, noisy: bool = False) -> None:
        super().__init__(num_classes)
        torch.manual_seed(0)
        between = [nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.3)] if noisy else [nn.ReLU()]
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), *between)
        self.classifier = nn.Conv2d(6, num_classes, 1)

    def compute_logits(self, frames: Tensor) -> Tensor:
        return self.classify(self.compute_features(frames))

    def compute_features(self, frames: Tensor) -> Tensor:
        return self.body(frames[:, -1])

    def classify(self, features: Tensor) -> Tensor:
        return self.classifier(features)
