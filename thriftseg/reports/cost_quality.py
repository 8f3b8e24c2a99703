"""Quality against annotation hours."""

from __future__ import annotations

import glob
import io
import math
import re
import statistics
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from thriftseg.atomic import write_bytes
from thriftseg.errors import ConfigError
from thriftseg.reports.run_scores import RunScores, read_kept_runs, read_run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SEED = re.compile(r"-seed\d+\Z")
CostAxis = Literal["hours", "coarse_percent"]
METRIC_NAMES = {"miou": "mIoU", "boundary_iou": "Boundary-IoU", "tc": "Temporal consistency"}
AXIS_NAMES: dict[CostAxis, str] = {"hours": "annotation hours", "coarse_percent": "coarse labels (%)"}

# Okabe and Ito: told apart with any colour vision.
SERIES_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
SERIES_MARKERS = ("o", "s", "D", "^", "v", "P", "X")
INK, FAINT = "#222222", "#d9d9d9"
_NAME_SIZE, _LABEL_SIZE = 10, 7
_MOST_BESIDE = 4  # names beside their curves
_LEGEND_WIDTH, _TITLE_CHARACTERS = 1.8, 10  # inches; characters per inch


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
        coarse_percent: Per cent of the labels that are coarse.
        miou_std: Standard deviation of `miou` over runs, drawn as a bar.
        published: Whether the values are those of a paper, drawn hollow with a dashed curve.
        label: What stands beside the marker.

    Example:
        >>> points = [CostQualityPoint("manual", 12.5, miou=0.625), CostQualityPoint("clicks", 2.5, miou=0.5)]
        >>> {point.name: point.miou / point.hours for point in points}
        {'manual': 0.05, 'clicks': 0.2}
    """

    name: str
    hours: float
    miou: float
    clicks: int = 0
    boundary_iou: float = math.nan
    tc: float = math.nan
    coarse_percent: float | None = None
    miou_std: float | None = None
    published: bool = False
    label: str = ""


def read_runs(name: str, pattern: str) -> dict[str, list[RunScores]]:
    """Read runs that have hours and a mIoU.

    Args:
        name: What they are runs of, for errors.
        pattern: Folders of `thriftseg fit`, such as "runs/clicks_*", files of `keep_runs`, or `results.json` of a
            quickstart. A pattern of names may follow: "kept.json#clicks *".

    Returns:
        Runs by the name that a file gives them, or by that of their folder without `-seed<n>`.

    Raises:
        ConfigError: Nothing fits the pattern, or a run has no hours or no mIoU.
        CheckpointError: Scores of a run, or a file, are damaged.

    Example:
        >>> import tempfile
        >>> from thriftseg.reports import keep_runs
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "kept.json")
        ...     keep_runs(path, {each: [RunScores(path, "fit", {"miou": 0.5}, hours=1.5)] for each in ("B3", "B5")})
        ...     list(read_runs("mixtures", f"{path}#*3"))
        ['B3']
    """
    find = glob.glob  # which takes absolute patterns and `.`, as `Path.glob` does not
    files, _, names = (pattern, "", "") if find(pattern) else pattern.partition("#")
    found: dict[str, list[RunScores]] = {}
    for path in map(Path, sorted(find(files))):
        if path.is_file():
            kept = read_kept_runs(path)
        else:
            run = read_run(path)
            kept = {_SEED.sub("", path.name): [run] if run else []}
        for each, runs in kept.items():
            if not fnmatchcase(each, names or "*"):
                continue
            if not runs or any(run.hours is None or math.isnan(run.scores.get("miou", math.nan)) for run in runs):
                raise ConfigError(
                    f"no hours or no mIoU of {each!r}",
                    path=path,
                    expected="both, as `thriftseg fit` writes them when it is done",
                    fix="finish the run, or leave it out of the pattern",
                )
            found.setdefault(each, []).extend(runs)
    if not found:
        raise ConfigError(f"no runs of {name!r}", expected="folders of finished runs", found=f"nothing like {pattern}")
    return found


def read_cost_quality(runs: Mapping[str, str]) -> list[CostQualityPoint]:
    """Read what runs cost and give: a point per name of a run, the mean over its seeds.

    Args:
        runs: Pattern of its runs by the name of a curve, see `read_runs`. Of several points, each is labelled.

    Raises:
        ConfigError: Nothing fits a pattern, or a run has no hours or no mIoU.
        CheckpointError: Scores of a run, or a file, are damaged.

    Example:
        >>> import json, tempfile
        >>> students = [{"name": "N1", "hours": 4.0, "miou": miou} for miou in (0.5, 0.75)]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "kept.json").write_text(json.dumps({"students": students}))
        ...     [point] = read_cost_quality({"mixtures": f"{folder}/kept.json"})
        >>> point.hours, point.miou, round(point.miou_std, 2)
        (4.0, 0.625, 0.18)
    """
    points = []
    for name, pattern in runs.items():
        rows = read_runs(name, pattern)
        for row, each in rows.items():
            points.append(
                CostQualityPoint(
                    name,
                    statistics.fmean(run.hours for run in each if run.hours is not None),
                    miou=_mean(each, "miou"),
                    boundary_iou=_mean(each, "boundary_iou"),
                    tc=_mean(each, "tc"),
                    miou_std=statistics.stdev(run.scores["miou"] for run in each) if len(each) > 1 else None,
                    label=row if len(rows) > 1 else "",
                )
            )
    return points


def _mean(runs: Sequence[RunScores], score: str) -> float:
    return statistics.fmean(run.scores.get(score, math.nan) for run in runs)


class _Curve(NamedTuple):
    name: str
    color: str
    marker: str
    hollow: bool
    places: list[tuple[float, float]]
    deviations: list[float | None]
    labels: list[str]
    free: list[float]


class _Note(NamedTuple):
    x: float
    y: float
    text: str
    color: str
    size: int


def plot_cost_quality(
    points: Sequence[CostQualityPoint],
    path: str | Path,
    *,
    metrics: Sequence[str] = ("miou",),
    x: CostAxis = "hours",
    title: str | None = None,
) -> Path:
    """Plot quality against annotation hours or the share of coarse labels, one panel per metric.

    A curve joins the best points of a name at each cost. Hours are drawn on a logarithmic axis; a point without cost,
    which such an axis cannot show, becomes a dashed line: the quality that comes for free. Labels of points that find
    no free place are left out.

    Args:
        points: At least one; values that are NaN are left out.
        path: Picture to write; the suffix chooses the format. An older picture is replaced at the end only.
        metrics: Names of quality fields of the points.
        x: Field of the points to plot against.
        title: Heading of the picture.

    Returns:
        The picture's path.

    Raises:
        ConfigError: There are no points, a metric is unknown, or hours or shares are negative or not finite.

    Example:
        >>> import tempfile
        >>> points = [CostQualityPoint("mixed", 1.0, 0.5 - share / 400, coarse_percent=share) for share in (0, 50, 100)]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     plot_cost_quality(points, f"{folder}/share.svg", x="coarse_percent").name
        'share.svg'
    """
    _check(points, metrics, x)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    legend = any(point.published for point in points) or len({point.name for point in points}) > _MOST_BESIDE
    width = (5.6 + legend * _LEGEND_WIDTH) * len(metrics)
    figure = Figure(figsize=(width, 3.9), dpi=160, layout="constrained")
    FigureCanvasAgg(figure)
    if title:
        lines = textwrap.fill(title, int(_TITLE_CHARACTERS * width))
        figure.suptitle(lines, color=INK, fontsize=12, fontweight="bold")
    for axes, metric in zip(figure.subplots(1, len(metrics), squeeze=False)[0], metrics, strict=True):
        _draw_panel(axes, points, metric, x, legend=legend)
    return save_figure(figure, Path(path))


def _check(points: Sequence[CostQualityPoint], metrics: Sequence[str], x: CostAxis) -> None:
    if not points:
        raise ConfigError("no points to plot")
    for metric in metrics:
        if metric not in METRIC_NAMES:
            raise ConfigError("unknown metric", expected=", ".join(METRIC_NAMES), found=metric)
    if x not in AXIS_NAMES:
        raise ConfigError("unknown axis", expected=", ".join(AXIS_NAMES), found=x)
    for point in points:
        value = getattr(point, x)
        if value is None or not math.isfinite(value) or value < 0:
            kind = "a duration" if x == "hours" else "a share"
            raise ConfigError(f"{AXIS_NAMES[x]} of {point.name!r} are not {kind}", found=value)


def _draw_panel(axes: Axes, points: Sequence[CostQualityPoint], metric: str, x: CostAxis, *, legend: bool) -> None:
    style_panel(axes, AXIS_NAMES[x], METRIC_NAMES[metric])
    if x == "hours":
        _set_hours(axes, points)
    values = [value for point in points if not math.isnan(value := float(getattr(point, metric)))] or [0.0, 1.0]
    margin = max(0.02, 0.18 * (max(values) - min(values)))
    axes.set_ylim(max(0.0, min(values) - margin), min(1.0, max(values) + margin))
    curves = list(_curves(points, metric, x))
    for curve in curves:
        _draw_curve(axes, curve, 6 if legend else 8)
    drawn = [curve for curve in curves if curve.places]
    names = [_Note(*max(curve.places), curve.name, curve.color, _NAME_SIZE) for curve in drawn]
    if legend:
        names = []
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9)
    labels = [
        _Note(*place, label, curve.color, _LABEL_SIZE)
        for curve in drawn
        for place, label in zip(curve.places, curve.labels, strict=True)
        if label
    ]
    _place(axes, [place for curve in drawn for place in curve.places], names, labels)


def _curves(points: Sequence[CostQualityPoint], metric: str, x: CostAxis) -> Iterator[_Curve]:
    """Points of one name and kind, in the colour of the name."""
    styles = {name: index for index, name in enumerate(dict.fromkeys(point.name for point in points))}
    for name, published in dict.fromkeys((point.name, point.published) for point in points):
        members = [p for p in points if (p.name, p.published) == (name, published)]
        members = [p for p in members if not math.isnan(getattr(p, metric))]
        paid = sorted((p for p in members if x != "hours" or p.hours > 0), key=attrgetter(x))
        yield _Curve(
            f"{name} (paper)" if published else name,
            SERIES_COLORS[styles[name] % len(SERIES_COLORS)],
            SERIES_MARKERS[styles[name] % len(SERIES_MARKERS)],
            hollow=published,
            places=[(getattr(p, x), getattr(p, metric)) for p in paid],
            deviations=[p.miou_std if metric == "miou" else None for p in paid],
            labels=[p.label for p in paid],
            free=[getattr(p, metric) for p in members if p not in paid],
        )


def _draw_curve(axes: Axes, curve: _Curve, size: int) -> None:
    for quality in curve.free:
        axes.axhline(quality, color=curve.color, linewidth=1.2, linestyle=(0, (4, 3)))
        axes.annotate(
            f"{curve.name} (no annotation)",
            (axes.get_xlim()[0], quality),
            xytext=(4, 3),
            textcoords="offset points",
            color=curve.color,
            fontsize=9,
        )
    if not curve.places:
        return
    best: dict[float, float] = {}
    for cost, quality in curve.places:
        best[cost] = max(quality, best.get(cost, quality))
    style: dict[str, Any] = {
        "color": curve.color,
        "marker": curve.marker,
        "markersize": size,
        "markerfacecolor": "white" if curve.hollow else curve.color,
        "markeredgecolor": curve.color if curve.hollow else "white",
    }
    dash = (0, (4, 3)) if curve.hollow else "-"
    axes.plot(list(best), list(best.values()), label=curve.name, linewidth=1.4, linestyle=dash, **style)
    costs, qualities = zip(*curve.places, strict=True)
    axes.plot(costs, qualities, linestyle="none", **style)
    known = [(*place, std) for place, std in zip(curve.places, curve.deviations, strict=True) if std is not None]
    if known:
        x, y, deviation = zip(*known, strict=True)
        axes.errorbar(x, y, yerr=deviation, color=curve.color, linestyle="none", linewidth=1.2, capsize=3)


def _set_hours(axes: Axes, points: Sequence[CostQualityPoint]) -> None:
    axes.set_xscale("log")
    hours = [point.hours for point in points if point.hours > 0] or [1.0]
    low, high = min(hours) / 1.6, max(hours) * 1.6
    axes.set_xlim(low, high)
    steps = (1, 2, 5) if high / low < 100 else (1, 3) if high / low < 10_000 else (1,)
    ticks = [step * 10.0**power for power in range(-6, 7) for step in steps]
    shown = [tick for tick in ticks if low <= tick <= high]
    axes.set_xticks(shown, [f"{tick:g}" for tick in shown])
    axes.set_xticks([], minor=True)


def _place(axes: Axes, markers: list[tuple[float, float]], names: list[_Note], labels: list[_Note]) -> None:
    """Write notes next to their markers, where they hide least of other markers, of notes and of the border.

    The name of a curve stands somewhere in any case, the label of a point only where it hides nothing.
    """
    from matplotlib.transforms import Bbox

    figure: Any = axes.figure
    figure.canvas.draw()
    frame = axes.get_window_extent()
    pixels = [axes.transData.transform(place) for place in markers]
    taken = [Bbox.from_extents(px - 9, py - 9, px + 9, py + 9) for px, py in pixels]
    sides = [(9, 0, "left", "center"), (0, 9, "center", "bottom"), (0, -9, "center", "top"), (-9, 0, "right", "center")]
    sides += [(x, y, "left" if x > 0 else "right", "bottom" if y > 0 else "top") for x in (7, -7) for y in (7, -7)]
    for note in [*names, *labels]:
        found = []
        for side in sides:
            drawn = _annotate(axes, note, *side)
            box = drawn.get_window_extent()
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
            shared = [both for other in taken if (both := Bbox.intersection(box, other)) is not None]
            found.append((not inside, sum(both.width * both.height for both in shared), side, box))
            drawn.remove()
        outside, hidden, side, box = min(found, key=itemgetter(0, 1))
        if note in names or not (outside or hidden):
            _annotate(axes, note, *side)
            taken.append(box)


def _annotate(axes: Axes, note: _Note, dx: int, dy: int, horizontal: str, vertical: str) -> Any:
    from matplotlib.patheffects import withStroke

    return axes.annotate(
        note.text,
        (note.x, note.y),
        xytext=(dx, dy),
        textcoords="offset points",
        ha=horizontal,
        va=vertical,
        color=note.color,
        fontsize=note.size,
        path_effects=[withStroke(linewidth=2, foreground="white")],
    )


def style_panel(axes: Axes, x: str, y: str) -> None:
    """Give a panel the looks of all plots: names of the axes, a faint grid, no frame.

    Args:
        axes: The panel.
        x: Name of the horizontal axis.
        y: Name of the vertical axis.
    """
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.grid(True, color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=9)


def save_figure(figure: Any, path: Path) -> Path:
    """Write a figure; an older picture is replaced at the end only.

    Args:
        figure: A figure of matplotlib.
        path: Picture to write; the suffix chooses the format.
    """
    stream = io.BytesIO()
    figure.savefig(stream, format=path.suffix.removeprefix(".") or None)
    write_bytes(path, stream.getvalue())
    return path
