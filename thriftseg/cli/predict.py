"""`thriftseg predict`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thriftseg.cli.inference import add_inference_arguments, inference_of

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    add_inference_arguments(parser)
    parser.add_argument("--input", required=True, metavar="FILE|DIR", help="video file, or folder of frames")
    parser.add_argument("--out", default="predictions", metavar="DIR", help="folder for the results")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--fps", type=float, help="frames per second of the overlay video")
    parser.add_argument("--alpha", type=float, default=0.5, help="weight of the colours in the overlay, 0 to 1")
    parser.add_argument("--classes", metavar="YAML", help="class table with names and colours of your own classes")
    parser.add_argument("--overwrite", action="store_true", help="replace the results of an earlier run")


def run(args: Namespace) -> int:
    """Segment the input and print the share of every class."""
    inference = inference_of(args)
    from rich.console import Console

    from thriftseg.inference import predict
    from thriftseg.reports import class_table

    summary = predict(
        args.weights,
        args.input,
        args.out,
        inference=inference,
        resize=tuple(args.resize) if args.resize else None,
        device=args.device,
        fps=args.fps,
        alpha=args.alpha,
        classes=args.classes,
        overwrite=args.overwrite,
    )
    console = Console()
    console.print(class_table(summary.class_names, {"share": list(summary.share.values())}))
    size = f" at {summary.resized[0]}x{summary.resized[1]}" if summary.resized else ""
    console.print(
        f"{summary.frames} frames{size}, {1000 * summary.seconds_per_frame:.0f} ms each on {summary.device}\n"
        f"labels {summary.labels}\nvideo  {summary.video}"
    )
    return 0
