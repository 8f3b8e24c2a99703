"""Summaries of generators, and the error of those that left labels out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thriftseg.costs import AnnotationCost
from thriftseg.errors import LabelStoreError


@dataclass(frozen=True)
class Summary:
    """What a generator did; each generator extends it.

    Attributes:
        folder: Folder of the source.
        written: Labels made now.
        kept: Labels that were there already.
        ignored_share: Mean share of pixels without a label, over all labels of this call.
        failures: One line per label that could not be made.
        cost: The human work that the labels of this call descend from, each action counted once; `None` where they
            descend from labels of the data set and no cost model prices those.

    Example:
        >>> print(Summary(Path("labels/flow"), written=8, kept=2, ignored_share=0.125))
        8 labels written to labels/flow, 2 were there already; 12.5 % of their pixels carry no label
    """

    folder: Path
    written: int
    kept: int
    ignored_share: float
    failures: tuple[str, ...] = ()
    cost: AnnotationCost | None = None

    def __str__(self) -> str:
        return (
            f"{self.written} labels written to {self.folder}, {self.kept} were there already; "
            f"{100 * self.ignored_share:.1f} % of their pixels carry no label"
        )


class UnfinishedError(LabelStoreError):
    """Some labels could not be made; the others are stored.

    Attributes:
        summary: What was done.

    Example:
        >>> failures = ("drive/000007: 7.png: missing",)
        >>> summary = Summary(Path("flow"), written=8, kept=2, ignored_share=0.125, failures=failures)
        >>> try:
        ...     raise UnfinishedError.of(summary)
        ... except UnfinishedError as error:
        ...     print(error.problem, error.detail, sep="; ")
        1 of 11 labels could not be made; drive/000007: 7.png: missing
    """

    summary: Any

    @classmethod
    def of(cls, summary: Summary) -> UnfinishedError:
        """The error that lists the failures of a summary."""
        total = summary.written + summary.kept + len(summary.failures)
        error = cls(
            f"{len(summary.failures)} of {total} labels could not be made",
            path=summary.folder,
            fix="mend the files below and run the command again; finished labels are kept",
            detail="\n".join(summary.failures),
        )
        error.summary = summary
        return error
