"""Every kind of network learns from every kind of label, alone and mixed."""

from __future__ import annotations

import copy
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, Trainer

from thriftseg.datamodules import Mixture, MixturePart, SemanticDataModule
from thriftseg.datasets import Cityscapes
from thriftseg.labels import create_prompter, label_clicks, label_propagate, label_refine
from thriftseg.lightning_modules import SemanticSegmentation
from thriftseg.losses import CrossEntropy
from thriftseg.synthetic import synthesize
from thriftseg.types import LabelKind
from thriftseg.zoo import DeepLabV3Plus, HRNet, PSPNet, SemanticNetwork, TDNetFANet, TMANet

CLASSES = 19
NETWORKS: dict[str, Callable[[], SemanticNetwork]] = {
    "hrnet": lambda: HRNet(CLASSES, small=True),
    "deeplabv3plus": lambda: DeepLabV3Plus(CLASSES, backbone="mobilenet_v2", decoder_channels=16),
    "pspnet": lambda: PSPNet(CLASSES, backbone="mobilenet_v2", decoder_channels=8),
    "tmanet": lambda: TMANet(CLASSES, depth=18, memory_frames=1, key_channels=8, value_channels=16, head_channels=16),
    "tdnet": lambda: TDNetFANet(CLASSES),
}
KINDS = {
    "manual": LabelKind.MANUAL,
    "flow": LabelKind.PROPAGATED,
    "coarse": LabelKind.COARSE,
    "refined": LabelKind.REFINED,
    "clicks": LabelKind.CLICKS,
}
RATIOS = {"manual": 3.0, "flow": 2.0, "coarse": 1.0, "refined": 1.0, "clicks": 3.0}  # ten draws are two batches
WEIGHTS = {"manual": 1.0, "flow": 0.9, "coarse": 0.7, "refined": 0.8, "clicks": 2.0}


class Watcher(Callback):
    """Notes what a run saw, what it lost, and which parameters got a gradient."""

    def __init__(self) -> None:
        self.kinds: Counter[int] = Counter()
        self.weights: dict[int, set[float]] = {}
        self.losses: list[float] = []
        self.expected: list[float] = []
        self.moved: set[str] = set()

    def on_train_batch_start(self, trainer: Trainer, module: Any, batch: dict[str, Any], step: int) -> None:
        self.kinds.update(batch["kind"].tolist())
        for kind, weight in zip(batch["kind"].tolist(), batch["weight"].tolist(), strict=True):
            self.weights.setdefault(kind, set()).add(round(weight, 6))
        self.expected.append(mean_over_images(copy.deepcopy(module.network), batch, step))

    def on_before_optimizer_step(self, trainer: Trainer, module: Any, optimizer: torch.optim.Optimizer) -> None:
        gradients = {name: p.grad for name, p in module.network.named_parameters() if p.grad is not None}
        self.moved |= {name for name, gradient in gradients.items() if gradient.abs().sum() > 0}

    def on_train_batch_end(self, trainer: Trainer, module: Any, outputs: Any, batch: Any, step: int) -> None:
        self.losses.append(outputs["loss"].item())


def mean_over_images(network: SemanticNetwork, batch: dict[str, Any], step: int) -> float:
    """Each image's cross entropy over its labelled pixels times its weight, averaged over images with a label."""
    phase = {"first_index": step % network.num_phases} if network.num_phases > 1 else {}
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        logits = network((batch["frames"] - mean[:, None, None]) / std[:, None, None], **phase)
    parts = [
        weight * F.cross_entropy(one[:, label != 255].T, label[label != 255]).item()
        for one, label, weight in zip(logits, batch["label"], batch["weight"].tolist(), strict=True)
        if (label != 255).any()
    ]
    return sum(parts) / max(1, len(parts))


@pytest.fixture(scope="session")
def labelled_street(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Nine clips of synthetic street, and a store with propagated, refined and clicked labels of each."""
    root, store = tmp_path_factory.mktemp("street") / "video", tmp_path_factory.mktemp("labels")
    synthesize(root, layout="cityscapes", train_clips=9, val_clips=1, frames=4, height=64, width=96, seed=0, devices=1)
    dataset, quiet = Cityscapes(root), {"store": store, "progress": False}
    label_propagate(dataset, "train", 1, accelerator="cpu", **quiet)
    label_refine(
        dataset, "train", create_prompter("grabcut"), outline=True, source="refined", accelerator="cpu", **quiet
    )
    label_clicks(dataset, "train", min_component=8, **quiet)
    return root, store


@pytest.fixture
def train(labelled_street: tuple[Path, Path], build_trainer: Callable[..., Trainer]):
    """Trains two steps on a mixture and tells what happened."""
    root, store = labelled_street

    def run(name: str, parts: list[MixturePart], batch_size: int, **settings: Any) -> tuple[Watcher, SemanticNetwork]:
        data = SemanticDataModule(
            Cityscapes(root),
            Mixture(parts=parts, store=store, weights={part.labels: WEIGHTS[part.labels] for part in parts}),
            crop=(32, 48),
            batch_size=batch_size,
            num_workers=0,
            tc="off",
            seed=1,
            **settings,
        )
        torch.manual_seed(0)
        network = NETWORKS[name]()
        for module in network.modules():
            if isinstance(module, torch.nn.Dropout | torch.nn.Dropout2d):
                module.p = 0.0
        watcher = Watcher()
        trainer = build_trainer(max_steps=2, limit_val_batches=0, callbacks=[watcher])
        trainer.fit(SemanticSegmentation(network, CrossEntropy(reduction="image")), data)
        return watcher, network

    return run


def part_of(source: str, clips: int) -> MixturePart:
    return MixturePart(source, offsets=1 if source == "flow" else 0, clips=clips)


def every_pair() -> Iterator[Any]:
    """Networks and kinds; each once by default, as all of them meet in `test_all_kinds_in_one_run`."""
    for (i, name), (j, source) in itertools.product(enumerate(NETWORKS), enumerate(KINDS)):
        yield pytest.param(name, source, marks=[] if i == j else [pytest.mark.slow])


@pytest.mark.parametrize(("name", "source"), every_pair())
def test_one_kind(train, name: str, source: str) -> None:
    watcher, _ = train(name, [part_of(source, 4)], batch_size=2)
    assert watcher.kinds == {KINDS[source]: 4}
    assert watcher.losses == pytest.approx(watcher.expected, rel=1e-4)
    assert sum(watcher.losses) > 0
    assert len(watcher.moved) > 10


@pytest.mark.parametrize("name", NETWORKS)
def test_all_kinds_in_one_run(train, name: str) -> None:
    watcher, network = train(name, [part_of(source, 2) for source in KINDS], batch_size=5, source_ratios=RATIOS)
    assert watcher.kinds == {KINDS[source]: ratio for source, ratio in RATIOS.items()}
    assert watcher.weights == {KINDS[source]: {weight} for source, weight in WEIGHTS.items()}
    assert watcher.losses == pytest.approx(watcher.expected, rel=1e-4)
    assert watcher.moved == {name for name, _ in network.named_parameters()}
