"""Training of semantic segmentation, and its streaming evaluation."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn

from thriftseg.errors import ConfigError
from thriftseg.inference import METADATA_KEY, FrameSegmenter, VideoState, to_record
from thriftseg.lightning_modules.base import TrainingModule
from thriftseg.lightning_modules.objectives.base import Term
from thriftseg.lightning_modules.objectives.label import LabelTerm, as_objective
from thriftseg.lightning_modules.objectives.views import Views
from thriftseg.lightning_modules.schedules import PolyLR
from thriftseg.lightning_modules.teacher import NetworkCallable, Teacher, read_teacher
from thriftseg.metrics import BoundaryIoU, ConfusionScores, TemporalConsistency
from thriftseg.types import IGNORE_INDEX, LabelKind, SemanticBatch, StreamBatch, VideoFrameBatch
from thriftseg.zoo import SemanticNetwork, SlidingWindow, WholeImage

TEACHER_CHECKPOINT = "teacher.ckpt"
"""File in the folder of a teacher's run that is there when its training is complete."""


@dataclass(frozen=True)
class SemanticEvaluation:
    """How a network is scored.

    Attributes:
        boundary_width: Width in pixels of the band that the Boundary-IoU scores.
        boundary_ratio: Width of that band as a share of the image diagonal, instead of pixels.
        inference: How frames are segmented.

    Example:
        >>> from thriftseg.zoo import SlidingWindow
        >>> evaluation = SemanticEvaluation(boundary_width=3, inference=SlidingWindow(crop=(64, 96)))
        >>> len(evaluation.inference.windows(64, 192))
        3
    """

    boundary_width: int | None = 2
    boundary_ratio: float | None = None
    inference: WholeImage | SlidingWindow = field(default_factory=WholeImage)


class FramePrediction(NamedTuple):
    """What a network says about one frame, on the device of the network.

    Attributes:
        number: Native frame number.
        probabilities: (C, H, W) float32.
        label: (H, W) uint8, the most probable class.
        confidence: (H, W) float32, its probability.
        features: (D, ceil(H / s), ceil(W / s)), see `SemanticNetwork.features`; `None` where they were not asked for.

    Example:
        >>> probabilities = torch.tensor([0.75, 0.25]).view(2, 1, 1)
        >>> confidence, label = probabilities.max(dim=0)
        >>> frame = FramePrediction(3, probabilities, label.byte(), confidence, features=None)
        >>> (frame.confidence < 0.8).sum().item()  # pixels to look at
        1
    """

    number: int
    probabilities: Tensor
    label: Tensor
    confidence: Tensor
    features: Tensor | None


