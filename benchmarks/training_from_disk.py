"""Training from files on a disk, beside what one writes by hand with Lightning and segmentation_models_pytorch.

Each side is a process of its own with a trainer, one compute thread and two workers, and trains one network on the same
frames of 360x480 in the layout of CamVid: one resampling to a random scale around 180x240, a random crop of 176x240 and
a flip, in batches of eight. Ours does so by the data module, with the precision of its config for this network.
Blocks of steps take turns and the median of their ratios counts. DeepLabV3+ is that of segmentation_models_pytorch on
both sides; its PSPNet stops at the third stage of the encoder, so both sides train ours.

`python -m benchmarks.training_from_disk SIDE NETWORK ROOT` is one side: for every line that it reads from its standard
input it trains a block and writes the seconds that took.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
import yaml
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from benchmarks.measure import Item, Outcome
from benchmarks.training_step import NETWORKS
from thriftseg.datamodules import SemanticDataModule
from thriftseg.datasets import CamVid
from thriftseg.lightning_modules import SemanticSegmentation
from thriftseg.resources import config_path
from thriftseg.synthetic import synthesize

STEPS, BLOCKS, BATCH, WORKERS = 6, 7, 8, 2
SIZE, CROP, SCALES = (180, 240), (176, 240), (0.75, 1.5)


class Blocks(Callback):
    """Waits for a line before each block of steps, and then says how long the block took."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Wait to begin."""
        self._wait(trainer)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *rest: Any) -> None:
        """Close a block after its last step."""
        if trainer.global_step % STEPS == 0:
            print("seconds", time.perf_counter() - self.start, flush=True)
            self._wait(trainer)

    def _wait(self, trainer: Trainer) -> None:
        trainer.should_stop = not sys.stdin.readline()
        self.start = time.perf_counter()


class FrameFiles(Dataset[tuple[Tensor, Tensor]]):
    """Augmented frames and labels of CamVid, as one reads them by OpenCV."""

    def __init__(self, root: Path) -> None:
        lines = (root / "train.txt").read_text().splitlines()
        names = [Path(line.split()[0]).name for line in lines]
        self.files = [(str(root / "train" / name), str(root / "trainannot" / name)) for name in names]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        frame: Any = cv2.cvtColor(np.asarray(cv2.imread(self.files[index][0])), cv2.COLOR_BGR2RGB)
        label: Any = cv2.imread(self.files[index][1], cv2.IMREAD_UNCHANGED)
        rng = np.random.default_rng()
        scale = rng.uniform(*SCALES)
        height, width = (max(round(side * scale), 1) for side in SIZE)
        frame = cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)
        label = cv2.resize(label, (width, height), interpolation=cv2.INTER_NEAREST)
        below, right = (max(0, crop - side) for crop, side in zip(CROP, (height, width), strict=True))
        frame = cv2.copyMakeBorder(frame, 0, below, 0, right, cv2.BORDER_CONSTANT)
        label = cv2.copyMakeBorder(label, 0, below, 0, right, cv2.BORDER_CONSTANT, value=11)
        top, left = (int(rng.integers(side - crop + 1)) for side, crop in zip(label.shape, CROP, strict=True))
        window = slice(top, top + CROP[0]), slice(left, left + CROP[1])
        frame, label = frame[window], label[window]
        if rng.random() < 0.5:
            frame, label = frame[:, ::-1], label[:, ::-1]
        image = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1).float() / 255
        mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        return (image - mean[:, None, None]) / deviation[:, None, None], torch.from_numpy(label.astype(np.int64))


class ByHand(LightningModule):
    """A network, cross entropy and AdamW."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        """Loss of a batch."""
        frames, labels = batch
        return F.cross_entropy(self.network(frames), labels, ignore_index=11)

    def configure_optimizers(self) -> Any:
        """AdamW with a polynomial schedule."""
        optimizer = torch.optim.AdamW(self.parameters(), lr=1e-3, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=10_000, power=0.9)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def train(side: str, network: str, root: Path) -> None:
    """Train blocks until standard input ends."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    torch.manual_seed(0)
    if side == "mmseg":
        import_module("benchmarks.training_by_mmseg").train(network, root)
        return
    ours = NETWORKS[network](11, backbone="resnet18", output_stride=16)
    config = yaml.safe_load(config_path(f"supervised/camvid_{network}_resnet18.yaml").read_text())["trainer"]
    trainer = Trainer(
        accelerator="cpu",
        precision=config["precision"] if side == "ours" else "32-true",
        gradient_clip_val=config["gradient_clip_val"] if side == "ours" else None,
        max_steps=10_000,
        limit_val_batches=0,
        callbacks=[Blocks()],
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    if side == "ours":
        data = SemanticDataModule(
            CamVid(root), crop=CROP, resize=SIZE, scale=SCALES, photometric=False, batch_size=BATCH, num_workers=WORKERS
        )
        trainer.fit(SemanticSegmentation(ours), data)
        return
    by_hand = smp.DeepLabV3Plus("resnet18", encoder_weights=None, classes=11) if network == "deeplabv3plus" else ours
    loader = DataLoader(
        FrameFiles(root), BATCH, shuffle=True, drop_last=True, num_workers=WORKERS, persistent_workers=True
    )
    trainer.fit(ByHand(by_hand), loader)


def take_turns(commands: list[list[str]], blocks: int = BLOCKS) -> list[list[float]]:
    """Seconds of the blocks of processes that take turns, after two blocks to warm up.

    Args:
        commands: How each is started.
        blocks: Blocks of each.
    """
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    sides: list[Any] = [subprocess.Popen(command, **pipes) for command in commands]
    times: list[list[float]] = [[] for _ in sides]
    try:
        for _ in range(blocks + 2):
            for side, taken in zip(sides, times, strict=True):
                print(file=side.stdin, flush=True)
                taken.append(next(float(line.split()[1]) for line in side.stdout if line.startswith("seconds")))
    finally:
        for side in sides:
            side.kill()
            side.wait()
    return [taken[2:] for taken in times]


def from_disk(network: str, reference: str) -> Outcome:
    """Images per second of ours over those of the reference."""
    with TemporaryDirectory() as folder:
        root = Path(folder) / "camvid"
        synthesize(root, layout="camvid", train_clips=8, val_clips=1, frames=24, height=360, width=480, devices=1)
        run = [sys.executable, "-m", "benchmarks.training_from_disk"]
        ours, theirs = take_turns([[*run, side, network, str(root)] for side in ("ours", reference)])
    ratios = [slow / fast for fast, slow in zip(ours, theirs, strict=True)]
    rates = [STEPS * BATCH / statistics.median(each) for each in (ours, theirs)]
    detail = f"{rates[0]:.1f} and {rates[1]:.1f} images/s; {min(ratios):.2f} to {max(ratios):.2f}"
    return Outcome(statistics.median(ratios), detail)


ITEMS = [
    Item(
        f"from_disk_{name}{word}",
        f"training {name} from files: images/s of `fit` / of {whom} in single precision",
        partial(from_disk, name, side),
        at_least=least,
    )
    for name in NETWORKS
    for side, word, whom, least in (
        ("by_hand", "", "a script with Lightning and smp", 1.1),
        ("mmseg", "_mmseg", "onedl-mmsegmentation", 1.25),
    )
    if side != "mmseg" or find_spec("mmseg")
]

if __name__ == "__main__":
    train(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
