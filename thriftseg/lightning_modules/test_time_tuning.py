"""Test-time tuning: a network learns one video from few labels and from the video's own motion."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import numpy as np
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from thriftseg.errors import ConfigError
from thriftseg.inference import FrameSegmenter
from thriftseg.lightning_modules.base import LossPart, TrainingModule, check_range
from thriftseg.lightning_modules.schedules import PolyLR
from thriftseg.losses import CrossEntropy, LossTerms, TemporalConsistencyLoss
from thriftseg.types import VideoFrameBatch, VideoPairBatch
from thriftseg.zoo import SemanticNetwork

CHECKPOINT = "round.ckpt"
"""Name of the file that holds a round after its last finished epoch."""


class FramePrediction(NamedTuple):
    """What a network says about one frame, on the device of the network.

    Attributes:
        number: Native frame number.
        probabilities: (C, H, W) float32.
        label: (H, W) uint8, the most probable class.
        confidence: (H, W) float32, its probability.
        features: (D, ceil(H / s), ceil(W / s)), see `SemanticNetwork.features`; `None` where they were not asked for.
    """

    number: int
    probabilities: Tensor
    label: Tensor
    confidence: Tensor
    features: Tensor | None


class RoundData(Protocol):
    """What tells the randomness of a round, as `VideoPairDataModule` does.

    Attributes:
        seed: Non-negative seed of the run.
        round: Number of the round.
    """

    seed: int
    round: int


class TestTimeTuning(TrainingModule):
    r"""Tunes a network on one video, of which few pixels are labelled.

    $$L = L_\mathrm{sem} + \lambda L_\mathrm{con}$$

    $L_\mathrm{sem}$ is the loss of the labels, a mean over all labelled pixels of the batch, and 0 without any.
    $L_\mathrm{con}$ asks frame t to agree with frame t-1 moved along the flow, a mean over the pairs of the batch; it
    alone reaches frames without labels. Several processes compute the gradient of their joint batch.

    The method is that of Qiao et al. [0]; its equations are not known to us, so the form of both terms is a
    reconstruction. The authors published no code.

    Logged are `train/loss` and, without its weight, `train/loss/semantic` and `train/loss/consistency`.

    [0] Qiao et al., Human-in-the-Loop Video Semantic Segmentation Auto-Annotation, WACV 2023.

    Args:
        network: Network to tune, which uses the same parameters for all frames.
        loss: Loss of the labels, called as `loss(logits, target, weight)`; cross entropy by default.
        consistency: Loss between adjacent frames; squared distance of probabilities by default.
        consistency_weight: Weight lambda; 0 does not compute the consistency.
        optimizer: Function from parameters to an optimiser; SGD with learning rate 0.004 and momentum 0.9 by default.
        lr_scheduler: Function from the optimiser to a schedule; `None` keeps the learning rate.
        lr_interval: Whether the schedule advances per step or per epoch; a plateau schedule always per epoch.
        freeze_batch_norm: Keep batch norm in evaluation mode, with the statistics it has. Networks without trained
            statistics need `false`, or their features stay unnormalised.

    Attributes:
        tells_features: Whether predictions come with features.

    Raises:
        ConfigError: The weight is negative, or parts of the network take turns over the frames.
    """

    __test__: ClassVar[bool] = False  # pytest would take the class for tests, by its name
    network: SemanticNetwork

    def __init__(
        self,
        network: SemanticNetwork,
        loss: nn.Module | None = None,
        consistency: TemporalConsistencyLoss | None = None,
        consistency_weight: float = 1.0,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = PolyLR,
        lr_interval: Literal["step", "epoch"] = "step",
        freeze_batch_norm: bool = False,
    ) -> None:
        super().__init__(optimizer, lr_scheduler, lr_interval)
        check_range("consistency_weight", consistency_weight)
        if network.num_phases > 1:
            raise ConfigError(
                "parts of this network take turns over the frames of a video",
                expected="a network that uses the same parameters for all frames",
                found=type(network).__name__,
                fix="choose another network, such as HRNet",
            )
        self._save_plain_hyperparameters()
        self.network = network
        self.loss = loss if loss is not None else CrossEntropy()
        self.consistency = consistency if consistency is not None else TemporalConsistencyLoss()
        self.consistency_weight = consistency_weight
        self.freeze_batch_norm = freeze_batch_norm
        self.tells_features = True
        self.train(self.training)

    def default_optimizer(self, parameters: Iterable[Any]) -> torch.optim.Optimizer:
        """SGD with learning rate 0.004 and momentum 0.9."""
        return torch.optim.SGD(parameters, lr=0.004, momentum=0.9)

    def forward(self, frames: Tensor) -> Tensor:
        """Segment frames.

        Args:
            frames: (B, T, 3, H, W) or (B, 3, H, W) RGB in [0, 1].

        Returns:
            Logits, (B, num_classes, H, W).
        """
        logits: Tensor = self.network(self.network.preprocessing(frames))
        return logits

    def training_step(self, batch: VideoPairBatch, batch_idx: int) -> Tensor:
        """Loss of a batch; logs it as `train/loss`, and its parts."""
        logits, target = self(batch["frames"].flatten(0, 1)), batch["label"].flatten(0, 1)
        weight = logits.new_ones(len(target), dtype=torch.float32)
        parts = [LossPart("semantic", 1.0, self._pixel_terms(logits, target, weight))]
        if self.consistency_weight:
            previous, current = logits.unflatten(0, (-1, 2)).unbind(1)
            # the mask of what is no true pair is empty, so it adds nothing to the sum
            terms = self.consistency.terms(current, previous, batch["flow"], batch["mask"])
            mean_over_pairs = LossTerms(terms.sum, batch["paired"].sum())
            parts.append(LossPart("consistency", self.consistency_weight, mean_over_pairs))
        return self._weighted_sum(parts, len(logits))

    def predict_step(self, batch: VideoFrameBatch) -> list[FramePrediction]:
        """Segment frames, and tell their features from the same pass."""
        segment = FrameSegmenter(self.network, device=None)
        found = segment.batch(batch["frames"], batch["position"].tolist(), features=self.tells_features)
        features = [None] * len(found.logits) if found.features is None else found.features
        numbers = batch["number"].tolist()
        told = zip(numbers, found.probabilities, found.labels, found.confidence, features, strict=True)
        return [FramePrediction(*prediction) for prediction in told]


def tune(
    module: TestTimeTuning,
    data: LightningDataModule,
    folder: str | Path,
    *,
    epochs: int = 15,
    callbacks: Sequence[Callback] = (),
    **settings: Any,
) -> Path:
    """Tune a network for one round, in place, or go on with a round that was interrupted.

    The folder keeps the round after its last finished epoch. An epoch that was interrupted is done again from its
    start, with the order and the random numbers it had, so that on a CPU the result is the same as without the
    interruption. A finished round is only read.

    Args:
        module: The module, with the weights that the round starts from.
        data: A `VideoPairDataModule` in its round.
        folder: Folder of this round alone.
        epochs: Number of epochs; the learning rate decays over all of them.
        callbacks: Further callbacks of the trainer.
        settings: Further arguments of the trainer, such as `accelerator`, `devices`, `precision` and `logger`.

    Returns:
        The checkpoint of the finished round.

    Raises:
        CheckpointError: The folder holds another round, or one with other labels or another seed.
        ConfigError: There are fewer than one epoch.
    """
    if epochs < 1:
        raise ConfigError("number of epochs", expected="at least 1", found=epochs)
    path = Path(folder) / CHECKPOINT
    keeper = ModelCheckpoint(folder, filename=path.stem, enable_version_counter=False, save_on_train_epoch_end=True)
    trainer = _trainer(
        settings, max_epochs=epochs, enable_checkpointing=True, callbacks=[keeper, _EpochSeed(), *callbacks]
    )
    trainer.fit(module, datamodule=data, ckpt_path=path if path.is_file() else None, weights_only=True)
    return path


def predict_frames(
    module: TestTimeTuning,
    data: LightningDataModule,
    report: Callable[[FramePrediction], None],
    *,
    features: bool = True,
    **settings: Any,
) -> None:
    """Predict all frames of a video and hand over one after the other, so that only a batch is in memory.

    Args:
        module: The module.
        data: A `VideoPairDataModule`.
        report: Called with each frame in playing order; with several processes, in each with its share of the frames.
        features: Whether the predictions come with features.
        settings: Arguments of the trainer, such as `accelerator`, `devices` and `precision`.

    Raises:
        ConfigError: The network does not tell its features.
    """
    module.tells_features = features
    trainer = _trainer(settings, enable_checkpointing=False, callbacks=[_Reporter(report)])
    trainer.predict(module, datamodule=data, return_predictions=False)


def _trainer(given: dict[str, Any], **settings: Any) -> Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return Trainer(**(quiet | given | settings))


class _EpochSeed(Callback):
    """Seeds what the network draws, such as dropout, so that it is the same when an epoch is done again."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data: RoundData = trainer.datamodule  # type: ignore[attr-defined]
        words = (data.seed, data.round, trainer.current_epoch, trainer.global_rank)
        torch.manual_seed(int(np.random.SeedSequence(words).generate_state(1)[0]))


class _Reporter(Callback):
    """Hands over the predictions of each batch."""

    def __init__(self, report: Callable[[FramePrediction], None]) -> None:
        self._report = report

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: list[FramePrediction],
        batch: VideoFrameBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        for prediction in outputs:
            self._report(prediction)
