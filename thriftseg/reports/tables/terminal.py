"""Tables for the terminal."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from thriftseg.reports.cost_quality import CostQualityPoint

if TYPE_CHECKING:
    from thriftseg.zoo import CatalogEntry

_HEADINGS = {
    "miou": "mIoU",
    "macc": "mAcc",
    "pixel_accuracy": "pixel acc.",
    "fwiou": "fwIoU",
    "boundary_iou": "Boundary-IoU",
    "tc": "TC",
    "jf": "J&F",
    "jf_mean": "J&F",
    "overall": "J&F",
    "j": "J",
    "j_mean": "J",
    "mean_j": "J",
    "recall_50": "recall@50",
    "recall_70": "recall@70",
    "j_recall": "J recall",
    "j_decay": "J decay",
    "f": "F",
    "f_mean": "F",
    "f_recall": "F recall",
    "f_decay": "F decay",
    "iou": "IoU",
    "accuracy": "accuracy",
    "boundary_clicks": "clicks but for classes",
    "params_m": "M parameters",
    "gflops": "GFLOPs",
    "hours_at_85": "hours to J&F 85",
    "annotated_frames": "annotated frames,",
    "all_frames": "all frames,",
    "tao_vos": "TAO-VOS",
    "davis": "DAVIS",
    "youtube_vos": "YouTube-VOS",
}


def cost_quality_table(points: Iterable[CostQualityPoint], title: str | None = None) -> Table:
    """One row per student: source, annotation hours, clicks if told, mIoU with its spread, Boundary-IoU, TC in percent.

    Args:
        points: Rows, top to bottom; the best value of each quality column is bold.
        title: Heading.

    Returns:
        Table to print with rich.

    Example:
        >>> from rich.console import Console
        >>> table = cost_quality_table([CostQualityPoint("manual", 12.5, 0.613, clicks=30_000, tc=0.82)])
        >>> Console(width=80).print(table)  # doctest: +NORMALIZE_WHITESPACE
                  annotation            mIoU   Boundary-     TC
         source        hours   clicks      %       IoU %      %
        ────────────────────────────────────────────────────────
         manual         12.5   30 000   61.3           -   82.0
    """
    rows = list(points)
    clicks = ["clicks"] if any(point.clicks for point in rows) else []
    table = number_table(title, "source", ["annotation\nhours", *clicks, "mIoU\n%", "Boundary-\nIoU %", "TC\n%"])
    qualities = [[point.miou, point.boundary_iou, point.tc] for point in rows]
    best = [
        max((value for value in column if not math.isnan(value)), default=None)
        for column in zip(*qualities, strict=True)
    ]
    for point, values in zip(rows, qualities, strict=True):
        cells = [
            percent_cell(value, bold=len(rows) > 1 and value == top) for value, top in zip(values, best, strict=True)
        ]
        if point.miou_std is not None:
            cells[0].append(f" ± {100 * point.miou_std:.1f}")
        clicked = [f"{point.clicks:,}".replace(",", " ")] if clicks else []
        source = f"{point.name}, {point.label}" if point.label else point.name
        table.add_row(source, format_hours(point.hours), *clicked, *cells)
    return table


def class_table(class_names: Sequence[str], columns: Mapping[str, Sequence[float]], title: str | None = None) -> Table:
    """Percentages per class.

    Args:
        class_names: Names in train id order.
        columns: Heading to one fraction per class; NaN (an absent class) is shown as a dash.
        title: Heading.

    Returns:
        Table to print with rich.

    Example:
        >>> table = class_table(["road", "car"], {"IoU": [0.875, math.nan]})
        >>> [[str(cell) for cell in column.cells] for column in table.columns]
        [['road', 'car'], ['87.5', '-']]
    """
    table = number_table(title, "class", [f"{heading} %" for heading in columns])
    for index, name in enumerate(class_names):
        table.add_row(name, *(percent_cell(values[index]) for values in columns.values()))
    return table


def catalog_table(
    entries: Mapping[str, CatalogEntry], unpublished: Sequence[str] = (), title: str | None = None
) -> Table:
    """One row per published checkpoint: what it is, what it was trained on at which cost, how good it is, its licences.

    Args:
        entries: Published checkpoints by name.
        unpublished: Names of networks to list without weights; where their authors publish some that can be imported,
            the row has the licence of those.
        title: Heading.

    Returns:
        Table to print with rich; a dash stands for what is not known.

    Example:
        >>> table = catalog_table({}, unpublished=["stm_r50"])
        >>> table.row_count, [*table.columns[-1].cells]
        (1, ['Apache-2.0 / CC BY-NC-SA'])
    """
    from thriftseg.zoo import NOT_STATED, code_licence_of, licence_of_release

    table = Table(title=title, box=box.SIMPLE_HEAD, show_edge=False, header_style="bold", title_justify="left")
    table.padding = (0, 1, 0, 0)  # fits 80 columns
    table.add_column("arch", no_wrap=True)
    for heading in ("tag", "data", "labels used"):
        table.add_column(heading, overflow="fold", min_width=6)
    for heading in ("label\nhours", "mIoU\n%", "size\nMB"):
        table.add_column(heading, justify="right", no_wrap=True, min_width=5)
    table.add_column("licence of\ncode / weights", overflow="fold", min_width=7)
    for entry in entries.values():
        table.add_row(
            entry.architecture,
            entry.tag,
            entry.data or "-",
            entry.labels or "-",
            "-" if entry.hours is None else format_hours(entry.hours),
            percent_cell(math.nan if entry.miou is None else entry.miou),
            f"{entry.bytes / 1e6:.1f}",
            f"{code_licence_of(entry.architecture)} / {entry.licence or NOT_STATED}",
        )
    for name in unpublished:
        licences = filter(None, [code_licence_of(name), licence_of_release(name)])
        table.add_row(name, *["-"] * 6, " / ".join(licences), style="dim")
    return table


def format_hours(hours: float) -> str:
    """Hours with three significant digits and no exponent.

    Example:
        >>> [format_hours(value) for value in (0, 0.01234, 2.5, 37.4, 4462.5)]
        ['0', '0.0123', '2.50', '37.4', '4462']
    """
    if hours == 0:
        return "0"
    return f"{hours:.{max(0, 2 - math.floor(math.log10(abs(hours))))}f}"


def metric_heading(name: str) -> str:
    """Name of a score for the eye.

    Example:
        >>> [metric_heading(name) for name in ("miou", "iou/car", "davis/jf", "fps")]
        ['mIoU', 'IoU car', 'DAVIS J&F', 'fps']
    """
    return " ".join(_HEADINGS.get(part, part) for part in name.split("/"))


def number_table(title: str | None, first: str, numbers: Sequence[str]) -> Table:
    """An empty table of names and numbers.

    Args:
        title: Heading.
        first: Heading of the names.
        numbers: Headings of the numbers.
    """
    table = Table(title=title, box=box.SIMPLE_HEAD, show_edge=False, header_style="bold", title_justify="left")
    table.add_column(first, no_wrap=True)
    for heading in numbers:
        table.add_column(heading, justify="right")
    return table


def ranking_table(headings: Sequence[str], rows: Sequence[Sequence[object]], shown: int = 20) -> Table:
    """What comes first, with its rank.

    Args:
        headings: Names of the columns.
        rows: Their values, the first row first.
        shown: Rows to show.

    Returns:
        Table to print with rich.

    Example:
        >>> table = ranking_table(["video", "confidence"], [("drive", 0.25), ("park", 0.5), ("street", 0.75)], shown=2)
        >>> [list(column.cells) for column in table.columns], table.caption
        ([['1', '2'], ['drive', 'park'], ['0.25', '0.5']], 'and 1 more')
    """
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, header_style="bold")
    for heading in ("rank", *headings):
        table.add_column(heading, justify="left" if heading in ("video", "type") else "right")
    for rank, row in enumerate(rows[:shown], start=1):
        table.add_row(str(rank), *map(str, row))
    if len(rows) > shown:
        table.caption = f"and {len(rows) - shown} more"
    return table


def print_table(table: Table) -> None:
    """Print a table on stdout, wider than the terminal if it must be: nothing is shortened or left out.

    Example:
        >>> print_table(ranking_table(["video", "confidence"], [("drive", 0.25)]))  # doctest: +NORMALIZE_WHITESPACE
         rank   video   confidence
        ───────────────────────────
            1   drive         0.25
    """
    console = Console()
    options = console.options.update(max_width=sys.maxsize)
    console.width = max(console.width, console.measure(table, options=options).maximum)
    console.print(table)


def percent_cell(value: float, *, bold: bool = False) -> Text:
    """A fraction in percent, a dash for NaN."""
    return Text("-" if math.isnan(value) else f"{100 * value:.1f}", style="bold" if bold else "")
