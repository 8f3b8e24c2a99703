"""`thriftseg report table | list | annotation | curve | cost | time`: a function each, its parameters the options."""

from __future__ import annotations

import sys
from typing import Literal

from thriftseg.cli.options.reader import ClassData
from thriftseg.errors import ConfigError


def table(
    name: str,
    /,
    *,
    runs: str | None = None,
    rows: str | None = None,
    out: str | None = None,
    format: Literal["text", "csv", "markdown"] = "text",
    scores: Literal["auto", "test", "validate", "fit"] = "auto",
    unfinished: bool = False,
    keep: str | None = None,
) -> int:
    """Set the scores of finished runs beside the numbers of a published table, and list what is left to run.

    Args:
        name: Table; `thriftseg report list` lists them.
        runs: Folder that `thriftseg fit` writes to, or label store; runs, or labels/<dataset>, if unset. Or a file of
            `--keep`.
        rows: Keys of the rows to show, or names of their runs, with commas between; all of them if unset.
        out: Folder to plot mIoU against hours and coarse labels in.
        format: Form of the table; only text is followed by what is left to run.
        scores: File of each run to read; the first of test, validate and fit that it has if auto.
        unfinished: Count runs that took too few steps, too.
        keep: JSON file to write the scores of all runs to, which `--runs` and `thriftseg plan` read.
    """
    from thriftseg.reports import compare_table, keep_runs, load_table

    shown = load_table(name).with_rows(rows)
    comparison = compare_table(shown, runs, scores=None if scores == "auto" else scores, unfinished=unfinished)
    if keep is not None:
        keep_runs(keep, {row.published.key: row.runs for row in comparison.rows})
    if format == "text":
        from thriftseg.reports import print_comparison, print_remaining

        print_comparison(comparison)
        print_remaining(comparison, whole=rows is not None)
    else:
        from thriftseg.reports import comparison_csv, comparison_markdown

        sys.stdout.write(comparison_csv(comparison) if format == "csv" else comparison_markdown(comparison))
    for note in comparison.notes:
        print(f"note: {note}", file=sys.stderr)
    if out is not None:
        from thriftseg.reports import plot_comparison

        pictures = plot_comparison(comparison, out)
        for picture in pictures:
            print(picture, file=sys.stderr)
        if not pictures:
            print("note: no picture, as no row has both mIoU and annotation hours", file=sys.stderr)
    return 0


def list_rows(name: str | None = None, /) -> int:
    """List the tables, or the rows of one with the names of their runs.

    Args:
        name: Table to list; all of them if unset.
    """
    from thriftseg.reports import list_tables, load_table

    tables = [load_table(each) for each in list_tables()]
    pairs = [(table.name, table.title) for table in tables]
    if name is not None:
        pairs = [(row.key, row.run or "not shipped") for row in load_table(name).rows]
    width = max(len(first) for first, _ in pairs)
    print("\n".join(f"{first:<{width}}  {second}" for first, second in pairs))
    return 0


def annotation(runs: list[str], /, *, out: str | None = None) -> int:
    """Compare runs that labelled videos with small budgets.

    Args:
        runs: Folders of `thriftseg annotate hvsa`, or folders of these.
        out: File to plot the quality against clicks and hours in.
    """
    from thriftseg.reports import (
        annotation_comparison,
        find_annotation_runs,
        group_runs,
        plot_annotation_groups,
        print_table,
    )

    groups = group_runs(find_annotation_runs(runs))
    print_table(annotation_comparison(groups))
    if out is not None:
        picture = plot_annotation_groups(groups, out)
        print(picture or "note: no picture, as no score is known", file=sys.stderr)
    return 0


def curve(*, runs: list[str], target: float = 0.85, out: str | None = None) -> int:
    """Compare runs that annotated objects, J&F against hours.

    Args:
        runs: Folders of `thriftseg annotate eva-vos` that form a curve, as NAME=GLOB, such as 'random=runs/random_*'.
        target: J&F whose hours are read.
        out: File to plot J&F against hours in.
    """
    from thriftseg.reports import curve_table, plot_annotation_curves, print_table, read_curve_groups

    if not 0 < target <= 1:
        raise ConfigError("--target", expected="above 0, at most 1", found=target)
    groups = read_curve_groups(read_patterns("--runs", runs))
    print_table(curve_table(groups, target))
    if out is not None:
        print(plot_annotation_curves(groups, out, target), file=sys.stderr)
    return 0


def cost(*, runs: list[str], out: str | None = None) -> int:
    """Compare trainings by the hours of their labels: means over seeds.

    Args:
        runs: Runs that form a curve, as NAME=GLOB, such as 'clicks=runs/clicks_*', or rows of a file of `report table
            --keep` by their names: 'clicks=kept.json#clicks *'.
        out: File to plot mIoU against hours in.
    """
    from thriftseg.reports import cost_quality_table, plot_cost_quality, print_table, read_cost_quality

    points = read_cost_quality(read_patterns("--runs", runs))
    print_table(cost_quality_table(points))
    if out is not None:
        print(plot_cost_quality(points, out), file=sys.stderr)
    return 0


def time(
    data: ClassData,
    *,
    dataset: str = "folder",
    source: str = "drawn",
    store: str | None = None,
    tasks: str | None = None,
    out: str | None = None,
) -> int:
    """Tell how long people worked on labels in the page, and compare it with the cost models.

    Args:
        data: The data set.
        dataset: One of cityscapes, camvid, idd, veis, scenenet, folder.
        source: Source of the label store that the page wrote.
        store: Folder of the label store; `labels/<dataset>` if unset.
        tasks: Folder of tasks instead, without cost models.
        out: File to write the tables to, too: .csv, .md or .json.
    """
    from thriftseg.reports import print_working_time, task_time, working_time

    if tasks is not None and (data != ClassData(dataset) or store is not None):
        raise ConfigError("a folder of tasks, or a data set?", found=f"--tasks {tasks}", fix="drop one of the two")
    found = working_time(data.open(), source, store=store) if tasks is None else task_time(tasks)
    print_working_time(found)
    if out is not None:
        print(f"written: {found.write(out)}")
    return 0


def read_patterns(option: str, texts: list[str]) -> dict[str, str]:
    """Patterns of files by their names.

    Args:
        option: The option that holds them, for the error.
        texts: Each NAME=GLOB.

    Raises:
        ConfigError: A text is something else, or a name comes twice.
    """
    patterns: dict[str, str] = {}
    for text in texts:
        name, _, pattern = text.partition("=")
        if not name or not pattern or name in patterns:
            raise ConfigError(option, expected="NAME=GLOB, each name once", found=text)
        patterns[name] = pattern
    return patterns


ACTIONS = {"table": table, "list": list_rows, "annotation": annotation, "curve": curve, "cost": cost, "time": time}
