"""Options of the commands that annotate objects of videos, and the objects that they name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from thriftseg.cli.reader import vos_reader_of
from thriftseg.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jsonargparse import ArgumentParser, Namespace

    from thriftseg.annotation import MaskPropagator, ObjectVideo
    from thriftseg.arrays import Float32Array, UInt8Array
    from thriftseg.datasets import VOSDataset
    from thriftseg.labels import Prompter

_PROPAGATORS = ("nearest", "flow", "stm", "sam2")
_PROMPTERS = ("grabcut", "sam", "sam2")


def add_video_arguments(parser: ArgumentParser, split: str) -> None:
    """Declare what names the videos.

    Args:
        parser: Parser of the command.
        split: The default split.
    """
    parser.add_argument("--split", type=str, default=split, help="split that holds the videos")
    parser.add_argument(
        "--videos", type=str, nargs="*", default=[], metavar="NAME", help="videos; all of them if unset"
    )
    parser.add_argument(
        "--video_list", type=str, nargs="*", default=[], metavar="FILE", help="files that name them instead, one a line"
    )


def add_method_arguments(parser: ArgumentParser) -> None:
    """Declare what carries masks to other frames, and what makes masks of clicks."""
    parser.add_argument(
        "--propagator", choices=_PROPAGATORS, default="nearest", help="what carries masks to the other frames"
    )
    parser.add_argument("--propagator_weights", type=str | None, metavar="NAME|PATH", help="weights of stm, or of sam2")
    parser.add_argument(
        "--flow_cache", type=str | None, metavar="DIR", help="folder that keeps the flow of --propagator flow"
    )
    parser.add_argument("--prompter", choices=_PROMPTERS, default="grabcut", help="what turns clicks into masks")
    parser.add_argument("--prompter_weights", type=str | None, metavar="NAME|PATH", help="weights of sam, or of sam2")


def add_click_arguments(parser: ArgumentParser) -> None:
    """Declare how a person clicks."""
    parser.add_argument("--clicks", type=int, default=3, help="clicks of an annotation")
    parser.add_argument(
        "--sam_choice",
        choices=["oracle", "score"],
        default="oracle",
        help="who picks one of several masks of the prompter: the simulated person, or the score",
    )


def dataset_of(args: Namespace) -> VOSDataset:
    """The reader that the options name, after printing which folder it reads."""
    dataset = vos_reader_of(args)
    print(dataset.describe_root())
    return dataset


def listed_objects(args: Namespace, dataset: VOSDataset) -> tuple[ObjectVideo, ...]:
    """The objects that the options name, after printing which are skipped.

    Raises:
        ConfigError: Videos are named twice over.
        DatasetError: A video does not exist, or a list of them.
    """
    from thriftseg.annotation import list_objects, read_lists

    if args.videos and args.video_list:
        raise ConfigError("videos are named by --videos and by --video_list", fix="drop one of them")
    names = args.videos or read_lists([Path(path) for path in args.video_list])
    videos, skipped = list_objects(dataset, args.split, names or None)
    for line in skipped:
        print(line)
    return videos


def prompter_of(args: Namespace) -> Prompter:
    """The prompter, which makes masks of clicks."""
    from thriftseg.labels import create_prompter

    return create_prompter(args.prompter, **scorer_network_of(args, "prompter", "prompter_weights", {"sam", "sam2"}))


def encoders_of(prompter: Any) -> dict[str, Callable[[UInt8Array], Float32Array]]:
    """Encoders of frames by name, for an agent that was trained with the embeddings of SAM or SAM 2."""
    from thriftseg.annotation import STORED_EMBEDDINGS

    return {prompter.name: lambda frame: prompter.embed(frame).embedding} if prompter.name in STORED_EMBEDDINGS else {}


def propagator_of(args: Namespace) -> MaskPropagator:
    """The propagator, which carries masks to other frames."""
    from thriftseg.annotation import create_mask_propagator

    network = scorer_network_of(args, "propagator", "propagator_weights", {"stm", "sam2"})
    if args.flow_cache and args.propagator != "flow":
        raise ConfigError("--flow_cache is about flow", found=f"--propagator {args.propagator}", fix="leave it out")
    return create_mask_propagator(args.propagator, args.flow_cache, **network)


def scorer_network_of(args: Namespace, option: str, weights: str, methods: set[str]) -> dict[str, str]:
    """Weights and device of a method, nothing where it is not a network.

    Args:
        args: What was parsed.
        option: Option that names the method.
        weights: Option that names its weights.
        methods: Those that have weights.
    """
    method, given = args[option], args[weights]
    if method in methods and not given:
        raise ConfigError(f"{method} needs weights", fix=f"add --{weights} with the name or path of a trained network")
    if method not in methods and given:
        fix = f"leave it out, or set --{option} to {' or '.join(sorted(methods))}"
        raise ConfigError(f"--{option} {method} has no such weights", found=f"--{weights} {given}", fix=fix)
    return {"weights": given, "device": device_of(args)} if given else {}


def device_of(args: Namespace) -> str:
    """Where networks compute."""
    from thriftseg.inference import choose_device

    return str(choose_device(args.device))


def refuse(args: Namespace, defaults: Mapping[str, Any], about: str) -> None:
    """Refuse options that say nothing about the data set.

    Args:
        args: What was parsed.
        defaults: The options with their defaults.
        about: What they are about.

    Raises:
        ConfigError: One of them was given.
    """
    for name, default in defaults.items():
        if args[name] != default:
            raise ConfigError(f"--{name} is about {about}", found=f"--dataset {args.dataset}", fix="leave it out")
