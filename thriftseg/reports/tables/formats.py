"""A published table with one's own scores, for the terminal and for files."""

from __future__ import annotations

import csv
import io
import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from rich import box
from rich.markup import escape
from rich.table import Table

from thriftseg.reports.tables.comparison import ComparedRow, Measured, TableComparison, remaining_commands
from thriftseg.reports.tables.terminal import format_hours, metric_heading, print_table

SIDE_BY_SIDE = 2
"""Scores that stand side by side; more of them take a line each."""
NOT_SHIPPED = "not shipped"
"""Instead of the number of runs of a row that has published figures alone."""
NOTHING = "nothing published, nothing run"
"""Instead of the scores of a row without any, where they would take a line each."""

Number = TypeVar("Number", int, float)

_WHAT = ("paper", "ours", "diff.")
_SAME_FOR_ALL = ("samples", "iterations")
"""Settings that a narrow table says once if all rows share them."""

_CSV_COLUMNS = (
    "row",
    "series",
    "run",
    "samples",
    "iterations",
    "coarse_percent",
    "published_hours",
    "hours",
    "metric",
    "published",
    "ours",
    "std",
    "runs",
    "difference",
    "published_masks",
    "masks",
)


def print_comparison(comparison: TableComparison) -> None:
    """Print the table; a terminal that is too narrow wraps lines, but no number is cut.

    Args:
        comparison: The table and the runs.

    Example:
        >>> import tempfile
        >>> from thriftseg.reports import compare_table, load_table
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     comparison = compare_table(load_table("samsam2_t1").with_rows("B3"), folder)
        >>> print_comparison(comparison)  # doctest: +NORMALIZE_WHITESPACE
        Manual and SAM 2 labels at
        offsets of the annotated frame
                      mIoU  mIoU   mIoU
        row   hours  paper  ours  diff.
        ───────────────────────────────
        B3   1488.0  74.48     -      -
        2976 samples; 40000 iterations;
        SAM 2 pseudo-labels and
        SAM-refined coarse labels for
        video semantic segmentation
        (github.com/samiksome92/samsam2
        )
    """
    print_table(comparison_table(comparison))


def print_remaining(comparison: TableComparison, *, whole: bool = False) -> None:
    """Print the commands that are left for rows that nothing was run of, in order.

    Args:
        comparison: The table and the runs.
        whole: Print those that follow a training, too, such as tests on other data sets.

    Example:
        >>> import tempfile
        >>> from thriftseg.reports import compare_table, load_table
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     print_remaining(compare_table(load_table("samsam2_t1").with_rows("N1"), folder))
        <BLANKLINE>
        nothing was run of 1 of 1 rows; what they take, in order:
        <BLANKLINE>
          thriftseg fit --table samsam2_t1 --row N1 --data.dataset.root DIR
        <BLANKLINE>
        all trainings of the table: thriftseg sweep --table samsam2_t1, with the options of fit
    """
    remaining = remaining_commands(comparison, whole=whole)
    if remaining:
        waiting = list(dict.fromkeys(key for keys in remaining.values() for key in keys))
        print(f"\nnothing was run of {len(waiting)} of {len(comparison.rows)} rows; what they take, in order:\n")
    for command, keys in remaining.items():
        named = "" if f"--row {shlex.quote(keys[0])}" in command else f"  # for {', '.join(map(repr, keys))}"
        print(f"  {command}{named}")
    if remaining and comparison.table.of_training:
        print(f"\nall trainings of the table: thriftseg sweep --table {comparison.table.name}, with the options of fit")


def comparison_table(comparison: TableComparison) -> Table:
    """The rows of a published table, each score with that of the runs and the difference.

    Args:
        comparison: The table and the runs.

    Returns:
        Table to print with rich; a dash stands for what is not known or was not run.

    Example:
        >>> import tempfile
        >>> from thriftseg.reports import compare_table, load_table
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     table = comparison_table(compare_table(load_table("samsam2_t1").with_rows("B3"), folder))
        >>> [str(*column.cells) for column in table.columns]
        ['B3', '1488.0', '74.48', '-', '-']
    """
    columns = _setting_columns(comparison)
    constant = {name: cells[0] for name, cells in columns.items() if name in _SAME_FOR_ALL and len(set(cells)) == 1}
    headings, rows = _grid(comparison, {name: cells for name, cells in columns.items() if name not in constant})
    facts = [*(f"{cell} {name}" for name, cell in constant.items()), comparison.table.source]
    table = Table(
        title=escape(comparison.table.title),
        caption=escape("; ".join(facts)),
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        header_style="bold",
        title_justify="left",
        caption_justify="left",
    )
    for heading in headings:
        left = heading in ("row", "score")
        table.add_column(heading.replace(" ", "\n", 1), justify="left" if left else "right", no_wrap=True)
    series = [row.published.series for row in comparison.rows]
    for index, lines in enumerate(rows):
        for cells in lines:
            table.add_row(*map(escape, cells))
        if index + 1 < len(rows) and series[index] != series[index + 1]:
            table.add_section()
    return table


