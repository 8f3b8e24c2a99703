"""`thriftseg label refine`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thriftseg.cli.reader import add_reader_arguments, announced_reader
from thriftseg.errors import ConfigError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

METHODS = ("grabcut", "sam2", "sam", "amg")


def declare(parser: ArgumentParser) -> None:
    """Declare the options."""
    add_reader_arguments(parser)
    parser.add_argument("--split", type=str, default="train", help="split whose coarse labels are refined")
    parser.add_argument("--coarse", type=str, default="coarse", help="coarse of the data set, or a source of the store")
    parser.add_argument("--store", type=str | None, metavar="DIR", help="label store; labels/<dataset> if unset")
    parser.add_argument("--source", type=str | None, help="name of the labels; <coarse>_<method> if unset")
    parser.add_argument(
        "--method", choices=METHODS, default="grabcut", help="what makes the masks; amg: sam2 without prompts"
    )
    parser.add_argument("--weights", type=str | None, metavar="NAME|PATH", help="weights of sam or sam2")
    parser.add_argument(
        "--settings", type=dict[str, Any], default={}, metavar="JSON", help="further settings of the method"
    )
    parser.add_argument(
        "--classes", type=str | None, metavar="A,B", help="classes to refine; those of samsam2 if unset"
    )
    parser.add_argument(
        "--shrink", choices=["ignore", "keep"], default="ignore", help="pixels of a polygon that its mask leaves"
    )
    parser.add_argument(
        "--overwrite", choices=["stuff", "ignore_only", "all"], default="stuff", help="what masks may take beyond it"
    )
    parser.add_argument(
        "--gate", choices=["on", "off"], default="on", help="keep polygons that their mask leaves or outgrows"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the points")
    parser.add_argument("--devices", type=int, default=1, help="GPUs, or CPU processes")
    parser.add_argument("--accelerator", choices=["auto", "cpu", "gpu"], default="auto", help="what to compute on")


def run(args: Namespace) -> int:
    """Refine the labels and say how many masks were accepted."""
    from thriftseg.labels import RefineRule, label_refine

    if args.method == "amg" and args.classes:
        raise ConfigError("--classes belongs to prompted methods", found="--method amg", fix="leave it out")
    prompter = _prompter(args)
    dataset = announced_reader(args)
    summary = label_refine(
        dataset,
        args.split,
        prompter,
        automatic=args.method == "amg",
        outline=args.method == "grabcut",
        coarse=args.coarse,
        classes=args.classes.split(",") if args.classes else None,
        rule=RefineRule(args.shrink, args.overwrite, gate=args.gate == "on"),
        seed=args.seed,
        store=args.store,
        source=args.source,
        devices=args.devices,
        accelerator=args.accelerator,
    )
    print(summary)
    return 0


def _prompter(args: Namespace) -> Any:
    from thriftseg.labels import create_prompter

    if args.method == "grabcut":
        if args.weights:
            raise ConfigError("GrabCut has no weights", found=f"--weights {args.weights}", fix="leave them out")
        return create_prompter("grabcut", **args.settings)
    return create_prompter("sam2" if args.method == "amg" else args.method, weights=args.weights, **args.settings)
