"""Quality of annotated objects against hours: the curve of a run in its folder, and runs set side by side.

<run>/curve.json holds `hours` and `jf`, a value of each per annotation from where every object has one; `target`,
`hours_at_target` (null where the target is not reached) and `area`, the mean J&F over the hours of the run.
"""

from __future__ import annotations

import glob
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from thriftseg.arrays import Float64Array
from thriftseg.atomic import write_bytes
from thriftseg.errors import ConfigError, DatasetError
from thriftseg.metrics import AnnotationCurve, area_under_curve, cost_at_quality, cost_quality_curve
from thriftseg.parsing import read_json
from thriftseg.reports.cost_quality import INK, SERIES_COLORS, save_figure, style_panel
from thriftseg.reports.tables.terminal import format_hours, number_table, percent_cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from rich.table import Table

    from thriftseg.annotation import EVAVOSResult

CURVE_FILE = "curve.json"

_MOST_DRAWN = 1000  # points of a curve; long logs overflow the filling of the band


class _CurveFile(msgspec.Struct):
    hours: list[float]
    jf: list[float]


class Span(NamedTuple):
    """Hours from one to another; none where the first is greater.

    Attributes:
        first: The first.
        last: The last.
    """

    first: float
    last: float


class MeanCurve(NamedTuple):
    """Mean over runs at the hours of any of them, within those that all of them cover.

    Attributes:
        hours: (n,), increasing.
        mean: Mean quality, (n,).
        low: Least quality, (n,).
        high: Greatest quality, (n,).

    Example:
        >>> one, two = (AnnotationCurve(np.array([1.0, 3.0]), np.array(jf)) for jf in ([0.5, 0.75], [0.25, 0.75]))
        >>> hours, mean, low, high = CurveGroup("random", (one, two)).mean_curve()
        >>> (high - low).tolist()  # how far the runs differ at each of the hours
        [0.25, 0.0]
    """

    hours: Float64Array
    mean: Float64Array
    low: Float64Array
    high: Float64Array


@dataclass(frozen=True)
class CurveGroup:
    """Runs that differ by their seed alone.

    Attributes:
        name: What tells them from other runs.
        curves: Their curves, one at least.

    Example:
        >>> runs = [AnnotationCurve(np.array([1.0, 3.0]), np.array(jf)) for jf in ([0.5, 0.75], [0.0, 0.5])]
        >>> group = CurveGroup("random", tuple(runs))
        >>> group.hours_at(0.625), group.area(group.span)
        ([2.0, inf], 0.4375)
    """

    name: str
    curves: tuple[AnnotationCurve, ...]

    @property
    def span(self) -> Span:
        """Hours that all runs cover."""
        return Span(
            float(max(curve.hours[0] for curve in self.curves)), float(min(curve.hours[-1] for curve in self.curves))
        )

    def mean_curve(self) -> MeanCurve:
        """Mean and range of the runs.

        Example:
            >>> runs = [AnnotationCurve(np.array([1.0, 3.0]), np.array(jf)) for jf in ([0.5, 0.75], [0.0, 1.0])]
            >>> mean = CurveGroup("random", tuple(runs)).mean_curve()
            >>> mean.hours.tolist(), mean.mean.tolist(), mean.low.tolist(), mean.high.tolist()
            ([1.0, 3.0], [0.25, 0.875], [0.0, 0.75], [0.5, 1.0])
        """
        span, hours = self.span, np.unique(np.concatenate([curve.hours for curve in self.curves]))
        shared = hours[(hours >= span.first) & (hours <= span.last)]
        values = np.stack([_quality_at(curve, shared) for curve in self.curves])
        return MeanCurve(shared, values.mean(axis=0), values.min(axis=0), values.max(axis=0))

    def hours_at(self, target: float) -> list[float]:
        """Hours at which each run reaches a quality, infinite where it does not."""
        return [cost_at_quality(*curve, target=target) for curve in self.curves]

    def area(self, span: Span) -> float:
        """Mean quality over hours that all runs cover, NaN where there are none."""
        if span.first > span.last:
            return math.nan
        areas = []
        for curve in self.curves:
            inside = curve.hours[(curve.hours > span.first) & (curve.hours < span.last)]
            hours = np.array([span.first, *inside, span.last])
            areas.append(area_under_curve(hours, _quality_at(curve, hours)))
        return statistics.fmean(areas)


