"""Terms that need no label: similar pixels, and frames along the optical flow, should be labelled alike."""

from __future__ import annotations

from collections.abc import Iterator

import torch.nn.functional as F

from thriftseg.errors import ConfigError
from thriftseg.flow import RAFT
from thriftseg.lightning_modules.base import LossPart, check_range
from thriftseg.lightning_modules.objectives.base import Need, Term
from thriftseg.lightning_modules.objectives.views import Views
from thriftseg.losses import GatedCRF, LossTerms, MemoryFlowDistillation, TemporalConsistencyLoss
from thriftseg.zoo import IMAGENET


class GatedCRFTerm(Term):
    """Gated CRF of the target frame's logits, on its colours before photometric changes; padding is left out.

    Logged as `train/loss/gated_crf`.

    Args:
        loss: The loss; that of its authors by default.
        weight: See `Term`.
        stride: Stride at which it acts.
        start: See `Term`.

    Raises:
        ConfigError: A setting is out of range.

    Example:
        >>> from thriftseg.lightning_modules import LabelTerm, Objective
        >>> objective = Objective([LabelTerm(), GatedCRFTerm(weight=0.1, start=0.25)])
        >>> [len(objective.active(progress)) for progress in (0.0, 0.2, 0.25, 1.0)]
        [1, 1, 2, 2]
    """

    def __init__(
        self, loss: GatedCRF | None = None, weight: float = 0.1, stride: int = 4, start: float = 0.005
    ) -> None:
        super().__init__(weight, start)
        check_range("stride", stride, least=1)
        self.loss = loss if loss is not None else GatedCRF()
        self.stride = stride

    def parts(self, views: Views) -> Iterator[LossPart]:
        """See `Term.parts`."""
        image = IMAGENET(views.raw_target())
        bottom, right = (-side % self.stride for side in image.shape[-2:])
        padding = (0, right, 0, bottom)
        image, valid = F.pad(image, padding), F.pad(views.batch["valid"], padding)
        yield LossPart("gated_crf", self.weight, self.loss.terms(views.target.at(self.stride), image, valid))


class FlowTerm(Term):
    """Base of the terms that compare the target frame with its neighbours along the optical flow.

    The flow comes with the batch, estimated or read in the workers (`neighbour_flow: true` of the data), or is
    estimated here, on the augmented frames, by `flow`.

    Args:
        weight: See `Term`.
        stride: Stride at which the term acts.
        flow: Estimator of flow for batches that come without; checkpoints do not record it.
        start: See `Term`.

    Raises:
        ConfigError: A setting is out of range.

    Example:
        >>> from thriftseg.lightning_modules import MemoryFlowTerm, Views
        >>> term = MemoryFlowTerm()
        >>> try:
        ...     term.check_neighbours(Views(network=None, batch={}, wants=term.needs))
        ... except ConfigError as error:
        ...     print(isinstance(term, FlowTerm), error.fix)
        True set neighbours of the data, or the weight of the term to 0
    """

    needs = frozenset({"neighbours"})
    _estimator: RAFT | None

    def __init__(self, weight: float, stride: int, flow: RAFT | None, start: float) -> None:
        super().__init__(weight, start)
        check_range("stride", stride, least=1)
        self.stride = stride
        self.__dict__["_estimator"] = flow  # which is neither trained nor saved nor recorded

    def check_neighbours(self, views: Views) -> None:
        """Refuse a batch without neighbours.

        Raises:
            ConfigError: There is nothing to compare the target with.
        """
        if not views.neighbours:
            raise ConfigError(
                f"{type(self).__name__} compares a frame with its neighbours, and the batch has none",
                fix="set neighbours of the data, or the weight of the term to 0",
            )


