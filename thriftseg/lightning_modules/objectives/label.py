"""The loss of the labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import nn

from thriftseg.errors import ConfigError
from thriftseg.lightning_modules.base import LossPart, check_range, label_terms
from thriftseg.lightning_modules.objectives.base import Need, Objective, Term
from thriftseg.lightning_modules.objectives.views import Views
from thriftseg.losses import CrossEntropy
from thriftseg.types import IGNORE_INDEX, SemanticBatch
from thriftseg.zoo import SemanticNetwork


class LabelTerm(Term):
    """Compares the logits of the target frame with its label.

    Every sample counts with the factor that its part of the mixture has (`weight` of `MixturePart`). `sources` adds a
    factor per source of labels; an objective may have several label terms, each for some sources.

    Logged as `train/loss/label`, further outputs of the network under their own names.

    Args:
        loss: Called as `loss(logits, target, weight)`; cross entropy by default.
        weight: See `Term`.
        sources: Factor by source, such as `{manual: 1.0, sam2: 0.5}`; labels of other sources do not enter the term.
            By default all sources do, with factor 1.
        auxiliary_weight: Factor, beside `weight`, of the loss of each auxiliary output; 0 does not compute them, any
            other needs a network with auxiliary heads.
        output_weights: The same of outputs by name, such as `{sub_path: 0.5}` of a TDNet; see `further_outputs` of
            `SemanticNetwork`.
        neighbour_labels: Whether neighbours have labels too (`neighbour_label` of the batch), which count like those of
            the targets.
        start: See `Term`.

    Raises:
        ConfigError: A setting is out of range.

    Example:
        >>> from thriftseg.lightning_modules import Views
        >>> class Colours(SemanticNetwork):
        ...     def compute_logits(self, frames):
        ...         return frames[:, -1]
        >>> batch = {"frames": torch.zeros(2, 1, 3, 1, 1), "label": torch.zeros(2, 1, 1, dtype=torch.int64)}
        >>> batch |= {"weight": torch.ones(2), "source": ["manual", "sam2"]}
        >>> [part] = LabelTerm(sources={"manual": 1.0, "sam2": 0.5}).parts(Views(Colours(3), batch))
        >>> round(part.terms.mean().item(), 4)  # (1 + 0.5) / 2 of log(3)
        0.824
    """

    def __init__(
        self,
        loss: nn.Module | None = None,
        weight: float = 1.0,
        sources: dict[str, float] | None = None,
        auxiliary_weight: float = 0.0,
        output_weights: dict[str, float] | None = None,
        neighbour_labels: bool = False,
        start: float = 0.0,
    ) -> None:
        super().__init__(weight, start)
        check_range("auxiliary_weight", auxiliary_weight)
        if start and (auxiliary_weight or output_weights):
            raise ConfigError("further outputs are trained from the first step on", expected="start 0", found=start)
        for name, factor in {**(sources or {}), **(output_weights or {})}.items():
            check_range(f"weight of {name!r}", factor)
        self.loss = loss if loss is not None else CrossEntropy()
        self.sources, self.auxiliary_weight, self.output_weights = sources, auxiliary_weight, output_weights
        self.neighbour_labels = neighbour_labels
        needs: set[Need] = {"neighbours"} if neighbour_labels else set()
        self.needs = frozenset(needs | ({"auxiliary"} if any(self._factors.values()) else set()))

    def check(self, network: SemanticNetwork) -> None:
        """See `Term.check`: an auxiliary loss needs a head."""
        if self.auxiliary_weight and not network.has_auxiliary_heads:
            raise ConfigError(
                "the loss of auxiliary heads trains a network that has some",
                expected="auxiliary_weight 0",
                found=f"{self.auxiliary_weight:g} for a {type(network).__name__} without",
                fix="build the network with `auxiliary: true` where it has this argument, or drop auxiliary_weight",
            )

    def for_teacher(self, teacher: SemanticNetwork) -> LabelTerm:
        """See `Term.for_teacher`: without the losses of outputs that the teacher does not have."""
        known, given = teacher.further_outputs, self.output_weights or {}
        auxiliary_weight = self.auxiliary_weight if teacher.has_auxiliary_heads else 0.0
        output_weights = {name: factor for name, factor in given.items() if name in known}
        if (auxiliary_weight, output_weights) == (self.auxiliary_weight, given):
            return self
        rest = (output_weights, self.neighbour_labels, self.start)
        return LabelTerm(self.loss, self.weight, self.sources, auxiliary_weight, *rest)

    def parts(self, views: Views) -> Iterator[LossPart]:
        """See `Term.parts`."""
        batch = views.batch
        label, weight = batch["label"], batch["weight"]
        if self.sources is not None:
            factors = weight.new_tensor([self.sources.get(source, 0.0) for source in _sources(batch)])
            label, weight = label.masked_fill((factors == 0)[:, None, None], IGNORE_INDEX), weight * factors
        for name, output in views.target.others.items():
            factor = self._factors.get(name, self.auxiliary_weight if name.startswith("auxiliary") else 0.0)
            if factor:
                yield LossPart(name, self.weight * factor, label_terms(self.loss, output.at(1), label, weight))
        logits = views.target.at(1)
        if self.neighbour_labels:
            if "neighbour_label" not in batch or self.sources is not None:
                fix = "use VideoPairDataModule without sources, or set neighbour_labels to false"
                raise ConfigError("the batch has no labels of neighbours of known sources", fix=fix)
            logits = torch.cat([view.at(1) for view in views.student])
            label = torch.cat([label, *batch["neighbour_label"].unbind(dim=1)])
            weight = weight.repeat(len(views.student))
        yield LossPart("label", self.weight, label_terms(self.loss, logits, label, weight))

    @property
    def _factors(self) -> dict[str, float]:
        return {"auxiliary": self.auxiliary_weight, **(self.output_weights or {})}


def as_objective(given: nn.Module | Sequence[Term] | None) -> Objective:
    """An objective from what a module is given.

    Args:
        given: An objective, its terms, the loss of the labels as the only term, or `None` for cross entropy.

    Raises:
        ConfigError: It is something else.
    """
    if isinstance(given, Objective):
        return given
    if given is None or (isinstance(given, nn.Module) and not isinstance(given, Term)):
        return Objective([LabelTerm(given)])
    return Objective([given] if isinstance(given, Term) else list(given))


def _sources(batch: SemanticBatch) -> list[str]:
    """Source of the label of every sample."""
    if "source" not in batch:
        raise ConfigError(
            "weights per source need batches that say where their labels come from",
            expected="source, a list of names, beside label",
            fix="use SemanticDataModule, or leave sources out",
        )
    return batch["source"]
