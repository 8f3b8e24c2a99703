"""A published table next to the scores of one's own runs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from thriftseg.errors import ConfigError
from thriftseg.reports.published_tables import PublishedRow, PublishedTable, load_table
from thriftseg.reports.run_scores import SCORE_FILES, RunScores, find_runs, read_run


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
        runs: Runs that count.
    """

    published: PublishedRow
    runs: tuple[RunScores, ...]

    @property
    def hours(self) -> float | None:
        """Mean annotation hours of the runs; `None` where no run tells."""
        known = [run.hours for run in self.runs if run.hours is not None]
        return statistics.fmean(known) if known else None

    def measured(self, metric: str) -> Measured | None:
        """A score of the runs.

        Args:
            metric: Such as "miou" or "iou/car".

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
    runs: str | Path,
    *,
    scores: str | None = None,
    unfinished: bool = False,
) -> TableComparison:
    """Look up the scores of every row of a published table.

    A run belongs to a row when its folder is called like the config of the row without suffix, or like it and `-` and
    anything, such as `cityscapes_tmanet_b3-seed1`.

    Args:
        table: The table, or its name.
        runs: Folder of runs, where `thriftseg fit` writes.
        scores: File to read the scores from, one of "test", "validate" and "fit"; the first of these that a run has if
            unset.
        unfinished: Let runs count that took fewer steps than the row asks for.

    Returns:
        Rows with their runs. A row without a run has none.

    Raises:
        ConfigError: There is no such table or folder, or no run of any row.
        CheckpointError: A file of scores is damaged.
    """
    table = load_table(table) if isinstance(table, str) else table
    if scores is not None and scores not in SCORE_FILES:
        raise ConfigError("unknown file of scores", expected=", ".join(SCORE_FILES), found=scores)
    found = {config: find_runs(runs, Path(config).stem) for config in _configs(table)}
    if not any(found.values()):
        raise _no_runs(table, Path(runs))
    notes: list[str] = []
    rows = []
    for row in table.rows:
        read = _read_runs(found[row.config], SCORE_FILES if scores is None else (scores,), notes)
        rows.append(ComparedRow(row, tuple(_counting(read, row, unfinished, notes))))
    notes += _mixed_kinds(rows)
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
    return _configs(load_table(table) if isinstance(table, str) else table)


def _configs(table: PublishedTable) -> list[str]:
    return list(dict.fromkeys(row.config for row in table.rows))


def _no_runs(table: PublishedTable, runs: Path) -> ConfigError:
    first = table.rows[0].config
    stem = Path(first).stem
    return ConfigError(
        f"no run of table {table.name}",
        path=runs,
        expected=f"folders named like its configs, such as {stem} or {stem}-seed1",
        fix=f"run `thriftseg fit --config {first}`, or pass another --runs",
    )


def _read_runs(folders: Iterable[Path], kinds: Sequence[str], notes: list[str]) -> Iterator[RunScores]:
    for folder in folders:
        run = read_run(folder, kinds)
        if run is None:
            wanted = " or ".join(f"{kind}.json" for kind in kinds)
            notes.append(f"{folder}: left out, there is no {wanted}: not finished, or not scored yet")
        else:
            yield run


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


def _mixed_kinds(rows: Iterable[ComparedRow]) -> list[str]:
    kinds = {run.kind for row in rows for run in row.runs}
    if len(kinds) < 2:
        return []
    files = ", ".join(f"{kind}.json" for kind in SCORE_FILES if kind in kinds)
    return [f"the scores come from different files ({files}); choose one with --scores"]
