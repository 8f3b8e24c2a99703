"""`thriftseg annotate hvsa`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thriftseg.cli.annotate.loop import VideoLoop, add_loop_arguments
from thriftseg.errors import ConfigError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from thriftseg.annotation import Annotator


def declare(parser: ArgumentParser) -> None:
    """Declare the options."""
    add_loop_arguments(parser, left_out={"budget"})
    parser.add_argument(
        "--budget", type=str | int | float, default="10%", help="what may be spent: a number, or per cent of the video"
    )
    parser.add_argument(
        "--annotator", choices=["simulated", "files"], default="simulated", help="the truth, or a person with files"
    )
    parser.add_argument("--exchange", choices=["png", "coco", "cvat"], default="png", help="files of the person")
    parser.add_argument("--work", type=str | None, metavar="DIR", help="folder of the person; <out>/work if unset")
    parser.add_argument(
        "--seconds_per_sample", type=float | None, help="working time of the person per sample, where it is known"
    )


def run(args: Namespace) -> int:
    """Label the video, and write the report."""
    loop = VideoLoop(args)
    result = loop.run(loop.settings(budget=str(args.budget)), _annotator(args, loop), loop.out)

    from thriftseg.reports import annotation_table, print_table, read_annotation_run, write_annotation_report

    report = write_annotation_report(result.folder, loop.dataset)
    print_table(annotation_table(read_annotation_run(result.folder)))
    print(f"labels {result.store}\nreport {report.page}\nvideo  {report.video}")
    return 0


def _annotator(args: Namespace, loop: VideoLoop) -> Annotator:
    if args.annotator == "files":
        from thriftseg.annotation import FilesAnnotator

        return FilesAnnotator(
            args.work or loop.out / "work",
            loop.dataset.taxonomy,
            loop.read_frame,
            exchange=args.exchange,
            seconds_per_sample=args.seconds_per_sample,
        )
    for name in ("work", "seconds_per_sample"):
        if args[name] is not None:
            raise ConfigError(f"--{name} is about a person", found="--annotator simulated", fix="add --annotator files")
    return loop.simulated_person()
