"""Objectives of published recipes."""

from __future__ import annotations

from torch import nn

from thriftseg.flow import RAFT
from thriftseg.lightning_modules.base import check_range
from thriftseg.lightning_modules.objectives.base import Objective
from thriftseg.lightning_modules.objectives.distillation import DistillationTerm, GroupedDistillationTerm
from thriftseg.lightning_modules.objectives.label import LabelTerm
from thriftseg.lightning_modules.objectives.regularisers import GatedCRFTerm, MemoryFlowTerm, TemporalConsistencyTerm
from thriftseg.losses import (
    GatedCRF,
    KnowledgeDistillation,
    MemoryFlowDistillation,
    OHEMCrossEntropy,
    PartialCrossEntropy,
    TemporalConsistencyLoss,
)


class WeClick(Objective):
    r"""Learns from clicks [0], unlabelled neighbour frames, and a frozen teacher.

    $$L = \alpha \, (L_{pCE}(k) + \lambda L_{GCRF}(k)) + \beta \sum_{f \in N(k)} L_{MFD}(f, k)
    + \gamma \sum_{f \in N(k) \cup \{k\}} L_{KD}(f)$$

    for the labelled frame $k$ and its neighbours $N(k)$, which the datamodule adds (`neighbours`). Without the last two
    terms this is stage one of the recipe, by which the teacher itself is trained. Gated CRF acts on the colours before
    photometric changes. Both distillations look at every pixel but geometric padding.

    Logged are `train/loss` and, without their weights, `train/loss/label`, `train/loss/gated_crf`,
    `train/loss/memory_flow` and `train/loss/distillation`, the last two summed over frames.

    [0] Liu et al., "WeClick: Weakly-Supervised Video Semantic Segmentation with Click Annotations", ACM MM 2021,
    arXiv 2107.03088. The authors published no code. Where the paper's equations disagree with its text, the losses say
    what is computed: `MemoryFlowDistillation`, `KnowledgeDistillation`, `GatedCRF`.

    Args:
        loss: Loss of the labels, called as `loss(logits, target, weight)`; partial cross entropy by default.
        gated_crf: Gated CRF of the logits; that of its authors by default.
        memory_flow: Memory flow distillation; as the paper means it by default.
        distillation: Knowledge distillation; KL(teacher || student) by default.
        weak_weight: Weight alpha.
        gated_crf_weight: Weight lambda, inside alpha.
        gated_crf_start: Share of the run after which Gated CRF joins.
        memory_flow_weight: Weight beta; 0 in stage one.
        distillation_weight: Weight gamma; 0 in stage one.
        flow: Estimator of flow for batches that come without; see `FlowTerm`.
        stride: Stride at which Gated CRF and knowledge distillation act; 4 in the paper.
        memory_flow_stride: Stride at which memory flow distillation acts.

    Raises:
        ConfigError: A setting is out of range.

    Example:
        >>> objective = WeClick(memory_flow_weight=0.0, distillation_weight=0.0)  # stage one
        >>> [type(term).__name__ for term in objective.active()], objective.needs()
        (['LabelTerm', 'GatedCRFTerm'], frozenset())
        >>> sorted(WeClick().needs())
        ['neighbours', 'taught neighbours', 'teacher']
    """

    def __init__(
        self,
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
    ) -> None:
        check_range("weak_weight", weak_weight)
        check_range("gated_crf_weight", gated_crf_weight)
        check_range("gated_crf_start", gated_crf_start, most=1)
        check_range("memory_flow_weight", memory_flow_weight)
        check_range("memory_flow_stride", memory_flow_stride, least=1)
        check_range("distillation_weight", distillation_weight)
        super().__init__(
            [
                LabelTerm(loss if loss is not None else PartialCrossEntropy(), weak_weight),
                GatedCRFTerm(gated_crf, weak_weight * gated_crf_weight, stride, gated_crf_start),
                DistillationTerm(distillation, distillation_weight, stride),
                MemoryFlowTerm(memory_flow, memory_flow_weight, memory_flow_stride, flow),
            ]
        )