def write_curve(folder: str | Path, curve: AnnotationCurve, target: float) -> Path:
    """Write the curve of a run beside its log.

    Args:
        folder: Folder of the run.
        curve: Mean J&F against hours.
        target: J&F to read the hours at.

    Returns:
        The file.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = write_curve(folder, AnnotationCurve(np.array([1.0, 3.0]), np.array([0.5, 0.75])), target=0.625)
        ...     json.loads(path.read_text())["hours_at_target"]
        2.0
    """
    reached = cost_at_quality(*curve, target=target)
    content = {
        "target": target,
        "hours_at_target": reached if math.isfinite(reached) else None,
        "area": area_under_curve(*curve),
        "hours": curve.hours.tolist(),
        "jf": curve.quality.tolist(),
    }
    path = Path(folder) / CURVE_FILE
    write_bytes(path, (json.dumps(content) + "\n").encode())
    return path


def conclude_eva_vos(result: EVAVOSResult, target: float) -> str:
    """Write the curve of a run, and say what the run cost and how good its masks are.

    Args:
        result: The run.
        target: J&F to read the hours at.

    Example:
        >>> from thriftseg.annotation import EVAVOSResult
        >>> from thriftseg.costs import AnnotationCost
        >>> result = EVAVOSResult(Path("run"), rows=(), cost=AnnotationCost(seconds=90), curve=None)
        >>> conclude_eva_vos(result, target=0.85).splitlines()[:2]
        ['0 annotations, 0.025 h', 'no J&F: there is no truth of all frames']
    """
    lines = [f"{len(result.rows)} annotations, {result.cost.hours:.3f} h"]
    if result.curve is None:
        lines.append("no J&F: there is no truth of all frames")
    else:
        path, hours = write_curve(result.folder, result.curve, target), cost_at_quality(*result.curve, target=target)
        lines += [
            f"J&F {100 * target:g}: " + (f"after {hours:.3f} h" if math.isfinite(hours) else "not reached"),
            f"area under the curve: {area_under_curve(*result.curve):.4f}",
            f"curve {path}",
        ]
    return "\n".join([*lines, f"masks {result.folder / 'masks'}"])


def read_curve(path: str | Path) -> AnnotationCurve:
    """Read the curve of a run.

    Args:
        path: Folder of the run, or the file.

    Raises:
        DatasetError: There is no curve, or the file is damaged.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "curve.json").write_text('{"hours": [1.0, 3.0], "jf": [0.5, 0.75]}')
        ...     hours, quality = read_curve(folder)
        >>> quality.tolist()
        [0.5, 0.75]
    """
    path = Path(path)
    file = path / CURVE_FILE if path.is_dir() else path
    content = read_json(file, _CurveFile)
    hours, quality = np.array(content.hours, np.float64), np.array(content.jf, np.float64)
    if len(hours) != len(quality) or not len(hours):
        found = f"{len(hours)} of hours and {len(quality)} of jf"
        raise DatasetError("no curve", path=file, expected="as many numbers of both, one at least", found=found)
    if (np.diff(hours) < 0).any():
        raise DatasetError("no curve", path=file, expected="hours that increase")
    return AnnotationCurve(hours, quality)


def read_curve_groups(runs: Mapping[str, str]) -> list[CurveGroup]:
    """Read runs by the patterns of their folders.

    Args:
        runs: Pattern, such as "runs/random_*", by the name of a group.

    Raises:
        ConfigError: No folder or file fits a pattern.
        DatasetError: There is a run without a curve, or with a damaged one.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for seed in range(2):
        ...         (run := Path(folder, f"random_{seed}")).mkdir()
        ...         _ = (run / "curve.json").write_text('{"hours": [1.0, 3.0], "jf": [0.5, 0.75]}')
        ...     [group] = read_curve_groups({"at random": f"{folder}/random_*"})
        >>> group.name, len(group.curves)
        ('at random', 2)
    """
    groups = []
    for name, pattern in runs.items():
        found = sorted(glob.glob(pattern))  # noqa: PTH207 - takes absolute patterns and `.` too
        if not found:
            raise ConfigError(f"no runs of {name!r}", expected="folders of runs", found=f"nothing like {pattern}")
        groups.append(CurveGroup(name, tuple(read_curve(path) for path in found)))
    return groups


