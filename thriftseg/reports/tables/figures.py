"""Pictures of a published table with one's own scores."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from thriftseg.reports.cost_quality import CostAxis, CostQualityPoint, plot_cost_quality
from thriftseg.reports.tables.comparison import ComparedRow, TableComparison

PLOTTED = "miou"


def plot_comparison(comparison: TableComparison, folder: str | Path) -> list[Path]:
    """Plot mIoU against annotation hours, and against the share of coarse labels where the table varies it.

    Published values are hollow with dashed lines, those of the runs are filled, with the standard deviation over runs.

    Args:
        comparison: The table and the runs.
        folder: Where to write `<table>_hours.png` and `<table>_coarse_percent.png`.

    Returns:
        The pictures; none for a table without mIoU, or without hours and shares.

    Example:
        >>> import tempfile
        >>> from thriftseg.reports import compare_table, load_table
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     pictures = plot_comparison(compare_table(load_table("samsam2_t1").with_rows("B3"), folder), folder)
        >>> [path.name for path in pictures]
        ['samsam2_t1_hours.png']
    """
    table = comparison.table
    if PLOTTED not in table.metrics:
        return []
    points = [point for row in comparison.rows for point in _points(row, labelled=table.x != "coarse_percent")]
    axes: tuple[CostAxis, ...] = ("hours", "coarse_percent") if table.x == "coarse_percent" else ("hours",)
    pictures = []
    for axis in axes:
        shown = [point for point in points if not math.isnan(_number(getattr(point, axis)))]
        if shown:
            path = Path(folder) / f"{Path(table.name).stem}_{axis}.png"
            pictures.append(plot_cost_quality(shown, path, x=axis, title=table.title))
    return pictures


def _points(row: ComparedRow, *, labelled: bool) -> Iterator[CostQualityPoint]:
    """The published point of a row, and that of its runs; the first of them carries the row's name.

    The hours of one stand in where those of the other are not known, as both train on the same labels.
    """
    published, measured = row.published, row.measured(PLOTTED)
    label = published.key if labelled else ""
    value = published.published.get(PLOTTED)
    if value is not None:
        hours = row.hours if published.hours is None else published.hours
        yield CostQualityPoint(
            published.series,
            _number(hours),
            value / 100,
            coarse_percent=published.coarse_percent,
            published=True,
            label=label,
        )
    if measured is not None:
        yield CostQualityPoint(
            published.series,
            _number(published.hours if row.hours is None else row.hours),
            measured.mean / 100,
            coarse_percent=published.coarse_percent,
            miou_std=None if math.isnan(measured.std) else measured.std / 100,
            label="" if value is not None else label,
        )


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
