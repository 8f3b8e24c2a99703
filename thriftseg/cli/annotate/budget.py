"""`thriftseg annotate find-budget`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from thriftseg.cli.annotate.loop import VideoLoop, add_loop_arguments

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from thriftseg.annotation import HVSAResult


def declare(parser: ArgumentParser) -> None:
    """Declare the options."""
    add_loop_arguments(parser, left_out={"budget", "target_miou"})
    parser.add_argument("--target_miou", type=float, required=True, help="mIoU to reach, 0 to 1")
    parser.add_argument("--tolerance", type=float, default=1.0, help="stop at budgets this many per cent apart")
    parser.add_argument("--max_budget", type=float, default=100.0, help="largest budget to try, in per cent")


def run(args: Namespace) -> int:
    """Search, and say what was found."""
    from thriftseg.annotation import search_budget

    loop = VideoLoop(args)
    person = loop.simulated_person()

    def labelled(percent: float, folder: Path) -> HVSAResult:
        settings = loop.settings(budget=f"{percent:g}%", target_miou=None)
        return loop.run(settings, person, folder, loop.out / "flow")

    found = search_budget(
        labelled,
        loop.out,
        target_miou=args.target_miou,
        highest=args.max_budget,
        tolerance=args.tolerance,
        paste_manual=args.paste_manual,
        say=lambda line: print(line, flush=True),
    )
    print(found)
    return 0
