"""`thriftseg label inspect`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thriftseg.cli.reader import LABEL_DATASETS, add_reader_arguments, label_reader_of

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace
    from rich.console import Console
    from rich.table import Table

    from thriftseg.datasets import ClipReader
    from thriftseg.labels import Inspection

_STDOUT = "-"


def declare(parser: ArgumentParser) -> None:
    """Declare the options."""
    add_reader_arguments(parser, LABEL_DATASETS)
    parser.add_argument("--split", type=str, default="train", help="split whose labels are shown")
    parser.add_argument("--store", type=str | None, metavar="DIR", help="label store; labels/<dataset> if unset")
    parser.add_argument("--source", type=str, required=True, help="labels to show: manual, coarse, or of the store")
    parser.add_argument("--cost_model", choices=["polygon", "published"], default="polygon", help="prices the labels")
    parser.add_argument("--sheet", type=str | None, metavar="PNG", help="write overlays of some labels")
    parser.add_argument("--frames", type=int, default=12, help="labels on the sheet")
    parser.add_argument("--order", choices=["worst", "spread"], default="worst", help="which labels are on the sheet")
    parser.add_argument("--columns", type=int, default=4, help="overlays per row of the sheet")
    parser.add_argument("--plot", type=str | None, metavar="FILE", help="plot quality against offset")
    parser.add_argument(
        "--json", nargs="?", const=_STDOUT, metavar="FILE", help="write the figures as JSON; to stdout without FILE"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes")


def run(args: Namespace) -> int:
    """Inspect the labels, print the tables and write the pictures."""
    from rich.console import Console

    from thriftseg.labels import inspect_labels

    dataset = label_reader_of(args)
    inspection = inspect_labels(
        dataset, args.split, args.source, store=args.store, cost_model=args.cost_model, devices=args.workers
    )
    written = _write_pictures(args, dataset, inspection)
    content = json.dumps(inspection.to_json(), indent=2) + "\n"
    if args.json == _STDOUT:
        sys.stdout.write(content)
        return 0
    if args.json is not None:
        from thriftseg.atomic import write_bytes

        write_bytes(Path(args.json), content.encode())
        written.append(Path(args.json))
    console = Console()
    console.print(dataset.describe_root(), soft_wrap=True, highlight=False)
    _print(inspection, console)
    for path in written:
        console.print(f"written: {path}", soft_wrap=True, highlight=False)
    return 0


def _write_pictures(args: Namespace, dataset: ClipReader[Any], inspection: Inspection) -> list[Path]:
    from thriftseg.labels import draw_sheet, plot_by_offset, write_sheet
    from thriftseg.stores import LabelSource, store_root

    written = []
    if args.sheet is not None:
        chosen = inspection.worst(args.frames) if args.order == "worst" else inspection.spread(args.frames)
        labels = LabelSource(dataset, store_root(args.store, dataset.name), args.source)
        written.append(write_sheet(draw_sheet(labels, chosen, columns=args.columns), args.sheet))
    if args.plot is not None:
        written.append(plot_by_offset(inspection.by_offset, args.plot, f"{args.source}, {dataset.name} {args.split}"))
    return written


def _print(inspection: Inspection, console: Console) -> None:
    from thriftseg.reports import class_table

    agreement = inspection.agreement
    columns = {"share of labels": inspection.class_share}
    if agreement is not None:
        columns |= {
            "kept": agreement.kept_share.tolist(),
            "precision": agreement.precision.tolist(),
            "IoU of kept": agreement.kept_iou.tolist(),
            "IoU, ignored = wrong": agreement.iou.tolist(),
        }
    listed = inspection.listed
    names = [inspection.class_names[row] for row in listed]
    console.print(class_table(names, {name: [column[row] for row in listed] for name, column in columns.items()}))
    if inspection.by_offset:
        console.print(_offset_table(inspection))
    kinds = ", ".join(f"{count} {kind}" for kind, count in inspection.kinds.items())
    console.print(
        f"{len(inspection.labels)} labels ({kinds}), {100 * inspection.ignored_share:.1f} % of pixels ignored"
    )
    if agreement is not None:
        compared = sum(entry.agreement is not None for entry in inspection.labels)
        console.print(
            f"agreement with the manual labels of {compared} frames: mIoU {100 * agreement.miou:.1f} % with ignored "
            f"pixels counted as wrong, {100 * agreement.kept_miou:.1f} % of kept pixels; "
            f"{100 * (1 - agreement.ignored_share):.1f} % of the pixels with a class there are kept, "
            f"{100 * agreement.kept_accuracy:.2f} % of those are right",
            soft_wrap=True,
        )
    if inspection.confidence is not None:
        console.print(f"mean confidence {inspection.confidence:.3f}")
    console.print(f"manual work behind them: {inspection.cost.hours:.2f} h (cost model {inspection.cost_model})")


def _offset_table(inspection: Inspection) -> Table:
    from rich.table import Table

    table = Table("offset", "mIoU, ignored = wrong", "mIoU of kept pixels", "ignored")
    for offset, part in inspection.by_offset.items():
        table.add_row(
            str(offset), *(f"{100 * share:.1f} %" for share in (part.miou, part.kept_miou, part.ignored_share))
        )
    return table
