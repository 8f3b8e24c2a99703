"""Students that learn from labels and from a frozen teacher."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from thriftseg.errors import CheckpointError, ConfigError
from thriftseg.lightning_modules.checkpoints import METADATA_KEY, load_network
from thriftseg.lightning_modules.schedules import PolyLR
from thriftseg.lightning_modules.semantic import SemanticSegmentation
from thriftseg.zoo import SemanticNetwork, SlidingWindow, WholeImage, load
from thriftseg.zoo.weights import check_weights, weights_digest

CHECKPOINT_SUFFIX = ".ckpt"

NetworkCallable = Callable[[int], SemanticNetwork]
"""Function from the number of classes to a network."""


@dataclass
class Teacher:
    """A network that answers and never learns.

    It is no module, so the student that holds it neither trains, nor saves, nor switches it to training mode.

    Attributes:
        network: The network, in evaluation mode and without gradients.
        labels: What its labels were and cost, as its checkpoint tells; empty where it does not.
    """

    network: SemanticNetwork
    labels: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.network.eval().requires_grad_(False)

    @torch.no_grad()
    def answer(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Segment frames one by one; a network that sees past frames sees the same frame again in their place.

        Args:
            frames: (N, 3, H, W) RGB in [0, 1].

        Returns:
            Logits (N, num_classes, H, W), and those before the final enlargement.
        """
        normal = self.network.preprocessing(frames)
        window = normal[:, None].expand(-1, self.network.past_frames + 1, -1, -1, -1)
        return self.network.forward_at_both_resolutions(window)


class TaughtSegmentation(SemanticSegmentation, ABC):
    """Trains a student with the help of a frozen teacher, and scores it like any other network.

    The teacher is no part of the module: it is not trained, not saved, and stays as it is bit for bit. Checkpoints of
    the student load without it; they note which weights taught it and, if the teacher learned from other labels than
    the student, count the cost of those labels too.

    Args:
        network: Student to train.
        teacher: Function from the number of classes to the network that teaches. `thriftseg fit` trains it first,
            unless `teacher_weights` names its weights; anyone else hands over a trained network.
        teacher_weights: Checkpoint of a training run (`.ckpt`), or published weights: a path, a name, or
            `hf:<organisation>/<name>`. Enough without `teacher`.
        loss: See `SemanticSegmentation`, as for all further arguments.
        optimizer: See there.
        lr_scheduler: See there.
        lr_interval: See there.
        auxiliary_weight: See there.
        class_names: See there.
        boundary_width: See there.
        boundary_ratio: See there.
        inference: See there.
        compile: See there; the teacher is not compiled.

    Raises:
        ConfigError: Teacher and student differ in their number of classes, or a setting is out of range.
    """

    def __init__(
        self,
        network: SemanticNetwork,
        teacher: NetworkCallable | None = None,
        teacher_weights: str | None = None,
        loss: nn.Module | None = None,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = PolyLR,
        lr_interval: Literal["step", "epoch"] = "step",
        auxiliary_weight: float = 0.0,
        class_names: list[str] | None = None,
        boundary_width: int | None = 2,
        boundary_ratio: float | None = None,
        inference: WholeImage | SlidingWindow | None = None,
        compile: bool = False,
    ) -> None:
        super().__init__(
            network,
            loss=loss,
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            lr_interval=lr_interval,
            auxiliary_weight=auxiliary_weight,
            class_names=class_names,
            boundary_width=boundary_width,
            boundary_ratio=boundary_ratio,
            inference=inference,
            compile=compile,
        )
        self.teacher = None if teacher is None else Teacher(self._fitting(teacher(network.num_classes)))
        self.teacher_weights = teacher_weights
        self._forget("teacher", "teacher_weights")
        self._run_settings: dict[str, Any] = {
            "optimizer": optimizer,
            "lr_scheduler": lr_scheduler,
            "lr_interval": lr_interval,
            "class_names": class_names,
            "boundary_width": boundary_width,
            "boundary_ratio": boundary_ratio,
            "inference": inference,
        }

    @property
    def has_teacher(self) -> bool:
        """Whether a teacher is or will be there in training."""
        return self.teacher is not None or self.teacher_weights is not None

    @abstractmethod
    def teacher_module(self) -> SemanticSegmentation:
        """Module that trains the teacher on the student's labels, with the student's settings.

        Raises:
            ConfigError: There is no teacher to train.
        """

    def setup(self, stage: str) -> None:
        """Compile the network if that was asked for, and read the weights of the teacher for training.

        Raises:
            CheckpointError: The weights are missing, damaged, or of another network.
        """
        super().setup(stage)
        if stage == "fit" and self.teacher_weights is not None:
            self.teacher = self._read_teacher(self.teacher_weights)

    def on_fit_start(self) -> None:
        """Bring the teacher to the device, and add what its labels cost to what those of the student cost."""
        super().on_fit_start()
        if self.teacher is None:
            return
        network = self.teacher.network.to(self.device)
        self.teacher.network = self.trainer.precision_plugin.convert_module(network)  # type: ignore[assignment]
        if self.teacher.labels and self.teacher.labels.get("digest") != self._labels_digest():
            taught = self.teacher.labels["cost"]
            self._cost = {
                "hours": self._cost.get("hours", 0.0) + taught["seconds"] / 3600,
                "clicks": self._cost.get("clicks", 0.0) + taught["clicks"],
            }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """As `SemanticSegmentation`, and note who the teacher was."""
        super().on_save_checkpoint(checkpoint)
        if self.teacher is not None:
            network = self.teacher.network
            checkpoint[METADATA_KEY]["teacher"] = {
                "network": dict(network.record),
                "network_sha256": weights_digest(network),
                "labels": self.teacher.labels,
            }

    def _read_teacher(self, weights: str) -> Teacher:
        if Path(weights).suffix == CHECKPOINT_SUFFIX:
            loaded = load_network(weights)
            network, labels = loaded.network, loaded.labels
        else:
            published = load(weights)
            network, labels = published.network, published.card.get("labels") or {}
            if not isinstance(network, SemanticNetwork):
                raise CheckpointError("no semantic network to teach", path=weights, found=type(network).__name__)
        if self.teacher is None:
            return Teacher(self._fitting(network), labels)
        check_weights(self.teacher.network, network.state_dict(), weights)
        self.teacher.network.load_state_dict(network.state_dict())
        return Teacher(self.teacher.network, labels)

    def _fitting(self, teacher: SemanticNetwork) -> SemanticNetwork:
        if teacher.num_classes != self.network.num_classes:
            raise ConfigError(
                "teacher and student tell different numbers of classes apart",
                expected=self.network.num_classes,
                found=teacher.num_classes,
                fix="take a teacher that was trained on the same classes",
            )
        return teacher

    def _untrained_teacher(self) -> SemanticNetwork:
        if self.teacher is None:
            raise ConfigError("there is no teacher to train", fix="name a network as `teacher`")
        return self.teacher.network.requires_grad_(True)

    def _forget(self, *names: str) -> None:
        """Leave arguments out of checkpoints, so that a student reloads without what only training needs."""
        for record in (self.hparams, self._hparams_initial):
            record.update(dict.fromkeys(names))

    def _labels_digest(self) -> str | None:
        drawn = getattr(self._datamodule(), "mixture_list", None)
        return None if drawn is None else str(drawn.digest())
