"""`thriftseg label clicks | propagate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thriftseg.cli.actions import Action, add_actions, run_action
from thriftseg.cli.reader import add_reader_arguments, reader_of
from thriftseg.errors import ConfigError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from thriftseg.datasets import VideoDataset
    from thriftseg.labels import Propagator


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the sub-commands and their options."""
    add_actions(parser, ACTIONS)


def run(args: Namespace) -> int:
    """Run the chosen sub-command."""
    return run_action(ACTIONS, args)


def _declare_shared(parser: ArgumentParser) -> None:
    add_reader_arguments(parser)
    parser.add_argument("--split", type=str, default="train", help="split to label")
    parser.add_argument("--store", type=str | None, metavar="DIR", help="label store; labels/<dataset> if unset")
    parser.add_argument("--source", type=str | None, help="name of the labels in the store; the method's if unset")
    parser.add_argument("--workers", type=int, default=1, help="processes")


def _declare_clicks(parser: ArgumentParser) -> None:
    _declare_shared(parser)
    parser.add_argument("--min_component", type=int | None, help="least pixels of a component; scaled to the frame")
    parser.add_argument("--seed", type=int, default=0, help="seed of clicks whose object does not hold its centre")
    parser.add_argument("--cost_model", choices=["polygon", "published"], default="polygon", help="prices the clicks")
    parser.add_argument("--import_file", type=str | None, metavar="JSON", help="read clicks from a file instead")


def _clicks(args: Namespace) -> int:
    from thriftseg.labels import import_clicks, label_clicks

    dataset, source = _announced_reader(args), args.source or "clicks"
    if args.import_file:
        summary = import_clicks(
            dataset, args.split, args.import_file, store=args.store, source=source, cost_model=args.cost_model
        )
    else:
        summary = label_clicks(
            dataset,
            args.split,
            store=args.store,
            source=source,
            min_component=args.min_component,
            seed=args.seed,
            cost_model=args.cost_model,
            workers=args.workers,
        )
    print(summary)
    return 0


def _declare_propagate(parser: ArgumentParser) -> None:
    _declare_shared(parser)
    parser.add_argument("--offsets", type=str, required=True, help="frames to label, such as =-10..10 or =-2,2")
    parser.add_argument("--method", choices=list(_PROPAGATORS), default="flow", help="what carries the labels")
    parser.add_argument("--flow", choices=["dis", "raft"], default="dis", help="what estimates the flow")
    parser.add_argument(
        "--flow_weights", type=str | None, metavar="PATH|NAME", help="weights of RAFT: a file, or a name of torchvision"
    )
    parser.add_argument(
        "--on_missing", choices=["error", "skip"], default="error", help="what to do where a clip has no frame"
    )
    parser.add_argument("--include_annotated", type=bool, default=False, help="copy the manual labels along")
    parser.add_argument("--rank", type=int, default=0, help="this machine, of --world")
    parser.add_argument("--world", type=int, default=1, help="machines that write to the same store")


def _propagate(args: Namespace) -> int:
    from thriftseg.labels import label_propagate

    summary = label_propagate(
        _announced_reader(args),
        args.split,
        args.offsets,
        method=_PROPAGATORS[args.method](args),
        store=args.store,
        source=args.source,
        include_annotated=args.include_annotated,
        on_missing=args.on_missing,
        workers=args.workers,
        rank=args.rank,
        world=args.world,
    )
    print(summary)
    return 0


def _flow_propagator(args: Namespace) -> Propagator:
    from thriftseg.flow import create_estimator
    from thriftseg.labels import FlowPropagator

    if args.flow == "dis" and args.flow_weights:
        raise ConfigError("DIS has no weights", found=f"--flow_weights {args.flow_weights}", fix="add --flow raft")
    settings = {"weights": args.flow_weights} if args.flow == "raft" else {}
    return FlowPropagator(create_estimator(args.flow, **settings))


_PROPAGATORS = {"flow": _flow_propagator}


def _announced_reader(args: Namespace) -> VideoDataset:
    dataset = reader_of(args)
    print(dataset.describe_root())
    return dataset


ACTIONS = {
    "clicks": Action(_declare_clicks, _clicks, "one click per object or region, from label maps or a file"),
    "propagate": Action(_declare_propagate, _propagate, "carry manual labels to neighbouring frames"),
}
