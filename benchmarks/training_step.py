"""Time of a training step by the trainer, as a ratio to the same step in a bare loop.

Both sides train the same network on the same frames, decoded once and kept in memory, with one compute thread and
one worker process each. Blocks of steps alternate within one run and the median of the blocks' ratios is compared,
so that other load on the machine meets both sides alike.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor

from benchmarks.measure import Item, Outcome, medians, one_thread
from thriftseg.datamodules import SemanticDataModule
from thriftseg.datasets import CamVid
from thriftseg.lightning_modules import SemanticSegmentation
from thriftseg.losses import CrossEntropy
from thriftseg.synthetic import synthesize
from thriftseg.zoo import DeepLabV3Plus, PSPNet

Precision = Literal["32-true", "bf16-mixed"]

NETWORKS: dict[str, type[PSPNet] | type[DeepLabV3Plus]] = {"pspnet": PSPNet, "deeplabv3plus": DeepLabV3Plus}
STEPS_PER_BLOCK = 6
BLOCKS = 11
WARM_UP_BLOCKS = 2


class BareLoop:
    """What one would write by hand: fetch, augment colours, normalise, forward, loss, backward, step.

    Args:
        data: Batches.
        network: Network to train.
    """

    def __init__(self, data: SemanticDataModule, network: PSPNet | DeepLabV3Plus) -> None:
        data.setup("fit")
        self.data = data
        self.network = network
        self.cross_entropy = CrossEntropy()
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=1e-3)
        self.schedule = torch.optim.lr_scheduler.PolynomialLR(self.optimizer, total_iters=10_000, power=0.9)
        self.batches = self._endless()

    def steps(self, count: int) -> float:
        """Seconds for a number of steps."""
        start = time.perf_counter()
        for _ in range(count):
            loss = self.loss(self.data.on_after_batch_transfer(next(self.batches)))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.schedule.step()
        return time.perf_counter() - start

    def loss(self, batch: dict[str, Any]) -> Tensor:
        """Loss of a batch."""
        frames = self.network.preprocessing(batch["frames"])
        return self.cross_entropy(self.network(frames), batch["label"], batch["weight"])

    def _endless(self) -> Iterator[dict[str, Any]]:
        loader = self.data.train_dataloader()
        while True:
            yield from loader


class Alternate(Callback):
    """After each block of the trainer's steps, runs and times as many bare ones."""

    def __init__(self, bare: BareLoop) -> None:
        self.bare = bare
        self.ratios: list[float] = []
        self.start = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the first block."""
        self.start = time.perf_counter()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *rest: Any) -> None:
        """Close a block of the trainer, run a bare one, and start the next."""
        if trainer.global_step % STEPS_PER_BLOCK:
            return
        trained = time.perf_counter() - self.start
        self.ratios.append(trained / self.bare.steps(STEPS_PER_BLOCK))
        self.start = time.perf_counter()


def step_overhead(
    network: type[PSPNet] | type[DeepLabV3Plus] = PSPNet,
    crop: tuple[int, int] = (64, 96),
    precision: Precision = "32-true",
    blocks: int = BLOCKS,
) -> Outcome:
    """Time of the trainer's step over that of the bare one in single precision."""
    height, width = crop[0] * 3 // 2, crop[1] * 4 // 3
    with TemporaryDirectory() as folder, one_thread():
        root = Path(folder) / "camvid"
        synthesize(root, layout="camvid", train_clips=6, val_clips=1, frames=16, height=height, width=width, devices=1)

        def data() -> SemanticDataModule:
            return SemanticDataModule(
                CamVid(root), crop=crop, batch_size=4, num_workers=1, cache="ram", scale=(1.0, 1.5)
            )

        torch.manual_seed(0)
        module, bare = SemanticSegmentation(network(11)), BareLoop(data(), network(11))
        return compare(module, data(), bare, Path(folder), blocks, precision)


def compare(
    module: SemanticSegmentation,
    data: SemanticDataModule,
    bare: BareLoop,
    folder: Path,
    blocks: int = BLOCKS,
    precision: Precision = "32-true",
) -> Outcome:
    """Median ratio of blocks of steps: those of the trainer over the bare ones.

    Args:
        module: What the trainer trains.
        data: What it trains on.
        bare: The same steps, by hand.
        folder: Where the trainer leaves its logs.
        blocks: Blocks to take the median of.
        precision: That of the trainer.
    """
    alternate = Alternate(bare)
    trainer = Trainer(
        accelerator="cpu",
        precision=precision,
        max_steps=STEPS_PER_BLOCK * (blocks + WARM_UP_BLOCKS),
        limit_val_batches=0,
        callbacks=[alternate],
        logger=CSVLogger(folder),
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        default_root_dir=folder,
    )
    trainer.fit(module, data)
    ratios = alternate.ratios[WARM_UP_BLOCKS:]
    return Outcome(statistics.median(ratios), f"median of {blocks} blocks, {min(ratios):.3f} to {max(ratios):.3f}")


def options(network: type[PSPNet] | type[DeepLabV3Plus]) -> Outcome:
    """Plain single precision over bfloat16, and what other options of a step are worth alone and beside it."""

    def step(
        channels_last: bool = False, fused: bool = False, compiled: bool = False, bfloat16: bool = False
    ) -> Callable[[], None]:
        torch.manual_seed(0)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        trained = network(11).to(memory_format=layout)
        forward = torch.compile(trained) if compiled else trained
        optimizer = torch.optim.AdamW(trained.parameters(), fused=fused)
        frames = torch.rand(4, 3, 176, 240).contiguous(memory_format=layout)
        labels = torch.randint(0, 11, (4, 176, 240))

        def run() -> None:
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                loss = F.cross_entropy(forward(frames).float(), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        return run

    alone = {
        "channels-last": {"channels_last": True},
        "fused optimiser": {"fused": True},
        "compiled": {"compiled": True},
    }
    half = {"bf16": {"bfloat16": True}}
    half |= {f"bf16 {name}": {"bfloat16": True, **alone[name]} for name in ("channels-last", "compiled")}
    with one_thread():
        plain, *others = medians(7, step(), *(step(**chosen) for chosen in (alone | half).values()))
    gains = {name: plain / seconds for name, seconds in zip(alone | half, others, strict=True)}
    detail = f"plain {1e3 * plain:.0f} ms; " + ", ".join(f"{name} {gain:.2f}" for name, gain in gains.items())
    return Outcome(gains["bf16"], detail)


ITEMS = [
    Item(
        "training_step",
        "step of the trainer, its module and data path / the same step in a bare loop, frames in memory",
        step_overhead,
        at_most=1.05,
    ),
    *(
        Item(
            f"training_step_{name}_bf16",
            f"step of the trainer in bf16-mixed, {name} at 176x240 / the same step in a bare loop in single precision",
            partial(step_overhead, network, (176, 240), "bf16-mixed", blocks=5),
            at_most=0.91,
        )
        for name, network in NETWORKS.items()
    ),
    *(
        Item(
            f"training_options_{name}",
            f"forward, backward and update of {name}, 4 frames of 176x240, in single precision / in bfloat16",
            partial(options, network),
            at_least=1.25,
        )
        for name, network in NETWORKS.items()
    ),
]
