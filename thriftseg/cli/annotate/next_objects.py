"""`thriftseg annotate next` for masks of objects."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

from thriftseg.cli.annotate.objects import (
    add_method_arguments,
    dataset_of,
    device_of,
    encoders_of,
    prompter_of,
    propagator_of,
    refuse,
)
from thriftseg.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jsonargparse import ArgumentParser, Namespace
    from rich.table import Table

    from thriftseg.annotation import RankedAnnotation, TypeChoice
    from thriftseg.datasets import VOSDataset
    from thriftseg.labels import Prompter

DEFAULTS: dict[str, Any] = {
    "qnet_weights": None,
    "policy_weights": None,
    "propagator": "nearest",
    "propagator_weights": None,
    "flow_cache": None,
    "prompter": "grabcut",
    "prompter_weights": None,
}
"""Defaults of the options that serve masks of objects only."""

_COLD_ONLY = {"strategy": "both", "pool_factor": 5, "step": 1}
_SHOWN = 20


def declare(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--qnet_weights",
        type=str | None,
        metavar="NAME|PATH",
        help="for masks of objects: qnet, which ranks frames; without one, looks and motion decide",
    )
    parser.add_argument(
        "--policy_weights",
        type=str | None,
        metavar="NAME|PATH",
        help="for masks of objects: the agent, which says how to annotate a frame; drawn without one",
    )
    add_method_arguments(parser)


def run(args: Namespace) -> int:
    """Rank, and write what to annotate."""
    from thriftseg.annotation import write_annotation_tasks

    if args.policy_weights and not args.qnet_weights:
        raise ConfigError("the agent needs somebody who chooses frames", fix="add --qnet_weights")
    if args.qnet_weights:
        refuse(args, _COLD_ONLY, "rankings without a network")
    dataset = dataset_of(args)
    prompter = prompter_of(args)
    ranking = _ranking(args, dataset, prompter)
    written = write_annotation_tasks(ranking, args.out, prompter)

    from thriftseg.reports import print_table

    print_table(_table(ranking))
    hours = sum(each.seconds for each in ranking) / 3600
    print(f"{len(ranking)} to annotate in {written}, {hours:.3f} h; a folder with task.json for each in {args.out}")
    if args.qnet_weights:
        print(f"then: {_loop(args)}")
    return 0


def _ranking(args: Namespace, dataset: VOSDataset, prompter: Prompter) -> list[RankedAnnotation]:
    from thriftseg.annotation import (
        MaskFilesPerson,
        SampleSelection,
        list_objects,
        rank_annotations,
        rank_cold_annotations,
    )

    videos, skipped = list_objects(dataset, args.split)
    for line in skipped:
        print(line)
    person, propagator = MaskFilesPerson(args.out, prompter), propagator_of(args)
    shared: dict[str, Any] = {"first_only": args.include_labelled, "seed": args.seed}
    if args.qnet_weights:
        from thriftseg.annotation import QNetFrames

        frames = QNetFrames(args.qnet_weights, device_of(args))
        return rank_annotations(videos, args.count, frames, _types(args, prompter), person, propagator, **shared)
    selection = SampleSelection(args.strategy, args.pool_factor)
    return rank_cold_annotations(
        dataset, args.split, videos, args.count, person, propagator, selection=selection, step=args.step, **shared
    )


def _types(args: Namespace, prompter: Prompter) -> TypeChoice:
    from thriftseg.annotation import create_type_choice

    if not args.policy_weights:
        return create_type_choice("mask")
    agent = {"network": args.policy_weights, "choice": "argmax", "device": device_of(args)}
    return create_type_choice("agent", encoders=encoders_of(prompter), **agent)


def _loop(args: Namespace) -> str:
    """The command that reads the answers for the first annotation of each object, and goes on."""
    options = ["dataset", "root", "split", *(name for name in DEFAULTS if args[name] != DEFAULTS[name])]
    given = shlex.join(word for name in options if args[name] is not None for word in (f"--{name}", str(args[name])))
    given += f" --reader {shlex.quote(json.dumps(args.reader))}" if args.reader else ""
    types = "--type agent --policy argmax" if args.policy_weights else "--type mask"
    return f"thriftseg annotate eva-vos {given} --frame qnet {types} --annotator files --work {args.out} --out RUN"


def _table(ranking: Sequence[RankedAnnotation]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, header_style="bold")
    for heading in ("rank", "video", "object", "frame", "type", "seconds", "score"):
        table.add_column(heading, justify="left" if heading in ("video", "type") else "right")
    for rank, each in enumerate(ranking[:_SHOWN], start=1):
        place = [each.video.video, each.video.object_id, each.video.numbers[each.place]]
        table.add_row(*map(str, [rank, *place, each.kind, f"{each.seconds:g}", f"{each.score:.4f}"]))
    if len(ranking) > _SHOWN:
        table.caption = f"and {len(ranking) - _SHOWN} more"
    return table
