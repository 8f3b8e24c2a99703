"""`thriftseg label review`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thriftseg.cli.reader import add_reader_arguments, announced_reader
from thriftseg.errors import ConfigError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace
    from rich.table import Table

    from thriftseg.datasets import VideoDataset
    from thriftseg.labels import Propagator, ReviewList
    from thriftseg.stores import LabelRow


def declare(parser: ArgumentParser) -> None:
    """Declare the options."""
    add_reader_arguments(parser)
    parser.add_argument("--split", type=str, default="train", help="split whose labels are reviewed")
    parser.add_argument("--store", type=str | None, metavar="DIR", help="label store; labels/<dataset> if unset")
    parser.add_argument("--source", type=str, required=True, help="labels of the store to review")
    parser.add_argument("--worst", type=int, default=20, help="labels to list, least confident first")
    parser.add_argument("--objects", type=bool, default=False, help="list their objects in the decisions file too")
    parser.add_argument("--sheet", type=str | None, metavar="PNG", help="write overlays of the labels listed")
    parser.add_argument(
        "--decisions", type=str | None, metavar="CSV", help="write a table to be filled in, or apply it"
    )
    parser.add_argument("--apply", type=bool, default=False, help="store the decisions of the table")
    _declare_corrections(parser)


def _declare_corrections(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--corrections", type=str | None, metavar="SOURCE", help="labels that people made: say what they reach"
    )
    parser.add_argument("--repropagate", type=bool, default=False, help="make again what the corrections reach")
    parser.add_argument(
        "--weights", type=str | None, metavar="NAME|PATH", help="weights of stm, sam2 or RAFT, which rows do not hold"
    )
    parser.add_argument(
        "--settings", type=dict[str, Any], default={}, metavar="JSON", help="further settings of stm or sam2"
    )
    parser.add_argument("--devices", type=int, default=1, help="GPUs, or CPU processes")
    parser.add_argument("--accelerator", choices=["auto", "cpu", "gpu"], default="auto", help="what to compute on")


def run(args: Namespace) -> int:
    """List doubtful labels; or store decisions, and make again what corrections reach."""
    if args.apply and args.decisions is None:
        raise ConfigError("--apply true without decisions", fix="give --decisions FILE")
    if args.repropagate and args.corrections is None:
        raise ConfigError("--repropagate true without corrections", fix="give --corrections SOURCE")
    dataset = announced_reader(args)
    if args.apply:
        from thriftseg.labels import apply_decisions

        print(apply_decisions(dataset, args.source, args.decisions, store=args.store))
    if args.corrections is not None:
        _correct(args, dataset)
    if not args.apply and args.corrections is None:
        _list(args, dataset)
    return 0


def _list(args: Namespace, dataset: VideoDataset) -> None:
    from rich.console import Console

    from thriftseg.labels import least_confident, write_decisions

    found = least_confident(dataset, args.split, args.source, store=args.store, worst=args.worst, devices=args.devices)
    written = [] if args.decisions is None else [write_decisions(args.decisions, found.rows(args.objects))]
    if args.sheet is not None and found.labels:
        written.append(_write_sheet(args, dataset, found))
    console = Console()
    console.print(_table(found))
    print(f"{found.undecided} labels without a decision, {found.decided} accepted or locked")
    for path in written:
        print(f"written: {path}")


def _write_sheet(args: Namespace, dataset: VideoDataset, found: ReviewList) -> Any:
    from thriftseg.labels import draw_sheet, write_sheet
    from thriftseg.stores import LabelSource, store_root

    labels = LabelSource(dataset, store_root(args.store, dataset.name), args.source)
    return write_sheet(draw_sheet(labels, [entry.inspected for entry in found.labels]), args.sheet)


def _table(found: ReviewList) -> Table:
    from rich.table import Table

    names = ("confidence", "ignored", "right", "lost")
    table = Table("frame", *names, title="Least confident labels")
    for entry in found.labels:
        figures = found.figures(entry)
        table.add_row(entry.inspected.label.id, *(figures[name] for name in names))
    return table


def _correct(args: Namespace, dataset: VideoDataset) -> None:
    from thriftseg.labels import Repropagation

    repropagation = Repropagation(dataset, args.split, args.source, args.corrections, store=args.store)
    if args.repropagate:
        propagator = _propagator(args, repropagation.row)
        print(repropagation.run(propagator, devices=args.devices, accelerator=args.accelerator))
        return
    plan = repropagation.plan()
    for task in plan.tasks:
        frames = ", ".join(map(str, task.targets))
        print(f"{task.clip.video}: the correction of frame {task.annotated} reaches {frames}")
    print(
        f"{plan.targets} labels to make again (--repropagate true), {plan.done} made again before, "
        f"{plan.locked} locked ones in these clips"
    )


def _propagator(args: Namespace, row: LabelRow) -> Propagator:
    from thriftseg.labels import propagator_like

    settings = dict(args.settings)
    if str(row.arguments.get("estimator", "")).startswith("RAFT"):
        from thriftseg.flow import create_estimator

        settings["estimator"] = create_estimator("raft", weights=args.weights)
    elif args.weights is not None:
        settings["weights"] = args.weights
    return propagator_like(row, **settings)