def curve_table(groups: Sequence[CurveGroup], target: float) -> Table:
    """A row per group: hours at which its runs reach a J&F, and their mean J&F over the hours that all groups cover.

    Args:
        groups: One at least.
        target: The J&F.

    Example:
        >>> curve = AnnotationCurve(np.array([1.0, 3.0]), np.array([0.5, 0.75]))
        >>> table = curve_table([CurveGroup("random", (curve,))], target=0.625)
        >>> [str(*column.cells) for column in table.columns], table.caption
        (['random', '1', '2.00', '62.5'], 'area: mean J&F from 1.00 to 3.00 h')
    """
    spans = [group.span for group in groups]
    span = Span(max(each.first for each in spans), min(each.last for each in spans))
    table = number_table(None, "runs", ["n", f"hours at\nJ&F {100 * target:g}", "area\n%"])
    for group in groups:
        area = percent_cell(group.area(span))
        table.add_row(group.name, str(len(group.curves)), _hours_cell(group.hours_at(target)), area)
    covered = f"area: mean J&F from {format_hours(span.first)} to {format_hours(span.last)} h"
    table.caption = covered if span.first <= span.last else "area: no hours that all runs cover"
    table.caption_justify = "left"
    return table


def plot_annotation_curves(groups: Sequence[CurveGroup], path: str | Path, target: float) -> Path:
    """Plot J&F against hours: the mean of each group, with a band from its worst to its best run.

    Args:
        groups: One at least.
        path: Picture to write.
        target: J&F to mark.

    Returns:
        Its path.

    Raises:
        ConfigError: The runs of a group have no hours in common.

    Example:
        >>> import tempfile
        >>> curve = AnnotationCurve(np.array([1.0, 3.0]), np.array([0.5, 0.75]))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     plot_annotation_curves([CurveGroup("random", (curve,))], f"{folder}/curves.svg", target=0.85).name
        'curves.svg'
    """
    for group in groups:
        if group.span.first > group.span.last:
            raise ConfigError(f"the runs of {group.name!r} have no hours in common", found=group.span)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 3.9), dpi=160, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    style_panel(axes, "annotation hours", "J&F")
    axes.axhline(target, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    for index, group in enumerate(groups):
        _draw(axes, group, SERIES_COLORS[index % len(SERIES_COLORS)])
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    return save_figure(figure, Path(path))


def _draw(axes: Axes, group: CurveGroup, color: str) -> None:
    curve = group.mean_curve()
    count = len(curve.hours)
    shown = np.linspace(0, count - 1, min(count, _MOST_DRAWN)).astype(np.intp)
    hours, mean, low, high = (values[shown] for values in curve)
    style: dict[str, Any] = {"marker": "o", "markersize": 4} if count == 1 else {}
    axes.plot(hours, mean, label=group.name, color=color, linewidth=1.6, **style)
    if len(group.curves) > 1:
        axes.fill_between(hours, low, high, color=color, alpha=0.18, linewidth=0)


def _hours_cell(hours: Sequence[float]) -> str:
    """Mean and standard deviation, or how many runs are left without a value."""
    missing = sum(map(math.isinf, hours))
    if missing:
        return "not reached" if missing == len(hours) else f"not by {missing} of {len(hours)}"
    mean = format_hours(statistics.fmean(hours))
    return mean if len(hours) == 1 else f"{mean} ± {format_hours(statistics.stdev(hours))}"


def _quality_at(curve: AnnotationCurve, hours: Float64Array) -> Float64Array:
    """`quality_at_cost` for many hours at once, all of which the curve covers."""
    return np.interp(hours, *cost_quality_curve(*curve))
