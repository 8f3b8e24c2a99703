"""Test-time tuning: a network learns one video from few labels and from the video's own motion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from thriftseg.errors import ConfigError
from thriftseg.lightning_modules.base import setting_errors
from thriftseg.lightning_modules.semantic import FramePrediction, SemanticSegmentation
from thriftseg.types import VideoFrameBatch

CHECKPOINT = "round.ckpt"
"""Name of the file that holds a round after its last finished epoch."""


class RoundData(Protocol):
    """What tells the randomness of a round, as `VideoPairDataModule` does.

    Attributes:
        seed: Non-negative seed of the run.
        round: Number of the round.
    """

    seed: int
    round: int


def tune(
    module: SemanticSegmentation,
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
    module: SemanticSegmentation,
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
    with setting_errors(given.get("accelerator")):
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
