"""An evaluation on the terminal."""

from __future__ import annotations

import math

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from thriftseg.reports.scoring.report import EvaluationReport
from thriftseg.reports.tables.terminal import class_table, metric_heading, number_table

SHOWN_VIDEOS = 20
"""Videos that are listed, worst first; the files hold all of them."""

_PER_VIDEO = ("miou", "pixel_accuracy", "boundary_iou", "tc", "jf_mean", "j_mean", "f_mean")


def print_evaluation(report: EvaluationReport, console: Console | None = None) -> None:
    """Print the pooled scores, those per class, category and object, the worst videos and the warnings.

    Args:
        report: The report.
        console: Where to print it; stdout by default.

    Example:
        >>> from thriftseg.reports.scoring.report import Score, VideoResult
        >>> videos, settings = [VideoResult("drive", 2, 0, {"miou": 0.75})], {"pred": "out", "resamples": 0}
        >>> report = EvaluationReport(settings, "1.0", 2, 0, 1, {"miou": Score(0.75)}, per_video=videos)
        >>> print_evaluation(report)  # doctest: +NORMALIZE_WHITESPACE
        out
         score      %   95 % interval
        ──────────────────────────────
         mIoU    75.0               -
        2 frames of 1 videos
        intervals: not asked for
        <BLANKLINE>
        Per video
         video   frames   mIoU %
        ─────────────────────────
         drive        2     75.0
    """
    console = console or Console()
    table = number_table(escape(str(report.settings["pred"])), "score", ["%", "95 % interval"])
    for name, score in report.scores.items():
        interval = "-" if math.isnan(score.low) else f"{_percent(score.low)} to {_percent(score.high)}"
        table.add_row(metric_heading(name), _percent(score.value), interval)
    console.print(table)
    console.print(_caption(report), highlight=False, style="dim")
    if report.per_class:
        columns = {metric_heading(name): values for name, values in report.per_class.items()}
        console.print()
        console.print(class_table(report.class_names, columns, "Per class"))
    if report.per_category:
        table = number_table("Per category", "category", ["IoU %"])
        for name, value in report.per_category.items():
            table.add_row(name, _percent(value))
        console.print()
        console.print(table)
    console.print()
    console.print(_video_table(report))
    for warning in report.warnings:
        console.print("[yellow]warning[/yellow] ", end="", highlight=False)
        console.print(warning, markup=False, highlight=False, soft_wrap=True)


def _caption(report: EvaluationReport) -> str:
    """Frames, flow and intervals of the scores, in a few short lines."""
    lines = [f"{report.frames} frames of {report.videos} videos"]
    if report.flow is not None:
        lines.append(
            f"TC over {report.pairs} pairs of frames, rule {report.settings['tc_rule']}, flow by {report.flow}"
        )
    for unit, units in dict.fromkeys((score.unit, score.units) for score in report.scores.values()):
        lines.append(f"intervals: {_units(unit, units, report.settings['resamples'])}")
    return "\n".join(lines)


def _units(unit: str, units: int, resamples: int) -> str:
    drawn = "videos" if unit == "video" else "1-second blocks, as there are fewer than 5 videos"
    if not resamples:
        return "not asked for"
    if units < 2:
        return f"none from a single {'video' if unit == 'video' else '1-second block'}"
    return f"{resamples} draws of {units} {drawn}"


def _video_table(report: EvaluationReport) -> Table:
    rows = report.worst_first()
    names = [name for name in _PER_VIDEO if name in report.scores]
    shown = f", the worst {SHOWN_VIDEOS} of {len(rows)}" if len(rows) > SHOWN_VIDEOS else ""
    table = number_table(f"Per video{shown}", "video", ["frames", *(f"{metric_heading(name)} %" for name in names)])
    for row in rows[:SHOWN_VIDEOS]:
        table.add_row(escape(row.video), str(row.frames), *(_percent(row.scores[name]) for name in names))
    return table


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f}"
