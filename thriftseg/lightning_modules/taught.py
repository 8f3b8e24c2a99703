"""Students that learn from labels and from a frozen teacher."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn

from thriftseg.errors import ConfigError
from thriftseg.inference import METADATA_KEY, cost_of_labels, load_weights
from thriftseg.lightning_modules.schedules import PolyLR
from thriftseg.lightning_modules.semantic import SemanticSegmentation
from thriftseg.zoo import SemanticNetwork, SlidingWindow, StridedLogits, WholeImage, check_weights, weights_digest

NetworkCallable = Callable[[int], SemanticNetwork]
"""Function from the number of classes to a network."""


@dataclass
class Teacher:
    """A network that answers and never learns.

    It is no module, so the student that holds it neither trains, nor saves, nor switches it to training mode.

    Attributes:
        network: The network, in evaluation mode and without gradients.
        labels: Digest of the list of its labels; `None` where that is not known.
        cost: Hours and clicks that these labels cost, and those of its own teacher; empty where that is not known.
    """

    network: SemanticNetwork
    labels: str | None = None
    cost: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.network.eval().requires_grad_(False)

    @torch.no_grad()
    def answer(self, frames: Tensor) -> StridedLogits:
        """Segment frames one by one; a network that sees past frames sees the same frame again in their place.

        Args:
            frames: (N, 3, H, W) RGB in [0, 1].

        Returns:
            Logits of the N frames, for any stride.
        """
        normal = self.network.preprocessing(frames)
        window = normal[:, None].expand(-1, self.network.past_frames + 1, -1, -1, -1)
        return self.network.strided_logits(window)


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

    unrecorded: ClassVar[tuple[str, ...]] = ("teacher", "teacher_weights")

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
        self._added_cost: dict[str, float] = {}
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
        drawn, cost = getattr(self._datamodule(), "mixture_list", None), self.teacher.cost
        if drawn is None or drawn.digest() == self.teacher.labels:
            return
        if not cost:
            rank_zero_warn("It is not known what the labels of the teacher cost, so they are not counted.")
        self._added_cost = dict(cost)
        self._cost = {name: value + cost.get(name, 0.0) for name, value in self._cost.items()}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """As `SemanticSegmentation`, and note who the teacher was."""
        super().on_save_checkpoint(checkpoint)
        if self.teacher is not None:
            checkpoint[METADATA_KEY]["teacher"] = {
                "network": dict(self.teacher.network.record),
                "network_sha256": weights_digest(self.teacher.network),
                "added_cost": self._added_cost,
            }

    def _read_teacher(self, weights: str) -> Teacher:
        loaded = load_weights(weights)
        cost = cost_of_labels({"labels": loaded.labels, "teacher": loaded.metadata.get("teacher")})
        found = Teacher(loaded.network, loaded.labels.get("digest"), cost)
        if self.teacher is not None:
            check_weights(self.teacher.network, found.network.state_dict(), weights)
            self.teacher.network.load_state_dict(found.network.state_dict())
            return replace(found, network=self.teacher.network)
        return replace(found, network=self._fitting(found.network))

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
        return self.teacher.network.train().requires_grad_(True)
