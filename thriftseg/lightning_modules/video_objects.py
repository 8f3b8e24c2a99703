"""Training of networks that follow objects through videos, and their evaluation on whole videos."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from thriftseg.atomic import write_bytes
from thriftseg.datasets import PALETTE, encode_label_png
from thriftseg.errors import ConfigError
from thriftseg.lightning_modules.base import LossPart, TrainingModule, label_terms
from thriftseg.losses import CrossEntropy
from thriftseg.metrics import JAndF, VOSProtocol
from thriftseg.types import VOSBatch, VOSVideo
from thriftseg.zoo import ObjectTracker, VOSNetwork


class VideoObjectSegmentation(TrainingModule):
    """Trains a network on short clips whose first mask is given [0], and scores it on whole videos.

    In training, the network sees the first mask, predicts the second frame, remembers its prediction (without gradient
    through it), predicts the third, and so on; every frame of a clip is remembered. The loss of a frame is the mean
    over its labelled pixels on the aggregated logits, over the clips of all processes; that of a batch is the sum over
    frames 2 to n. Ignored pixels give no loss and are in no mask that the network is given.

    In evaluation, a video is streamed frame by frame. Objects are given where the data set introduces them, all else is
    predicted. Memory is bounded: of the frames, the network's `memory_policy` keeps a limited number, and beside them
    there is a byte per pixel for the prediction and for the truth of the scored frames of one video.

    Logged are `train/loss`, its parts by frame, and `val/j`, `val/f`, `val/jf` by the rules of the data set (the same
    with `test/`); under the rules of YouTube-VOS also `val/overall` and its four parts. `results` holds the scores of
    every object.

    [0] Oh, Lee, Xu, Kim, Video Object Segmentation using Space-Time Memory Networks, ICCV 2019.

    Args:
        network: Network to train.
        loss: Called as `loss(logits, target, weight)` once per frame; cross entropy by default. For labels of which
            some are wrong there is `PartiallyHuberisedCrossEntropy`.
        optimizer: Function from parameters to an optimiser; Adam with learning rate 1e-5 by default.
        lr_scheduler: Function from the optimiser to a schedule; `None` keeps the learning rate.
        lr_interval: Whether the schedule advances per step or per epoch; a plateau schedule always per epoch.
        freeze_batch_norm: Keep batch norm in evaluation mode, with the statistics it has. Networks without pre-trained
            weights need `false`, or their features stay unnormalised.
        predictions: Folder that `test` writes palette PNGs to, `<video>/<frame>.png`, for the server of a benchmark.

    Attributes:
        results: What `JAndF.compute` returned after the last evaluation, with `per_sequence` and `per_object`.

    Example:
        >>> from thriftseg.zoo import STM
        >>> with torch.device("meta"):
        ...     module = VideoObjectSegmentation(STM("resnet18", decoder_channels=8))
        >>> module.monitor, module.configure_optimizers().defaults["lr"]
        ('val/jf', 1e-05)
    """

    monitor: ClassVar[str] = "val/jf"
    network: VOSNetwork

    def __init__(
        self,
        network: VOSNetwork,
        loss: nn.Module | None = None,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_interval: Literal["step", "epoch"] = "step",
        freeze_batch_norm: bool = True,
        predictions: Path | None = None,
    ) -> None:
        super().__init__(optimizer, lr_scheduler, lr_interval)
        self._save_plain_hyperparameters()
        self.network = network
        self.loss = loss if loss is not None else CrossEntropy()
        self.freeze_batch_norm = freeze_batch_norm
        self.predictions = Path(predictions) if predictions is not None else None
        self.scores = JAndF("all_frames")
        self.results: dict[str, Any] = {}
        self.train(self.training)

    def default_optimizer(self, parameters: Iterable[Any]) -> torch.optim.Optimizer:
        """Adam with learning rate 1e-5."""
        return torch.optim.Adam(parameters, lr=1e-5)

    def forward(self, frames: Tensor, masks: Tensor, num_objects: Tensor | None = None) -> Tensor:
        """Stream clips whose first frame is annotated.

        Args:
            frames: (B, T, 3, H, W) RGB in [0, 1].
            masks: (B, N, H, W) of the first frame, in [0, 1].
            num_objects: (B,) number of objects of each clip; N everywhere by default.

        Returns:
            Logits (B, T, 1 + N, H, W), background first.
        """
        normalised = self.network.preprocessing(frames)
        logits: Tensor = self.network(normalised, masks, num_objects, detach_feedback=True, remember_all=True)
        return logits

    def setup(self, stage: str) -> None:
        """Score by the rules of the data."""
        protocol: VOSProtocol = getattr(self._datamodule(), "protocol", self.scores.protocol)
        self.scores = JAndF(protocol)

    def training_step(self, batch: VOSBatch, batch_idx: int) -> Tensor:
        """Loss of a batch; logs it as `train/loss`, and the part of each frame."""
        masks = batch["masks"]
        given = first_masks(masks[:, 0], int(batch["num_objects"].max()))
        logits = self(batch["frames"], given, batch["num_objects"])
        parts = [
            LossPart(f"frame{t + 1}", 1.0, label_terms(self.loss, logits[:, t], masks[:, t], batch["weight"]))
            for t in range(1, masks.shape[1])
        ]
        return self._weighted_sum(parts, len(masks))

    def validation_step(self, batch: VOSVideo, batch_idx: int) -> None:
        """Follow the objects of a video, and score it."""
        self._evaluate(batch, None)

    def test_step(self, batch: VOSVideo, batch_idx: int) -> None:
        """As `validation_step`; writes the predictions if that was asked for.

        Raises:
            ConfigError: The truth is not public, and no folder for predictions is named.
        """
        self._evaluate(batch, self.predictions)

    def _evaluate(self, video: VOSVideo, folder: Path | None) -> None:
        tracker = ObjectTracker(self.network)
        found, truth = [], []
        for frame in video:
            given = frame.given.to(self.device) if frame.given is not None else None
            image = frame.image.to(self.device).float().div(255)
            ids = tracker.step(image, given, frame.ids if given is not None else None)
            if not frame.scored:
                continue
            at_size = enlarged(ids, video.size).cpu()
            if folder is not None:
                write_prediction(folder / video.video / f"{frame.name}.png", at_size)
            if frame.truth is not None:
                found.append(at_size.to(frame.truth.dtype))
                truth.append(frame.truth)
        if truth:
            self.scores.update(_stacked(found), _stacked(truth), video.video, seen=video.seen)
        elif video.video and folder is None:
            raise ConfigError(
                f"video {video.video} has no public masks to score against",
                fix="name a folder for the predictions (model.predictions), and hand them in to the server",
            )

    def _reset_scores(self) -> None:
        self.scores.reset()

    def _log_scores(self, stage: str) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*called before the ``update`` method")  # no video with a truth
            self.results = self.scores.compute()
        if not self.results["per_sequence"]:
            return  # predictions for a server
        names = {"j": "j_mean", "f": "f_mean", "jf": "jf_mean"}
        names |= {
            name: name for name in ("overall", "j_seen", "f_seen", "j_unseen", "f_unseen") if name in self.results
        }
        self._log_with_cost({f"{stage}/{name}": self.results[key] for name, key in names.items()})


def first_masks(numbers: Tensor, channels: int) -> Tensor:
    """One mask per object; ignored pixels are in none.

    Args:
        numbers: (B, H, W) object numbers from 1, 0 = background, 255 = ignore.
        channels: Number of masks N.

    Returns:
        (B, N, H, W) float, 0 or 1.

    Example:
        >>> first_masks(torch.tensor([[[0, 2, 255]]]), 2)[0, :, 0].tolist()
        [[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    objects = torch.arange(1, channels + 1, device=numbers.device).view(1, -1, 1, 1)
    return (numbers.unsqueeze(1) == objects).float()


def enlarged(ids: Tensor, size: tuple[int, int]) -> Tensor:
    """Ids (H, W) at another size (h, w), nearest pixel."""
    if tuple(ids.shape) == tuple(size):
        return ids
    resized = nn.functional.interpolate(ids[None, None].double(), size=size, mode="nearest-exact")
    return resized[0, 0].to(ids.dtype)


def write_prediction(path: Path, ids: Tensor) -> None:
    """Write ids (H, W) as a palette PNG, or as a greyscale one of 16 bits where an id needs that."""
    if int(ids.max()) > np.iinfo(np.uint8).max:
        write_bytes(path, encode_label_png(ids.numpy().astype(np.uint16)))
    else:
        write_bytes(path, encode_label_png(ids.numpy().astype(np.uint8), PALETTE))


def _stacked(maps: list[Tensor]) -> Tensor:
    """(T, H, W), a byte per pixel unless a file of 16 bits is among them."""
    narrow = all(ids.dtype == torch.uint8 for ids in maps)
    return torch.stack(maps if narrow else [ids.int() for ids in maps])
