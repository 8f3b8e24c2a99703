"""The least budget that reaches a quality, by bisection."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from thriftseg.annotation.hvsa.loop import HVSAResult
from thriftseg.atomic import write_bytes
from thriftseg.costs import AnnotationCost
from thriftseg.errors import ConfigError

SUMMARY = "budgets.json"
"""File in the folder of a search that lists the budgets that were tried."""

_DECIMALS = 4  # of budgets in percent
_LEAST_TOLERANCE = 0.01


@dataclass(frozen=True)
class BudgetProbe:
    """What a budget led to.

    Attributes:
        percent: The budget.
        miou: mIoU of the labels at the end, 0..1.
        cost: What was bought.
        folder: The run; a budget of 0 is the round 0 of any run.

    Example:
        >>> tried = {0: 0.5, 5: 0.71, 10: 0.74}
        >>> probes = [BudgetProbe(percent, miou, AnnotationCost(), Path("run")) for percent, miou in tried.items()]
        >>> min(probe.percent for probe in probes if probe.miou >= 0.7)
        5
    """

    percent: float
    miou: float
    cost: AnnotationCost
    folder: Path


@dataclass(frozen=True)
class FoundBudget:
    """What a search led to.

    Attributes:
        target_miou: What was to be reached.
        probes: All budgets that were tried, increasing.
        cheapest: The least of them that reached it, `None` where none did.

    Example:
        >>> probe = BudgetProbe(5, 0.713, AnnotationCost(7200, clicks=900, class_clicks=40), Path("budget_5"))
        >>> print(FoundBudget(0.7, (probe,), cheapest=probe))
        mIoU 70 takes a budget of 5 %: 71.3, 940 clicks, 2.00 h
        >>> print(FoundBudget(0.8, (probe,), cheapest=None))
        no budget reached mIoU 80; 5 % led to 71.3
    """

    target_miou: float
    probes: tuple[BudgetProbe, ...]
    cheapest: BudgetProbe | None

    def __str__(self) -> str:
        target = f"mIoU {100 * self.target_miou:g}"
        if self.cheapest is None:
            best = max(self.probes, key=lambda probe: probe.miou)
            return f"no budget reached {target}; {best.percent:g} % led to {100 * best.miou:.1f}"
        cost = self.cheapest.cost
        spent = f"{cost.clicks + cost.class_clicks} clicks, {cost.hours:.2f} h"
        return f"{target} takes a budget of {self.cheapest.percent:g} %: {100 * self.cheapest.miou:.1f}, {spent}"


def search_budget(
    run: Callable[[float, Path], HVSAResult],
    out: str | Path,
    *,
    target_miou: float,
    max_budget: float = 100.0,
    tolerance: float = 1.0,
    paste_manual: bool = True,
    say: Callable[[str], None] = lambda text: None,
) -> FoundBudget:
    """Find the least budget that reaches a mIoU, supposing that more budget never hurts.

    The highest budget is tried first, then always the middle between the least one that reached the target and the
    highest one below it. Each is a run in `<out>/budget_<percent>`; runs that are there go on or are only read, so a
    search that was stopped goes on when it is started again. `<out>/budgets.json` lists the runs.

    Args:
        run: Runs the loop from its start with a budget in percent, in a folder; see `annotate_hvsa`.
        out: Folder of all runs.
        target_miou: The mIoU to reach, above 0 and at most 1.
        max_budget: Largest budget to try, in percent.
        tolerance: Percent between the two budgets at which the search stops.
        paste_manual: Whether the manual labels count as part of the result.
        say: Called with a line after each run.

    Raises:
        ConfigError: A setting is out of range, or there is no truth to score by.

    Example:
        >>> import tempfile
        >>> def run(percent: float, folder: Path) -> HVSAResult:  # in place of a run that trains
        ...     rows = [{"pasted": {"miou": 0.5}}, {"pasted": {"miou": 0.5 + percent / 200}}]
        ...     return HVSAResult(folder, rows, AnnotationCost(clicks=int(percent)), folder)
        >>> with tempfile.TemporaryDirectory() as out:
        ...     found = search_budget(run, out, target_miou=0.75, tolerance=30)
        >>> [probe.percent for probe in found.probes], found.cheapest.percent
        ([0.0, 25.0, 50.0, 100.0], 50.0)
    """
    if not 0 < target_miou <= 1:
        raise ConfigError("target_miou", expected="above 0, at most 1", found=target_miou)
    if not 0 < max_budget <= 100:
        raise ConfigError("highest budget", expected="above 0, at most 100 percent", found=max_budget)
    if not _LEAST_TOLERANCE <= tolerance:
        raise ConfigError("tolerance of a budget", expected=f"at least {_LEAST_TOLERANCE} percent", found=tolerance)
    out, scores = Path(out), "pasted" if paste_manual else "scores"
    probes: dict[float, BudgetProbe] = {}

    def reaches(percent: float) -> bool:
        result = run(percent, out / f"budget_{percent:g}")
        before, after = (result.rounds[row][scores]["miou"] for row in (0, -1))
        if before is None or after is None:
            raise ConfigError("a search for a budget needs a truth", path=result.folder)
        probes[percent] = BudgetProbe(percent, after, result.cost, result.folder)
        probes[0.0] = BudgetProbe(0.0, before, AnnotationCost(), result.folder)
        say(f"budget {percent:g} %: mIoU {100 * after:.1f}")
        return bool(after >= target_miou)

    if reaches(max_budget) and probes[0.0].miou < target_miou:
        low, high = 0.0, max_budget
        while high - low > tolerance:
            middle = round((low + high) / 2, _DECIMALS)
            low, high = (low, middle) if reaches(middle) else (middle, high)
    found = tuple(probes[percent] for percent in sorted(probes))
    rows = [
        {"percent": each.percent, "miou": each.miou, "cost": each.cost.to_json(), "run": each.folder.name}
        for each in found
    ]
    write_bytes(out / SUMMARY, (json.dumps({"target_miou": target_miou, "probes": rows}) + "\n").encode())
    return FoundBudget(target_miou, found, next((each for each in found if each.miou >= target_miou), None))
