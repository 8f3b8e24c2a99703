"""`thriftseg annotate collect`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from thriftseg.cli.annotate.objects import (
    add_click_arguments,
    add_method_arguments,
    add_video_arguments,
    dataset_of,
    listed_objects,
    prompter_of,
    propagator_of,
)
from thriftseg.cli.reader import add_reader_arguments
from thriftseg.cli.shipped_config import add_config_argument
from thriftseg.datasets import VOS_DATASETS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jsonargparse import ArgumentParser, Namespace

    from thriftseg.annotation import CollectedTotal, CollectSettings

_SAMPLES = {"quality set": "masks", "type set": "states"}
_CONFIGS = {
    "quality set": "--config eva_vos/mask_quality.yaml --data.quality_set",
    "type set": "--config eva_vos/annotation_policy.yaml --data.type_set",
}


def declare(parser: ArgumentParser) -> None:
    """Declare the options."""
    add_config_argument(parser)
    add_reader_arguments(parser, VOS_DATASETS)
    add_video_arguments(parser, split="train")
    parser.add_argument(
        "--what",
        choices=["quality", "types", "both"],
        default="both",
        help="masks and how good they are, for qnet; what came of clicks and masks, for the agent; or both",
    )
    add_method_arguments(parser)
    _declare_rounds(parser)
    parser.add_argument("--seed", type=int, default=0, help="seed of the frames that are drawn at random")
    parser.add_argument("--device", type=str, default="auto", help="where networks compute: auto, cpu, cuda or cuda:N")
    parser.add_argument(
        "--out",
        type=str | None,
        metavar="DIR",
        help="folder of quality_set and type_set, which go on if they are there; labels/<dataset> if unset",
    )


def _declare_rounds(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--rounds",
        type=int | None,
        help="rounds per object, the first mask included; 8 for the quality set and 10 for the type set if unset",
    )
    parser.add_argument(
        "--random_rounds", type=int, default=4, help="further rounds of the quality set in which any frame is drawn"
    )
    parser.add_argument("--state_clicks", type=int, default=5, help="clicks that are tried in a state of the type set")
    add_click_arguments(parser)


def run(args: Namespace) -> int:
    """Record what the networks of EVA-VOS learn from, and tell how much there is."""
    from thriftseg.annotation import ClickPerson, collect_annotations
    from thriftseg.stores import store_root

    settings = _settings(args)
    dataset = dataset_of(args)
    videos = listed_objects(args, dataset)
    out = store_root(args.out, dataset.name)
    totals = collect_annotations(
        dataset,
        videos,
        ClickPerson(prompter_of(args), clicks=args.clicks, sam_choice=args.sam_choice),
        propagator_of(args),
        out,
        settings,
        say=lambda line: print(line, flush=True),
    )
    _conclude(totals, dataset.root)
    return 0


def _settings(args: Namespace) -> CollectSettings:
    from thriftseg.annotation import CollectSettings

    rounds = {} if args.rounds is None else {"quality_rounds": args.rounds, "type_rounds": args.rounds}
    return CollectSettings(
        what=args.what, random_rounds=args.random_rounds, state_clicks=args.state_clicks, seed=args.seed, **rounds
    )


def _conclude(totals: Sequence[CollectedTotal], frames: Path) -> None:
    for total in totals:
        print(
            f"{total.kind} {total.folder}: {total.objects} objects, {total.rounds} rounds, "
            f"{total.samples} {_SAMPLES[total.kind]}, {total.cost.hours:.3f} h of simulated annotation"
        )
    for total in totals:
        print(f"then: thriftseg fit {_CONFIGS[total.kind]} {total.folder} --data.frames_root {frames}")
