"""What was done to labels, for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from thriftseg.labels import Agreement
from thriftseg.reports.tables.terminal import class_table
from thriftseg.workers import is_first_process

if TYPE_CHECKING:
    from thriftseg.labels import Inspection, PropagationSummary, ReviewList


def print_propagation(summary: PropagationSummary) -> None:
    """Print what a propagation made, what it cost and how good it is, once where several processes did the work.

    Example:
        >>> from pathlib import Path
        >>> from thriftseg.labels import PropagationSummary
        >>> summary = PropagationSummary(Path("flow"), 4, 2, 0.125, superseded=0, absent=0)
        >>> print_propagation(summary)  # doctest: +NORMALIZE_WHITESPACE
                                          Labels
        ┏━━━━━━━━━┳━━━━━━━━━━━━━━━┳━━━━━━━━┳━━━━━━━━━━━━━━┳━━━━━━━━━┳━━━━━━━━━━━━━┓
        ┃ written ┃ there already ┃ failed ┃ objects lost ┃ ignored ┃ manual work ┃
        ┡━━━━━━━━━╇━━━━━━━━━━━━━━━╇━━━━━━━━╇━━━━━━━━━━━━━━╇━━━━━━━━━╇━━━━━━━━━━━━━┩
        │ 4       │ 2             │ 0      │ 0            │ 12.5 %  │             │
        └─────────┴───────────────┴────────┴──────────────┴─────────┴─────────────┘
        4 labels written to flow, 2 were there already; 12.5 % of their pixels carry no label
    """
    if is_first_process():
        console = Console()
        console.print(_totals(summary))
        if summary.agreement:
            console.print(_quality(summary))
        print(summary)


def _totals(summary: PropagationSummary) -> Table:
    table = Table("written", "there already", "failed", "objects lost", "ignored", "manual work", title="Labels")
    hours = "" if summary.cost is None else f"{summary.cost.hours:.2f} h"
    counts = (summary.written, summary.kept, len(summary.failures), summary.lost)
    table.add_row(*map(str, counts), f"{100 * summary.ignored_share:.1f} %", hours)
    return table


def _quality(summary: PropagationSummary) -> Table:
    title = "Agreement of new labels with manual ones"
    table = Table("offset", "mIoU, ignored = wrong", "mIoU of kept pixels", "ignored", title=title)
    rows = {str(offset): part for offset, part in summary.agreement.items()}
    for name, part in {**rows, "all": Agreement.sum(rows.values())}.items():
        table.add_row(name, f"{part.miou:.3f}", f"{part.kept_miou:.3f}", f"{100 * part.ignored_share:.1f} %")
    return table


def print_inspection(inspection: Inspection) -> None:
    """Print what the labels of a source cover, and how good they are.

    Example:
        >>> import numpy as np
        >>> from pathlib import Path
        >>> from thriftseg.costs import AnnotationCost
        >>> from thriftseg.labels import InspectedLabel, Inspection
        >>> from thriftseg.stores import SourceLabel
        >>> from thriftseg.types import Clip, LabelKind
        >>> label = SourceLabel(Clip("drive", {}), 3, "flow", LabelKind.PROPAGATED, (), Path("3.png"), confidence=0.5)
        >>> labels, cost = (InspectedLabel(label, np.array([60, 20, 20])),), AnnotationCost(seconds=900)
        >>> inspection = Inspection("own", "train", "flow", ("road", "car"), labels, cost, "polygon")
        >>> print_inspection(inspection)  # doctest: +NORMALIZE_WHITESPACE
         class   share of labels %
        ───────────────────────────
         road                 75.0
         car                  25.0
        1 labels (1 propagated), 20.0 % of pixels ignored
        mean confidence 0.500
        manual work behind them: 0.25 h (cost model polygon)
    """
    console = Console()
    agreement = inspection.agreement
    columns = {"share of labels": inspection.class_share}
    if agreement is not None:
        columns |= {
            "kept": agreement.kept_share.tolist(),
            "precision": agreement.precision.tolist(),
            "IoU of kept": agreement.kept_iou.tolist(),
            "IoU, ignored = wrong": agreement.iou.tolist(),
        }
    listed = inspection.listed
    names = [inspection.class_names[row] for row in listed]
    console.print(class_table(names, {name: [column[row] for row in listed] for name, column in columns.items()}))
    if inspection.by_offset:
        console.print(_offset_table(inspection))
    kinds = ", ".join(f"{count} {kind}" for kind, count in inspection.kinds.items())
    console.print(
        f"{len(inspection.labels)} labels ({kinds}), {100 * inspection.ignored_share:.1f} % of pixels ignored"
    )
    if agreement is not None:
        compared = sum(entry.agreement is not None for entry in inspection.labels)
        console.print(
            f"agreement with the manual labels of {compared} frames: mIoU {100 * agreement.miou:.1f} % with ignored "
            f"pixels counted as wrong, {100 * agreement.kept_miou:.1f} % of kept pixels; "
            f"{100 * (1 - agreement.ignored_share):.1f} % of the pixels with a class there are kept, "
            f"{100 * agreement.kept_accuracy:.2f} % of those are right",
            soft_wrap=True,
        )
    if inspection.confidence is not None:
        console.print(f"mean confidence {inspection.confidence:.3f}")
    if inspection.needs_review:
        console.print(f"{inspection.needs_review} labels need a review that nobody has made")
    if inspection.licences:
        console.print(f"made with weights under {', '.join(inspection.licences)}")
    console.print(f"manual work behind them: {inspection.cost.hours:.2f} h (cost model {inspection.cost_model})")


def _offset_table(inspection: Inspection) -> Table:
    table = Table("offset", "mIoU, ignored = wrong", "mIoU of kept pixels", "ignored")
    for offset, part in inspection.by_offset.items():
        table.add_row(
            str(offset), *(f"{100 * share:.1f} %" for share in (part.miou, part.kept_miou, part.ignored_share))
        )
    return table


def print_review(found: ReviewList) -> None:
    """Print the labels to look at first.

    Example:
        >>> from thriftseg.labels import ReviewList
        >>> found = ReviewList(labels=(), undecided=0, decided=6, class_names=("road", "car"))
        >>> print_review(found)  # doctest: +NORMALIZE_WHITESPACE
                    Least confident labels
        ┏━━━━━━━┳━━━━━━━━━━━━┳━━━━━━━━━┳━━━━━━━┳━━━━━━┓
        ┃ frame ┃ confidence ┃ ignored ┃ right ┃ lost ┃
        ┡━━━━━━━╇━━━━━━━━━━━━╇━━━━━━━━━╇━━━━━━━╇━━━━━━┩
        └───────┴────────────┴─────────┴───────┴──────┘
        0 labels without a decision, 6 accepted or locked
    """
    names = ("confidence", "ignored", "right", "lost")
    table = Table("frame", *names, title="Least confident labels")
    for entry in found.labels:
        figures = found.figures(entry)
        table.add_row(entry.inspected.label.id, *(figures[name] for name in names))
    Console().print(table)
    print(f"{found.undecided} labels without a decision, {found.decided} accepted or locked")
