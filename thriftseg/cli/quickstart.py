"""`thriftseg quickstart`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--out", default="quickstart", metavar="DIR", help="folder for everything")
    parser.add_argument("--seed", type=int, default=0, help="seed of streets, clicks, mixtures and initial weights")
    parser.add_argument(
        "--config", metavar="YAML", help="sizes and training settings; configs/quickstart.yaml if unset"
    )
    parser.add_argument("--overwrite", action="store_true", help="delete an earlier quickstart in the same folder")


def run(args: Namespace) -> int:
    """Run the quickstart."""
    from thriftseg.quickstart import QuickstartConfig, quickstart

    config = QuickstartConfig.load(args.config) if args.config else None
    quickstart(args.out, args.seed, config=config, overwrite=args.overwrite)
    return 0
