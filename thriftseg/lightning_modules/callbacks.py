"""Pictures of predictions in the logger, and the choice of progress bar."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar, RichProgressBar, TQDMProgressBar
from torch import Tensor

from thriftseg.arrays import UInt8Array
from thriftseg.atomic import write_bytes
from thriftseg.datasets import encode_frame
from thriftseg.drawing import Palette, blend, colorize, error_map, side_by_side
from thriftseg.errors import ConfigError
from thriftseg.taxonomies import distinct_color
from thriftseg.types import StreamBatch

REFRESH_RATE = 10
"""Batches between two refreshes of the progress bar; each refresh waits for the device."""


class PredictionImages(Callback):
    """Sends pictures of fixed validation frames to whatever logger is configured.

    One picture shows frame with prediction, label, and error map side by side. TensorBoard and W&B receive it as an
    image named `val/prediction/<id>`; for any other logger (CSV) it is a PNG under `predictions/` in its folder.
    With several processes, only frames that the first one evaluates are shown.

    Args:
        frames: Positions in the validation stream, or ids (`video/number`), of the frames to show.
        every_n_epochs: Epochs between two pictures of a frame.

    Raises:
        ConfigError: No frame is named, or `every_n_epochs` is not positive.

    Example:
        >>> try:
        ...     PredictionImages(frames=["clip_1/000030"], every_n_epochs=0)
        ... except ConfigError as error:
        ...     print(error.found)
        frames=['clip_1/000030'], every_n_epochs=0
    """

    def __init__(self, frames: Sequence[int | str] = (0,), every_n_epochs: int = 1) -> None:
        if not frames or every_n_epochs < 1:
            raise ConfigError(
                "setting of PredictionImages is out of range",
                expected="at least one frame, every_n_epochs >= 1",
                found=f"frames={list(frames)}, every_n_epochs={every_n_epochs}",
            )
        self.frames = frozenset(frames)
        self.every_n_epochs = every_n_epochs
        self._position = 0

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start counting positions."""
        self._position = 0

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: StreamBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Log the chosen frames of a batch."""
        first, self._position = self._position, self._position + len(batch["id"])
        if not trainer.is_global_zero or trainer.sanity_checking:
            return
        if trainer.current_epoch % self.every_n_epochs or not isinstance(outputs, Mapping):
            return
        for index, name in enumerate(batch["id"]):
            if first + index in self.frames or name in self.frames:
                picture = _picture(batch, outputs["prediction"], index, _palette(trainer, pl_module))
                _send(trainer, f"val/prediction/{name}", picture)


def default_progress_bar() -> ProgressBar:
    """A rich progress bar on a terminal, plain lines elsewhere (log files, pipes).

    Example:
        >>> default_progress_bar().refresh_rate
        10
    """
    if sys.stderr.isatty():
        return RichProgressBar(refresh_rate=REFRESH_RATE)
    return TQDMProgressBar(refresh_rate=REFRESH_RATE)


def _picture(batch: StreamBatch, prediction: Tensor, index: int, palette: Palette) -> UInt8Array:
    frame = (batch["frames"][index, -1].float().permute(1, 2, 0) * 255).round().clamp(0, 255)
    image = frame.byte().cpu().numpy()
    pred = prediction[index].byte().cpu().numpy()
    label = batch["label"][index].byte().cpu().numpy()
    return side_by_side([blend(image, pred, palette), colorize(label, palette), error_map(pred, label)])


def _palette(trainer: Trainer, pl_module: LightningModule) -> Palette:
    taxonomy = getattr(getattr(trainer, "datamodule", None), "taxonomy", None)
    if taxonomy is not None:
        palette: Palette = taxonomy.palette
        return palette
    return [distinct_color(index) for index in range(len(getattr(pl_module, "class_names", ())) or 255)]


def _send(trainer: Trainer, name: str, picture: UInt8Array) -> None:
    step = trainer.global_step
    for logger in trainer.loggers:
        experiment = getattr(logger, "experiment", None)
        if hasattr(logger, "log_image"):
            logger.log_image(key=name, images=[picture], step=step)
        elif experiment is not None and hasattr(experiment, "add_image"):
            experiment.add_image(name, picture, step, dataformats="HWC")
        else:
            folder = Path(logger.log_dir or logger.save_dir or trainer.default_root_dir) / "predictions"
            path = folder / name.removeprefix("val/prediction/") / f"{step:07d}.png"
            write_bytes(path, encode_frame(picture, ".png"))