def comparison_markdown(comparison: TableComparison) -> str:
    """The same table in Markdown.

    Args:
        comparison: The table and the runs.

    Example:
        >>> import tempfile
        >>> from thriftseg.reports import compare_table, load_table
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     text = comparison_markdown(compare_table(load_table("samsam2_t1").with_rows("B3"), folder))
        >>> text.splitlines()[-1]
        '| B3 | 2976 | 1488.0 | 40000 | 74.48 | - | - |'
    """
    headings, rows = _grid(comparison, _setting_columns(comparison))
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)], *(cells for row in rows for cells in row)]
    body = "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |" for cells in lines)
    return f"**{comparison.table.title}** ({comparison.table.source})\n\n{body}\n"


def comparison_csv(comparison: TableComparison) -> str:
    """One record per row and score; numbers that are not known are empty.

    Args:
        comparison: The table and the runs.

    Returns:
        Text with a line of headings; scores with four decimals.

    Example:
        >>> import tempfile
        >>> from thriftseg.reports import compare_table, load_table
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     text = comparison_csv(compare_table(load_table("samsam2_t1").with_rows("B3"), folder))
        >>> [record] = csv.DictReader(text.splitlines())
        >>> record["row"], record["published"], record["ours"]
        ('B3', '74.48', '')
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_CSV_COLUMNS)
    for row in comparison.rows:
        published = row.published
        settings = [published.key, published.series, published.run, published.samples, published.iterations]
        costs = [published.coarse_percent, published.hours, _rounded(row.hours)]
        for metric in comparison.table.metrics:
            measured = row.measured(metric) or Measured(math.nan, math.nan, 0)
            ours = [_rounded(measured.mean), _rounded(measured.std), measured.runs, _rounded(row.difference(metric))]
            value = published.published.get(metric)
            writer.writerow([*settings, *costs, metric, value, *ours, published.masks, row.masks])
    return stream.getvalue()


def _setting_columns(comparison: TableComparison) -> dict[str, list[str]]:
    """Columns of settings by heading, a cell for every row; without columns that are known of no row."""
    columns = {
        "samples": [_known(row.published.samples) for row in comparison.rows],
        "masks": [_both(row.published.masks, row.masks, str) for row in comparison.rows],
        "hours": [_both(row.published.hours, row.hours, _hour) for row in comparison.rows],
        "iterations": [_known(row.published.iterations) for row in comparison.rows],
        "runs": [_known(len(row.runs) or None) if row.published.run else NOT_SHIPPED for row in comparison.rows],
    }
    return {heading: cells for heading, cells in columns.items() if set(cells) != {"-"}}


def _grid(comparison: TableComparison, columns: Mapping[str, list[str]]) -> tuple[list[str], list[list[list[str]]]]:
    """Headings, and for every row of the table its lines of cells: several if scores do not stand side by side."""
    metrics = comparison.table.metrics
    starts = [
        [row.published.key, *(cells[index] for cells in columns.values())] for index, row in enumerate(comparison.rows)
    ]
    if len(metrics) <= SIDE_BY_SIDE:
        scores = [[cell for metric in metrics for cell in _scores(row, metric)] for row in comparison.rows]
        headings = [f"{metric_heading(metric)} {what}" for metric in metrics for what in _WHAT]
        return ["row", *columns, *headings], [[start + cells] for start, cells in zip(starts, scores, strict=True)]
    lines = []
    for start, row in zip(starts, comparison.rows, strict=True):
        every = [[metric_heading(metric), *_scores(row, metric)] for metric in metrics]
        known = [cells for cells in every if set(cells[1:]) != {"-"}] or [[NOTHING, "-", "-", "-"]]
        lines.append([(start if cells is known[0] else [""] * len(start)) + cells for cells in known])
    return ["row", *columns, "score", *_WHAT], lines


def _known(value: int | None) -> str:
    return "-" if value is None else str(value)


def _both(published: Number | None, ours: Number | None, shown: Callable[[Number], str]) -> str:
    """The value of the runs, and the published one where they differ."""
    if ours is None or published is None:
        known = published if ours is None else ours
        return "-" if known is None else shown(known)
    return shown(ours) if shown(ours) == shown(published) else f"{shown(ours)} (paper {shown(published)})"


def _hour(hours: float) -> str:
    return f"{hours:.1f}" if hours >= 10 else format_hours(hours)


def _scores(row: ComparedRow, metric: str) -> Sequence[str]:
    published, difference = row.published.published.get(metric), row.difference(metric)
    return (
        "-" if published is None else f"{published:.2f}",
        _measured(row.measured(metric)),
        "-" if difference is None else f"{difference:+.2f}",
    )


def _measured(score: Measured | None) -> str:
    if score is None:
        return "-"
    return f"{score.mean:.2f}" if math.isnan(score.std) else f"{score.mean:.2f} ± {score.std:.2f}"


def _rounded(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else round(value, 4)
