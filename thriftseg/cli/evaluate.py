"""`thriftseg evaluate`."""

from __future__ import annotations

from typing import Any

from thriftseg.cli.command import print_json


def run(metrics: str | None = None, out: str | None = None, json: str | None = None, **options: Any) -> int:
    """Score a folder of predictions against a folder of true labels.

    Args:
        metrics: Some of miou,boundary_iou,tc,jf; what the layout has if unset.
        out: Folder to write report.json, CSV tables and confusion.png to.
        json: File to write the report to as JSON; to stdout without a file.
        options: Those of `thriftseg.reports.evaluate`.
    """
    from thriftseg.reports import evaluate, print_evaluation

    chosen: Any = [name.strip() for name in metrics.split(",")] if metrics else None
    report = evaluate.evaluate(metrics=chosen, **options)
    if out is not None:
        report.write(out)
    if not print_json(json, report.to_json()):
        print_evaluation(report)
    return 0
