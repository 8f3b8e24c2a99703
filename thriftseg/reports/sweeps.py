"""A sweep: the rows of a published table, trained with some seeds."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from rich.live import Live
from rich.table import Table

from thriftseg.atomic import named_in_errors
from thriftseg.errors import ConfigError
from thriftseg.folders import RUNS
from thriftseg.parsing import read_bytes, read_csv
from thriftseg.reports.run_scores import RunScores, read_score_file
from thriftseg.reports.tables.comparison import read_scores
from thriftseg.reports.tables.composing import ComposedRow, compose_row
from thriftseg.reports.tables.published import load_table, scale_of
from thriftseg.reports.tables.terminal import metric_heading, print_table
from thriftseg.workers import Workers, run_tasks

_STEP = re.compile(r"[0-9]{1,18}")
_OWN = {
    "--table": "name one table",
    "--row": "name rows by --rows",
    "--name": "leave it out",
    "--seed_everything": "name seeds by --seeds",
    "--ckpt_path": "leave it out; stopped runs go on",
    "--dry_run": "write --dry_run",
    "--out": "leave it out",
    "--seed": "name seeds by --seeds",
}
"""Options of what runs a row that no sweep takes, and what to do instead."""

PYTHON = "python"
"""As a launcher: this interpreter."""

_FINISHED = "finished: "
"""Begins the line of the log that names the command of a finished annotation."""

SWEEP_LOG = "sweep.log"
"""File in the folder of a run that takes what its commands print."""


@dataclass
class SweepTask:
    """One run of a sweep.

    Attributes:
        number: Its number in the sweep.
        row: What it trains or annotates.
        seed: Its seed.
        options: Further options of the command that runs the row.
        state: "waiting", "stopped" (it goes on from where it was), "running", "finished" or "failed".

    Example:
        >>> task = SweepTask(0, compose_row("samsam2_t1", "B3"), seed=1, options=("--data.dataset.root", "data"))
        >>> task.folder.name, task.command("fit")[-2:]
        ('cityscapes_tmanet_b3-seed1', ['--seed_everything', '1'])
    """

    number: int
    row: ComposedRow
    seed: int
    options: tuple[str, ...]
    state: str = "waiting"

    @property
    def folder(self) -> Path:
        """Folder of the run."""
        return Path(RUNS) / f"{self.row.row.run}-seed{self.seed}"

    @property
    def checkpoint(self) -> Path:
        """What it goes on from."""
        return self.folder / "checkpoints" / "last.ckpt"

    @property
    def wants_validation(self) -> bool:
        """Whether its scores come from the validation split, and its training has not ended with them."""
        if self.row.config["trainer"].get("limit_val_batches") == 0:
            return False
        trained = self.folder / "fit.json"
        scores = read_score_file(trained) if trained.is_file() else None
        return scores is None or scores.scored_step != scores.steps

    def command(self, name: str) -> list[str]:
        """Arguments of `thriftseg` that train or score it, but for the checkpoint."""
        words = [*name.split(), "--table", self.row.table.name, "--row", self.row.row.key, *self.options]
        if self.row.table.of_annotation:
            return [*words, "--out", str(self.folder), "--seed", str(self.seed)]
        return [*words, "--name", self.folder.name, "--seed_everything", str(self.seed)]

    def look(self) -> None:
        """Find out from its folder how far it is.

        A training is finished when it has the steps of its row, or those that this very command asks for, and scores
        that were measured after these; an annotation when a sweep has run this very command to its end.
        """
        if self.row.table.of_annotation:
            finished = self.finished_command == shlex.join(["thriftseg", *self.command(self.row.table.command)])
            self.state = "finished" if finished else "stopped" if self.folder.is_dir() else "waiting"
            return
        self.state = "stopped" if self.checkpoint.is_file() else "waiting"
        trained = self.folder / "fit.json"
        wanted = [self.folder / dataset / "test.json" for dataset in self.row.table.tests]
        if self.wants_validation:
            wanted.append(self.folder / "validate.json")
        if not all(path.is_file() for path in (trained, *wanted)):
            return
        scores, steps = read_score_file(trained), self.row.row.iterations
        measured = [read_score_file(path).scored_step for path in wanted]
        if any(step not in (None, scores.steps) for step in measured):  # None: what a server has answered
            return
        try:
            same = shlex.split(scores.command)[1:]
        except ValueError:  # a command with an open quotation mark is none that a sweep has run
            return
        if "--ckpt_path" in same:
            del same[same.index("--ckpt_path") :][:2], same[same.index("--ckpt_path") :]
        if same == self.command("fit") or (scores.steps or 0) >= (steps or 0) > 0:
            self.state = "finished"

    @property
    def finished_command(self) -> str | None:
        """The command that has finished an annotation here last, as its log tells; `None` if no sweep has run one."""
        log = self.folder / SWEEP_LOG
        lines = read_bytes(log).decode(errors="replace").splitlines() if log.is_file() else []
        return next((line.removeprefix(_FINISHED) for line in reversed(lines) if line.startswith(_FINISHED)), None)

    def scores(self) -> RunScores | None:
        """Its scores so far."""
        return read_scores(self.row.table, self.folder)

    def steps(self) -> int | None:
        """Steps that it has taken, as far as its log tells; `None` before the first entry."""
        logs = sorted(self.folder.glob("version_*/metrics.csv"), key=lambda path: path.stat().st_mtime)
        if not logs:
            return None
        rows = read_csv(logs[-1], dict[str, str], ()).values()
        steps = (row.get("step", "") for row in rows)
        return max((int(step) + 1 for step in steps if _STEP.fullmatch(step)), default=None)


def sweep(
    table: str,
    *,
    rows: list[str] | str | None = None,
    seeds: list[int] | int | str = 0,
    task: int | None = None,
    launcher: str = PYTHON,
    dry_run: bool = False,
    engine: str = "processes",
    address: str = "auto",
    options: Sequence[str] = (),
) -> list[SweepTask]:
    """Run the rows of a published table with each of some seeds: train and score, or annotate.

    The run of a row goes to `runs/<run>-seed<seed>`, where `thriftseg report table` finds it; what its commands print
    goes to `sweep.log` there. Finished runs are skipped, stopped ones go on from their last checkpoint or annotation,
    and after one that fails comes the next.

    Args:
        table: Table; `thriftseg report list` lists them.
        rows: Keys of the rows to run, or names of their runs, with commas between; all that are shipped if unset.
        seeds: Seeds, with commas between.
        task: Number of the only run to do, for an array of jobs: first come all rows with the first seed, then with the
            next; what it prints goes to the terminal.
        launcher: What starts a run, such as "torchrun --nproc-per-node 4" or "srun python".
        dry_run: Only show the runs and how far they are.
        engine: processes for one run after the other, or ray for one per GPU of a Ray cluster (per CPU without any).
        address: Address of the Ray cluster; auto finds the one that this machine belongs to.
        options: Options for all runs of the command that the table is run by (`thriftseg fit`, or one of `annotate`),
            such as `--data.dataset.root DIR`.

    Returns:
        The runs and how far they are.

    Raises:
        ConfigError: There is no such table, row or task, or the command refuses the options.

    Example:
        >>> [task] = sweep("samsam2_t1", rows="B3", seeds=7001, dry_run=True, task=0)  # doctest: +NORMALIZE_WHITESPACE
         task  row  seed  state    steps  mIoU
         0     B3   7001  waiting
        >>> task.folder.name
        'cityscapes_tmanet_b3-seed7001'
    """
    for option in options:
        name = option.partition("=")[0].replace("-", "_").replace("__", "--", 1)
        if name in _OWN:
            raise ConfigError(f"a sweep sets {name} for each of its runs", found=option, fix=_OWN[name])
    tasks = _tasks(table, options, rows, seeds)
    if task is not None:
        if not 0 <= task < len(tasks):
            raise ConfigError(f"sweep of {table}", expected=f"a task from 0 to {len(tasks) - 1}", found=task)
        tasks = tasks[task : task + 1]
    for each in tasks:
        each.look()
    alone = task is not None
    todo = [each for each in tasks if not dry_run and each.state != "finished"]
    if options and len(todo) > 1:
        _refuse_unknown(todo[0])
    workers = Workers(None if engine == "ray" else 1, shared=False, engine=engine, progress=False, address=address)
    by_number = {each.number: each for each in tasks}

    def note(done: SweepTask) -> None:
        by_number[done.number].state = done.state

    with nullcontext() if alone else Live(get_renderable=partial(sweep_table, tasks), refresh_per_second=1):
        run_tasks(partial(_run, launcher=launcher, logged=not alone), todo, workers, on_result=note)
    if alone:
        print_table(sweep_table(tasks))
    return tasks


def sweep_table(tasks: Sequence[SweepTask]) -> Table:
    """Runs with their state, steps and scores, in per cent.

    Args:
        tasks: The runs.

    Example:
        >>> tasks = [SweepTask(seed - 7001, compose_row("samsam2_t1", "B3"), seed, ()) for seed in (7001, 7002)]
        >>> [list(column.cells) for column in sweep_table(tasks).columns[:4]]
        [['0', '1'], ['B3', 'B3'], ['7001', '7002'], ['waiting', 'waiting']]
    """
    metrics = tasks[0].row.table.metrics[:2] if tasks else ()
    shown = Table("task", "row", "seed", "state", "steps", *map(metric_heading, metrics), box=None, header_style="bold")
    for task in tasks:
        found = task.scores()
        asked = task.row.row.iterations
        taken = task.steps() if found is None or task.state == "running" else found.steps
        steps = "" if taken is None else f"{taken}" + (f" of {asked}" if asked else "")
        values = [(scale_of(metric), None if found is None else found.scores.get(metric)) for metric in metrics]
        cells = ["" if value is None else f"{scale * value:.2f}" for scale, value in values]
        shown.add_row(str(task.number), task.row.row.key, str(task.seed), task.state, steps, *cells)
    return shown


def _tasks(
    table: str, options: Sequence[str], rows: list[str] | str | None, seeds: list[int] | int | str
) -> list[SweepTask]:
    chosen = load_table(table).with_rows(rows)
    try:
        given = seeds if isinstance(seeds, list) else str(seeds).split(",")
        numbers = [int(seed) for seed in given]
        if min(numbers, default=0) < 0:
            raise ValueError
    except ValueError as error:
        raise ConfigError("--seeds", expected="numbers from 0 on, with commas between", found=seeds) from error
    runs: dict[str, str] = {}
    for row in chosen.rows:
        if row.run is not None or rows is not None:
            runs.setdefault(row.run or "", row.key)
    rows_of_seeds = [
        (compose_row(chosen, key, f"{run}-seed{seed}"), seed) for seed in numbers for run, key in runs.items()
    ]
    return [SweepTask(number, row, seed, tuple(options)) for number, (row, seed) in enumerate(rows_of_seeds)]


def _refuse_unknown(task: SweepTask) -> None:
    """Read the options of the first run as its command does, or each run would fail by them in turn."""
    command = task.row.table.command
    words = [sys.executable, "-m", "thriftseg", *task.command(command), "--print_config"]
    read = subprocess.run(words, capture_output=True, text=True, check=False)
    if read.returncode:
        said = read.stderr.strip().splitlines() or ["nothing"]
        fix = f"see `thriftseg {command} --help`"
        raise ConfigError(f"options that `thriftseg {command}` refuses", found=said[-1], fix=fix)


def _run(task: SweepTask, launcher: str, logged: bool) -> SweepTask:
    """Train and score, or annotate; what is printed goes to a file or to the terminal."""
    task.state = "running"
    last = ["--ckpt_path", str(task.checkpoint)]
    resumed = last if task.checkpoint.is_file() else []
    commands = [task.command(task.row.table.command) + resumed]
    if not task.row.table.of_annotation:
        commands.append(task.command("validate") + last)
    for then in task.row.then if task.row.table.tests else ():
        words = shlex.split(then)[1:]
        commands.append(words + (_of_trainer(task.options) if words[0] == "test" else []))
    for command in commands:
        if command[0] == "validate" and not task.wants_validation:
            continue
        alone = launcher == PYTHON or command[0] not in ("fit", "validate", "test")
        start = [sys.executable] if alone else shlex.split(launcher)
        with _stream(task.folder / SWEEP_LOG if logged else None) as stream:
            words = [*start, "-m", "thriftseg", *command]
            done = subprocess.run(words, stdout=stream, stderr=stream and subprocess.STDOUT, check=False)
        if done.returncode:
            task.state = "failed"
            return task
    if task.row.table.of_annotation:
        log = task.folder / SWEEP_LOG
        with named_in_errors(log), log.open("a", encoding="utf-8") as stream:
            stream.write(f"\n{_FINISHED}{shlex.join(['thriftseg', *commands[0]])}\n")
    task.state = "finished"
    return task


def _of_trainer(options: Sequence[str]) -> list[str]:
    """Options of the trainer and of the model, which tests take like the training."""
    found: list[str] = []
    taken = False
    for word in options:
        taken = word.startswith(("--trainer.", "--model.")) or (taken and not word.startswith("--"))
        found += [word] if taken else []
    return found


@contextmanager
def _stream(log: Path | None) -> Iterator[BinaryIO | None]:
    if log is None:
        yield None
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    with named_in_errors(log), log.open("ab") as stream:
        yield stream
