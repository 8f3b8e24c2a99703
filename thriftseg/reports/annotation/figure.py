"""Quality of a video's labels against what was bought for them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from thriftseg.reports.annotation.runs import QUALITIES, AnnotationRound, AnnotationRun, RunGroup, quality_of
from thriftseg.reports.cost_quality import METRIC_NAMES, SERIES_COLORS, SERIES_MARKERS, save_figure, style_panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Figure = Callable[[AnnotationRun, AnnotationRound], float]
"""Reads a figure of a round."""


@dataclass(frozen=True)
class Curve:
    """Rounds of a run, or the mean over runs.

    Attributes:
        name: What stands in the legend.
        group: The runs.
        quality: Reads a score by its name.
    """

    name: str
    group: RunGroup
    quality: Callable[[str], Figure] = quality_of


def plot_annotation_run(run: AnnotationRun, path: str | Path) -> Path | None:
    """Plot the labels of a run round by round, as the network predicts them and with the manual labels on top.

    Args:
        run: The run.
        path: Picture to write.

    Returns:
        Its path, `None` where no score is known.

    Example:
        >>> plot_annotation_run(AnnotationRun(Path("run"), {"paste_manual": False}, ()), "rounds.png") is None
        True
    """
    group = RunGroup(run.folder.name, (run,))
    with_manual = Curve("with the manual labels", group, lambda name: lambda _, row: row.pasted[name])
    alone = Curve("network alone", group, lambda name: lambda _, row: row.predicted[name])
    return plot_curves([with_manual, alone], Path(path))


def plot_annotation_groups(groups: Sequence[RunGroup], path: str | Path) -> Path | None:
    """Plot the labels that runs keep: a curve per group, the mean over its seeds with the standard deviation.

    Args:
        groups: The runs.
        path: Picture to write.

    Returns:
        Its path, `None` where no score is known.

    Example:
        >>> plot_annotation_groups([RunGroup("random", (AnnotationRun(Path("run"), {}, ()),))], "runs.png") is None
        True
    """
    return plot_curves([Curve(group.name, group) for group in groups], Path(path))


def plot_curves(curves: Sequence[Curve], path: Path) -> Path | None:
    """Plot curves: a column per score, a row against the share of clicks (else of pixels) and one against hours.

    Args:
        curves: At least one.
        path: Picture to write.

    Returns:
        Its path, `None` where no score is known.
    """
    shown = [name for name in QUALITIES if any(_points(curve, _hours, curve.quality(name)) for curve in curves)]
    if not shown:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Picture

    picture = Picture(figsize=(4.2 * len(shown), 6.8), dpi=130, layout="constrained")
    FigureCanvasAgg(picture)
    panels = picture.subplots(2, len(shown), squeeze=False)
    rounds = [row for curve in curves for run in curve.group.runs for row in run.rounds]
    share: tuple[str, Figure] = "clicks (%)", lambda _, row: 100 * row.click_share
    if any(math.isnan(row.click_share) for row in rounds):  # nothing tells what drawing every frame takes
        share = "pixels (%)", lambda _, row: 100 * row.pixel_share
    for row, (heading, cost) in zip(panels, [share, ("annotation hours", _hours)], strict=True):
        for axes, name in zip(row, shown, strict=True):
            _draw(axes, curves, heading, cost, name)
    panels[0][0].legend(frameon=False, fontsize=8)
    return save_figure(picture, path)


def _draw(axes: Axes, curves: Sequence[Curve], heading: str, cost: Figure, name: str) -> None:
    style_panel(axes, heading, METRIC_NAMES[name])
    for index, curve in enumerate(curves):
        points = _points(curve, cost, curve.quality(name))
        if not points:
            continue
        x, y, deviations = zip(*points, strict=True)
        axes.errorbar(
            x,
            y,
            yerr=None if any(map(math.isnan, deviations)) else deviations,
            label=curve.name,
            color=SERIES_COLORS[index % len(SERIES_COLORS)],
            marker=SERIES_MARKERS[index % len(SERIES_MARKERS)],
            markersize=5,
            linewidth=1.4,
            capsize=3,
        )


def _points(curve: Curve, cost: Figure, quality: Figure) -> list[tuple[float, float, float]]:
    """Cost, quality and its deviation after each round, where both are known."""
    group = curve.group
    points = [
        (group.mean(cost, round), group.mean(quality, round), group.deviation(quality, round))
        for round in range(group.length)
    ]
    return [point for point in points if not (math.isnan(point[0]) or math.isnan(point[1]))]


def _hours(run: AnnotationRun, row: AnnotationRound) -> float:
    return row.cost.hours
