"""Grouped knowledge distillation: each path of a TDNet learns from the part of a teacher that it stands for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, cast

import torch
import torch.nn.functional as F
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from thriftseg.errors import ConfigError
from thriftseg.lightning_modules.base import LossPart, check_range
from thriftseg.lightning_modules.schedules import PolyLR
from thriftseg.lightning_modules.semantic import SemanticSegmentation
from thriftseg.lightning_modules.taught import NetworkCallable, TaughtSegmentation
from thriftseg.losses import KnowledgeDistillation, OHEMCrossEntropy
from thriftseg.types import SemanticBatch
from thriftseg.zoo import DistillationOutputs, PSPNet, SemanticNetwork, SlidingWindow, TDNet, WholeImage


class TDNetDistillation(TaughtSegmentation):
    r"""Trains a TDNet [0, 1] from labels and from the channel groups of a frozen PSPNet.

    $$L = \ell(p, y) + \mu \, \ell(s, y) + \nu \, \ell(a, y) + \alpha \, \mathrm{KL}(P \,\|\, p)
    + \beta \, \mathrm{KL}(P_g \,\|\, s)$$

    for the output $p$ of the current frame, the output $s$ of its path without the past frames, the auxiliary output
    $a$ of that path, the teacher's output $P$ for that frame and the output $P_g$ of the teacher's channel group that
    the path stands for. The teacher is cut into as many groups as the student has paths (`PSPNet.forward_groups`); its
    first half of the channels belongs to the even paths, which pass on the first half of theirs. As in [1], a group of
    four is multiplied by four before it is normalised, a group of two is left as it is.

    The divergences compare logits before their enlargement. The teacher's are resized to the student's where the maps
    differ in size, which they do not at the sizes of [1], and geometric padding is left out. The authors' weights are
    $\mu = 0.5$, $\alpha = 1$, $\beta = 0.5$, and $\nu = 0.1$ for TDNets with PSPNets, 0 for those with FANets.

    Logged are `train/loss` and, without their weights, `train/loss/full`, `train/loss/sub_path`,
    `train/loss/auxiliary`, `train/loss/full_distillation` and `train/loss/sub_path_distillation`.

    [0] Hu et al., Temporally Distributed Networks for Fast Video Semantic Segmentation, CVPR 2020.
    [1] https://github.com/feinanshan/TDNet

    Args:
        network: Student to train.
        teacher: Function from the number of classes to a PSPNet; see `TaughtSegmentation`.
        teacher_weights: Weights of a PSPNet; see `TaughtSegmentation`.
        loss: Loss of the labels, called as `loss(logits, target, weight)`; OHEM cross entropy by default.
        distillation: Divergence from the teacher; KL(teacher || student) by default.
        full_weight: Weight alpha.
        sub_path_weight: Weight beta.
        sub_path_label_weight: Weight mu.
        auxiliary_weight: Weight nu; needs a student with auxiliary heads.
        optimizer: See `SemanticSegmentation`, as for all further arguments.
        lr_scheduler: See there.
        lr_interval: See there.
        class_names: See there.
        boundary_width: See there.
        boundary_ratio: See there.
        inference: See there.
        compile: See there.

    Raises:
        ConfigError: The student is no TDNet, the teacher no PSPNet, or a weight is negative.
    """

    network: TDNet

    def __init__(
        self,
        network: TDNet,
        teacher: NetworkCallable | None = None,
        teacher_weights: str | None = None,
        loss: nn.Module | None = None,
        distillation: KnowledgeDistillation | None = None,
        full_weight: float = 1.0,
        sub_path_weight: float = 0.5,
        sub_path_label_weight: float = 0.5,
        auxiliary_weight: float = 0.0,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = PolyLR,
        lr_interval: Literal["step", "epoch"] = "step",
        class_names: list[str] | None = None,
        boundary_width: int | None = 2,
        boundary_ratio: float | None = None,
        inference: WholeImage | SlidingWindow | None = None,
        compile: bool = False,
    ) -> None:
        if not isinstance(network, TDNet):
            raise ConfigError("grouped distillation trains a TDNet", found=type(network).__name__)
        check_range("full_weight", full_weight)
        check_range("sub_path_weight", sub_path_weight)
        check_range("sub_path_label_weight", sub_path_label_weight)
        super().__init__(
            network,
            teacher,
            teacher_weights,
            loss=loss if loss is not None else OHEMCrossEntropy(),
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
        self.distillation = distillation if distillation is not None else KnowledgeDistillation()
        self.full_weight, self.sub_path_weight = full_weight, sub_path_weight
        self.sub_path_label_weight = sub_path_label_weight

    def teacher_module(self) -> SemanticSegmentation:
        """Stage one: the teacher on the same labels and loss, see `TaughtSegmentation.teacher_module`."""
        return SemanticSegmentation(
            self._untrained_teacher(), loss=self.loss, auxiliary_weight=self.auxiliary_weight, **self._run_settings
        )

    def setup(self, stage: str) -> None:
        """As `TaughtSegmentation`; refuse to distil without a teacher.

        Raises:
            ConfigError: There is no teacher, or it is no PSPNet.
            CheckpointError: The weights of the teacher are missing, damaged, or of another network.
        """
        super().setup(stage)
        if stage == "fit" and self._distils and self.teacher is None:
            raise ConfigError(
                "there is no teacher to distil from",
                fix="give teacher or teacher_weights, or set full_weight and sub_path_weight to 0",
            )

    def training_step(self, batch: SemanticBatch, batch_idx: int) -> Tensor:
        """Loss of a batch; logs it as `train/loss`, and its parts."""
        return self._weighted_sum(list(self._parts(batch, batch_idx)), len(batch["label"]))

    @property
    def _distils(self) -> bool:
        return self.full_weight > 0 or self.sub_path_weight > 0

    def _training_methods(self) -> list[str]:
        return ["forward_with_distillation"]

    def _parts(self, batch: SemanticBatch, batch_idx: int) -> Iterator[LossPart]:
        frames = batch["frames"]
        outputs = self.network.forward_with_distillation(self.network.preprocessing(frames), **self._phase(batch_idx))
        yield LossPart("full", 1.0, self._label_terms(outputs.logits, batch))
        if self.sub_path_label_weight:
            yield LossPart("sub_path", self.sub_path_label_weight, self._label_terms(outputs.sub_path_logits, batch))
        if self.auxiliary_weight:
            for name, logits in outputs.auxiliary.items():
                yield LossPart(name, self.auxiliary_weight, self._label_terms(logits, batch))
        if self._distils and self.teacher is not None:
            taught = self._ask(cast(PSPNet, self.teacher.network), frames[:, -1], outputs.path)
            yield from self._distillation_terms(outputs, *taught, batch["valid"])

    def _distillation_terms(
        self, outputs: DistillationOutputs, whole: Tensor, group: Tensor, valid: Tensor
    ) -> Iterator[LossPart]:
        pairs = (
            ("full", self.full_weight, outputs.low_resolution_logits, whole),
            ("sub_path", self.sub_path_weight, outputs.low_resolution_sub_path_logits, group),
        )
        for name, weight, learned, taught in pairs:
            if weight:
                cells = F.interpolate(valid[:, None].float(), size=learned.shape[-2:])[:, 0] > 0
                if taught.shape[-2:] != learned.shape[-2:]:
                    corners = self.network.align_corners
                    taught = F.interpolate(taught, size=learned.shape[-2:], mode="bilinear", align_corners=corners)
                terms = self.distillation.terms(learned, taught, cells)
                yield LossPart(f"{name}_distillation", weight, terms)

    @torch.no_grad()
    def _ask(self, teacher: PSPNet, frame: Tensor, path: int) -> tuple[Tensor, Tensor]:
        """Logits of the whole teacher, and of the group of channels that a path stands for, before enlargement."""
        groups = self.network.num_phases
        gain = 1.0 if groups == 2 else float(groups)
        whole, parts = teacher.forward_groups(teacher.preprocessing(frame), groups, gain)
        return whole, parts[group_of_path(path, groups)]

    def _fitting(self, teacher: SemanticNetwork) -> SemanticNetwork:
        if not isinstance(teacher, PSPNet):
            raise ConfigError("only a PSPNet can teach a TDNet by groups of channels", found=type(teacher).__name__)
        return super()._fitting(teacher)


def group_of_path(path: int, paths: int) -> int:
    """Group of the teacher's channels that a path answers to.

    Even paths take turns in the groups of the first half, odd ones in those of the second, as they do in the student.

    Args:
        path: Place of the path, from 0.
        paths: Number of paths and of groups, even.

    Example:
        >>> [group_of_path(path, 2) for path in range(2)], [group_of_path(path, 4) for path in range(4)]
        ([0, 1], [0, 2, 1, 3])
    """
    return path % 2 * (paths // 2) + path // 2
