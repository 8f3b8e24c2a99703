"""`thriftseg sweep`: its own options, and those of the command that all runs share."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from typing import Any

from thriftseg.cli.command import run_command
from thriftseg.cli.options.signatures import signature_of


def main(argv: list[str]) -> int:
    """Run the command.

    Args:
        argv: `sweep` and its options; all others are those of what runs the table: `thriftseg fit`, or `annotate`.
    """
    own, others = _split(argv[1:])
    return run_command("sweep", run, [*own, f"--options={shlex.join(others)}"] if others else own)


def run(options: str = "", **given: Any) -> int:
    """Run the rows of a published table with each of some seeds: train and score, or annotate.

    Args:
        options: Options for all runs of the command that the table is run by, such as "--data.dataset.root DIR"; they
            may also stand by themselves.
        given: Those of `thriftseg.reports.sweep`.
    """
    from thriftseg.reports import SWEEP_LOG, sweep

    failed = [each for each in sweep(**given, options=shlex.split(options)) if each.state == "failed"]
    for each in failed:
        log = each.folder / SWEEP_LOG
        print(f"thriftseg: error: {each.folder} failed; see {log if log.is_file() else 'above'}", file=sys.stderr)
    return 2 if failed else 0


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Options of the sweep, and those of the runs."""
    own: list[str] = []
    others: list[str] = []
    names = {"-h", "--help"}
    names |= {f"--{option.name}" for option in signature_of(f"{__name__}.run").options}
    taking = others
    for word in arguments:
        if word.startswith("--") or word in ("-h", "-c"):
            taking = own if word.partition("=")[0] in names else others
        taking.append(word)
    return own, others
