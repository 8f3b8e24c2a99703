"""`thriftseg evaluate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

_STDOUT = "-"


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    _add_inputs(parser)
    _add_metrics(parser)
    _add_outputs(parser)


def _add_inputs(parser: ArgumentParser) -> None:
    from thriftseg.reports import FOLDER_LAYOUTS

    ids = ["auto", "label", "train"]
    parser.add_argument("--pred", type=str, required=True, metavar="DIR", help="folder of predicted PNGs")
    parser.add_argument("--gt", type=str, required=True, metavar="DIR", help="root of the data, or folder of labels")
    parser.add_argument("--layout", required=True, choices=list(FOLDER_LAYOUTS), help="how files are named")
    parser.add_argument("--split", type=str | None, help="split to score; the customary one if unset")
    parser.add_argument("--classes", type=str | None, metavar="YAML", help="class table; that of the layout if unset")
    parser.add_argument("--pred_ids", choices=ids, default="auto", help="what the ids of predictions mean")
    parser.add_argument("--gt_ids", choices=ids, default="auto", help="what the ids of true labels mean")
    parser.add_argument("--frames", type=str | None, metavar="DIR", help="pictures, for tc; found if unset")
    parser.add_argument("--fps", type=float | None, help="frame numbers per second; those of the layout if unset")


def _add_metrics(parser: ArgumentParser) -> None:
    parser.add_argument("--metrics", type=str | None, metavar="LIST", help="some of miou,boundary_iou,tc,jf")
    parser.add_argument("--boundary_width", type=int, default=2, help="width of the boundary in pixels")
    parser.add_argument("--boundary_ratio", type=float | None, help="width as a share of the diagonal instead")
    parser.add_argument(
        "--void",
        choices=["ignore_after", "ignore_before", "none"],
        default="ignore_after",
        help="what Boundary-IoU does near pixels without a class",
    )
    parser.add_argument("--flow", choices=["dis", "raft"], default="dis", help="estimator of optical flow, for tc")
    parser.add_argument("--flow_weights", type=str | None, metavar="PATH|NAME", help="weights of raft")
    parser.add_argument("--flow_store", type=str | None, metavar="DIR", help="keep flow for the next run")
    parser.add_argument("--tc_rule", choices=["thriftseg", "vspw", "etc"], default="thriftseg", help="rule of tc")
    parser.add_argument(
        "--jf_protocol",
        choices=["davis", "davis_unsupervised", "all_frames", "present_frames", "youtube_vos"],
        help="frames and objects that count for jf; those of the layout if unset",
    )
    parser.add_argument("--resamples", type=int, default=1000, help="draws of the bootstrap; 0 for no intervals")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draws")


def _add_outputs(parser: ArgumentParser) -> None:
    parser.add_argument("--workers", type=int | None, help="processes; one per core if unset")
    parser.add_argument("--out", type=str | None, metavar="DIR", help="write report.json, CSV tables, confusion.png")
    parser.add_argument(
        "--json", nargs="?", const=_STDOUT, metavar="FILE", help="write the report as JSON; to stdout without FILE"
    )


def run(args: Namespace) -> int:
    """Score the predictions and print the tables."""
    from rich.console import Console

    from thriftseg.atomic import write_bytes
    from thriftseg.reports import evaluate, print_evaluation

    options = args.as_dict()
    out, json_file, metrics = options.pop("out"), options.pop("json"), options.pop("metrics")
    report = evaluate.evaluate(**options, metrics=[name.strip() for name in metrics.split(",")] if metrics else None)
    if out is not None:
        report.write(out)
    if json_file == _STDOUT:
        sys.stdout.write(report.to_json())
        return 0
    if json_file is not None:
        write_bytes(Path(json_file), report.to_json().encode())
    print_evaluation(report, Console())
    return 0
