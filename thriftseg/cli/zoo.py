"""`thriftseg zoo import`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thriftseg.cli.actions import Action, add_actions, run_action
from thriftseg.errors import ConfigError

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
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="constructor arguments that the weights do not tell, such as align_corners=false",
    )


def _import(args: Namespace) -> int:
    from thriftseg.zoo.official import import_checkpoint

    print(import_checkpoint(args.arch, args.file, args.out, dict(map(_assignment, args.set))))
    return 0


def _assignment(text: str) -> tuple[str, Any]:
    """Name and value of `name=value`, where the value is written as in a config."""
    import yaml

    name, equals, value = text.partition("=")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError:
        parsed = None
    if not name or not equals or parsed is None:
        raise ConfigError("not an assignment", expected="NAME=VALUE, such as align_corners=false", found=text)
    return name, parsed


ACTIONS = {
    "import": Action(_declare_import, _import, "turn a checkpoint of a network's authors into one of this package"),
}
