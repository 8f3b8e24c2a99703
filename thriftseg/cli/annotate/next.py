"""`thriftseg annotate next`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thriftseg.cli.annotate import next_objects as annotate_next_objects
from thriftseg.cli.annotate.objects import refuse
from thriftseg.cli.inference import load_for
from thriftseg.cli.reader import add_reader_arguments, announced_reader, has_objects
from thriftseg.datasets import DATASETS, VOS_DATASETS
from thriftseg.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jsonargparse import ArgumentParser, Namespace
    from rich.table import Table

    from thriftseg.annotation import NetworkView, RankedSample
    from thriftseg.taxonomies import Taxonomy

_SHOWN = 20
_CLASSES_ONLY: dict[str, Any] = {
    "weights": None,
    "resize": None,
    "granularity": "frame",
    "superpixel_weights": None,
    "uncertainty": "entropy",
    "labelled": [],
    "store": None,
    "exchange": "coco",
}
"""Defaults of the options that serve labels of classes only."""


def declare(parser: ArgumentParser) -> None:
    """Declare the options."""
    add_reader_arguments(parser, [*DATASETS, *VOS_DATASETS])
    parser.add_argument("--split", type=str, default="train", help="split to choose from")
    parser.add_argument("--count", type=int, required=True, metavar="N", help="how many are wanted")
    parser.add_argument(
        "--weights",
        type=str | None,
        metavar="NAME|PATH|hf:ORG/NAME",
        help="network that is asked what it is unsure of; without one, looks and motion decide",
    )
    parser.add_argument(
        "--resize", type=int, nargs=2, metavar=("H", "W"), help="working size; that of the weights, or of the files"
    )
    parser.add_argument(
        "--granularity", type=str, default=_CLASSES_ONLY["granularity"], help="frame, rec<N> such as rec40, or sp"
    )
    parser.add_argument("--superpixel_weights", type=str | None, help="weights of SpixelFCN; SLIC without")
    parser.add_argument(
        "--strategy",
        choices=["random", "uncertainty", "diversity", "both", "kmeans"],
        default="both",
        help="by uncertainty (or motion), by diversity of features (or looks), or by both",
    )
    parser.add_argument("--pool_factor", type=int, default=5, help="pool of both and kmeans, in multiples of --count")
    parser.add_argument(
        "--uncertainty",
        choices=["entropy", "margin", "least_conf"],
        default=_CLASSES_ONLY["uncertainty"],
        help="how it is measured",
    )
    parser.add_argument("--step", type=int, default=1, help="look at every n-th frame of a video")
    parser.add_argument(
        "--labelled",
        type=str,
        nargs="*",
        default=[],
        metavar="SOURCE",
        help="leave out what these sources have labelled",
    )
    parser.add_argument("--store", type=str | None, metavar="DIR", help="label store; labels/<dataset> if unset")
    parser.add_argument(
        "--include_labelled", type=bool, default=False, help="rank frames with a manual label of the data set, too"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of what is random in the strategy")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument(
        "--exchange", choices=["coco", "cvat"], default=_CLASSES_ONLY["exchange"], help="format of the annotation file"
    )
    annotate_next_objects.declare(parser)
    parser.add_argument("--out", type=str, required=True, metavar="DIR", help="folder to write to")


def run(args: Namespace) -> int:
    """Rank, and write what to label."""
    if has_objects(args):
        refuse(args, _CLASSES_ONLY, "labels of classes")
        return annotate_next_objects.run(args)
    refuse(args, annotate_next_objects.DEFAULTS, "masks of objects")
    from thriftseg.annotation import SampleSelection, create_granularity, labelled_frames, rank_samples, write_ranking

    dataset = announced_reader(args)
    granularity = create_granularity(args.granularity, args.superpixel_weights)
    known = labelled_frames(
        dataset, args.split, manual=not args.include_labelled, sources=args.labelled, store=args.store
    )
    ranking = rank_samples(
        dataset,
        args.split,
        args.count,
        view=_view(args, dataset.taxonomy),
        granularity=granularity,
        selection=SampleSelection(args.strategy, args.pool_factor),
        labelled=known,
        step=args.step,
        seed=args.seed,
    )
    written = write_ranking(dataset, ranking, args.out, tool=args.exchange, granularity=granularity)

    from thriftseg.reports import print_table

    print_table(_table(ranking))
    print(
        f"{len(ranking)} to label in {written}\nthen: thriftseg label import --dataset {args.dataset} "
        f"--split {args.split} --format {args.exchange} --path {args.out} --source NAME"
    )
    return 0


def _view(args: Namespace, taxonomy: Taxonomy) -> NetworkView | None:
    if args.weights is None:
        if args.resize:
            raise ConfigError("--resize is about a network", fix="add --weights, or drop it")
        return None
    from thriftseg.annotation import NetworkView

    loaded = load_for(taxonomy, args.weights)
    resize = tuple(args.resize) if args.resize else loaded.eval_size
    return NetworkView(loaded.network, args.uncertainty, resize, args.device, loaded.inference)


def _table(ranking: Sequence[RankedSample]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, header_style="bold")
    for heading in ("rank", "video", "frame", "region", "pixels", "score"):
        table.add_column(heading, justify="left" if heading == "video" else "right")
    for rank, each in enumerate(ranking[:_SHOWN], start=1):
        number, region = each.sample
        row = [rank, each.clip.video, number, region, each.pixels, f"{each.score:.3f}"]
        table.add_row(*map(str, row))
    if len(ranking) > _SHOWN:
        table.caption = f"and {len(ranking) - _SHOWN} more"
    return table
