"""Quality against annotation hours."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thriftseg.atomic import write_bytes
from thriftseg.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

METRIC_NAMES = {"miou": "mIoU", "boundary_iou": "Boundary-IoU", "tc": "Temporal consistency"}

# Okabe and Ito: told apart with any colour vision.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "D", "^", "v", "P", "X")
_INK, _FAINT = "#222222", "#d9d9d9"


@dataclass(frozen=True)
class CostQualityPoint:
    """A trained student: what its labels cost and how well it segments.

    Attributes:
        name: Source of its labels; points that share a name form one curve.
        hours: Annotation hours.
        miou: Mean intersection over union in [0, 1].
        clicks: Mouse clicks of the annotators.
        boundary_iou: Boundary-IoU in [0, 1].
        tc: Temporal consistency in [0, 1].
    """

    name: str
    hours: float
    miou: float
    clicks: int = 0
    boundary_iou: float = math.nan
    tc: float = math.nan


def plot_cost_quality(
    points: Sequence[CostQualityPoint],
    path: str | Path,
    *,
    metrics: Sequence[str] = ("miou",),
    title: str | None = None,
) -> Path:
    """Plot quality against annotation hours, one panel per metric.

    Hours are drawn on a logarithmic axis. A point without cost, which such an axis cannot show, becomes a dashed line:
    the quality that comes for free.

    Args:
        points: At least one; values that are NaN are left out.
        path: Picture to write; the suffix chooses the format. An older picture is replaced at the end only.
        metrics: Names of quality fields of the points.
        title: Heading of the picture.

    Returns:
        The picture's path.

    Raises:
        ConfigError: There are no points, a metric is unknown, or hours are negative or not finite.
    """
    _check(points, metrics)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6 * len(metrics), 3.9), dpi=160, layout="constrained")
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(title, color=_INK, fontsize=12, fontweight="bold")
    for axes, metric in zip(figure.subplots(1, len(metrics), squeeze=False)[0], metrics, strict=True):
        _draw_panel(axes, points, metric)
    return _save(figure, Path(path))


def _check(points: Sequence[CostQualityPoint], metrics: Sequence[str]) -> None:
    if not points:
        raise ConfigError("no points to plot")
    for metric in metrics:
        if metric not in METRIC_NAMES:
            raise ConfigError("unknown metric", expected=", ".join(METRIC_NAMES), found=metric)
    for point in points:
        if not math.isfinite(point.hours) or point.hours < 0:
            raise ConfigError(f"annotation hours of {point.name!r} are not a duration", found=point.hours)


def _draw_panel(axes: Axes, points: Sequence[CostQualityPoint], metric: str) -> None:
    axes.set_xscale("log")
    axes.set_xlabel("annotation hours", color=_INK)
    axes.set_ylabel(METRIC_NAMES[metric], color=_INK)
    axes.grid(True, color=_FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=_INK, labelsize=9)
    _set_limits(axes, points, metric)
    labels = []
    for index, name in enumerate(dict.fromkeys(point.name for point in points)):
        curve = sorted((p for p in points if p.name == name and not math.isnan(getattr(p, metric))), key=_hours)
        labels += _draw_curve(axes, name, curve, metric, _COLORS[index % len(_COLORS)], _MARKERS[index % len(_MARKERS)])
    _place(axes, labels)


def _draw_curve(
    axes: Axes, name: str, curve: list[CostQualityPoint], metric: str, color: str, marker: str
) -> list[tuple[float, float, str, str]]:
    """Draw the points of one source; returns the labels to place as (hours, quality, text, colour)."""
    for point in curve:
        if point.hours == 0:
            axes.axhline(getattr(point, metric), color=color, linewidth=1.2, linestyle=(0, (4, 3)))
            left = axes.get_xlim()[0]
            axes.annotate(
                f"{name} (no annotation)",
                (left, getattr(point, metric)),
                xytext=(4, 3),
                textcoords="offset points",
                color=color,
                fontsize=9,
            )
    paid = [point for point in curve if point.hours > 0]
    hours, quality = [point.hours for point in paid], [getattr(point, metric) for point in paid]
    axes.plot(hours, quality, color=color, marker=marker, markersize=8, markeredgecolor="white", linewidth=1.4)
    return [(hours[-1], quality[-1], name, color)] if paid else []


def _set_limits(axes: Axes, points: Sequence[CostQualityPoint], metric: str) -> None:
    hours = [point.hours for point in points if point.hours > 0] or [1.0]
    low, high = min(hours) / 1.6, max(hours) * 1.6
    axes.set_xlim(low, high)
    ticks = [step * 10.0**power for power in range(-6, 7) for step in _tick_steps(high / low)]
    shown = [tick for tick in ticks if low <= tick <= high]
    axes.set_xticks(shown, [f"{tick:g}" for tick in shown])
    axes.set_xticks([], minor=True)
    values = [value for point in points if not math.isnan(value := float(getattr(point, metric)))] or [0.0, 1.0]
    margin = max(0.02, 0.18 * (max(values) - min(values)))
    axes.set_ylim(max(0.0, min(values) - margin), min(1.0, max(values) + margin))


def _tick_steps(ratio: float) -> tuple[int, ...]:
    return (1, 2, 5) if ratio < 100 else (1, 3) if ratio < 10_000 else (1,)


def _place(axes: Axes, labels: list[tuple[float, float, str, str]]) -> None:
    """Write names next to their markers, on the first side where they hide no marker, no name and no border."""
    from matplotlib.transforms import Bbox

    figure: Any = axes.figure
    figure.canvas.draw()
    frame = axes.get_window_extent()
    pixels = [axes.transData.transform((hours, quality)) for hours, quality, _, _ in labels]
    taken = [Bbox.from_extents(x - 9, y - 9, x + 9, y + 9) for x, y in pixels]
    sides = ((9, 0, "left", "center"), (0, 9, "center", "bottom"), (0, -9, "center", "top"), (-9, 0, "right", "center"))
    for hours, quality, text, color in labels:
        for dx, dy, horizontal, vertical in sides:
            note = axes.annotate(
                text,
                (hours, quality),
                xytext=(dx, dy),
                textcoords="offset points",
                ha=horizontal,
                va=vertical,
                color=color,
                fontsize=10,
            )
            box = note.get_window_extent()
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
            if inside and not any(box.overlaps(other) for other in taken):
                break
            if (dx, dy) != sides[-1][:2]:
                note.remove()
        taken.append(box)


def _save(figure: Any, path: Path) -> Path:
    stream = io.BytesIO()
    figure.savefig(stream, format=path.suffix.removeprefix(".") or None)
    write_bytes(path, stream.getvalue())
    return path


def _hours(point: CostQualityPoint) -> float:
    return point.hours
