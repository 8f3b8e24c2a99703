"""A published table next to the scores of one's own runs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from thriftseg.errors import ConfigError
from thriftseg.folders import RUNS
from thriftseg.reports.run_scores import (
    QUALITY_FILE,
    SCORE_FILES,
    RunScores,
    find_runs,
    read_labels,
    read_run,
    read_tests,
)
from thriftseg.reports.tables.published import PublishedRow, PublishedTable, load_table
from thriftseg.stores import store_root


@dataclass(frozen=True)
class Measured:
    """A score over several runs, in per cent.

    Attributes:
        mean: Mean over the runs.
        std: Sample standard deviation; NaN for a single run.
        runs: How many runs.
    """

    mean: float
    std: float
    runs: int


@dataclass(frozen=True)
class ComparedRow:
    """A row of a published table and the runs of its config.

    Attributes:
        published: The row as published.
        runs: Runs that count, or the labels of the row.
    """

    published: PublishedRow
    runs: tuple[RunScores, ...]

    @property
    def hours(self) -> float | None:
        """Mean annotation hours of the runs; `None` where no run tells."""
        known = [run.hours for run in self.runs if run.hours is not None]
        return statistics.fmean(known) if known else None

    @property
    def masks(self) -> int | None:
        """Mean number of masks drawn by hand; `None` where no run tells."""
        known = [run.masks for run in self.runs if run.masks is not None]
        return round(statistics.fmean(known)) if known else None

    def measured(self, metric: str) -> Measured | None:
        """A score of the runs.

        Args:
            metric: Such as "miou", "iou/car" or "davis/jf".

        Returns:
            Mean and deviation; `None` if no run has this score.
        """
        values = [100 * value for run in self.runs if not math.isnan(value := run.scores.get(metric, math.nan))]
        if not values:
            return None
        return Measured(
            statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else math.nan, len(values)
        )

    def difference(self, metric: str) -> float | None:
        """Mean of the runs less the published value, in percentage points; `None` where one of them is missing."""
        measured, published = self.measured(metric), self.published.published.get(metric)
        return None if measured is None or published is None else measured.mean - published


@dataclass(frozen=True)
class TableComparison:
    """A published table and the runs of its rows.

    Attributes:
        table: The table as published.
        rows: Its rows, top to bottom.
        notes: What the reader of the scores should know: runs left out or unlike the others, one sentence each.
    """

    table: PublishedTable
    rows: tuple[ComparedRow, ...]
    notes: tuple[str, ...]


def compare_table(
    table: str | PublishedTable,
    runs: str | Path | None = None,
    *,
    scores: str | None = None,
    unfinished: bool = False,
) -> TableComparison:
    """Look up the scores of every row of a published table.

    A run belongs to a row when its folder is called like the config of the row without suffix, or like it and `-` and
    anything, such as `cityscapes_tmanet_b3-seed1`.

    Where a table compares several data sets, the scores on each of them lie in the folder of its name within that of
    the run, as `thriftseg test --name cityscapes_tmanet_b3/idd` writes them. For scores that only a server gives, note
    them there: `test.json` with `{"command": "server", "network_sha256": null, "metrics": {"test/overall": 0.793}}`.

    A table of labels compares sources in a label store, by the `quality.json` that `thriftseg label boxes` leaves.

    Args:
        table: The table, or its name.
        runs: Folder of runs, where `thriftseg fit` writes, or label store; by default `runs`, or `labels/<dataset>`.
        scores: File to read the scores from, one of "test", "validate" and "fit"; the first of these that a run has if
            unset.
        unfinished: Let runs count that took fewer steps than the row asks for.

    Returns:
        Rows with their runs. A row without a run has none.

    Raises:
        ConfigError: There is no such table or folder, or no run of any row.
        CheckpointError: A file of scores is damaged.
        LabelStoreError: A report of label quality is damaged.
    """
    table = load_table(table) if isinstance(table, str) else table
    if scores is not None and scores not in SCORE_FILES:
        raise ConfigError("unknown file of scores", expected=", ".join(SCORE_FILES), found=scores)
    default = store_root(None, table.dataset) if table.of_labels else Path(RUNS)
    root = default if runs is None else Path(runs)
    found = {row.folder: find_runs(root, row.folder) for row in table.rows}
    if not any(found.values()):
        raise _no_runs(table, root)
    notes: list[str] = []
    rows = []
    for row in table.rows:
        read = _read_runs(table, found[row.folder], SCORE_FILES if scores is None else (scores,), notes)
        counting = read if table.of_labels else _counting(read, row, unfinished, notes)
        rows.append(ComparedRow(row, tuple(counting)))
    kinds = {run.kind for row in rows for run in row.runs}
    if len(kinds) > 1:
        files = ", ".join(f"{kind}.json" for kind in SCORE_FILES if kind in kinds)
        notes.append(f"the scores come from different files ({files}); choose one with --scores")
    return TableComparison(table, tuple(rows), tuple(dict.fromkeys(notes)))


def configs_of(table: str | PublishedTable) -> list[str]:
    """Configs that a table's rows need, each once, as `thriftseg fit --config` takes them.

    Args:
        table: The table, or its name.

    Raises:
        ConfigError: There is no such table.

    Example:
        >>> configs_of("samsam2_t2")
        ['samsam2/idd_tmanet_n1.yaml', 'samsam2/idd_tmanet_f2.yaml', 'samsam2/idd_tmanet_b3.yaml']
    """
    table = load_table(table) if isinstance(table, str) else table
    return list(dict.fromkeys(row.config for row in table.rows))


def _no_runs(table: PublishedTable, runs: Path) -> ConfigError:
    first = table.rows[0]
    if table.of_labels:
        return ConfigError(
            f"no labels of table {table.name}",
            path=runs,
            expected=f"a label store with sources such as {first.folder}",
            fix=f"make them with the commands on top of {first.config}, or pass another --runs",
        )
    return ConfigError(
        f"no run of table {table.name}",
        path=runs,
        expected=f"folders named like its configs, such as {first.folder} or {first.folder}-seed1",
        fix=f"run `thriftseg fit --config {first.config}`, or pass another --runs",
    )


def _read_runs(
    table: PublishedTable, folders: Iterable[Path], kinds: Sequence[str], notes: list[str]
) -> Iterator[RunScores]:
    """Runs that have scores; notes those that have none."""
    for folder in folders:
        run = _read(table, folder, kinds)
        if run is None:
            notes.append(f"{folder}: left out, there is no {_wanted(table, kinds)}: not finished, or not scored yet")
        else:
            yield run


def _read(table: PublishedTable, folder: Path, kinds: Sequence[str]) -> RunScores | None:
    if table.of_labels:
        return read_labels(folder)
    return read_tests(folder, table.tests, kinds) if table.tests else read_run(folder, kinds)


def _wanted(table: PublishedTable, kinds: Sequence[str]) -> str:
    files = [QUALITY_FILE] if table.of_labels else [f"{kind}.json" for kind in kinds]
    folders = f" in {' or '.join(f'{name}/' for name in table.tests)}" if table.tests else ""
    return " or ".join(files) + folders


def _counting(runs: Iterable[RunScores], row: PublishedRow, unfinished: bool, notes: list[str]) -> Iterator[RunScores]:
    """Runs of a row that count; notes those that took fewer steps than they should have, or were scored before."""
    for run in runs:
        if run.steps is None:
            notes.append(f"{run.folder}: counted, but {run.kind}.json does not tell the number of steps")
        elif row.iterations is not None and run.steps < row.iterations:
            steps = f"{run.steps} of {row.iterations} steps"
            if not unfinished:
                notes.append(f"{run.folder}: left out after {steps}; resume it, or pass --unfinished to count it")
                continue
            notes.append(f"{run.folder}: counted after {steps}")
        elif run.scored_step is not None and run.scored_step < run.steps:
            notes.append(f"{run.folder}: {run.kind}.json has the scores after {run.scored_step} of {run.steps} steps")
        yield run
