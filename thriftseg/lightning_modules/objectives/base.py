"""An objective is a sum of weighted terms; every term sees the same views of a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Literal

from torch import nn

from thriftseg.errors import ConfigError
from thriftseg.lightning_modules.base import LossPart, check_range
from thriftseg.lightning_modules.objectives.views import Views
from thriftseg.zoo import SemanticNetwork

Need = Literal["neighbours", "teacher", "taught neighbours", "auxiliary"]
"""What a term can ask of the views: predictions for neighbour frames, of a teacher, of a teacher for neighbour frames,
or of auxiliary heads and further outputs."""


class Term(nn.Module, ABC):
    """A summand of an objective.

    A subclass implements `parts`, and keeps its arguments as attributes of the same names, so that checkpoints can
    record it.

    Args:
        weight: Factor in the loss; 0 leaves the term out.
        start: Share of the run after which the term joins.

    Attributes:
        needs: What it asks of the views.

    Raises:
        ConfigError: A setting is out of range.

    Example:
        >>> from thriftseg.losses import LossTerms
        >>> class Decay(Term):
        ...     def parts(self, views):
        ...         size = sum(values.square().sum() for values in views.network.parameters())
        ...         yield LossPart("decay", self.weight, LossTerms(size, size.new_ones(())))
        >>> [part] = Decay(weight=0.5).parts(Views(nn.PReLU(), batch={}))  # one parameter, 0.25
        >>> part.name, part.weight, part.terms.mean().item()
        ('decay', 0.5, 0.0625)
    """

    needs: frozenset[Need] = frozenset()

    def __init__(self, weight: float = 1.0, start: float = 0.0) -> None:
        super().__init__()
        check_range(f"weight of {type(self).__name__}", weight)
        check_range(f"start of {type(self).__name__}", start, most=1)
        self.weight, self.start = weight, start

    @abstractmethod
    def parts(self, views: Views) -> Iterator[LossPart]:
        """What the term adds to the loss of a batch; the number of parts is the same in all processes.

        Args:
            views: Predictions for the frames of the batch.
        """

    def check(self, network: SemanticNetwork) -> None:
        """Refuse a network that the term cannot train.

        Args:
            network: The network that learns.

        Raises:
            ConfigError: The term is made for other networks.
        """

    def for_teacher(self, teacher: SemanticNetwork) -> Term:
        """The term by which a teacher learns what its student learns by this one; the term itself by default.

        Args:
            teacher: The teacher, which may lack further outputs that the student has.
        """
        return self


class Objective(nn.Module):
    """Sum of weighted terms.

    A subclass is a preset: it makes the terms from settings of its own. Checkpoints record the terms.

    Args:
        terms: The terms; those of weight 0 are never computed.

    Raises:
        ConfigError: There is no term that counts from the first step on.

    Example:
        >>> from thriftseg.lightning_modules import DistillationTerm, LabelTerm
        >>> objective = Objective([LabelTerm(), DistillationTerm(weight=0.0)])
        >>> [type(term).__name__ for term in objective.active()], objective.needs()
        (['LabelTerm'], frozenset())
    """

    def __init__(self, terms: list[Term]) -> None:
        super().__init__()
        if not any(term.weight and not term.start for term in terms):
            expected = "one term or more with a weight above 0 and start 0"
            raise ConfigError(
                "an objective without terms learns nothing", expected=expected, found=f"{len(terms)} terms"
            )
        self._terms = nn.ModuleList(terms)
        self.recorded_as = Objective

    @property
    def terms(self) -> list[Term]:
        """The terms in order."""
        return list(self._terms)  # type: ignore[arg-type]

    def active(self, progress: float = 1.0) -> list[Term]:
        """Terms that count.

        Args:
            progress: Share of the run that is over.
        """
        return [term for term in self.terms if term.weight and progress + 1e-12 >= term.start]

    def parts(self, views: Views, progress: float = 1.0) -> Iterator[LossPart]:
        """Parts of all terms that count, in order.

        Args:
            views: Predictions for the frames of the batch.
            progress: Share of the run that is over.
        """
        for term in self.active(progress):
            yield from term.parts(views)

    def check(self, network: SemanticNetwork) -> None:
        """Refuse a network that a term cannot train; see `Term.check`."""
        for term in self.active():
            term.check(network)

    def needs(self, progress: float = 1.0) -> frozenset[Need]:
        """What the terms that count ask of the views."""
        return frozenset().union(*(term.needs for term in self.active(progress)))

    def for_teacher(self, teacher: SemanticNetwork) -> Objective:
        """What the teacher of the network learns from: the terms that need neither a teacher nor neighbours.

        Args:
            teacher: The teacher.
        """
        return Objective([term.for_teacher(teacher) for term in self.terms if term.needs <= {"auxiliary"}])
