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
    PROFILE_FILE,
    QUALITY_FILE,
    SCORE_FILES,
    ProfileFile,
    RunScores,
    find_runs,
    read_kept_runs,
    read_labels,
    read_profile,
    read_run,
    read_tests,
)
from thriftseg.reports.tables.composing import compose_row
from thriftseg.reports.tables.fragments import Fragment
from thriftseg.reports.tables.published import PublishedRow, PublishedTable, load_table, scale_of
from thriftseg.stores import store_root


@dataclass(frozen=True)
class Measured:
    """A score over several runs, in per cent but for `ABSOLUTE`.

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
    """A row of a published table and its runs.

    Attributes:
        published: The row as published.
        runs: Runs that count, or the labels of the row.
        profile: Size and speed of its network, where they were measured.

    Example:
        >>> row = PublishedRow("B3", "own_b3", "manual", published={"miou": 60.0})
        >>> runs = [RunScores(Path(f"own_b3-seed{seed}"), "fit", {"miou": (2 + seed) / 4}) for seed in range(2)]
        >>> compared = ComparedRow(row, tuple(runs))
        >>> compared.measured("miou").mean, compared.difference("miou")
        (62.5, 2.5)
    """

    published: PublishedRow
    runs: tuple[RunScores, ...]
    profile: ProfileFile | None = None

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
            Mean and deviation; `None` if no run has this score. Hours to what a run never reached are infinite.
        """
        found = [run.scores for run in self.runs] + ([self.profile.measures] if self.profile else [])
        scale = scale_of(metric)
        values = [scale * value for scores in found if not math.isnan(value := scores.get(metric, math.nan))]
        if not values:
            return None
        varies = len(values) > 1 and math.isfinite(sum(values))
        return Measured(statistics.fmean(values), statistics.stdev(values) if varies else math.nan, len(values))

    def difference(self, metric: str) -> float | None:
        """Mean of the runs less the published value; `None` where one of them is missing."""
        measured, published = self.measured(metric), self.published.published.get(metric)
        return None if measured is None or published is None else measured.mean - published


@dataclass(frozen=True)
class TableComparison:
    """A published table and the runs of its rows.

    Attributes:
        table: The table as published.
        rows: Its rows, top to bottom.
        notes: What the reader of the scores should know: runs left out or unlike the others, one sentence each.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Path(folder, "cityscapes_tmanet_b3").mkdir()  # the folder of a run that has only just begun
        ...     comparison = compare_table(load_table("samsam2_t1").with_rows("B3"), folder)
        >>> len(comparison.rows), len(comparison.rows[0].runs), comparison.notes[0].rpartition(": ")[2]
        (1, 0, 'not finished, or not scored yet')
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

    A run belongs to a row when its folder is called as the row says, or so and `-` and anything, such as
    `cityscapes_tmanet_b3-seed1`.

    Where a table compares several data sets, the scores on each of them lie in the folder of its name within that of
    the run, as `thriftseg test --name cityscapes_tmanet_b3/idd` writes them. For scores that only a server gives, note
    them there: `test.json` with `{"command": "server", "network_sha256": null, "metrics": {"test/overall": 0.793}}`.

    The size and speed of a network are read from `<runs>/<network>/profile.json`, which `thriftseg zoo profile` writes.

    A table of labels compares sources in a label store, by the `quality.json` that `thriftseg label boxes` leaves.

    Args:
        table: The table, or its name.
        runs: Folder of runs, where `thriftseg fit` writes, or label store; by default `runs`, or `labels/<dataset>`. Or
            a file of `keep_runs`, with the keys of rows as names.
        scores: File to read the scores from, one of "test", "validate" and "fit"; the first of these that a run has if
            unset.
        unfinished: Let runs count that took fewer steps than the row asks for.

    Returns:
        Rows with their runs. A row without a run has none.

    Raises:
        ConfigError: There is no such table, or no such folder where one is named.
        CheckpointError: A file of scores, or of size and speed, is damaged.
        LabelStoreError: A report of label quality is damaged.

    Example:
        >>> import json, tempfile
        >>> table = load_table("samsam2_t1").with_rows("B3")  # published: 74.48
        >>> content = {"command": "thriftseg fit", "network_sha256": None, "metrics": {"val/miou": 0.5}}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     (run := Path(folder, f"{table.rows[0].run}-seed1")).mkdir()
        ...     _ = (run / "fit.json").write_text(json.dumps(content))
        ...     [row] = compare_table(table, folder).rows
        >>> row.measured("miou").mean, round(row.difference("miou"), 2)
        (50.0, -24.48)
    """
    table = load_table(table) if isinstance(table, str) else table
    if scores is not None and scores not in SCORE_FILES:
        raise ConfigError("unknown file of scores", expected=", ".join(SCORE_FILES), found=scores)
    default = store_root(None, table.dataset) if table.of_labels else Path(RUNS)
    kept = read_kept_runs(runs) if runs is not None and Path(runs).is_file() else None
    there = kept is None and (runs is not None or default.is_dir())
    found = {row.folder: find_runs(runs or default, row.folder) if there and row.folder else [] for row in table.rows}
    networks = dict.fromkeys(row.network for row in table.rows if row.network)
    profiles = {name: read_profile(Path(runs or RUNS, name)) for name in networks}
    notes: list[str] = []
    rows = []
    for row in table.rows:
        kinds = SCORE_FILES if scores is None else (scores,)
        read = _read_runs(table, found[row.folder], kinds, notes) if kept is None else iter(kept.get(row.key, ()))
        counting = _counting(read, row, unfinished, notes) if table.of_training else read
        rows.append(ComparedRow(row, tuple(counting), profiles.get(row.network or "")))
    notes += [f"size and speed of {name}: {profile.how}" for name, profile in profiles.items() if profile]
    if missing := [name for name, profile in profiles.items() if profile is None]:
        command = f"`thriftseg zoo profile NAME --out {RUNS}/NAME/{PROFILE_FILE}`"
        notes.append(f"size and speed were not measured: {command} for {', '.join(missing)}")
    read_from = {run.kind for row in rows for run in row.runs}
    if len(read_from) > 1:
        files = ", ".join(f"{kind}.json" for kind in SCORE_FILES if kind in read_from)
        notes.append(f"the scores come from different files ({files}); choose one with --scores")
    return TableComparison(table, tuple(rows), tuple(dict.fromkeys(notes)))


