"""`thriftseg plan`."""

from __future__ import annotations

import sys

from thriftseg.cli.report import read_patterns
from thriftseg.errors import ConfigError


def run(*, pilot: list[str], budget: float, target: float | None = None, out: str | None = None) -> int:
    """Tell from a pilot which labels to buy for the next hours, and how many hours a quality takes.

    Args:
        pilot: Runs on one kind of labels with several budgets, as NAME=GLOB, such as 'clicks=runs/clicks_*', or rows of
            a file of `report table --keep` by their names: 'clicks=kept.json#clicks *'.
        budget: Hours to spend on labels in all.
        target: mIoU to reach, in [0, 1].
        out: File to plot mIoU against hours in.
    """
    if not 0 < budget < float("inf"):
        raise ConfigError("--budget", expected="hours above 0", found=budget)
    if target is not None and not 0 < target <= 1:
        raise ConfigError("--target", expected="above 0, at most 1", found=target)
    from thriftseg.reports import plan_table, plot_plan, print_table, read_pilots

    pilots = read_pilots(read_patterns("--pilot", pilot))
    print_table(plan_table(pilots, budget, target))
    if out is not None:
        print(plot_plan(pilots, budget, out, target), file=sys.stderr)
    return 0
