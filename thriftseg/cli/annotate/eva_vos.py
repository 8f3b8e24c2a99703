"""`thriftseg annotate eva-vos`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from thriftseg.cli.annotate.objects import (
    add_click_arguments,
    add_method_arguments,
    add_video_arguments,
    dataset_of,
    device_of,
    encoders_of,
    listed_objects,
    prompter_of,
    propagator_of,
    scorer_network_of,
)
from thriftseg.cli.reader import add_reader_arguments
from thriftseg.cli.shipped_config import add_config_argument
from thriftseg.datasets import VOS_DATASETS
from thriftseg.errors import ConfigError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from thriftseg.annotation import (
        EVAVOSResult,
        EVAVOSSettings,
        FrameChoice,
        MaskAnnotator,
        TypeChoice,
    )
    from thriftseg.labels import Prompter

TYPES = ("agent", "clicks", "mask", "random", "oracle")


def declare(parser: ArgumentParser) -> None:
    """Declare the options."""
    add_config_argument(parser)
    add_reader_arguments(parser, VOS_DATASETS)
    add_video_arguments(parser, split="val")
    add_method_arguments(parser)
    _declare_choices(parser)
    _declare_limits(parser)
    _declare_person(parser)
    parser.add_argument("--seed", type=int, default=0, help="seed of everything random")
    parser.add_argument("--device", type=str, default="auto", help="where networks compute: auto, cpu, cuda or cuda:N")
    parser.add_argument(
        "--out", type=str, required=True, metavar="DIR", help="folder of the run; goes on if it has one"
    )


def _declare_choices(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--frame",
        type=str,
        default="random",
        metavar="RULE",
        help="frame to annotate next: qnet, random, oracle, upper_bound, or l2:<model of timm>",
    )
    parser.add_argument(
        "--upper_bound_frames", type=int | None, default=104, help="frames that upper_bound tries; all if null"
    )
    parser.add_argument("--qnet_weights", type=str | None, metavar="NAME|PATH", help="weights of qnet")
    parser.add_argument("--type", choices=TYPES, default="mask", help="who decides how to annotate it, or how it is")
    parser.add_argument("--policy_weights", type=str | None, metavar="NAME|PATH", help="weights of the agent")
    parser.add_argument(
        "--policy", choices=["sampled", "argmax"], default="sampled", help="draw the agent's decision, or take the best"
    )
    parser.add_argument(
        "--ranking",
        choices=["none", "value", "oracle"],
        default="none",
        help="object to annotate next: each in turn, by the agent's value, or by the true gain per second",
    )


def _declare_limits(parser: ArgumentParser) -> None:
    parser.add_argument("--hours", type=float | None, help="what may be spent on all objects; no limit if unset")
    parser.add_argument("--rounds", type=int, default=60, help="annotations per object beside the first mask")
    parser.add_argument("--target_jf", type=float, default=0.85, help="J&F whose hours are reported")
    parser.add_argument("--stop_at_target", type=bool, default=False, help="finish objects that have reached it")


def _declare_person(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--annotator", choices=["simulated", "files"], default="simulated", help="the truth, or a person with files"
    )
    parser.add_argument("--work", type=str | None, metavar="DIR", help="folder of the person; <out>/work if unset")
    add_click_arguments(parser)


def run(args: Namespace) -> int:
    """Annotate the objects, and tell what they cost and how good they are."""
    from thriftseg.annotation import annotate_eva_vos

    settings, out = _settings(args), Path(args.out)
    videos = listed_objects(args, dataset_of(args))
    prompter = prompter_of(args)
    result = annotate_eva_vos(
        videos,
        _annotator(args, prompter),
        propagator_of(args),
        _frame_choice(args),
        _type_choice(args, prompter),
        out,
        settings,
        say=lambda line: print(line, flush=True),
    )
    _conclude(result, args.target_jf)
    return 0


def _settings(args: Namespace) -> EVAVOSSettings:
    from thriftseg.annotation import EVAVOSSettings

    if not 0 < args.target_jf <= 1:
        raise ConfigError("--target_jf", expected="above 0, at most 1", found=args.target_jf)
    return EVAVOSSettings(
        hours=args.hours,
        rounds=args.rounds,
        target=args.target_jf if args.stop_at_target else None,
        ranking=args.ranking,
        seed=args.seed,
    )


def _frame_choice(args: Namespace) -> FrameChoice:
    from thriftseg.annotation import create_frame_choice

    network = scorer_network_of(args, "frame", "qnet_weights", {"qnet"})
    if args.frame == "qnet":
        return create_frame_choice("qnet", network=network["weights"], device=network["device"])
    on_device = {"device": device_of(args)} if args.frame.startswith("l2:") else {}
    if args.frame == "upper_bound":
        return create_frame_choice("upper_bound", cap=args.upper_bound_frames)
    return create_frame_choice(args.frame, **on_device)


def _type_choice(args: Namespace, prompter: Prompter) -> TypeChoice:
    from thriftseg.annotation import create_type_choice

    network = scorer_network_of(args, "type", "policy_weights", {"agent"})
    if args.type != "agent":
        return create_type_choice(args.type)
    return create_type_choice(
        "agent",
        network=network["weights"],
        choice=args.policy,
        encoders=encoders_of(prompter),
        device=network["device"],
    )


def _annotator(args: Namespace, prompter: Prompter) -> MaskAnnotator:
    from thriftseg.annotation import ClickPerson, MaskFilesPerson

    if args.annotator == "files":
        return MaskFilesPerson(args.work or Path(args.out) / "work", prompter, clicks=args.clicks)
    if args.work is not None:
        raise ConfigError("--work is about a person", found="--annotator simulated", fix="add --annotator files")
    return ClickPerson(prompter, clicks=args.clicks, sam_choice=args.sam_choice)


def _conclude(result: EVAVOSResult, target: float) -> None:
    print(f"{len(result.rows)} annotations, {result.cost.hours:.3f} h")
    if result.curve is None:
        print("no J&F: there is no truth of all frames")
    else:
        from thriftseg.metrics import area_under_curve, cost_at_quality
        from thriftseg.reports import write_curve

        path, hours = write_curve(result.folder, result.curve, target), cost_at_quality(*result.curve, target=target)
        print(f"J&F {100 * target:g}: " + (f"after {hours:.3f} h" if math.isfinite(hours) else "not reached"))
        print(f"area under the curve: {area_under_curve(*result.curve):.4f}")
        print(f"curve {path}")
    print(f"masks {result.folder / 'masks'}")
