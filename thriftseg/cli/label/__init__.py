"""`thriftseg label ...`: making labels, and looking after them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thriftseg.cli.actions import Action, add_actions, run_action
from thriftseg.cli.label import boxes as label_boxes
from thriftseg.cli.label import coarse as label_coarse
from thriftseg.cli.label import exchange as label_exchange
from thriftseg.cli.label import fill as label_fill
from thriftseg.cli.label import inspect as label_inspect
from thriftseg.cli.label import propagate as label_propagate
from thriftseg.cli.label import refine as label_refine
from thriftseg.cli.label import review as label_review
from thriftseg.cli.reader import add_reader_arguments, announced_reader
from thriftseg.errors import ConfigError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


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
    parser.add_argument("--import_maps", type=str | None, metavar="DIR", help="read clicks from point maps instead")
    parser.add_argument("--point_maps", type=bool, default=False, help="write the clicks as point maps too")


def _clicks(args: Namespace) -> int:
    from thriftseg.labels import import_clicks, label_clicks, write_point_maps

    if args.import_file and args.import_maps:
        raise ConfigError("clicks come from a file or from point maps", fix="drop --import_file or --import_maps")
    dataset, source = announced_reader(args), args.source or "clicks"
    given = args.import_file or args.import_maps
    if given:
        summary = import_clicks(dataset, args.split, given, store=args.store, source=source, cost_model=args.cost_model)
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
    if args.point_maps:
        folder = write_point_maps(dataset, args.split, store=args.store, source=source, workers=args.workers)
        print(f"point maps in {folder}")
    return 0


ACTIONS = {
    "boxes": Action(label_boxes.declare, label_boxes.run, "masks of objects from boxes, with the least of drawn masks"),
    "clicks": Action(_declare_clicks, _clicks, "one click per object or region, from label maps or a file"),
    "propagate": Action(label_propagate.declare, label_propagate.run, "carry manual labels to neighbouring frames"),
    "refine": Action(label_refine.declare, label_refine.run, "make coarse labels finer with masks of points"),
    "export": label_exchange.EXPORT,
    "import": label_exchange.IMPORT,
    "coarse": Action(label_coarse.declare, label_coarse.run, "coarse polygons drawn inside the objects of label maps"),
    "fill": Action(label_fill.declare, label_fill.run, "fill ignored pixels of labels with a network's prediction"),
    "inspect": Action(label_inspect.declare, label_inspect.run, "show labels, what they cover, and how good they are"),
    "review": Action(label_review.declare, label_review.run, "decide about doubtful labels, spread corrections"),
}
