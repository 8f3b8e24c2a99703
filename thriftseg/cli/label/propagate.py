"""`thriftseg label propagate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thriftseg.cli.reader import LABEL_DATASETS, add_reader_arguments, label_reader_of
from thriftseg.errors import ConfigError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace
    from rich.table import Table

    from thriftseg.labels import PropagationSummary, Propagator


def declare(parser: ArgumentParser) -> None:
    """Declare the options."""
    _declare_task(parser)
    _declare_method(parser)
    _declare_machines(parser)


def _declare_task(parser: ArgumentParser) -> None:
    add_reader_arguments(parser, LABEL_DATASETS)
    parser.add_argument("--split", type=str, default="train", help="split to label")
    parser.add_argument("--offsets", type=str, required=True, help="frames to label, such as =-10..10 or =-2,2")
    parser.add_argument("--store", type=str | None, metavar="DIR", help="label store; labels/<dataset> if unset")
    parser.add_argument("--source", type=str | None, help="name of the labels in the store; the method's if unset")
    parser.add_argument("--include_annotated", type=bool, default=False, help="copy the manual labels along")
    parser.add_argument("--save_objects", type=bool, default=False, help="write PNGs of object ids too")
    parser.add_argument(
        "--on_missing", choices=["error", "skip"], default="error", help="what to do where a clip has no frame"
    )
    parser.add_argument(
        "--annotated_every", type=int, default=1, help="start from every such annotated frame only, to test the others"
    )
    parser.add_argument("--cost_model", choices=["polygon", "published"], default="polygon", help="prices the labels")


def _declare_method(parser: ArgumentParser) -> None:
    parser.add_argument("--method", choices=list(_PROPAGATORS), default="flow", help="what carries the labels")
    parser.add_argument(
        "--object_unit", choices=["class", "instance", "component"], default="class", help="what counts as one object"
    )
    parser.add_argument("--min_area", type=int, default=64, help="least pixels of an object of the unit component")
    parser.add_argument("--flow", choices=["dis", "raft"], default="dis", help="what estimates the flow")
    parser.add_argument(
        "--flow_weights", type=str | None, metavar="PATH|NAME", help="weights of RAFT: a file, or a name of torchvision"
    )
    parser.add_argument("--weights", type=str | None, metavar="NAME|PATH", help="weights of stm or sam2")
    parser.add_argument("--max_objects", type=int, default=32, help="objects that sam2 follows at once")
    parser.add_argument(
        "--settings", type=dict[str, Any], default={}, metavar="JSON", help="further settings of stm or sam2"
    )


def _declare_machines(parser: ArgumentParser) -> None:
    parser.add_argument("--devices", type=int | None, help="GPUs, or CPU processes, per node; 1 if unset")
    parser.add_argument("--accelerator", choices=["auto", "cpu", "gpu"], default="auto", help="what to compute on")
    parser.add_argument("--num_nodes", type=int, default=1, help="nodes that work together")
    parser.add_argument("--workers", type=int | None, help="processes on the CPU: --devices N --accelerator cpu")
    parser.add_argument("--rank", type=int, default=0, help="this machine, of --world")
    parser.add_argument("--world", type=int, default=1, help="machines that write to the same store on their own")


def run(args: Namespace) -> int:
    """Propagate, and print what was made, what it cost and how good it is."""
    from thriftseg.labels import UnfinishedError, label_propagate

    dataset = label_reader_of(args)
    print(dataset.describe_root())
    devices, accelerator = _machines(args)
    try:
        summary = label_propagate(
            dataset,
            args.split,
            args.offsets,
            method=_PROPAGATORS[args.method](args),
            object_unit=args.object_unit,
            min_area=args.min_area,
            store=args.store,
            source=args.source,
            include_annotated=args.include_annotated,
            save_objects=args.save_objects,
            on_missing=args.on_missing,
            annotated_every=args.annotated_every,
            cost_model=args.cost_model,
            devices=devices,
            accelerator=accelerator,
            num_nodes=args.num_nodes,
            rank=args.rank,
            world=args.world,
        )
    except UnfinishedError as error:
        _print(error.summary)
        raise
    _print(summary)
    return 0


def _machines(args: Namespace) -> tuple[int, Any]:
    if args.workers is None:
        return 1 if args.devices is None else args.devices, args.accelerator
    if args.devices is not None or args.accelerator == "gpu":
        raise ConfigError("--workers are processes on the CPU", fix="give --devices and --accelerator only")
    return args.workers, "cpu"


def _flow(args: Namespace) -> Propagator:
    from thriftseg.flow import create_estimator
    from thriftseg.labels import create_propagator

    _refuse(args, "weights", "settings")
    if args.flow == "dis" and args.flow_weights:
        raise ConfigError("DIS has no weights", found=f"--flow_weights {args.flow_weights}", fix="add --flow raft")
    settings = {"weights": args.flow_weights} if args.flow == "raft" else {}
    return create_propagator("flow", estimator=create_estimator(args.flow, **settings))


def _nearest(args: Namespace) -> Propagator:
    from thriftseg.labels import create_propagator

    _refuse(args, "weights", "settings", "flow_weights")
    return create_propagator("nearest")


def _stm(args: Namespace) -> Propagator:
    from thriftseg.labels import create_propagator

    _refuse(args, "flow_weights")
    return create_propagator("stm", weights=args.weights, **args.settings)


def _sam2(args: Namespace) -> Propagator:
    from thriftseg.labels import create_propagator

    _refuse(args, "flow_weights")
    return create_propagator("sam2", weights=args.weights, max_objects=args.max_objects, **args.settings)


_PROPAGATORS = {"flow": _flow, "nearest": _nearest, "stm": _stm, "sam2": _sam2}


def _refuse(args: Namespace, *options: str) -> None:
    for option in options:
        if args[option]:
            raise ConfigError(f"--method {args.method} does not take --{option}", found=str(args[option]))


def _print(summary: PropagationSummary) -> None:
    from rich.console import Console

    from thriftseg.workers import is_first_process

    if is_first_process():
        console = Console()
        console.print(_totals(summary))
        if summary.agreement:
            console.print(_quality(summary))
        print(summary)


def _totals(summary: PropagationSummary) -> Table:
    from rich.table import Table

    table = Table("written", "there already", "failed", "objects lost", "ignored", "manual work", title="Labels")
    hours = "" if summary.cost is None else f"{summary.cost.hours:.2f} h"
    counts = (summary.written, summary.kept, len(summary.failures), summary.lost)
    table.add_row(*map(str, counts), f"{100 * summary.ignored_share:.1f} %", hours)
    return table


def _quality(summary: PropagationSummary) -> Table:
    from rich.table import Table

    from thriftseg.labels import Agreement

    title = "Agreement of new labels with manual ones"
    table = Table("offset", "mIoU, ignored = wrong", "mIoU of kept pixels", "ignored", title=title)
    rows = {str(offset): part for offset, part in summary.agreement.items()}
    for name, part in {**rows, "all": Agreement.sum(rows.values())}.items():
        table.add_row(name, f"{part.miou:.3f}", f"{part.kept_miou:.3f}", f"{100 * part.ignored_share:.1f} %")
    return table
