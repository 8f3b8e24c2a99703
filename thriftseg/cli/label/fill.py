"""`thriftseg label fill`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thriftseg.cli.inference import add_inference_arguments, inference_of, load_for
from thriftseg.cli.reader import add_reader_arguments, announced_reader

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


def declare(parser: ArgumentParser) -> None:
    """Declare the options."""
    add_reader_arguments(parser)
    parser.add_argument("--split", type=str, default="train", help="split whose labels are filled")
    parser.add_argument("--store", type=str | None, metavar="DIR", help="label store; labels/<dataset> if unset")
    parser.add_argument("--source", type=str, required=True, help="labels to fill: manual, coarse, or of the store")
    parser.add_argument("--out_source", type=str, required=True, help="name of the filled labels in the store")
    parser.add_argument("--min_confidence", type=float, default=0, help="less probable pixels stay ignored, 0 to 1")
    parser.add_argument("--fill_void", type=bool, default=False, help="fill void pixels of manual labels too")
    add_inference_arguments(parser)
    parser.add_argument("--devices", type=int, default=1, help="GPUs, or CPU processes")
    parser.add_argument("--accelerator", choices=["auto", "cpu", "gpu"], default="auto", help="what to compute on")


def run(args: Namespace) -> int:
    """Fill the labels and say how much of them was filled."""
    from thriftseg.labels import label_fill

    inference = inference_of(args)
    dataset = announced_reader(args)
    loaded = load_for(dataset.taxonomy, args.weights)
    summary = label_fill(
        dataset,
        args.split,
        loaded.network,
        source=args.source,
        out_source=args.out_source,
        store=args.store,
        min_confidence=args.min_confidence,
        fill_void=args.fill_void,
        inference=inference or loaded.inference,
        resize=tuple(args.resize) if args.resize else loaded.eval_size,
        devices=args.devices,
        accelerator=args.accelerator,
    )
    print(summary)
    return 0
