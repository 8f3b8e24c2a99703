"""Supervised training of semantic segmentation, and its streaming evaluation."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn

from thriftseg.errors import ConfigError
from thriftseg.inference import METADATA_KEY, FrameSegmenter, to_record
from thriftseg.lightning_modules.base import TrainingModule, pooled_means
from thriftseg.lightning_modules.schedules import PolyLR
from thriftseg.losses import CrossEntropy, LossTerms
from thriftseg.metrics import BoundaryIoU, ConfusionScores, TemporalConsistency
from thriftseg.types import IGNORE_INDEX, LabelKind, SemanticBatch, StreamBatch
from thriftseg.zoo import SemanticNetwork, SlidingWindow, WholeImage


class SemanticSegmentation(TrainingModule):
    """Trains a network on labelled frames and scores it on streamed videos.

    Frames arrive as RGB in [0, 1] and are normalised as the network wants it. In training, the sum of the loss is
    divided by the number of labelled pixels (or images) of all processes, so several processes compute the
    gradient that one would compute on the joint batch, even when one of them has no label at all.

    A network with several phases takes the next one in each training batch, and in evaluation the one that belongs to
    the place of the frame in its video; with several processes train it with
    `strategy=ddp_find_unused_parameters_true`, as a phase leaves the parameters of the others without gradient.

    In evaluation, frames arrive in playing order; the prediction of the previous frame is kept, across batches
    too, for the temporal consistency. Logged are `val/miou`, `val/macc`, `val/pixel_accuracy`,
    `val/boundary_iou`, `val/tc`, `val/iou/<class>` (the same with `test/`), and `cost/hours` and `cost/clicks`
    of the labels when the datamodule knows them. A class that does not occur has no score (NaN); without any pair
    of adjacent frames there is no `val/tc`.

    Checkpoints name the network, the loss and the other objects in plain values, whether the module was built by
    the command line or in Python, and reload by path alone with `weights_only=True`.

    Args:
        network: Network to train.
        loss: Called as `loss(logits, target, weight)`; cross entropy by default.
        optimizer: Function from parameters to an optimiser; AdamW with learning rate 1e-3 by default.
        lr_scheduler: Function from the optimiser to a schedule; `None` keeps the learning rate.
        lr_interval: Whether the schedule advances per step or per epoch; a plateau schedule always per epoch.
        auxiliary_weight: Weight of the loss of each auxiliary output in training; 0 does not compute them.
        class_names: Names for the per-class scores; train ids by default.
        boundary_width: Width in pixels of the band that the Boundary-IoU scores.
        boundary_ratio: Width of that band as a share of the image diagonal, instead of pixels.
        inference: How frames are segmented in evaluation.
        compile: Compile the network with `torch.compile`; names of weights stay as they are.

    Raises:
        ConfigError: Class names do not fit the number of classes, or a setting is out of range.
    """

    network: SemanticNetwork

    def __init__(
        self,
        network: SemanticNetwork,
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
        super().__init__(optimizer, lr_scheduler, lr_interval)
        if class_names and len(class_names) != network.num_classes:
            raise ConfigError(
                "class names do not fit the network", expected=f"{network.num_classes} names", found=len(class_names)
            )
        if auxiliary_weight < 0:
            raise ConfigError("auxiliary_weight is out of range", expected="0 or more", found=auxiliary_weight)
        self._save_plain_hyperparameters()
        self.network = network
        self.loss = loss if loss is not None else CrossEntropy()
        self.inference = inference if inference is not None else WholeImage()
        self.class_names = list(class_names) if class_names else [str(i) for i in range(network.num_classes)]
        self.auxiliary_weight = auxiliary_weight
        self._compile = compile
        self.confusion = ConfusionScores(network.num_classes)
        self.boundary = BoundaryIoU(
            network.num_classes, width=None if boundary_ratio is not None else boundary_width, ratio=boundary_ratio
        )
        self.consistency = TemporalConsistency(network.num_classes)
        self._previous: Tensor | None = None

    def forward(self, frames: Tensor, first_index: int = 0) -> Tensor:
        """Segment frames by the inference protocol.

        Args:
            frames: (B, T, 3, H, W) or (B, 3, H, W) RGB in [0, 1].
            first_index: Place in the video of the first of the T frames, for networks with several phases.

        Returns:
            Logits, (B, num_classes, H, W).
        """
        logits: Tensor = self.inference(self.network, self.network.preprocessing(frames), first_index)
        return logits

    def setup(self, stage: str) -> None:
        """Compile the network in place if that was asked for."""
        if self._compile:
            self.network.compile()
            for name in self._training_methods():
                setattr(self.network, name, torch.compile(getattr(self.network, name)))
            self._compile = False

    def training_step(self, batch: SemanticBatch, batch_idx: int) -> Tensor:
        """Loss of a batch; logs it as `train/loss`, and its parts when there is an auxiliary one."""
        frames = self.network.preprocessing(batch["frames"])
        if not self.auxiliary_weight:
            loss, logged = self._pooled_loss(self.network(frames, **self._phase(batch_idx)), batch)
        else:
            loss, logged = self._loss_with_auxiliary(frames, batch, self._phase(batch_idx))
        self.log("train/loss", logged, prog_bar=True, batch_size=frames.shape[0])
        return loss

    def on_fit_start(self) -> None:
        """Ask the datamodule what the training labels cost, and whether the loss suits a mixture with clicks."""
        super().on_fit_start()
        kinds: frozenset[LabelKind] = getattr(self._datamodule(), "label_kinds", frozenset())
        if len(kinds) > 1 and LabelKind.CLICKS in kinds and getattr(self.loss, "reduction", None) == "pixel":
            rank_zero_warn(
                "The mixture has clicks and label maps, but the loss pools pixels, so the clicks hardly count: "
                "set its `reduction` to image."
            )

    def validation_step(self, batch: StreamBatch, batch_idx: int) -> dict[str, Tensor]:
        """Segment and score consecutive frames.

        Returns:
            `prediction`, (B, H, W) train ids.
        """
        if not len(batch["id"]):
            return {"prediction": batch["label"]}
        segment = FrameSegmenter(self.network, self.inference, device=None)
        prediction = segment.batch(batch["frames"], batch["position"].tolist()).labels
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

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what a user of the network needs: names, colours, working size, inference, cost of the labels."""
        super().on_save_checkpoint(checkpoint)
        taxonomy = getattr(self._datamodule(), "taxonomy", None)
        size = getattr(self._datamodule(), "eval_size", None)
        checkpoint[METADATA_KEY] |= {
            "class_names": self.class_names,
            "taxonomy": str(taxonomy.name) if taxonomy is not None else None,
            "palette": [list(color) for color in taxonomy.palette] if taxonomy is not None else None,
            "eval_size": list(size) if size is not None else None,
            "inference": to_record(self.inference),
        }

    def _training_methods(self) -> list[str]:
        """Methods of the network that training calls in place of `forward`."""
        return ["forward_with_auxiliary"] if self.auxiliary_weight else []

    def _pooled_loss(self, logits: Tensor, batch: SemanticBatch) -> tuple[Tensor, Tensor]:
        """Loss to differentiate and, detached, the loss over all processes."""
        return pooled_means([self._label_terms(logits, batch)])[0]

    def _label_terms(self, logits: Tensor, batch: SemanticBatch) -> LossTerms:
        """Sum and count of the loss on the labels of a batch."""
        return self._pixel_terms(logits, batch["label"], batch["weight"])

    def _phase(self, batch_idx: int) -> dict[str, int]:
        """Argument that makes a network with several phases take the next of them in each batch."""
        if self.network.num_phases == 1:
            return {}
        batches = self._trainer.fit_loop.total_batch_idx if self._trainer is not None else batch_idx
        return {"first_index": batches % self.network.num_phases}

    def _loss_with_auxiliary(
        self, frames: Tensor, batch: SemanticBatch, phase: dict[str, int]
    ) -> tuple[Tensor, Tensor]:
        logits, auxiliary = self.network.forward_with_auxiliary(frames, **phase)
        loss, logged = self._pooled_loss(logits, batch)
        self.log("train/loss/main", logged, batch_size=frames.shape[0])
        for name, output in auxiliary.items():
            part, logged_part = self._pooled_loss(output, batch)
            self.log(f"train/loss/{name}", logged_part, batch_size=frames.shape[0])
            loss, logged = loss + self.auxiliary_weight * part, logged + self.auxiliary_weight * logged_part
        return loss, logged

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
        self._previous = None
        for metric in (self.confusion, self.boundary, self.consistency):
            metric.reset()

    def _log_scores(self, stage: str) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*called before the ``update`` method")  # a part without pairs
            scores, boundary, consistency = (m.compute() for m in (self.confusion, self.boundary, self.consistency))
        values = {f"{stage}/{name}": scores[name] for name in ("miou", "macc", "pixel_accuracy")}
        values[f"{stage}/boundary_iou"] = boundary["boundary_iou"]
        if not consistency["tc"].isnan():
            values[f"{stage}/tc"] = consistency["tc"]
        values |= {f"{stage}/iou/{name}": value for name, value in zip(self.class_names, scores["iou"], strict=True)}
        self._log_with_cost(values)
