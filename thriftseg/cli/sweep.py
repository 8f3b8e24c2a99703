"""`thriftseg sweep`: its own options, and those of `thriftseg fit` for all runs."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence

from thriftseg.cli.command import run_command
from thriftseg.cli.options.signatures import signature_of


def main(argv: list[str]) -> int:
    """Run the command.

    Args:
        argv: `sweep` and its options; all others are those of `thriftseg fit`.
    """
    own, others = _split(argv[1:])
    return run_command("sweep", run, [*own, f"--options={shlex.join(others)}"] if others else own)


def run(
    *,
    table: str,
    rows: str | None = None,
    seeds: str = "0",
    task: int | None = None,
    launcher: str = "python",
    dry_run: bool = False,
    options: str = "",
) -> int:
    """Train rows of a published table with each of some seeds, and score the end of training.

    Args:
        table: Table; `thriftseg report list` lists them.
        rows: Keys of the rows to train, or names of their runs, with commas between; all of them if unset.
        seeds: Seeds, with commas between.
        task: Number of the only run to do, for an array of jobs: first come all rows with the first seed, then with the
            next; what it prints goes to the terminal.
        launcher: What starts a run, such as "torchrun --nproc-per-node 4" or "srun python".
        dry_run: Only show the runs and how far they are.
        options: Options of `thriftseg fit` for all runs, such as "--data.dataset.root DIR"; they may also stand by
            themselves.
    """
    from thriftseg.reports import SWEEP_LOG, sweep

    given = {"rows": rows, "seeds": seeds, "task": task, "launcher": launcher, "dry_run": dry_run}
    failed = [each for each in sweep(table, **given, options=shlex.split(options)) if each.state == "failed"]  # type: ignore[arg-type]
    for each in failed:
        log = each.folder / SWEEP_LOG
        print(f"thriftseg: error: {each.folder} failed; see {log if log.is_file() else 'above'}", file=sys.stderr)
    return 2 if failed else 0


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Options of the sweep, and those of the trainer."""
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
