"""What the next hours of annotation buy, from the runs of a pilot: quality against hours, as a power law.

Of each kind of labels, quality = a - b hours^-c with b >= 0 and a <= 1 is fitted to the runs, as for sizes of data sets
in [0]. How sure it is follows from curves drawn as likely as the runs have them, and from an error that is added to
what they foretell. Priors are flat: of c, of the mean quality of the runs, and of how much the curve varies over them;
errors have a common unknown variance. Curves beyond b = 0 or a = 1 are put there.

[0] Mahmood, Lucas, Acuna, Li, Philion, Alvarez, Yu, Fidler, Law, How Much More Data Do I Need? Estimating Requirements
    for Downstream Tasks, CVPR 2022.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from thriftseg.arrays import Float64Array
from thriftseg.errors import ConfigError
from thriftseg.reports.cost_quality import INK, SERIES_COLORS, read_runs, save_figure, style_panel
from thriftseg.reports.tables.terminal import format_hours, number_table

if TYPE_CHECKING:
    from rich.table import Table

INTERVAL = (0.05, 0.95)
"""Quantiles of what is foretold: nine of ten runs lie between them."""

_EXPONENTS = np.linspace(0.05, 2.0, 100)
_DRAWS = 1000
_LEAST_RUNS, _LEAST_BUDGETS = 4, 3  # the curve has three parameters


class Forecast(NamedTuple):
    """What is foretold, and the quantiles `INTERVAL` of it.

    Attributes:
        value: mIoU, or hours, which are infinite where a quality is never reached.
        low: Nineteen of twenty times it is more.
        high: Nineteen of twenty times it is less.

    Example:
        >>> hours = np.array([1.0, 2.0, 4.0, 8.0])
        >>> forecast = Pilot("clicks", hours, 0.6 - 0.2 / np.sqrt(hours)).hours_to(0.7)
        >>> forecast.value  # the curve never gets above 0.6
        inf
    """

    value: float
    low: float
    high: float


class Pilot:
    """Runs on labels of one kind with several budgets, and the curve through them.

    Args:
        name: The kind of labels.
        hours: Annotation hours of each run, (n,), above 0.
        miou: Quality of each run, (n,), in [0, 1].
        seed: Seed of the curves that are drawn, from a stream of the kind's own.

    Raises:
        ConfigError: There are fewer than four runs or three budgets, or a run is without cost or quality.

    Example:
        >>> hours = np.array([1.0, 2.0, 4.0, 8.0])
        >>> pilot = Pilot("clicks", hours, 0.6 - 0.2 / np.sqrt(hours))
        >>> round(pilot.quality(16.0).value, 3), round(pilot.hours_to(0.56).value)
        (0.55, 25)
    """

    def __init__(self, name: str, hours: Float64Array, miou: Float64Array, seed: int = 0) -> None:
        if not ((hours > 0).all() and np.isfinite(hours).all() and np.isfinite(miou).all()):
            found = f"hours {hours.tolist()}, mIoU {miou.tolist()}"
            raise ConfigError(f"runs of pilot {name!r}", expected="hours above 0 and a mIoU of each", found=found)
        if len(hours) < _LEAST_RUNS or len(np.unique(hours)) < _LEAST_BUDGETS:
            raise ConfigError(
                f"too few runs of pilot {name!r}",
                expected=f"{_LEAST_RUNS} runs or more with {_LEAST_BUDGETS} budgets or more",
                found=f"{len(hours)} with {len(np.unique(hours))}",
                fix="train with further budgets, such as a half and a quarter of the labels, or further seeds",
            )
        self.name, self.hours, self.miou = name, hours, miou
        draws = np.random.default_rng([seed, zlib.crc32(name.encode())])
        self._curve, self._others, self._noise = _Curves.fitted(hours, miou, draws)

    @property
    def spent(self) -> float:
        """Hours of the largest run."""
        return float(self.hours.max())

    @property
    def least(self) -> float:
        """Hours of the smallest run."""
        return float(self.hours.min())

    def drawn(self, hours: float) -> Float64Array:
        """What runs with some hours may have, one mIoU of each draw, (1000,)."""
        found: Float64Array = (self._others.at(np.array([hours]))[:, 0] + self._noise).clip(0, 1)
        return found

    def quality(self, hours: float) -> Forecast:
        """Quality of a run with some hours.

        Args:
            hours: Annotation hours, above 0.
        """
        value = float(self._curve.at(np.array([hours]))[0, 0])
        return Forecast(value, *np.quantile(self.drawn(hours), INTERVAL).tolist())

    def hours_to(self, miou: float) -> Forecast:
        """Annotation hours at which the curve comes to a mIoU, and no fewer than those of the smallest run.

        Args:
            miou: The quality.
        """
        others = self._others.hours_to(miou)
        found = self._curve.hours_to(miou)[0], *np.quantile(others, INTERVAL, method="nearest")
        return Forecast(*np.maximum(found, self.least).tolist())


class _Curves(NamedTuple):
    """Curves, (D,) of each parameter."""

    limit: Float64Array
    factor: Float64Array
    exponent: Float64Array

    @classmethod
    def fitted(
        cls, hours: Float64Array, miou: Float64Array, draws: np.random.Generator
    ) -> tuple[_Curves, _Curves, Float64Array]:
        """The curve through (n,) qualities at (n,) hours, others it may be, (1000,), and how far a run strays.

        Few runs hardly tell exponents apart, and the one that fits best is often at an end of the range: the curve has
        the mean of all, weighted by how likely the runs make them, and the others have one of them each.
        """
        limit, factor, errors = _lines(hours ** -_EXPONENTS[:, None], miou)
        likelihood = (errors / errors.min()) ** (1 - len(hours) / 2)
        likelihood /= likelihood.sum()
        usual = likelihood @ _EXPONENTS[:, None]
        curve = cls(*_lines(hours ** -usual[:, None], miou)[:2], usual)
        chosen = draws.choice(len(_EXPONENTS), _DRAWS, p=likelihood)
        exponent = _EXPONENTS[chosen]
        powers = hours ** -exponent[:, None]
        spread = np.sqrt(errors[chosen] / draws.chisquare(len(hours) - 2, _DRAWS))
        level, slope, noise = spread * draws.standard_normal((3, _DRAWS))
        mean = powers.mean(axis=1)
        middle = (limit[chosen] - factor[chosen] * mean + level / math.sqrt(len(hours))).clip(max=1)
        others = factor[chosen] + slope / powers.std(axis=1) / math.sqrt(len(hours))
        others = np.minimum(others, (1 - middle) / mean).clip(0)  # the limit is 1 at most
        return curve, cls(middle + others * mean, others, exponent), noise

    def at(self, hours: Float64Array) -> Float64Array:
        """Qualities at (n,) hours, (D, n)."""
        return self.limit[:, None] - self.factor[:, None] * hours ** -self.exponent[:, None]

    def hours_to(self, miou: float) -> Float64Array:
        """Hours at which each curve comes to a quality, (D,)."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            hours = (self.factor / (self.limit - miou).clip(0)) ** (1 / self.exponent)
        return np.where(self.limit > miou, hours, np.inf)