class MemoryFlowTerm(FlowTerm):
    """Memory flow distillation: every neighbour teaches the target frame where the flow leads to it.

    Both look at every pixel but geometric padding. Logged as `train/loss/memory_flow`, summed over the neighbours.

    Args:
        loss: The loss; as the paper means it by default. All its weights but `none` need a teacher.
        weight: See `Term`.
        stride: See `FlowTerm`.
        flow: See `FlowTerm`.
        start: See `Term`.

    Raises:
        ConfigError: A setting is out of range.

    Example:
        >>> from thriftseg.losses import MemoryFlowDistillation
        >>> sorted(MemoryFlowTerm().needs), sorted(MemoryFlowTerm(MemoryFlowDistillation(weight="none")).needs)
        (['neighbours', 'teacher'], ['neighbours'])
    """

    def __init__(
        self,
        loss: MemoryFlowDistillation | None = None,
        weight: float = 1.0,
        stride: int = 1,
        flow: RAFT | None = None,
        start: float = 0.0,
    ) -> None:
        super().__init__(weight, stride, flow, start)
        self.loss = loss if loss is not None else MemoryFlowDistillation()
        taught: set[Need] = {"teacher"} if self.loss.weight != "none" else set()
        self.needs = type(self).needs | taught

    def parts(self, views: Views) -> Iterator[LossPart]:
        """See `Term.parts`."""
        self.check_neighbours(views)
        taught = views.taught[0].at(self.stride) if "teacher" in self.needs else None
        target, *others = (view.at(self.stride) for view in views.student)
        for other, flow in zip(others, views.flows(self._estimator, self.stride), strict=True):
            terms = self.loss.terms(target, other, flow, taught, views.cells(self.stride))
            yield LossPart("memory_flow", self.weight, terms)


class TemporalConsistencyTerm(FlowTerm):
    """Temporal consistency: the target frame agrees with every neighbour along the flow.

    Compared are pixels whose flow is known and, where the data check it (`neighbour_check: true`), agrees with the flow
    back; geometric padding is left out. A sample whose neighbour only fills the batch (`neighbour_paired`) does not
    count. Logged as `train/loss/consistency`, summed over the neighbours.

    Args:
        loss: The loss; squared distance of probabilities by default.
        weight: See `Term`.
        stride: See `FlowTerm`.
        flow: See `FlowTerm`.
        start: See `Term`.

    Raises:
        ConfigError: A setting is out of range.

    Example:
        >>> import torch
        >>> from thriftseg.lightning_modules import Views
        >>> from thriftseg.zoo import SemanticNetwork
        >>> class Colours(SemanticNetwork):
        ...     def compute_logits(self, frames):
        ...         return frames[:, -1]
        >>> red, real = torch.tensor([100.0, 0.0, 0.0]).view(1, 1, 3, 1, 1), torch.ones(1, 1, 1, 1, dtype=torch.bool)
        >>> batch = {"frames": torch.zeros(1, 1, 3, 1, 1), "neighbours": red, "valid": real[0]}
        >>> batch |= {"neighbour_flow": torch.zeros(1, 1, 2, 1, 1), "neighbour_valid": real}
        >>> term = TemporalConsistencyTerm()
        >>> [part] = term.parts(Views(Colours(3), batch, wants=term.needs))
        >>> round(part.terms.mean().item(), 4)  # (1 - 1/3)^2 + 2 (1/3)^2
        0.6667
    """

    def __init__(
        self,
        loss: TemporalConsistencyLoss | None = None,
        weight: float = 1.0,
        stride: int = 1,
        flow: RAFT | None = None,
        start: float = 0.0,
    ) -> None:
        super().__init__(weight, stride, flow, start)
        self.loss = loss if loss is not None else TemporalConsistencyLoss()

    def parts(self, views: Views) -> Iterator[LossPart]:
        """See `Term.parts`."""
        self.check_neighbours(views)
        target, *others = (view.at(self.stride) for view in views.student)
        flows, real = views.flows(self._estimator, self.stride), views.cells(self.stride)
        paired = views.batch.get("neighbour_paired")
        for place, (other, flow, agrees) in enumerate(zip(others, flows, views.agreements(self.stride), strict=True)):
            terms = self.loss.terms(target, other, flow, real if agrees is None else real & agrees)
            count = terms.count if paired is None else paired[:, place].sum()
            yield LossPart("consistency", self.weight, LossTerms(terms.sum, count))
