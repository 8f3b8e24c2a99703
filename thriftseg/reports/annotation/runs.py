"""Runs that label a video with a small budget: their folders read back, as tables and as means over seeds.

A run leaves `run.json` (its settings), `rounds.jsonl` (a row per finished round), `round_<k>/selection.json` (what was
asked for) and a label store `labels` with the sources `person` (what was bought) and `hvsa` (every frame).
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec
from rich.table import Table

from thriftseg.annotation import FinishedRound
from thriftseg.costs import AnnotationCost
from thriftseg.errors import DatasetError
from thriftseg.folders import flat_settings
from thriftseg.parsing import FileName, check, read_json, read_json_lines
from thriftseg.reports.tables.terminal import format_hours, number_table, percent_cell

QUALITIES = ("miou", "boundary_iou", "tc")
"""Scores of label maps that are reported."""

BOUGHT, LABELS = "person", "hvsa"
"""Sources in the label store of a run: labels that were bought, and those of all frames."""

SETTINGS, ROUNDS = "run.json", "rounds.jsonl"
BUDGETS = "budgets.json"
"""In the folder of a search for a budget: what each budget led to."""

_SEED = "seed"
_SHARE_HEADINGS = ("pixels\n%", "clicks\n%", "no class\n%")
_SCORE_HEADINGS = ("mIoU\n%", "Bound.\nIoU %", "TC\n%")


@dataclass(frozen=True)
class AnnotationRound:
    """A round of a run, what was bought up to its end and how good the labels are after it.

    Attributes:
        number: Its number; 0 is the network as given.
        samples: Samples that were bought.
        cost: What they cost.
        pixel_share: Their share of all pixels of the video.
        click_share: Clicks as a share of those that draw every frame; NaN where nothing tells these.
        boundary_click_share: The same of clicks on boundaries alone, without those that choose classes.
        predicted: Scores of what the network predicts, NaN where they are not known.
        pasted: Scores with the manual labels put over it.

    Example:
        >>> cost, nothing = AnnotationCost(seconds=1800, clicks=40), math.nan
        >>> row = AnnotationRound(1, 2, cost, 0.25, nothing, nothing, predicted={"miou": 0.5}, pasted={"miou": 0.75})
        >>> row.pasted["miou"] - row.predicted["miou"], row.cost.hours
        (0.25, 0.5)
    """

    number: int
    samples: int
    cost: AnnotationCost
    pixel_share: float
    click_share: float
    boundary_click_share: float
    predicted: Mapping[str, float]
    pasted: Mapping[str, float]

    @classmethod
    def of(cls, row: FinishedRound) -> AnnotationRound:
        """A row of `rounds.jsonl`."""
        return cls(
            number=row.round,
            samples=row.samples,
            cost=row.cost,
            pixel_share=row.share.pixels,
            click_share=row.share.clicks,
            boundary_click_share=row.share.boundary_clicks,
            predicted=_scores(row.scores),
            pasted=_scores(row.pasted),
        )


class _Settings(msgspec.Struct):
    """Settings that are looked at; all of them are shown."""

    dataset: str
    video: str
    paste_manual: bool


class _Probe(msgspec.Struct):
    percent: float
    miou: float
    run: FileName


class _Search(msgspec.Struct):
    target_miou: float
    probes: Annotated[list[_Probe], msgspec.Meta(min_length=1)]


@dataclass(frozen=True)
class AnnotationRun:
    """A run, finished or not.

    Attributes:
        folder: Its folder.
        settings: Its settings; inner ones by dotted names.
        rounds: Its finished rounds, from 0.

    Example:
        >>> row = AnnotationRound(1, 2, AnnotationCost(), 0.25, 0.5, 0.5, {"miou": 0.5}, pasted={"miou": 0.75})
        >>> runs = [AnnotationRun(Path("run"), {"paste_manual": paste}, (row,)) for paste in (False, True)]
        >>> [run.kept(row)["miou"] for run in runs]
        [0.5, 0.75]
    """

    folder: Path
    settings: Mapping[str, Any]
    rounds: tuple[AnnotationRound, ...]

    def kept(self, round: AnnotationRound) -> Mapping[str, float]:
        """Scores of the labels that the run keeps after a round."""
        return round.pasted if self.settings["paste_manual"] else round.predicted


class AnnotationEnd(NamedTuple):
    """What a run ended with.

    Attributes:
        scores: Scores of the labels that it keeps, and `pixels`, `clicks` and `boundary_clicks`, shares of what drawing
            every frame takes.
        hours: Hours of annotation.
        seed: Seed of the run.
    """

    scores: Mapping[str, float]
    hours: float
    seed: int | None


@dataclass(frozen=True)
class RunGroup:
    """Runs that differ by their seed alone.

    Attributes:
        name: What tells them from other runs.
        runs: The runs.

    Example:
        >>> scores = [{"miou": 0.5}, {"miou": 0.75}]
        >>> rows = [AnnotationRound(0, 0, AnnotationCost(), 0.0, 0.0, 0.0, each, pasted=each) for each in scores]
        >>> group = RunGroup("random", tuple(AnnotationRun(Path("run"), {}, (row,)) for row in rows))
        >>> group.length, group.mean(lambda run, row: row.predicted["miou"], round=0)
        (1, 0.625)
    """

    name: str
    runs: tuple[AnnotationRun, ...]

    @property
    def length(self) -> int:
        """Number of rounds that all of them have finished, round 0 included."""
        return min(len(run.rounds) for run in self.runs)

    def mean(self, value: Callable[[AnnotationRun, AnnotationRound], float], round: int) -> float:
        """Mean of a figure over the runs, NaN where it is not known."""
        return statistics.fmean(value(run, run.rounds[round]) for run in self.runs)

    def deviation(self, value: Callable[[AnnotationRun, AnnotationRound], float], round: int) -> float:
        """Its standard deviation over the runs, NaN for a single run."""
        values = [value(run, run.rounds[round]) for run in self.runs]
        return statistics.stdev(values) if len(values) > 1 else math.nan


def read_annotation_run(folder: str | Path) -> AnnotationRun:
    """Read a run.

    Args:
        folder: Folder of the run.

    Raises:
        DatasetError: It holds no run, or none with a finished round, or a file is damaged.

    Example:
        >>> import tempfile
        >>> row = {"round": 0, "samples": 0, "cost": {}, "share": {"pixels": 0.0}, "pasted": {}}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "run.json").write_text('{"dataset": "own", "video": "drive", "paste_manual": false}')
        ...     _ = Path(folder, "rounds.jsonl").write_text(json.dumps(row | {"scores": {"miou": 0.5}}))
        ...     run = read_annotation_run(folder)
        >>> run.settings["video"], run.rounds[0].predicted["miou"], run.rounds[0].click_share
        ('drive', 0.5, nan)
    """
    folder = Path(folder)
    for name in (SETTINGS, ROUNDS):
        if not (folder / name).is_file():
            raise DatasetError("no run with a finished round", path=folder, expected=name)
    settings = read_json(folder / SETTINGS, dict[str, Any])
    check(settings, _Settings, folder / SETTINGS)
    rounds = read_json_lines(folder / ROUNDS, FinishedRound)
    if not rounds:
        raise DatasetError("no run with a finished round", path=folder / ROUNDS, found="an empty file")
    return AnnotationRun(folder, dict(flat_settings(settings)), tuple(map(AnnotationRound.of, rounds)))


def find_annotation_runs(folders: Iterable[str | Path]) -> list[AnnotationRun]:
    """Read the runs in folders, or anywhere below them.

    Args:
        folders: Folders of runs, or of folders of runs.

    Raises:
        DatasetError: There is no run in one of them.

    Example:
        >>> import tempfile
        >>> row = {"round": 0, "samples": 0, "cost": {}, "share": {"pixels": 0.0}, "scores": {}, "pasted": {}}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for seed in range(2):
        ...         (run := Path(folder, f"random-seed{seed}")).mkdir()
        ...         _ = (run / "run.json").write_text('{"dataset": "own", "video": "drive", "paste_manual": false}')
        ...         _ = (run / "rounds.jsonl").write_text(json.dumps(row))
        ...     [run.folder.name for run in find_annotation_runs([folder])]
        ['random-seed0', 'random-seed1']
    """
    found: dict[Path, AnnotationRun] = {}
    for folder in map(Path, folders):
        is_run = (folder / SETTINGS).is_file()
        below = [] if is_run else sorted(path.parent for path in folder.rglob(ROUNDS))
        for path in below or [folder]:
            found[path.resolve()] = read_annotation_run(path)
    return list(found.values())


def find_ends(folder: str | Path, *, searched: bool = False) -> list[AnnotationEnd]:
    """What the runs in a folder, or anywhere below it, ended with; none where there is no run.

    Args:
        folder: The folder.
        searched: The runs are those of finished searches for a budget: of each search the least budget counts that
            reached the target, or the best one where none did.

    Raises:
        DatasetError: A run or a search is damaged.
    """
    folder = Path(folder)
    if searched:
        return [_found_by(path) for path in sorted(folder.rglob(BUDGETS))]
    runs = find_annotation_runs([folder]) if any(folder.rglob(ROUNDS)) else []
    return [_end(run, run.rounds[-1]) for run in runs]


def _found_by(search: Path) -> AnnotationEnd:
    content = read_json(search, _Search)
    probes = sorted(content.probes, key=lambda probe: probe.percent)
    reached = [probe for probe in probes if probe.miou >= content.target_miou]
    found = reached[0] if reached else max(probes, key=lambda probe: probe.miou)
    run = read_annotation_run(search.parent / found.run)
    return _end(run, run.rounds[-1 if found.percent > 0 else 0])


def _end(run: AnnotationRun, last: AnnotationRound) -> AnnotationEnd:
    shares = {"pixels": last.pixel_share, "clicks": last.click_share, "boundary_clicks": last.boundary_click_share}
    scores = {name: run.kept(last)[name] for name in QUALITIES} | shares
    return AnnotationEnd(scores, last.cost.hours, run.settings.get(_SEED))


def group_runs(runs: Sequence[AnnotationRun]) -> list[RunGroup]:
    """Put runs together that differ by their seed alone, in the order of their first runs.

    A group is named by the settings that differ between groups.

    Args:
        runs: The runs.

    Example:
        >>> settings = [{"seed": seed, "choice": choice} for choice in ("random", "motion") for seed in range(2)]
        >>> groups = group_runs([AnnotationRun(Path("run"), each, ()) for each in settings])
        >>> [(group.name, len(group.runs)) for group in groups]
        [('choice random', 2), ('choice motion', 2)]
    """
    groups: dict[str, list[AnnotationRun]] = {}
    for run in runs:
        key = json.dumps({name: value for name, value in run.settings.items() if name != _SEED}, sort_keys=True)
        groups.setdefault(key, []).append(run)
    members = list(groups.values())
    names = sorted({name for run in runs for name in run.settings} - {_SEED})
    differing = [name for name in names if len({_text(group[0].settings.get(name)) for group in members}) > 1]
    found = []
    for group in members:
        settings = group[0].settings
        parts = [f"{name.rpartition('.')[2]} {_text(settings.get(name))}" for name in differing]
        found.append(RunGroup(", ".join(parts) or group[0].folder.name, tuple(group)))
    return found


def annotation_table(run: AnnotationRun) -> Table:
    """One row per round: what was bought, what it cost, and how good the labels are that the run keeps.

    Args:
        run: The run.

    Returns:
        Table to print with rich.

    Example:
        >>> scores = {"miou": 0.5, "boundary_iou": 0.25, "tc": math.nan}
        >>> row = AnnotationRound(1, 2, AnnotationCost(seconds=1800, clicks=40), 0.125, 0.25, 0.5, scores, scores)
        >>> table = annotation_table(AnnotationRun(Path("run"), {"paste_manual": True}, (row,)))
        >>> [str(*column.cells) for column in table.columns]
        ['1', '2', '40 + 0', '0.500', '12.5', '25.0', '50.0', '50.0', '25.0', '-']
    """
    headings = ["samples", "clicks\n+ class", "hours", *_SHARE_HEADINGS, *_SCORE_HEADINGS]
    table = number_table(None, "round", headings)
    for each in run.rounds:
        clicks = f"{each.cost.clicks} + {each.cost.class_clicks}"
        shares = [each.pixel_share, each.click_share, each.boundary_click_share]
        shares += [run.kept(each)[name] for name in QUALITIES]
        counts = [str(each.number), str(each.samples), clicks, format_hours(each.cost.hours)]
        table.add_row(*counts, *map(percent_cell, shares))
    return table


def annotation_comparison(groups: Sequence[RunGroup]) -> Table:
    """One row per group of runs: means over its seeds after the last round.

    Args:
        groups: The runs.

    Returns:
        Table to print with rich.

    Example:
        >>> scores = {"miou": 0.5, "boundary_iou": 0.25, "tc": math.nan}
        >>> row = AnnotationRound(1, 2, AnnotationCost(seconds=1800, clicks=40), 0.125, 0.25, 0.5, scores, scores)
        >>> group = RunGroup("random", (AnnotationRun(Path("run"), {"paste_manual": True}, (row,)),))
        >>> [str(*column.cells) for column in annotation_comparison([group]).columns]
        ['random', '1', '2', '0.500', '12.5', '25.0', '50.0', '50.0', '25.0', '-']
    """
    headings = ["seeds", "samples", "hours", *_SHARE_HEADINGS, *_SCORE_HEADINGS]
    table = number_table(None, "run", headings)
    for group in groups:
        last = group.length - 1
        table.add_row(
            group.name,
            str(len(group.runs)),
            f"{group.mean(lambda _, row: row.samples, last):g}",
            format_hours(group.mean(lambda _, row: row.cost.hours, last)),
            percent_cell(group.mean(lambda _, row: row.pixel_share, last)),
            percent_cell(group.mean(lambda _, row: row.click_share, last)),
            percent_cell(group.mean(lambda _, row: row.boundary_click_share, last)),
            *(_with_deviation(group, quality, last) for quality in QUALITIES),
        )
    return table


def quality_of(name: str) -> Callable[[AnnotationRun, AnnotationRound], float]:
    """Reads a score of the labels that a run keeps."""
    return lambda run, row: run.kept(row)[name]


def _with_deviation(group: RunGroup, quality: str, round: int) -> str:
    mean, deviation = (figure(quality_of(quality), round) for figure in (group.mean, group.deviation))
    text = percent_cell(mean).plain
    return text if math.isnan(deviation) else f"{text} ± {100 * deviation:.1f}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _scores(values: Mapping[str, float | None]) -> dict[str, float]:
    known = {name: value for name, value in values.items() if value is not None}
    return {name: math.nan for name in (*QUALITIES, *values)} | known
