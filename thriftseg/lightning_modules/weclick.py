"""WeClick: a small network learns from clicks, from the frames beside them, and from a teacher that saw only clicks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from thriftseg.errors import ConfigError
from thriftseg.flow import RAFT
from thriftseg.lightning_modules.base import LossPart, check_range
from thriftseg.lightning_modules.schedules import PolyLR
from thriftseg.lightning_modules.taught import NetworkCallable, TaughtSegmentation
from thriftseg.losses import GatedCRF, KnowledgeDistillation, LossTerms, MemoryFlowDistillation, PartialCrossEntropy
from thriftseg.types import SemanticBatch
from thriftseg.zoo import IMAGENET, SemanticNetwork, SlidingWindow, StridedLogits, WholeImage


@dataclass(frozen=True)
class _Views:
    """Logits of the n frames of each sample, the target first.

    Attributes:
        logits: Those of B * n frames.
        frames: Their number n.
    """

    logits: StridedLogits
    frames: int

    def at(self, stride: int) -> Tensor:
        """Of all frames, (B, n, C, h, w)."""
        logits = self.logits.at(stride)
        return logits.view(-1, self.frames, *logits.shape[1:])

    def target(self, stride: int) -> Tensor:
        """Of the target alone, (B, C, h, w)."""
        return self.logits.every(self.frames).at(stride)


class WeClick(TaughtSegmentation):
    r"""Trains an image network from clicks [0], unlabelled neighbour frames, and a frozen teacher.

    $$L = \alpha \, (L_{pCE}(k) + \lambda L_{GCRF}(k)) + \beta \sum_{f \in N(k)} L_{MFD}(f, k)
    + \gamma \sum_{f \in N(k) \cup \{k\}} L_{KD}(f)$$

    for the labelled frame $k$ and its neighbours $N(k)$, which the datamodule adds (`neighbours`). Without neighbours
    there is no memory flow distillation, and without a teacher no knowledge distillation: this is stage one of the
    recipe, by which the teacher itself is trained. Gated CRF acts on the colours before photometric changes. Both
    distillations look at every pixel but geometric padding.

    Flow from the labelled frame to its neighbours comes with the batch, estimated or read in the workers
    (`neighbour_flow: true` of the datamodule), or is estimated here, on the augmented frames, by `flow`.

    Logged are `train/loss` and, without their weights, `train/loss/label`, `train/loss/gated_crf`,
    `train/loss/memory_flow` and `train/loss/distillation`, the last two summed over frames.

    [0] Liu et al., "WeClick: Weakly-Supervised Video Semantic Segmentation with Click Annotations", ACM MM 2021,
    arXiv 2107.03088. The authors published no code. Where the paper's equations disagree with its text, the losses say
    what is computed: `MemoryFlowDistillation`, `KnowledgeDistillation`, `GatedCRF`.

    Args:
        network: Student to train, or teacher in stage one; an image network.
        teacher: See `TaughtSegmentation`.
        teacher_weights: See `TaughtSegmentation`.
        loss: Loss of the labels, called as `loss(logits, target, weight)`; partial cross entropy by default.
        gated_crf: Gated CRF of the logits; that of its authors by default.
        memory_flow: Memory flow distillation; as the paper means it by default.
        distillation: Knowledge distillation; KL(teacher || student) by default.
        weak_weight: Weight alpha.
        gated_crf_weight: Weight lambda, inside alpha.
        gated_crf_start: Share of the run after which Gated CRF joins.
        memory_flow_weight: Weight beta.
        distillation_weight: Weight gamma.
        flow: Estimator of flow for batches that come without.
        stride: Stride at which Gated CRF and knowledge distillation act; 4 in the paper.
        memory_flow_stride: Stride at which memory flow distillation acts.
        optimizer: See `SemanticSegmentation`, as for all further arguments.
        lr_scheduler: See there.
        lr_interval: See there.
        class_names: See there.
        boundary_width: See there.
        boundary_ratio: See there.
        inference: See there.
        compile: See there.

    Raises:
        ConfigError: A setting is out of range, or the network needs past frames.
    """

    unrecorded: ClassVar[tuple[str, ...]] = (*TaughtSegmentation.unrecorded, "flow")

    def __init__(
        self,
        network: SemanticNetwork,
        teacher: NetworkCallable | None = None,
        teacher_weights: str | None = None,
        loss: nn.Module | None = None,
        gated_crf: GatedCRF | None = None,
        memory_flow: MemoryFlowDistillation | None = None,
        distillation: KnowledgeDistillation | None = None,
        weak_weight: float = 1.0,
        gated_crf_weight: float = 0.1,
        gated_crf_start: float = 0.005,
        memory_flow_weight: float = 1.0,
        distillation_weight: float = 1.0,
        flow: RAFT | None = None,
        stride: int = 4,
        memory_flow_stride: int = 1,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = PolyLR,
        lr_interval: Literal["step", "epoch"] = "step",
        class_names: list[str] | None = None,
        boundary_width: int | None = 2,
        boundary_ratio: float | None = None,
        inference: WholeImage | SlidingWindow | None = None,
        compile: bool = False,
    ) -> None:
        if network.past_frames:
            raise ConfigError(
                "WeClick trains networks that segment single frames",
                found=f"{type(network).__name__} with {network.past_frames} past frames",
                fix="train it on clicks by SemanticSegmentation with PartialCrossEntropy",
            )
        check_range("stride", stride, least=1)
        check_range("memory_flow_stride", memory_flow_stride, least=1)
        check_range("weak_weight", weak_weight)
        check_range("gated_crf_weight", gated_crf_weight)
        check_range("memory_flow_weight", memory_flow_weight)
        check_range("distillation_weight", distillation_weight)
        check_range("gated_crf_start", gated_crf_start, most=1)
        super().__init__(
            network,
            teacher,
            teacher_weights,
            loss=loss if loss is not None else PartialCrossEntropy(),
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            lr_interval=lr_interval,
            class_names=class_names,
            boundary_width=boundary_width,
            boundary_ratio=boundary_ratio,
            inference=inference,
            compile=compile,
        )
        self.gated_crf = gated_crf if gated_crf is not None else GatedCRF()
        self.memory_flow = memory_flow if memory_flow is not None else MemoryFlowDistillation()
        self.distillation = distillation if distillation is not None else KnowledgeDistillation()
        self.weak_weight, self.gated_crf_weight, self.gated_crf_start = weak_weight, gated_crf_weight, gated_crf_start
        self.memory_flow_weight, self.distillation_weight = memory_flow_weight, distillation_weight
        self.flow, self.stride, self.memory_flow_stride = flow, stride, memory_flow_stride
        self._gated_crf_from = 0

    def teacher_module(self) -> WeClick:
        """Stage one: the teacher on clicks alone, see `TaughtSegmentation.teacher_module`."""
        return WeClick(
            self._untrained_teacher(),
            loss=self.loss,
            gated_crf=self.gated_crf,
            weak_weight=self.weak_weight,
            gated_crf_weight=self.gated_crf_weight,
            gated_crf_start=self.gated_crf_start,
            stride=self.stride,
            **self._run_settings,
        )

    def on_fit_start(self) -> None:
        """Prepare the teacher, and find the step at which Gated CRF joins."""
        super().on_fit_start()
        if self.gated_crf_weight and self.gated_crf_start:
            self._gated_crf_from = math.ceil(self.gated_crf_start * self._run_length())

    def training_step(self, batch: SemanticBatch, batch_idx: int) -> Tensor:
        """Loss of a batch; logs it as `train/loss`, and its parts.

        Raises:
            ConfigError: Memory flow distillation lacks the flow, or the teacher that it weighs pixels with.
        """
        return self._weighted_sum(list(self._parts(batch)), len(batch["label"]))

    def _training_methods(self) -> list[str]:
        return ["compute_logits"]

    def _parts(self, batch: SemanticBatch) -> Iterator[LossPart]:
        flows = "neighbours" in batch and self.memory_flow_weight > 0
        distils = self.teacher is not None and self.distillation_weight > 0
        clip = batch["frames"][:, -1:]
        if "neighbours" in batch and (flows or distils):
            clip = torch.cat([clip, batch["neighbours"]], dim=1)
        student = _Views(self.network.strided_logits(self.network.preprocessing(clip.flatten(0, 1))), clip.shape[1])
        views = student.at(self.memory_flow_stride) if flows else None
        target = views[:, 0] if views is not None and self.memory_flow_stride == 1 else student.target(1)
        yield LossPart("label", self.weak_weight, self._label_terms(target, batch))
        joined = self._trainer is None or self.trainer.global_step >= self._gated_crf_from
        if self.gated_crf_weight and joined:
            weight = self.weak_weight * self.gated_crf_weight
            yield LossPart("gated_crf", weight, self._gated_crf_terms(student.target(self.stride), batch))
        teacher = None
        if self.teacher is not None and (distils or (flows and self.memory_flow.weight != "none")):
            asked = clip if distils else clip[:, :1]
            teacher = _Views(self.teacher.answer(asked.flatten(0, 1)), asked.shape[1])
        if distils and teacher is not None:
            terms = self._distillation_terms(student, teacher, batch["valid"])
            yield LossPart("distillation", self.distillation_weight, terms)
        if views is not None:
            taught = None if teacher is None else teacher.target(self.memory_flow_stride)
            for terms in self._memory_flow_terms(views, taught, batch):
                yield LossPart("memory_flow", self.memory_flow_weight, terms)

    def _gated_crf_terms(self, logits: Tensor, batch: SemanticBatch) -> LossTerms:
        image = IMAGENET(batch.get("frames_raw", batch["frames"])[:, -1])
        bottom, right = (-side % self.stride for side in image.shape[-2:])
        padding = (0, right, 0, bottom)
        return self.gated_crf.terms(logits, F.pad(image, padding), F.pad(batch["valid"], padding))

    def _distillation_terms(self, student: _Views, teacher: _Views, valid: Tensor) -> LossTerms:
        cells = _all_valid(valid, self.stride).repeat_interleave(student.frames, dim=0)
        terms = self.distillation.terms(student.logits.at(self.stride), teacher.logits.at(self.stride), cells)
        # Every frame has the same number of valid pixels, so n times their joint mean is the sum of their means.
        return LossTerms(student.frames * terms.sum, terms.count)

    def _memory_flow_terms(self, views: Tensor, taught: Tensor | None, batch: SemanticBatch) -> Iterator[LossTerms]:
        if taught is None and self.memory_flow.weight != "none":
            raise ConfigError(
                f"memory flow distillation of weight {self.memory_flow.weight!r} needs a teacher",
                fix="give the model a teacher, or the weight none",
            )
        stride = self.memory_flow_stride
        valid = _all_valid(batch["valid"], stride)
        for place, flow in enumerate(self._flows(batch).unbind(dim=1), start=1):
            # mean flow of each cell, in cells; NaN where that of any of its pixels is
            moved = flow if stride == 1 else F.avg_pool2d(flow, stride, ceil_mode=True) / stride
            yield self.memory_flow.terms(views[:, 0], views[:, place], moved, taught, valid)

    def _flows(self, batch: SemanticBatch) -> Tensor:
        """Flow from the target to each neighbour, (B, N, 2, H, W), NaN where it is not known."""
        if "neighbour_flow" in batch:
            return batch["neighbour_flow"].masked_fill(~batch["neighbour_valid"][:, :, None], math.nan)
        if self.flow is None:
            raise ConfigError(
                "memory flow distillation has no flow",
                fix="set neighbour_flow of the data, or flow of the model, or memory_flow_weight to 0",
            )
        neighbours = batch.get("neighbours_raw", batch["neighbours"])
        target = batch.get("frames_raw", batch["frames"])[:, -1:].expand_as(neighbours)
        flow: Tensor = self.flow.forward(target.flatten(0, 1), neighbours.flatten(0, 1))
        return flow.unflatten(0, neighbours.shape[:2])  # type: ignore[no-any-return]


def _all_valid(valid: Tensor, stride: int) -> Tensor:
    """Cells (B, h, w) whose pixels, those beyond the border left out, are all valid in (B, H, W)."""
    if stride == 1:
        return valid
    padded = F.max_pool2d((~valid).float()[:, None], stride, ceil_mode=True)
    return padded[:, 0] == 0
