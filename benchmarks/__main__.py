"""`python -m benchmarks [--only NAME ...] [--json]`: measure items; exit code 1 where a target is missed."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from benchmarks import (
    at_size,
    eva_vos,
    exported,
    flow,
    label_speed,
    loading,
    losses,
    metrics,
    networks,
    page,
    prompters,
    propagators,
    sam2_propagation,
    training_from_disk,
    training_step,
    video_objects,
    vos_streaming,
    weclick_step,
)
from benchmarks.measure import Item, Outcome

ITEMS = [
    *losses.ITEMS,
    *metrics.ITEMS,
    *training_step.ITEMS,
    *training_from_disk.ITEMS,
    *weclick_step.ITEMS,
    *loading.ITEMS,
    *networks.ITEMS,
    *exported.ITEMS,
    *video_objects.ITEMS,
    *flow.ITEMS,
    *vos_streaming.ITEMS,
    *eva_vos.ITEMS,
    *sam2_propagation.ITEMS,
    *prompters.ITEMS,
    *propagators.ITEMS,
    *page.ITEMS,
    *label_speed.ITEMS,
    *at_size.ITEMS,
]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="items whose name starts with one of these")
    parser.add_argument("--json", action="store_true", help="print one JSON object per item")
    options = parser.parse_args(arguments)
    chosen = [item for item in ITEMS if not options.only or item.name.startswith(tuple(options.only))]
    if not chosen:
        parser.error(f"no such item; choose from {', '.join(item.name for item in ITEMS)}")
    results = [(item, measure(item, options.json)) for item in chosen]
    if not options.json:
        Console(width=160).print(table(results))
    return 0 if all(item.met(outcome) for item, outcome in results) else 1


def measure(item: Item, as_json: bool) -> Outcome:
    if not as_json:
        print(f"{item.name} ...", file=sys.stderr, flush=True)
    outcome = item.run()
    if as_json:
        row = {"name": item.name, "what": item.what, "target": item.target, "met": item.met(outcome)}
        print(json.dumps(row | asdict(outcome)), flush=True)
    return outcome


def table(results: list[tuple[Item, Outcome]]) -> Table:
    table = Table("item", "ours / reference", "ratio", "target", "memory ratio", "absolute", show_lines=True)
    for item, outcome in results:
        memory = "" if outcome.memory_ratio is None else f"{outcome.memory_ratio:.1f}"
        ratio = f"{outcome.ratio:.3g}" if item.met(outcome) else f"[red]{outcome.ratio:.3g}"
        table.add_row(item.name, item.what, ratio, item.target, memory, outcome.detail)
    return table


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