class SemanticSegmentation(TrainingModule):
    """Trains a network by an objective, and scores it on streamed videos.

    Frames arrive as RGB in [0, 1] and are normalised as the network wants it. In training, the sum of each term of the
    objective is divided by its count over all processes (of labelled pixels, say), so several processes compute the
    gradient that one would compute on the joint batch, even when one of them has no label at all. Logged are
    `train/loss` and, without their weights, its parts under the names that the terms tell.

    A network with several phases takes the next one in each training batch, and in evaluation the one that belongs to
    the place of the frame in its video; with several processes train it with
    `strategy=ddp_find_unused_parameters_true`, as a phase leaves the parameters of the others without gradient.

    A teacher is no part of the module: it is not trained, not saved, and stays as it is bit for bit. Checkpoints of the
    student load without it; they note which weights taught it and, if the teacher learned from other labels than the
    student, count the cost of those labels too.

    In evaluation, frames arrive in playing order; the prediction of the previous frame is kept, across batches
    too, for the temporal consistency, and so is the memory of a network with past frames: where the frame before was
    segmented too, the past frames are not encoded again. Logged are `val/miou`, `val/macc`, `val/pixel_accuracy`,
    `val/boundary_iou`, `val/tc`, `val/iou/<class>` (the same with `test/`), and `cost/hours` and `cost/clicks`
    of the labels when the datamodule knows them. A class that does not occur has no score (NaN); without any pair
    of adjacent frames there is no `val/tc`.

    Checkpoints name the network, the terms of the objective and the other objects in plain values, whether the module
    was built by the command line or in Python, and reload by path alone with `weights_only=True`.

    Args:
        network: Network to train.
        objective: What it learns from: an objective such as `WeClick`, a list of terms, or a loss of the labels, called
            as `loss(logits, target, weight)`; cross entropy of the labels by default.
        evaluation: How it is scored.
        optimizer: Function from parameters to an optimiser; AdamW with learning rate 1e-3 by default.
        lr_scheduler: Function from the optimiser to a schedule; `None` keeps the learning rate.
        lr_interval: Whether the schedule advances per step or per epoch; a plateau schedule always per epoch.
        teacher: Function from the number of classes to the network that teaches. `thriftseg fit` trains it first,
            unless `teacher_weights` names its weights; anyone else hands over a trained network.
        teacher_weights: Checkpoint of a training run (`.ckpt`), or published weights: a path, a name, or
            `hf:<organisation>/<name>`. Enough without `teacher`.
        class_names: Names for the per-class scores; train ids by default.
        freeze_batch_norm: Keep batch norm in evaluation mode, with the statistics it has. Networks without trained
            statistics need `false`, or their features stay unnormalised.
        compile: Compile the network with `torch.compile`; names of weights stay as they are. A teacher is not compiled.

    Attributes:
        tells_features: Whether predictions come with features.

    Raises:
        ConfigError: Class names do not fit the number of classes, teacher and student differ in it, or a term cannot
            train this network.

    Example:
        >>> from thriftseg.lightning_modules import GatedCRFTerm, LabelTerm
        >>> from thriftseg.losses import PartialCrossEntropy
        >>> from thriftseg.zoo import create_model
        >>> terms = [LabelTerm(PartialCrossEntropy()), GatedCRFTerm(weight=0.1)]
        >>> module = SemanticSegmentation(create_model("pspnet_mobilenetv2", 5), terms)
        >>> [type(term).__name__ for term in module.objective.terms]
        ['LabelTerm', 'GatedCRFTerm']
    """

    unrecorded: ClassVar[tuple[str, ...]] = ("teacher", "teacher_weights")
    network: SemanticNetwork

    def __init__(
        self,
        network: SemanticNetwork,
        objective: nn.Module | list[Term] | None = None,
        evaluation: SemanticEvaluation | None = None,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = PolyLR,
        lr_interval: Literal["step", "epoch"] = "step",
        teacher: NetworkCallable | None = None,
        teacher_weights: str | None = None,
        class_names: list[str] | None = None,
        freeze_batch_norm: bool = False,
        compile: bool = False,
    ) -> None:
        super().__init__(optimizer, lr_scheduler, lr_interval)
        if class_names and len(class_names) != network.num_classes:
            raise ConfigError(
                "class names do not fit the network", expected=f"{network.num_classes} names", found=len(class_names)
            )
        self._save_plain_hyperparameters()
        self.network, self.objective = network, as_objective(objective)
        self.objective.check(network)
        self.evaluation = evaluation or SemanticEvaluation()
        self.class_names = list(class_names) if class_names else [str(i) for i in range(network.num_classes)]
        self.teacher = None if teacher is None else Teacher(teacher(network.num_classes))
        if self.teacher is not None:
            self.teacher.check(network.num_classes)
        self.teacher_weights = teacher_weights
        self.freeze_batch_norm = freeze_batch_norm
        self.tells_features = True
        self._compile = compile
        self._settings: dict[str, Any] = {
            "evaluation": evaluation,
            "optimizer": optimizer,
            "lr_scheduler": lr_scheduler,
            "lr_interval": lr_interval,
            "class_names": class_names,
            "freeze_batch_norm": freeze_batch_norm,
        }
        self.confusion = ConfusionScores(network.num_classes)
        ratio = self.evaluation.boundary_ratio
        width = None if ratio is not None else self.evaluation.boundary_width
        self.boundary = BoundaryIoU(network.num_classes, width=width, ratio=ratio)
        self.consistency = TemporalConsistency(network.num_classes)
        self._previous: Tensor | None = None
        self._stream: tuple[tuple[str, int] | None, VideoState | None] = (None, None)
        self._steps = math.inf
        self.train(self.training)

    def forward(self, frames: Tensor, first_index: int = 0) -> Tensor:
        """Segment frames by the inference protocol.

        Args:
            frames: (B, T, 3, H, W) or (B, 3, H, W) RGB in [0, 1].
            first_index: Place in the video of the first of the T frames, for networks with several phases.

        Returns:
            Logits, (B, num_classes, H, W).
        """
        logits: Tensor = self.evaluation.inference(self.network, self.network.preprocessing(frames), first_index)
        return logits

    @property
    def has_teacher(self) -> bool:
        """Whether a teacher is or will be there in training."""
        return self.teacher is not None or self.teacher_weights is not None

    def teacher_module(self) -> SemanticSegmentation:
        """Module that trains the teacher on the student's labels, with the student's settings.

        It learns by the terms that need neither a teacher nor neighbours.

        Raises:
            ConfigError: There is no teacher to train.
        """
        if self.teacher is None:
            raise ConfigError("there is no teacher to train", fix="name a network as `teacher`")
        network = self.teacher.network.train().requires_grad_(True)
        return SemanticSegmentation(network, self.objective.for_teacher(network), **self._settings)

    def setup(self, stage: str) -> None:
        """Compile the network in place if that was asked for, and read the weights of the teacher for training.

        Raises:
            CheckpointError: The weights are missing, damaged, or of another network.
            ConfigError: A term needs a teacher, and there is none, or outputs that the network does not have.
        """
        if self._compile:
            self.network.compile()
            for method in ("compute_outputs", "compute_logits"):
                setattr(self.network, method, torch.compile(getattr(self.network, method)))
            self._compile = False
        if stage == "fit":
            self._check_outputs()
            if self.teacher_weights is not None:
                self.teacher = (self.teacher.read if self.teacher else read_teacher)(self.teacher_weights)
                self.teacher.check(self.network.num_classes)
            self._check_teacher()

    def on_fit_start(self) -> None:
        """Ask the datamodule what the labels cost and whether the loss suits them, and prepare the teacher."""
        super().on_fit_start()
        if any(term.start for term in self.objective.active()):
            self._steps = self._run_length()
        kinds: frozenset[LabelKind] = getattr(self._datamodule(), "label_kinds", frozenset())
        self._check_sources()
        losses = [term.loss for term in self.objective.active() if isinstance(term, LabelTerm)]
        pooled = any(getattr(loss, "reduction", None) == "pixel" for loss in losses)
        if len(kinds) > 1 and LabelKind.CLICKS in kinds and pooled:
            rank_zero_warn(
                "The mixture has clicks and label maps, but the loss pools pixels, so the clicks hardly count: "
                "set its `reduction` to image."
            )
        if self.teacher is not None:
            self._prepare_teacher(self.teacher)

    def training_step(self, batch: SemanticBatch, batch_idx: int) -> Tensor:
        """Loss of a batch; logs it as `train/loss`, and its parts.

        Raises:
            ConfigError: A term needs a teacher, neighbours or flow that are not there.
        """
        progress = self.trainer.global_step / self._steps if math.isfinite(self._steps) else 1.0
        self._check_teacher()
        views = Views(self.network, batch, self.objective.needs(progress), self.teacher, self._turn(batch_idx))
        return self._weighted_sum(list(self.objective.parts(views, progress)), len(batch["label"]))

    def validation_step(self, batch: StreamBatch, batch_idx: int) -> dict[str, Tensor]:
        """Segment and score consecutive frames.

        Returns:
            `prediction`, (B, H, W) train ids.
        """
        if not len(batch["id"]):
            return {"prediction": batch["label"]}
        prediction = self._segmented(batch)
        target = batch["label"].masked_fill(~batch["scored"][:, None, None], IGNORE_INDEX)
        if bool(batch["scored"].any()):
            self.confusion.update(prediction, target)
            self.boundary.update(prediction, target)
        self._score_pairs(prediction, batch)
        self._previous = prediction[-1]
        return {"prediction": prediction}

    def test_step(self, batch: StreamBatch, batch_idx: int) -> dict[str, Tensor]:
        """As `validation_step`."""
        return self.validation_step(batch, batch_idx)

    def predict_step(self, batch: VideoFrameBatch) -> list[FramePrediction]:
        """Segment frames, and tell their features from the same pass."""
        segment = FrameSegmenter(self.network, device=None)
        found = segment.batch(batch["frames"], batch["position"].tolist(), features=self.tells_features)
        features = [None] * len(found.logits) if found.features is None else found.features
        numbers = batch["number"].tolist()
        told = zip(numbers, found.probabilities, found.labels, found.confidence, features, strict=True)
        return [FramePrediction(*prediction) for prediction in told]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what a user of the network needs: names, colours, working size, inference, cost, teacher."""
        super().on_save_checkpoint(checkpoint)
        taxonomy = getattr(self._datamodule(), "taxonomy", None)
        size = getattr(self._datamodule(), "eval_size", None)
        checkpoint[METADATA_KEY] |= {
            "class_names": self.class_names,
            "taxonomy": str(taxonomy.name) if taxonomy is not None else None,
            "palette": [list(color) for color in taxonomy.palette] if taxonomy is not None else None,
            "eval_size": list(size) if size is not None else None,
            "inference": to_record(self.evaluation.inference),
        }
        if self.teacher is not None:
            checkpoint[METADATA_KEY]["teacher"] = self.teacher.record()

    def _check_sources(self) -> None:
        """Refuse weights of sources that the training list does not have."""
        drawn = getattr(self._datamodule(), "mixture_list", None)
        given = {name for term in self.objective.terms if isinstance(term, LabelTerm) for name in term.sources or ()}
        known = {sample.source for sample in drawn.samples} if drawn is not None else given
        if given - known:
            raise ConfigError(
                "weights for sources that are not in the mixture",
                expected=", ".join(sorted(known)),
                found=", ".join(sorted(given - known)),
            )

    def _check_outputs(self) -> None:
        """Refuse weights of outputs that the network does not have; not earlier, as old checkpoints of teachers do."""
        known = self.network.further_outputs
        terms = [term for term in self.objective.active() if isinstance(term, LabelTerm)]
        given = {name for term in terms for name, factor in (term.output_weights or {}).items() if factor}
        if not given <= set(known):
            raise ConfigError(
                f"output_weights of what a {type(self.network).__name__} does not give",
                expected=", ".join(known) or "none",
                found=", ".join(sorted(given.difference(known))),
            )

    def _check_teacher(self) -> None:
        if self.teacher is None and self.objective.needs() & {"teacher", "taught neighbours"}:
            raise ConfigError(
                "there is no teacher to distil from",
                fix="give teacher or teacher_weights, or set the weights of the terms that need one to 0",
            )

    def _prepare_teacher(self, teacher: Teacher) -> None:
        """Bring the teacher to the device, and add what its labels cost to what those of the student cost."""
        network = teacher.network.eval().requires_grad_(False).to(self.device)  # it may have been trained before
        teacher.network = self.trainer.precision_plugin.convert_module(network)  # type: ignore[assignment]
        drawn = getattr(self._datamodule(), "mixture_list", None)
        if drawn is None or drawn.digest() == teacher.labels:
            return
        if not teacher.cost:
            rank_zero_warn("It is not known what the labels of the teacher cost, so they are not counted.")
        teacher.added_cost = dict(teacher.cost)
        self._cost = {name: value + teacher.cost.get(name, 0.0) for name, value in self._cost.items()}

    def _turn(self, batch_idx: int) -> int:
        """Phase of a training batch: networks that have several take the next of them in each."""
        batches = self._trainer.fit_loop.total_batch_idx if self._trainer is not None else batch_idx
        return batches % self.network.num_phases

    def _segmented(self, batch: StreamBatch) -> Tensor:
        """Labels of the frames of a batch; those that follow on the frame before are streamed if the network can."""
        segment, positions = FrameSegmenter(self.network, self.evaluation.inference, device=None), batch["position"]
        if not self.network.can_resume:
            return segment.batch(batch["frames"], positions.tolist()).labels
        labels = []
        for frames, video, position in zip(batch["frames"], batch["video"], positions.tolist(), strict=True):
            place, state = self._stream
            found, state = segment.follow(frames[None], position, state if place == (video, position - 1) else None)
            self._stream = (video, position), state
            labels.append(found.labels)
        return torch.cat(labels)

    def _score_pairs(self, prediction: Tensor, batch: StreamBatch) -> None:
        paired = batch["paired"].nonzero().flatten().tolist()
        if not paired:
            return
        if paired[0] == 0 and self._previous is None:
            raise RuntimeError(f"{batch['id'][0]} is paired with a frame that was not evaluated before it")
        before = [self._previous if i == 0 else prediction[i - 1] for i in paired]
        previous = torch.stack([frame for frame in before if frame is not None])
        self.consistency.update(
            prediction[paired], previous, batch["flow_backward"][paired], batch["flow_forward"][paired]
        )

    def _reset_scores(self) -> None:
        self._previous, self._stream = None, (None, None)
        for metric in (self.confusion, self.boundary, self.consistency):
            metric.reset()

    def _log_scores(self, stage: str) -> None:
        self._stream = (None, None)  # the memory of a video may be large
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*called before the ``update`` method")  # a part without pairs
            scores, boundary, consistency = (m.compute() for m in (self.confusion, self.boundary, self.consistency))
        values = {f"{stage}/{name}": scores[name] for name in ("miou", "macc", "pixel_accuracy")}
        values[f"{stage}/boundary_iou"] = boundary["boundary_iou"]
        if not consistency["tc"].isnan():
            values[f"{stage}/tc"] = consistency["tc"]
        values |= {f"{stage}/iou/{name}": value for name, value in zip(self.class_names, scores["iou"], strict=True)}
        self._log_with_cost(values)


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
