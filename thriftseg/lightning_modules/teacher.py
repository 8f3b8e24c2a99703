"""A frozen network that teaches another one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from thriftseg.errors import ConfigError
from thriftseg.inference import cost_of_labels, load_weights
from thriftseg.zoo import SemanticNetwork, StridedLogits, check_weights, weights_digest

if TYPE_CHECKING:
    from thriftseg.lightning_modules.semantic import SemanticSegmentation

TEACHER_CHECKPOINT = "teacher.ckpt"
"""File in the folder of a teacher's run that is there when its training is complete."""

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
        added_cost: What of that the student does not pay for anyhow.
    """

    network: SemanticNetwork
    labels: str | None = None
    cost: dict[str, float] = field(default_factory=dict)
    added_cost: dict[str, float] = field(default_factory=dict)

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

    def read(self, weights: str) -> Teacher:
        """The same network with stored weights, and what is known of their labels.

        Args:
            weights: As for `read_teacher`.

        Raises:
            CheckpointError: They are missing, damaged, or of another network.
        """
        found = read_teacher(weights)
        check_weights(self.network, found.network.state_dict(), weights)
        self.network.load_state_dict(found.network.state_dict())
        return replace(found, network=self.network)

    def check(self, num_classes: int) -> None:
        """Refuse to teach a network that tells other classes apart.

        Args:
            num_classes: Number of classes of the student.

        Raises:
            ConfigError: The teacher has more or fewer.
        """
        if self.network.num_classes != num_classes:
            raise ConfigError(
                "teacher and student tell different numbers of classes apart",
                expected=num_classes,
                found=self.network.num_classes,
                fix="take a teacher that was trained on the same classes",
            )

    def record(self) -> dict[str, Any]:
        """What checkpoints of the student note."""
        return {
            "network": dict(self.network.record),
            "network_sha256": weights_digest(self.network),
            "added_cost": self.added_cost,
        }


def train_teacher(student: SemanticSegmentation, data: LightningDataModule, trainer: Trainer) -> str | None:
    """Train the teacher of a student on the student's labels, on single frames; see `teacher_module`.

    An interrupted training goes on from the `last.ckpt` of the trainer's checkpoints, a complete one is not repeated.

    Args:
        student: Module with an untrained `teacher`.
        data: The student's data; neighbours are left out while the teacher is trained.
        trainer: Trainer of this stage; the teacher goes to `teacher.ckpt` in its `default_root_dir`.

    Returns:
        What the student takes as `teacher_weights`; `None` after a trial run (`fast_dev_run`), which keeps nothing.

    Raises:
        ConfigError: The student has no teacher to train.
    """
    whole = Path(trainer.default_root_dir) / TEACHER_CHECKPOINT
    module = student.teacher_module()
    if whole.is_file():
        return str(whole)
    last = f"{ModelCheckpoint.CHECKPOINT_NAME_LAST}.ckpt"
    folders = [kept.dirpath for kept in trainer.checkpoint_callbacks if isinstance(kept, ModelCheckpoint)]
    unfinished = [path for folder in folders if folder is not None and (path := Path(folder) / last).is_file()]
    neighbours = getattr(data, "neighbours", None)
    vars(data)["neighbours"] = None
    try:
        trainer.fit(module, data, ckpt_path=next(iter(unfinished), None))
    finally:
        vars(data)["neighbours"] = neighbours
    if trainer.fast_dev_run:  # type: ignore[attr-defined]
        return None
    part = whole.with_suffix(".part")
    trainer.save_checkpoint(part)
    if trainer.is_global_zero:
        part.replace(whole)
    trainer.strategy.barrier()
    return str(whole)


def read_teacher(weights: str) -> Teacher:
    """A teacher from stored weights alone.

    Args:
        weights: Checkpoint of a training run (`.ckpt`), or published weights: a path, a name, or
            `hf:<organisation>/<name>`.

    Raises:
        CheckpointError: They are missing, damaged, or of no semantic network.
    """
    loaded = load_weights(weights)
    cost = cost_of_labels({"labels": loaded.labels, "teacher": loaded.metadata.get("teacher")})
    return Teacher(loaded.network, loaded.labels.get("digest"), cost)
