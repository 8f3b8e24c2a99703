"""Knowledge distillation: the student learns the teacher's class distribution of every pixel."""

from __future__ import annotations

from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor

from thriftseg.errors import ConfigError
from thriftseg.losses.terms import Loss, LossTerms, at_least_float32, check_same_maps, mean_over_pixels

Direction = Literal["teacher", "student"]


class KnowledgeDistillation(Loss):
    r"""Divergence of the class distributions of teacher and student, mean over the valid pixels.

    With the softmax outputs $y_T$ and $y_S$ of a pixel, direction "teacher" is

    $$\mathrm{KL}(y_T \,\|\, y_S) = \sum_c y_T(c) \log \frac{y_T(c)}{y_S(c)}$$

    and "student" is $\mathrm{KL}(y_S \,\|\, y_T)$, as the equation of WeClick is printed. The first makes the student
    cover all that the teacher considers possible, the second makes it settle on the teacher's favourite.

    [0] Liu et al., "WeClick: Weakly-Supervised Video Semantic Segmentation with Click Annotations", ACM MM 2021,
    arXiv 2107.03088, equation 4; after Hinton et al., "Distilling the Knowledge in a Neural Network", 2015,
    arXiv 1503.02531. The authors published no code.

    Args:
        direction: "teacher" for KL(teacher || student), "student" for KL(student || teacher).
        temperature: Both logits are divided by it, which softens the distributions; the loss is multiplied by its
            square.

    Raises:
        ConfigError: A setting is out of range.

    Example:
        >>> import torch
        >>> logits = torch.tensor([2.0, 0.0]).view(1, 2, 1, 1)
        >>> KnowledgeDistillation()(logits, logits).item(), round(KnowledgeDistillation()(-logits, logits).item(), 3)
        (0.0, 1.523)
    """

    settings = ("direction", "temperature")

    def __init__(self, direction: Direction = "teacher", temperature: float = 1.0) -> None:
        super().__init__()
        if direction not in get_args(Direction):
            raise ConfigError(
                "unknown direction of distillation", expected=" or ".join(get_args(Direction)), found=direction
            )
        if not temperature > 0:
            raise ConfigError("temperature of distillation is out of range", expected="above 0", found=temperature)
        self.direction: Direction = direction
        self.temperature = temperature

    def terms(self, logits: Tensor, teacher_logits: Tensor, valid: Tensor | None = None) -> LossTerms:
        """Numerator and denominator of the loss.

        Args:
            logits: Student, (B, C, H, W); half precision is computed in float32.
            teacher_logits: Teacher, of the same shape; gets no gradient.
            valid: (B, H, W) bool, False on padding; all pixels by default.

        Returns:
            Sum over the valid pixels and their number.

        Raises:
            ValueError: The shapes do not fit together.
        """
        check_same_maps(logits, teacher_logits=teacher_logits)
        student = F.log_softmax(at_least_float32(logits) / self.temperature, dim=1)
        teacher = F.log_softmax(at_least_float32(teacher_logits.detach()) / self.temperature, dim=1)
        first, second = (teacher, student) if self.direction == "teacher" else (student, teacher)
        divergence = F.kl_div(second, first, reduction="none", log_target=True).sum(dim=1)
        return mean_over_pixels(divergence * self.temperature**2, valid)


def knowledge_distillation(
    logits: Tensor,
    teacher_logits: Tensor,
    direction: Direction = "teacher",
    temperature: float = 1.0,
    valid: Tensor | None = None,
) -> Tensor:
    """Distillation loss, a scalar; see `KnowledgeDistillation`, and its method `terms` for the tensors.

    Example:
        >>> import torch
        >>> student, teacher = torch.zeros(1, 2, 1, 1), torch.tensor([1.0986123, 0.0]).view(1, 2, 1, 1)
        >>> round(knowledge_distillation(student, teacher).item(), 4)
        0.1308
        >>> round(knowledge_distillation(student, teacher, direction="student").item(), 4)
        0.1438
    """
    return KnowledgeDistillation(direction, temperature).forward(logits, teacher_logits, valid)
