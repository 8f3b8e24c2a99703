"""`thriftseg zoo import`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thriftseg.cli.actions import Action, add_actions, run_action

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the sub-commands and their options."""
    add_actions(parser, ACTIONS)


def run(args: Namespace) -> int:
    """Run the chosen sub-command."""
    return run_action(ACTIONS, args)


def _declare_import(parser: ArgumentParser) -> None:
    parser.add_argument("file", type=str, metavar="FILE", help="checkpoint of the authors (.pth, .pkl, .safetensors)")
    parser.add_argument(
        "--arch", type=str, required=True, metavar="NAME", help="name of the network, such as tmanet_r50"
    )
    parser.add_argument("--out", type=str, required=True, metavar="FILE", help="weights to write (.safetensors)")
    parser.add_argument(
        "--set",
        type=str,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="constructor argument that the weights do not tell, such as align_corners=false; may be repeated",
    )


def _import(args: Namespace) -> int:
    from thriftseg.zoo.official import import_checkpoint

    print(import_checkpoint(args.arch, args.file, args.out, args.set))
    return 0


ACTIONS = {
    "import": Action(_declare_import, _import, "turn a checkpoint of a network's authors into one of this package"),
}
