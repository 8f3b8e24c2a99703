"""Training of networks that turn the box around an object into its mask."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from thriftseg import zoo
from thriftseg.inference import load_as
from thriftseg.lightning_modules.base import TrainingModule, label_terms, pooled_means
from thriftseg.losses import BootstrappedCrossEntropy
from thriftseg.metrics import MaskRecall
from thriftseg.types import IGNORE_INDEX, BoxBatch


class BoxSegmentation(TrainingModule):
    """Trains a network to find the object of a box in what surrounds it [0, 1].

    Logged are `train/loss`, and `val/j`, `val/recall_50` and `val/recall_70` over the objects of the validation split
    (the same with `test/`), each compared with its mask at the size of the crop. Checkpoints reload by path alone.

    [0] Voigtlaender et al., Reducing the Annotation Effort for Video Object Segmentation Datasets, WACV 2021.
    [1] Luiten et al., PReMVOS: Proposal-generation, Refinement and Merging for Video Object Segmentation, ACCV 2018,
        https://github.com/JonathonLuiten/PReMVOS

    Args:
        network: Network to train.
        loss: Called as `loss(logits, target, weight)` with two classes; cross entropy of the hardest quarter of the
            pixels of each example by default.
        optimizer: Function from parameters to an optimiser; Adam with learning rate 1e-5 by default.
        lr_scheduler: Function from the optimiser to a schedule; `None` keeps the learning rate.
        lr_interval: Whether the schedule advances per step or per epoch; a plateau schedule always per epoch.
        freeze_batch_norm: Keep batch norm in evaluation mode, with the statistics it has. Networks without pre-trained
            weights need `false`, or their features stay unnormalised.

    Example:
        >>> with torch.device("meta"):
        ...     module = BoxSegmentation(zoo.Box2Seg(backbone="resnet18", decoder_channels=16)).eval()
        ...     logits = module(torch.zeros(2, 3, 32, 48), torch.zeros(2, 32, 48))
        >>> logits.shape, module.configure_optimizers().defaults["lr"]
        (torch.Size([2, 2, 32, 48]), 1e-05)
    """

    monitor: ClassVar[str] = "val/j"
    network: zoo.Box2Seg

    def __init__(
        self,
        network: zoo.Box2Seg,
        loss: nn.Module | None = None,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_interval: Literal["step", "epoch"] = "step",
        freeze_batch_norm: bool = True,
    ) -> None:
        super().__init__(optimizer, lr_scheduler, lr_interval)
        self._save_plain_hyperparameters()
        self.network = network
        self.loss = loss if loss is not None else BootstrappedCrossEntropy()
        self.freeze_batch_norm = freeze_batch_norm
        self.scores = MaskRecall()
        self.train(self.training)

    def default_optimizer(self, parameters: Iterable[Any]) -> torch.optim.Optimizer:
        """Adam with learning rate 1e-5."""
        return torch.optim.Adam(parameters, lr=1e-5)

    def forward(self, frames: Tensor, boxes: Tensor) -> Tensor:
        """Logits of background and object, (B, 2, H, W).

        Args:
            frames: (B, 3, H, W) RGB in [0, 1].
            boxes: (B, H, W), 1 in the box.
        """
        return self.network.two_class_logits(self.network.preprocessing(frames), boxes)

    def training_step(self, batch: BoxBatch, batch_idx: int) -> Tensor:
        """Loss of a batch, over the examples of all processes; logs it as `train/loss`."""
        logits = self(batch["frames"], batch["boxes"])
        loss, logged = pooled_means([label_terms(self.loss, logits, batch["target"], batch["weight"])])[0]
        self.log("train/loss", logged, prog_bar=True, batch_size=len(logits))
        return loss

    def validation_step(self, batch: BoxBatch, batch_idx: int) -> None:
        """Score a batch; examples without an object do not count."""
        self._score(batch)

    def test_step(self, batch: BoxBatch, batch_idx: int) -> None:
        """As `validation_step`."""
        self._score(batch)

    def _score(self, batch: BoxBatch) -> None:
        target = batch["target"]
        predicted = self(batch["frames"], batch["boxes"]).argmax(1).bool() & (target != IGNORE_INDEX)
        true = target == 1
        both, either = ((maps.flatten(1).sum(1)) for maps in (predicted & true, predicted | true))
        present = true.flatten(1).any(1)
        iou = (both[present] / either[present]).double().cpu().numpy()
        self.scores.add(np.arange(len(iou)), iou)

    def _reset_scores(self) -> None:
        self.scores.reset()

    def _log_scores(self, stage: str) -> None:
        scores = self.scores.compute()
        names = {"j": "j_mean", "recall_50": "recall_0.5", "recall_70": "recall_0.7"}
        self._log_with_cost({f"{stage}/{key}": scores[name] for key, name in names.items()})


def load_box2seg(weights: str | Path) -> zoo.Box2Seg:
    """A network that turns boxes into masks, from published weights or a checkpoint of training.

    Args:
        weights: Name, path or `hf:<organisation>/<name>` of published weights, see `zoo.load`, or a `.ckpt` file.

    Raises:
        CheckpointError: There is no such file or name, it is damaged, or it holds another network.
    """
    return load_as(weights, zoo.Box2Seg)
