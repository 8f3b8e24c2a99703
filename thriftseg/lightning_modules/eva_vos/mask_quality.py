"""Training of networks that say how good the mask of an object is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor
from torchmetrics import MeanMetric

from thriftseg.lightning_modules.base import TrainingModule, pooled_means
from thriftseg.losses import LossTerms
from thriftseg.metrics import QualityScores, quality_bins
from thriftseg.types import QualityBatch
from thriftseg.zoo import QNet


class MaskQuality(TrainingModule):
    """Trains a network to sort masks by quality into bins, with the cross entropy of the true bin [0, 1].

    Logged are `train/loss`, and over the masks of the validation split `val/loss`, `val/accuracy` of the bins,
    `val/rank_correlation` (Spearman's) and `val/mae` of the expected and the true quality. Checkpoints reload by path
    alone.

    [0] Delatolas et al., Learning the What and How of Annotation in Video Object Segmentation, WACV 2024.
    [1] https://github.com/thanosDelatolas/eva-vos

    Args:
        network: Network to train.
        optimizer: Function from parameters to an optimiser; SGD with learning rate 1e-5 and momentum 0.9 by default.
        lr_scheduler: Function from the optimiser to a schedule; `None` keeps the learning rate.
        lr_interval: Whether the schedule advances per step or per epoch; a plateau schedule always per epoch.

    Attributes:
        results: What `QualityScores.compute` returned after the last validation, with the `confusion` matrix of bins.

    Example:
        >>> from thriftseg.zoo import QNet
        >>> with torch.device("meta"):
        ...     module = MaskQuality(QNet(num_bins=10))
        >>> module.num_bins, module.configure_optimizers().defaults["momentum"]
        (10, 0.9)
    """

    monitor: ClassVar[str] = "val/rank_correlation"
    network: QNet

    def __init__(
        self,
        network: QNet,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_interval: Literal["step", "epoch"] = "step",
    ) -> None:
        super().__init__(optimizer, lr_scheduler, lr_interval)
        self._save_plain_hyperparameters()
        self.network = network
        self.num_bins = network.classifier.out_features
        self.scores, self.losses = QualityScores(self.num_bins), MeanMetric()
        self.results: dict[str, Tensor] = {}

    def default_optimizer(self, parameters: Iterable[Any]) -> torch.optim.Optimizer:
        """SGD with learning rate 1e-5 and momentum 0.9."""
        return torch.optim.SGD(parameters, lr=1e-5, momentum=0.9)

    def forward(self, frames: Tensor, masks: Tensor) -> Tensor:
        """Logits of the quality bins, (B, bins), the lowest quality first.

        Args:
            frames: (B, 3, 224, 224) RGB in [0, 1].
            masks: (B, 224, 224), 1 on the object.
        """
        logits: Tensor = self.network(self.network.preprocessing(frames), masks)
        return logits

    def training_step(self, batch: QualityBatch, batch_idx: int) -> Tensor:
        """Loss of a batch, over the masks of all processes; logs it as `train/loss`."""
        losses = self._losses(self(batch["frames"], batch["masks"]), batch["quality"])
        loss, logged = pooled_means([LossTerms(losses.sum(), losses.new_full((), len(losses)))])[0]
        self.log("train/loss", logged, prog_bar=True, batch_size=len(losses))
        return loss

    def validation_step(self, batch: QualityBatch, batch_idx: int) -> None:
        """Score a batch; blank items do not count."""
        real = ~batch["quality"].isnan()
        logits, quality = self(batch["frames"], batch["masks"])[real], batch["quality"][real]
        self.losses.update(self._losses(logits, quality))
        self.scores.update(logits, quality)

    def _reset_scores(self) -> None:
        self.scores.reset()
        self.losses.reset()

    def _log_scores(self, stage: str) -> None:
        self.results = self.scores.compute()
        values = {f"{stage}/{name}": self.results[name] for name in ("accuracy", "rank_correlation", "mae")}
        self._log_with_cost({f"{stage}/loss": self.losses.compute(), **values})

    def _losses(self, logits: Tensor, quality: Tensor) -> Tensor:
        return F.cross_entropy(logits, quality_bins(quality, self.num_bins), reduction="none")
