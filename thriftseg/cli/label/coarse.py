"""`thriftseg label coarse`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thriftseg.cli.reader import add_reader_arguments, announced_reader

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


def declare(parser: ArgumentParser) -> None:
    """Declare the options."""
    add_reader_arguments(parser)
    parser.add_argument("--split", type=str, default="train", help="split to label")
    parser.add_argument("--store", type=str | None, metavar="DIR", help="label store; labels/<dataset> if unset")
    parser.add_argument("--source", type=str, default="coarse", help="name of the labels in the store")
    parser.add_argument("--vertices", type=int, default=12, help="most corners of a polygon")
    parser.add_argument(
        "--erosion", type=float, default=32, help="pixels from the border of an object, scaled from 2048x1024"
    )
    parser.add_argument("--min_area", type=float, default=256, help="least pixels of a polygon, scaled from 2048x1024")
    parser.add_argument("--seed", type=int, default=0, help="seed of the differences between polygons")
    parser.add_argument("--cost_model", choices=["polygon", "published"], default="polygon", help="prices the labels")
    parser.add_argument("--workers", type=int, default=1, help="processes")


def run(args: Namespace) -> int:
    """Make the labels and say what they cover and cost."""
    from thriftseg.labels import CoarseStyle, label_coarse

    dataset = announced_reader(args)
    summary = label_coarse(
        dataset,
        args.split,
        store=args.store,
        source=args.source,
        style=CoarseStyle(args.vertices, args.erosion, args.min_area),
        seed=args.seed,
        cost_model=args.cost_model,
        devices=args.workers,
    )
    print(summary)
    return 0
