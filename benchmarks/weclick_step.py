"""A student's step of WeClick, as a ratio to the same step by hand, and its memory as the Gated CRF reaches further.

The step by hand calls the loss functions directly; see `benchmarks/training_step.py` for how both are timed.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.measure import Item, Outcome, extra_memory, one_thread
from benchmarks.training_step import BareLoop, compare
from thriftseg.datamodules import Mixture, MixturePart, NeighbourPolicy, SemanticDataModule
from thriftseg.datasets import Cityscapes
from thriftseg.labels import label_clicks
from thriftseg.lightning_modules import SemanticSegmentation, WeClick
from thriftseg.losses import (
    GatedCRF,
    gated_crf_loss,
    knowledge_distillation,
    memory_flow_distillation,
    partial_cross_entropy,
)
from thriftseg.synthetic import synthesize
from thriftseg.types import IGNORE_INDEX
from thriftseg.zoo import PSPNet

CLASSES, STRIDE = 19, 4
RADII = (3, 5, 11)
BLOCKS = 21


class BareStudent(BareLoop):
    """The step of a student by hand; crops are not padded."""

    def __init__(self, data: SemanticDataModule, network: PSPNet, teacher: PSPNet) -> None:
        super().__init__(data, network)
        self.teacher = teacher.eval().requires_grad_(False)

    def loss(self, batch: dict[str, Any]) -> Tensor:
        """All four terms."""
        size, cells = batch["label"].shape[-2:], [side // STRIDE for side in batch["label"].shape[-2:]]
        clip = torch.cat([batch["frames"], batch["neighbours"]], dim=1)
        frames, count = self.network.preprocessing(clip.flatten(0, 1)), clip.shape[1]
        with torch.no_grad():
            low_teacher = self.teacher.low_resolution_logits(frames)
            teacher = F.interpolate(low_teacher[::count], size, mode="bilinear")
        low = self.network.low_resolution_logits(frames)
        student = F.interpolate(low, size, mode="bilinear")
        low = F.interpolate(low, cells, mode="bilinear")
        low_teacher = F.interpolate(low_teacher, cells, mode="bilinear")
        image = self.network.preprocessing(batch["frames_raw"][:, 0])
        loss = partial_cross_entropy(student[::count], batch["label"], batch["weight"])
        loss = loss + 0.1 * gated_crf_loss(low[::count].softmax(1), image)
        loss = loss + count * knowledge_distillation(low, low_teacher)
        for place in range(1, count):
            flow, valid = batch["neighbour_flow"][:, place - 1], batch["neighbour_valid"][:, place - 1]
            flow = flow.masked_fill(~valid[:, None], math.nan)
            loss = loss + memory_flow_distillation(student[::count], student[place::count], flow, teacher)
        return loss


def student() -> PSPNet:
    torch.manual_seed(0)
    return PSPNet(CLASSES, dropout=0.0)


def teacher(num_classes: int = CLASSES) -> PSPNet:
    torch.manual_seed(1)
    return PSPNet(num_classes, backbone="resnet34")


def step_overhead() -> Outcome:
    """Time of the trainer's step over that of the bare one, with every term and a frozen teacher."""
    with TemporaryDirectory() as name, one_thread():
        data = clicked_videos(Path(name))
        module, bare = taught_student(gated_crf_start=0.0), BareStudent(data(), student(), teacher())
        check_agreement(module, bare)
        return compare(module, data(), bare, Path(name), BLOCKS)


def clicked_videos(folder: Path) -> Callable[[], SemanticDataModule]:
    """Write synthetic video with clicks; returns what opens it, with two neighbours and the flow to them."""
    root, store = folder / "cityscapes", folder / "labels"
    synthesize(root, layout="cityscapes", train_clips=16, val_clips=1, frames=8, height=64, width=96, devices=1)
    label_clicks(Cityscapes(root), "train", store=store, min_component=10, progress=False)
    return lambda: SemanticDataModule(
        Cityscapes(root),
        Mixture(parts=[MixturePart("clicks")], store=store),
        crop=(48, 64),
        batch_size=1,
        num_workers=1,
        cache="ram",
        scale=(1.0, 1.5),
        neighbours=NeighbourPolicy("forward", n=3, distance=1),
        neighbour_flow=True,
        flow_cache=folder / "flow",
    )


def check_agreement(module: SemanticSegmentation, bare: BareStudent) -> None:
    batch = bare.data.on_after_batch_transfer(next(bare.batches))
    torch.testing.assert_close(quiet_step(module, batch), bare.loss(batch))


def quiet_step(module: SemanticSegmentation, batch: dict[str, Any]) -> Tensor:
    """Loss of a step outside of a trainer, where there is no log."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Trainer. reference is not registered")
        return module.training_step(batch, 0)


def memory_of_radius() -> Outcome:
    """Extra memory of a student's step with the largest radius over that with the smallest."""
    batch = random_batch(1, 64, 96)
    with one_thread():
        grown = [extra_memory(partial(forward_and_backward, student_of_radius(radius), batch)) for radius in RADII]
    detail = ", ".join(f"radius {radius}: +{extra:.0f} MiB" for radius, extra in zip(RADII, grown, strict=True))
    return Outcome(grown[-1] / grown[0], detail)


def student_of_radius(radius: int) -> SemanticSegmentation:
    return taught_student(gated_crf=GatedCRF(radius=radius))


def taught_student(**settings: Any) -> SemanticSegmentation:
    return SemanticSegmentation(student(), WeClick(**settings), teacher=teacher)


def forward_and_backward(module: SemanticSegmentation, batch: dict[str, Any]) -> None:
    quiet_step(module, batch).backward()
    module.zero_grad()


def random_batch(size: int, height: int, width: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(0, CLASSES, (size, height, width), generator=generator)
    label[torch.rand(label.shape, generator=generator) > 0.001] = IGNORE_INDEX
    frames = torch.rand(size, 3, 3, height, width, generator=generator)
    return {
        "frames": frames[:, :1],
        "neighbours": frames[:, 1:],
        "neighbour_flow": 3 * torch.randn(size, 2, 2, height, width, generator=generator),
        "neighbour_valid": torch.ones(size, 2, height, width, dtype=torch.bool),
        "label": label,
        "weight": torch.ones(size),
        "valid": torch.ones(size, height, width, dtype=torch.bool),
    }


ITEMS = [
    Item(
        "weclick_step",
        "student's step of the trainer, all terms, flow in the batch / the same step in a bare loop",
        step_overhead,
        at_most=1.05,
    ),
    Item(
        "weclick_memory",
        "memory of a student's step on three frames of 64x96, Gated CRF of radius 11 / radius 3",
        memory_of_radius,
        at_most=1.05,
    ),
]
