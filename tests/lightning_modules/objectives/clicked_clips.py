"""A network of two convolutions, and batches of clicked frames beside unlabelled ones."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.lightning_modules.objectives.preset import weclick
from thriftseg.lightning_modules import SemanticSegmentation
from thriftseg.zoo import IMAGENET, SemanticNetwork

CLASSES = 4
SIZE = (32, 48)
UNEVEN = (30, 42)
WEIGHTS = {"weak_weight": 0.7, "gated_crf_weight": 0.3, "memory_flow_weight": 2.0, "distillation_weight": 0.5}


class Tiny(SemanticNetwork):
    """Two convolutions."""

    preprocessing = IMAGENET

    def __init__(self, num_classes: int, stride: int = 4, seed: int = 0) -> None:
        super().__init__(num_classes)
        self.size_multiple = stride
        torch.manual_seed(seed)
        self.layers = nn.Sequential(
            nn.Conv2d(3, 6, 3, stride=stride, padding=1), nn.ReLU(), nn.Conv2d(6, num_classes, 3, padding=1)
        )
        nn.init.normal_(self.layers[-1].weight, std=0.5)

    def compute_logits(self, frames: Tensor) -> Tensor:
        return self.layers(frames[:, -1])


def tiny_teacher(num_classes: int) -> Tiny:
    return Tiny(num_classes, stride=8, seed=1)


def quiet(module: SemanticSegmentation) -> dict[str, Tensor]:
    """What the module logs, outside of a trainer."""
    logged: dict[str, Tensor] = {}
    module.log_dict = lambda values, **_: logged.update(values)
    module.log = lambda name, value, **_: logged.update({name: value})
    return logged


def make_module(**settings: Any) -> SemanticSegmentation:
    return weclick(Tiny(CLASSES), **({"teacher": tiny_teacher} | settings))


def make_batch(neighbours: int = 2, size: tuple[int, int] = SIZE, seed: int = 3) -> dict[str, Any]:
    """Two samples, the second one padded, with a few clicks and smooth flow."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.full((2, *size), 255)
    label[0, [3, 9, 20], [5, 30, 11]] = torch.tensor([0, 2, 3])
    label[1, [4, 15], [21, 7]] = torch.tensor([1, 2])
    valid = torch.ones(2, *size, dtype=torch.bool)
    valid[1, 23:], valid[1, :, 34:] = False, False
    raw = torch.rand(2, 1 + neighbours, 3, *size, generator=generator)
    seen = (raw + 0.1 * torch.randn(2, 1 + neighbours, 3, 1, 1, generator=generator)).clamp(0, 1)
    batch = {
        "frames": seen[:, :1],
        "frames_raw": raw[:, :1],
        "label": label,
        "weight": torch.tensor([1.0, 0.5]),
        "valid": valid,
        "id": ["a/1", "a/2"],
    }
    if neighbours:
        coarse = 5 * torch.randn(2 * neighbours, 2, 4, 5, generator=generator)
        flow = F.interpolate(coarse, size, mode="bilinear").unflatten(0, (2, neighbours))
        known = torch.rand(2, neighbours, *size, generator=generator) < 0.9
        batch |= {"neighbours": seen[:, 1:], "neighbours_raw": raw[:, 1:]}
        batch |= {"neighbour_flow": flow, "neighbour_valid": known}
    return batch