class TDNetDistillation(Objective):
    r"""Learns from labels and from the channel groups of a frozen PSPNet, as TDNet does [0, 1].

    $$L = \ell(p, y) + \mu \, \ell(s, y) + \nu \, \ell(a, y) + \alpha \, \mathrm{KL}(P \,\|\, p)
    + \beta \, \mathrm{KL}(P_g \,\|\, s)$$

    for the output $p$ of the current frame, the output $s$ of its path without the past frames, the auxiliary output
    $a$ of that path, and the outputs of the teacher that `GroupedDistillationTerm` describes. The authors' weights are
    $\mu = 0.5$, $\alpha = 1$, $\beta = 0.5$, and $\nu = 0.1$ for TDNets with PSPNets, 0 for those with FANets.

    Logged are `train/loss` and, without their weights, `train/loss/label`, `train/loss/sub_path`,
    `train/loss/auxiliary`, `train/loss/distillation` and `train/loss/sub_path_distillation`.

    [0] Hu et al., Temporally Distributed Networks for Fast Video Semantic Segmentation, CVPR 2020.
    [1] https://github.com/feinanshan/TDNet

    Args:
        loss: Loss of the labels, called as `loss(logits, target, weight)`; OHEM cross entropy by default.
        distillation: Divergence from the teacher; KL(teacher || student) by default.
        full_weight: Weight alpha.
        sub_path_weight: Weight beta.
        sub_path_label_weight: Weight mu.
        auxiliary_weight: Weight nu; needs a student with auxiliary heads.

    Raises:
        ConfigError: A weight is negative, or the network that learns is no TDNet.

    Example:
        >>> objective = TDNetDistillation(auxiliary_weight=0.1)
        >>> objective.terms[0].output_weights, sorted(objective.needs())
        ({'sub_path': 0.5}, ['auxiliary', 'teacher'])
    """

    def __init__(
        self,
        loss: nn.Module | None = None,
        distillation: KnowledgeDistillation | None = None,
        full_weight: float = 1.0,
        sub_path_weight: float = 0.5,
        sub_path_label_weight: float = 0.5,
        auxiliary_weight: float = 0.0,
    ) -> None:
        check_range("sub_path_label_weight", sub_path_label_weight)
        super().__init__(
            [
                LabelTerm(
                    loss if loss is not None else OHEMCrossEntropy(),
                    auxiliary_weight=auxiliary_weight,
                    output_weights={"sub_path": sub_path_label_weight},
                ),
                GroupedDistillationTerm(distillation, full_weight=full_weight, sub_path_weight=sub_path_weight),
            ]
        )


class TestTimeTuning(Objective):
    r"""Learns one video, of which few pixels are labelled.

    $$L = L_\mathrm{sem} + \lambda L_\mathrm{con}$$

    $L_\mathrm{sem}$ is the loss of the labels, a mean over all labelled pixels of the batch, and 0 without any.
    $L_\mathrm{con}$ asks frame t to agree with frame t-1 moved along the flow, a mean over the pairs of the batch; it
    alone reaches frames without labels.

    The method is that of Qiao et al. [0]; its equations are not known to us, so the form of both terms is a
    reconstruction. The authors published no code.

    Logged are `train/loss` and, without its weight, `train/loss/label` and `train/loss/consistency`.

    [0] Qiao et al., Human-in-the-Loop Video Semantic Segmentation Auto-Annotation, WACV 2023.

    Args:
        loss: Loss of the labels, called as `loss(logits, target, weight)`; cross entropy by default.
        consistency: Loss between adjacent frames; squared distance of probabilities by default.
        consistency_weight: Weight lambda; 0 does not compute the consistency.

    Raises:
        ConfigError: The weight is negative.

    Example:
        >>> [len(TestTimeTuning(consistency_weight=weight).active()) for weight in (0.0, 1.0)]
        [1, 2]
    """

    __test__ = False  # pytest would take the class for tests, by its name

    def __init__(
        self,
        loss: nn.Module | None = None,
        consistency: TemporalConsistencyLoss | None = None,
        consistency_weight: float = 1.0,
    ) -> None:
        check_range("consistency_weight", consistency_weight)
        super().__init__(
            [
                LabelTerm(loss, neighbour_labels=True),
                TemporalConsistencyTerm(consistency, consistency_weight),
            ]
        )