def _lines(powers: Float64Array, miou: Float64Array) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Limits and factors that fit (..., n) qualities best, linear in (..., n) powers of hours, and squared errors."""
    means = powers.mean(axis=-1, keepdims=True)
    factor = (-(miou * (powers - means)).sum(axis=-1) / np.square(powers - means).sum(axis=-1)).clip(0)
    limit = miou.mean(axis=-1) + factor * means[..., 0]
    through_one = (((1 - miou) * powers).sum(axis=-1) / np.square(powers).sum(axis=-1)).clip(0)
    factor, limit = np.where(limit > 1, through_one, factor), limit.clip(max=1)
    return limit, factor, np.square(limit[..., None] - factor[..., None] * powers - miou).sum(axis=-1).clip(1e-12)


def read_pilots(pilots: Mapping[str, str], seed: int = 0) -> list[Pilot]:
    """Read the runs of pilots.

    Args:
        pilots: By the name of a kind of labels the pattern of its runs, see `read_runs`.
        seed: Seed of the curves that are drawn.

    Raises:
        ConfigError: Nothing fits a pattern, or the runs are too few; see `read_runs` and `Pilot`.
        CheckpointError: Scores of a run, or a file, are damaged.

    Example:
        >>> import json, tempfile
        >>> students = [{"name": "clicks", "hours": hours, "miou": 0.6 - 0.2 / hours} for hours in (1.0, 2.0, 4.0, 8.0)]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "results.json").write_text(json.dumps({"students": students}))
        ...     [pilot] = read_pilots({"clicks": f"{folder}/*.json"})
        >>> pilot.name, pilot.spent, round(pilot.quality(20.0).value, 3)
        ('clicks', 8.0, 0.59)
    """
    found = []
    for name, pattern in pilots.items():
        runs = [run for each in read_runs(name, pattern).values() for run in each]
        hours, miou = np.array([(run.hours, run.scores["miou"]) for run in runs], float).T
        found.append(Pilot(name, hours, miou, seed))
    return found


def best_at(pilots: Sequence[Pilot], hours: float) -> dict[str, float]:
    """How often each kind of labels would give the best run for some hours, in [0, 1].

    A kind whose cheapest run took more hours is never the best: what fewer of its labels give was not tried.

    Args:
        pilots: One at least.
        hours: Annotation hours.

    Example:
        >>> hours = np.array([1.0, 2.0, 4.0, 8.0])
        >>> pilots = [Pilot(name, hours, limit - 0.2 / hours) for name, limit in (("clicks", 0.3), ("masks", 0.6))]
        >>> {name: round(share, 2) for name, share in best_at(pilots, hours=16.0).items()}
        {'clicks': 0.0, 'masks': 1.0}
    """
    shares = dict.fromkeys((pilot.name for pilot in pilots), 0.0)
    bought = [pilot for pilot in pilots if pilot.least <= hours]
    if bought:
        winners = np.argmax([pilot.drawn(hours) for pilot in bought], axis=0)
        shares |= {pilot.name: float(np.mean(winners == place)) for place, pilot in enumerate(bought)}
    return shares


def plan_table(pilots: Sequence[Pilot], budget: float, target: float | None = None) -> Table:
    """A row per kind of labels: what it has reached, what one more hour and the whole budget bring, hours to a target.

    Args:
        pilots: One at least.
        budget: Hours to spend in all, above 0.
        target: mIoU to reach.

    Example:
        >>> hours = np.array([1.0, 2.0, 4.0, 8.0])
        >>> table = plan_table([Pilot("clicks", hours, 0.6 - 0.2 / hours)], budget=20.0)
        >>> [str(*column.cells) for column in table.columns[:5]]  # 0.6 - 0.2 / 8, and 0.2 / 8 - 0.2 / 9 more
        ['clicks', '4', '8.00', '57.5', '+0.28']
    """
    headings = ["n", "hours\nspent", "mIoU\nthere", "one hour\nmore", f"mIoU after\n{budget:g} h", "best of\nall"]
    if target is not None:
        headings.append(f"hours to\nmIoU {100 * target:g}")
    table = number_table(None, "labels", headings)
    shares = best_at(pilots, budget)
    for pilot in pilots:
        there = pilot.quality(pilot.spent).value
        gain = pilot.quality(pilot.spent + 1).value - there
        cells = [f"{100 * value:.1f}" for value in pilot.quality(budget)]
        after = f"{cells[0]} ({cells[1]} to {cells[2]})"
        if budget < pilot.least:
            after = f"not tried below {format_hours(pilot.least)} h"
        row = [pilot.name, str(len(pilot.hours)), format_hours(pilot.spent), f"{100 * there:.1f}", f"{100 * gain:+.2f}"]
        row += [after, f"{100 * shares[pilot.name]:.0f} %"]
        if target is not None:
            needed = [format_hours(value) if math.isfinite(value) else "never" for value in pilot.hours_to(target)]
            row.append(f"{needed[0]} ({needed[1]} to {needed[2]})")
        table.add_row(*row)
    table.caption, table.caption_justify = "in brackets: nine of ten runs", "left"
    return table


def plot_plan(pilots: Sequence[Pilot], budget: float, path: str | Path, target: float | None = None) -> Path:
    """Plot the runs, the curve through each kind and the band of nine of ten runs, up to the budget.

    Args:
        pilots: One at least.
        budget: Hours up to which the curves are drawn.
        path: Picture to write.
        target: mIoU to mark.

    Returns:
        Its path.

    Example:
        >>> import tempfile
        >>> hours = np.array([1.0, 2.0, 4.0, 8.0])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     plot_plan([Pilot("clicks", hours, 0.6 - 0.2 / hours)], 20.0, f"{folder}/plan.svg").name
        'plan.svg'
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 3.9), dpi=160, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    style_panel(axes, "annotation hours", "mIoU")
    axes.set_xscale("log")
    if target is not None:
        axes.axhline(target, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    for index, pilot in enumerate(pilots):
        color = SERIES_COLORS[index % len(SERIES_COLORS)]
        hours = np.geomspace(pilot.least, max(budget, pilot.spent), 60)
        values, low, high = np.array([pilot.quality(each) for each in hours.tolist()]).T
        axes.plot(hours, values, label=pilot.name, color=color, linewidth=1.6)
        axes.fill_between(hours, low, high, color=color, alpha=0.18, linewidth=0)
        axes.plot(pilot.hours, pilot.miou, "o", color=color, markersize=4)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    return save_figure(figure, Path(path))