def _read_runs(
    table: PublishedTable, folders: Iterable[Path], kinds: Sequence[str], notes: list[str]
) -> Iterator[RunScores]:
    """Runs that have scores; notes those that have none."""
    for folder in folders:
        run = read_scores(table, folder, kinds)
        if run is None:
            notes.append(f"{folder}: left out, there is no {_wanted(table, kinds)}: not finished, or not scored yet")
        else:
            yield run


def read_scores(table: PublishedTable, folder: Path, kinds: Sequence[str] = SCORE_FILES) -> RunScores | None:
    """Read the scores of a run of a table, or of its labels.

    Args:
        table: The table.
        folder: Folder of the run, or of the source of labels.
        kinds: Files that a training's scores may be read from, as for `read_run`.

    Returns:
        The scores; `None` if there are none yet.

    Raises:
        CheckpointError: A file of scores is damaged.
        DatasetError: A run of annotation is damaged.
        LabelStoreError: A report of label quality is damaged.
    """
    if table.of_labels:
        return read_labels(folder)
    if table.of_annotation:
        return _read_annotation(folder, searched=table.searches_budgets)
    return read_tests(folder, table.tests, kinds, table.best_of) if table.tests else read_run(folder, kinds)


def _read_annotation(folder: Path, *, searched: bool) -> RunScores | None:
    """Scores after the last annotation; those of several videos of a run are averaged, their hours added."""
    from thriftseg.metrics import cost_at_quality
    from thriftseg.reports.annotation.curves import CURVE_FILE, read_curve
    from thriftseg.reports.annotation.runs import find_ends

    if (folder / CURVE_FILE).is_file():
        curve = read_curve(folder)
        scores = {"jf": float(curve.quality[-1]), "hours_at_85": cost_at_quality(*curve, target=0.85)}
        return RunScores(folder, "curve", scores, hours=float(curve.hours[-1]))
    ends = find_ends(folder, searched=searched)
    if not ends:
        return None
    scores = {name: statistics.fmean(end.scores[name] for end in ends) for name in ends[0].scores}
    return RunScores(folder, "rounds", scores, hours=sum(end.hours for end in ends), seed=ends[0].seed)


def _wanted(table: PublishedTable, kinds: Sequence[str]) -> str:
    if table.of_annotation:
        return "list of budgets" if table.searches_budgets else "record of rounds or curve"
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


def remaining_commands(comparison: TableComparison, *, whole: bool = False) -> dict[str, list[str]]:
    """What is left to do for the rows that nothing was run of.

    Args:
        comparison: The table and the runs.
        whole: Name the commands that follow a training, too, such as tests on other data sets.

    Returns:
        Commands in order, each with the keys of the rows that wait for it.

    Raises:
        ConfigError: The pieces of a row do not fit together.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     commands = remaining_commands(compare_table(load_table("samsam2_t1").with_rows("B3"), folder))
        >>> [command.partition(" --")[0] for command in commands]
        ['thriftseg label propagate', 'thriftseg fit']
    """
    waiting: dict[str, list[str]] = {}
    for row in comparison.rows:
        if not row.runs and row.published.run is not None and row.published.recipe != Fragment():
            composed = compose_row(comparison.table, row.published.key)
            then = composed.then if whole or comparison.table.of_labels else ()
            for command in (*composed.needs, composed.command, *then):
                waiting.setdefault(command, []).append(row.published.key)
    return waiting
