"""What labels bring and cost, over several seeds, in one table and one figure.

    python -m benchmarks.label_study --out FIGURE.png 'mixtures=study*/results.json' 'clicks=runs/clicks-*/fit.json'

Each argument is a curve and the scores of its runs: `results.json` of `thriftseg quickstart` holds one student per
point, `fit.json` or `validate.json` of a run is a seed of the point that bears the name of the curve.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from thriftseg.reports.cost_quality import CostQualityPoint, plot_cost_quality

Scores = dict[str, float]
QUALITIES = ("miou", "macc", "boundary_iou", "tc")


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table and draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("curves", nargs="+", metavar="NAME=GLOB")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--title")
    args = parser.parse_args(argv)
    points = []
    print("| labels | seeds | hours | clicks | mIoU | mAcc | Boundary-IoU | TC |\n|---|---|---|---|---|---|---|---|")
    for curve in args.curves:
        name, _, pattern = curve.partition("=")
        for label, runs in seeds_of(pattern).items():
            print(table_row(label or name, runs))
            points.append(point(name, label, runs))
    plot_cost_quality(points, args.out, title=args.title)


def seeds_of(pattern: str) -> dict[str, list[Scores]]:
    """Scores of all runs that a glob finds, by the name of the student."""
    paths = sorted(Path().glob(pattern))
    if not paths:
        raise SystemExit(f"no scores match {pattern}")
    found: dict[str, list[Scores]] = {}
    for path in paths:
        for label, scores in read_scores(json.loads(path.read_text())):
            found.setdefault(label, []).append(scores)
    return found


def read_scores(content: dict[str, Any]) -> Iterator[tuple[str, Scores]]:
    """Students of a quickstart, or the only one of a run, which has no name."""
    for student in content.get("students", ()):
        yield student["name"], {key: value for key, value in student.items() if key != "name"}
    if "metrics" in content:
        scores = content["metrics"]
        qualities = {key: scores.get(f"val/{key}", math.nan) for key in QUALITIES}
        yield "", {"hours": scores["cost/hours"], "clicks": scores["cost/clicks"], **qualities}


def table_row(name: str, runs: Sequence[Scores]) -> str:
    """A line of the table: means, and the deviation of mIoU."""
    first = f"{100 * mean(runs, 'miou'):.1f}"
    if len(runs) > 1:
        first += f" ± {100 * statistics.stdev(run['miou'] for run in runs):.1f}"
    others = " | ".join(f"{100 * mean(runs, key):.1f}" for key in QUALITIES[1:]).replace("nan", "-")
    hours, clicks = mean(runs, "hours"), f"{mean(runs, 'clicks'):,.0f}".replace(",", " ")
    return f"| {name} | {len(runs)} | {hours:.2f} | {clicks} | {first} | {others} |"


def point(name: str, label: str, runs: Sequence[Scores]) -> CostQualityPoint:
    """A point of the figure."""
    return CostQualityPoint(
        name,
        mean(runs, "hours"),
        mean(runs, "miou"),
        miou_std=statistics.stdev(run["miou"] for run in runs) if len(runs) > 1 else None,
        label=label,
    )


def mean(runs: Sequence[Scores], key: str) -> float:
    """Mean of a score; NaN where the runs do not tell."""
    return statistics.fmean(run.get(key, math.nan) for run in runs)


if __name__ == "__main__":
    main()
