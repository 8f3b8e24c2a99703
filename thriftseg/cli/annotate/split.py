"""`thriftseg annotate split`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from thriftseg.cli.annotate.objects import dataset_of
from thriftseg.cli.reader import add_reader_arguments
from thriftseg.datasets import MOSE, VOS_DATASETS
from thriftseg.errors import ConfigError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


def declare(parser: ArgumentParser) -> None:
    """Declare the options."""
    from thriftseg.annotation import LEAST_FRAMES, MOST_FRAMES

    add_reader_arguments(parser, VOS_DATASETS)
    parser.add_argument("--split", type=str, default="train", help="split whose videos are split")
    parser.add_argument("--least", type=int, default=LEAST_FRAMES, help="fewest frames of a video that is taken")
    parser.add_argument("--most", type=int, default=MOST_FRAMES, help="most frames of a video that is taken")
    parser.add_argument("--out", type=str, required=True, metavar="DIR", help="folder of train.txt, val.txt, test.txt")


def run(args: Namespace) -> int:
    """Write the lists, and tell how long they are."""
    from thriftseg.annotation import PARTS, split_videos, write_lists

    if not 1 <= args.least <= args.most:
        raise ConfigError("--least and --most", expected="1 <= least <= most", found=f"{args.least} and {args.most}")
    dataset = dataset_of(args)
    lengths = {clip.video: len(clip.frames) for clip in dataset.clips(args.split)}
    parts = split_videos(lengths, args.least, args.most)
    write_lists(parts, Path(args.out))
    taken = sum(map(len, parts.values()))
    print(f"{taken} of {len(lengths)} videos have {args.least} to {args.most} frames")
    for part, names in parts.items():
        print(f"{Path(args.out) / part}.txt: {len(names)}")
    if dataset.name == MOSE.name and taken != sum(PARTS.values()):
        print(
            f"EVA-VOS found {sum(PARTS.values())} such videos in the training part of MOSE and split them "
            f"{'/'.join(map(str, PARTS.values()))}; take all of them by --reader '{{\"held_out\": 0}}'"
        )
    return 0
