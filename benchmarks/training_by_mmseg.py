"""Training from files by onedl-mmsegmentation, from a config of its kind, for `benchmarks.training_from_disk`.

Its PSPNet has the layers of ours; its DeepLabV3+ is that of its configs for a ResNet-18, with about as many parameters.
Both have the plain stem, an output stride of 16 and no auxiliary head. `pip install "thriftseg[mmseg]"` installs it.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.datasets import BaseSegDataset

from benchmarks.training_from_disk import BATCH, CROP, SCALES, SIZE, STEPS, WORKERS
from thriftseg.taxonomies import CAMVID

VOID = 11
HEADS = {
    "pspnet": {"type": "PSPHead", "pool_scales": (1, 2, 3, 6)},
    "deeplabv3plus": {
        "type": "DepthwiseSeparableASPPHead",
        "dilations": (1, 12, 24, 36),
        "c1_in_channels": 64,
        "c1_channels": 12,
    },
}


class Blocks(Hook):
    """Waits for a line before each block of steps, and then says how long the block took."""

    def before_train(self, runner: Runner) -> None:
        """Wait to begin."""
        self._wait()

    def after_train_iter(self, runner: Runner, batch_idx: int, *rest: Any, **others: Any) -> None:
        """Close a block after its last step."""
        if (runner.iter + 1) % STEPS == 0:
            print("seconds", time.perf_counter() - self.start, flush=True)
            self._wait()

    def _wait(self) -> None:
        if not sys.stdin.readline():
            sys.exit()
        self.start = time.perf_counter()


def train(network: str, root: Path) -> None:
    """Train blocks until standard input ends."""
    norm = {"type": "BN", "requires_grad": True}
    head = {"in_channels": 512, "in_index": 3, "channels": 128, "num_classes": VOID, "dropout_ratio": 0.1}
    model = {
        "type": "mmseg.EncoderDecoder",
        "data_preprocessor": {
            "type": "mmseg.SegDataPreProcessor",
            "mean": [123.675, 116.28, 103.53],
            "std": [58.395, 57.12, 57.375],
            "bgr_to_rgb": True,
            "size": CROP,
            "pad_val": 0,
            "seg_pad_val": VOID,
        },
        "backbone": {
            "type": "mmseg.ResNet",
            "depth": 18,
            "strides": (1, 2, 2, 1),
            "dilations": (1, 1, 1, 2),
            "norm_cfg": norm,
        },
        "decode_head": {
            **head,
            **HEADS[network],
            "norm_cfg": norm,
            "align_corners": False,
            "ignore_index": VOID,
            "loss_decode": {"type": "mmseg.CrossEntropyLoss"},
        },
        "train_cfg": {},
        "test_cfg": {"mode": "whole"},
    }
    pipeline = [
        {"type": "mmseg.LoadImageFromFile"},
        {"type": "mmseg.LoadAnnotations"},
        {"type": "mmseg.RandomResize", "scale": SIZE[::-1], "ratio_range": SCALES, "keep_ratio": True},
        {"type": "mmseg.RandomCrop", "crop_size": CROP},
        {"type": "mmseg.RandomFlip", "prob": 0.5},
        {"type": "mmseg.PackSegInputs"},
    ]
    with TemporaryDirectory() as folder:
        lines = (root / "train.txt").read_text().splitlines()
        names = Path(folder) / "names.txt"
        names.write_text("\n".join(Path(line.split()[0]).stem for line in lines))
        data = BaseSegDataset(
            ann_file=str(names),
            img_suffix=".png",
            metainfo={"classes": CAMVID.class_names, "palette": CAMVID.palette},
            data_prefix={"img_path": str(root / "train"), "seg_map_path": str(root / "trainannot")},
            pipeline=pipeline,
        )
        Runner(
            model,
            work_dir=folder,
            train_dataloader={
                "dataset": data,
                "batch_size": BATCH,
                "num_workers": WORKERS,
                "persistent_workers": True,
                "sampler": {"type": "InfiniteSampler", "shuffle": True},
            },
            train_cfg={"type": "IterBasedTrainLoop", "max_iters": 10_000},
            optim_wrapper={"optimizer": {"type": "AdamW", "lr": 1e-3, "weight_decay": 1e-2}},
            param_scheduler={"type": "PolyLR", "power": 0.9, "end": 10_000, "by_epoch": False},
            custom_hooks=[Blocks()],
            default_hooks={"checkpoint": None, "logger": None},
            default_scope="mmseg",
            log_level="ERROR",
        ).train()
