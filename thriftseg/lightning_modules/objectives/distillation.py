"""Terms that learn from a teacher, which must be given to the module."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from thriftseg.errors import ConfigError
from thriftseg.lightning_modules.base import LossPart, check_range
from thriftseg.lightning_modules.objectives.base import Term
from thriftseg.lightning_modules.objectives.views import Views
from thriftseg.losses import KnowledgeDistillation, LossTerms
from thriftseg.zoo import PSPNet, SemanticNetwork, TDNet


class DistillationTerm(Term):
    """Knowledge distillation from the teacher, on the target frame and on its neighbours, where there are any.

    Every pixel counts but geometric padding. Logged as `train/loss/distillation`, summed over the frames.

    Args:
        loss: Divergence from the teacher; KL(teacher || student) by default.
        weight: See `Term`.
        stride: Stride at which it acts.
        start: See `Term`.

    Raises:
        ConfigError: A setting is out of range.

    Example:
        >>> from thriftseg.lightning_modules import LabelTerm, Objective
        >>> objective = Objective([LabelTerm(), DistillationTerm(start=0.5)])
        >>> sorted(objective.needs(progress=0.25)), sorted(objective.needs(progress=0.75))
        ([], ['taught neighbours', 'teacher'])
    """

    needs = frozenset({"teacher", "taught neighbours"})

    def __init__(
        self, loss: KnowledgeDistillation | None = None, weight: float = 1.0, stride: int = 4, start: float = 0.0
    ) -> None:
        super().__init__(weight, start)
        check_range("stride", stride, least=1)
        self.loss = loss if loss is not None else KnowledgeDistillation()
        self.stride = stride

    def parts(self, views: Views) -> Iterator[LossPart]:
        """See `Term.parts`."""
        frames = len(views.student)
        student = torch.cat([view.at(self.stride) for view in views.student])
        teacher = torch.cat([logits.at(self.stride) for logits in views.taught])
        terms = self.loss.terms(student, teacher, views.cells(self.stride).repeat(frames, 1, 1))
        # Every frame has the same number of valid pixels, so n times their joint mean is the sum of their means.
        yield LossPart("distillation", self.weight, LossTerms(frames * terms.sum, terms.count))


class GroupedDistillationTerm(Term):
    r"""Grouped knowledge distillation of TDNet [0, 1]: a path learns from the part of a PSPNet that it stands for.

    $$\alpha \, \mathrm{KL}(P \,\|\, p) + \beta \, \mathrm{KL}(P_g \,\|\, s)$$

    for the output $p$ of the target frame, the output $s$ of its path without the past frames, the teacher's output $P$
    for that frame, and the output $P_g$ of the teacher's channel group that the path stands for. The teacher is cut
    into as many groups as the student has paths (`PSPNet.forward_groups`); its first half of the channels belongs to
    the even paths, which pass on the first half of theirs. As in [1], a group of four is multiplied by four before it
    is normalised, a group of two is left as it is.

    The divergences compare logits before their enlargement. The teacher's are resized to the student's where the maps
    differ in size, which they do not at the sizes of [1], and geometric padding is left out. Logged are
    `train/loss/distillation` and `train/loss/sub_path_distillation`.

    [0] Hu et al., Temporally Distributed Networks for Fast Video Semantic Segmentation, CVPR 2020.
    [1] https://github.com/feinanshan/TDNet

    Args:
        loss: Divergence from the teacher; KL(teacher || student) by default.
        weight: See `Term`.
        full_weight: Weight alpha, beside `weight`.
        sub_path_weight: Weight beta, beside `weight`.
        start: See `Term`.

    Raises:
        ConfigError: A setting is out of range.

    Example:
        >>> from thriftseg.zoo import create_model
        >>> try:
        ...     GroupedDistillationTerm().check(create_model("deeplabv3plus_mobilenetv2", 5))
        ... except ConfigError as error:
        ...     print(error)
        grouped distillation trains a TDNet; found DeepLabV3Plus
    """

    needs = frozenset({"teacher", "auxiliary"})

    def __init__(
        self,
        loss: KnowledgeDistillation | None = None,
        weight: float = 1.0,
        full_weight: float = 1.0,
        sub_path_weight: float = 0.5,
        start: float = 0.0,
    ) -> None:
        super().__init__(weight, start)
        check_range("full_weight", full_weight)
        check_range("sub_path_weight", sub_path_weight)
        self.loss = loss if loss is not None else KnowledgeDistillation()
        self.full_weight, self.sub_path_weight = full_weight, sub_path_weight
        if not (full_weight or sub_path_weight):
            self.weight = 0.0

    def check(self, network: SemanticNetwork) -> None:
        """See `Term.check`: only a TDNet has paths."""
        if not isinstance(network, TDNet):
            raise ConfigError("grouped distillation trains a TDNet", found=type(network).__name__)

    def parts(self, views: Views) -> Iterator[LossPart]:
        """See `Term.parts`."""
        student = cast(TDNet, views.network)
        path = (views.first_index + student.past_frames) % student.num_phases
        alone = views.target.others["sub_path"]
        whole, group = _ask(views.teacher.network, views.batch["frames"][:, -1], path, student.num_phases)
        pairs = (
            ("distillation", self.full_weight, views.target.logits.values, whole),
            ("sub_path_distillation", self.sub_path_weight, alone.values, group),
        )
        for name, weight, learned, taught in pairs:
            if weight:
                size = learned.shape[-2:]
                cells = F.interpolate(views.batch["valid"][:, None].float(), size=size)[:, 0] > 0
                if taught.shape[-2:] != size:
                    taught = F.interpolate(taught, size=size, mode="bilinear", align_corners=student.align_corners)
                yield LossPart(name, self.weight * weight, self.loss.terms(learned, taught, cells))


@torch.no_grad()
def _ask(teacher: SemanticNetwork, frame: Tensor, path: int, paths: int) -> tuple[Tensor, Tensor]:
    """Logits of the whole teacher, and of the group of channels that a path stands for, before enlargement."""
    if not isinstance(teacher, PSPNet):
        raise ConfigError("only a PSPNet can teach a TDNet by groups of channels", found=type(teacher).__name__)
    whole, parts = teacher.forward_groups(teacher.preprocessing(frame), paths, 1.0 if paths == 2 else float(paths))
    return whole, parts[group_of_path(path, paths)]


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
