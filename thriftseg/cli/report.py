"""`thriftseg report table | list | annotation | curve`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from thriftseg.cli.actions import Action, add_actions, run_action
from thriftseg.errors import ConfigError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the sub-commands and their options."""
    add_actions(parser, ACTIONS)


def run(args: Namespace) -> int:
    """Run the chosen sub-command."""
    return run_action(ACTIONS, args)


def _declare_table(parser: ArgumentParser) -> None:
    parser.add_argument("name", type=str, metavar="NAME", help="table; `thriftseg report list` lists them")
    parser.add_argument(
        "--runs",
        type=str | None,
        metavar="DIR",
        help="folder that `thriftseg fit` writes to, or label store; runs, or labels/<dataset>, if unset",
    )
    parser.add_argument("--out", type=str | None, metavar="DIR", help="plot mIoU against hours and coarse labels there")
    parser.add_argument("--format", choices=["text", "csv", "markdown"], default="text", help="form of the table")
    parser.add_argument(
        "--scores",
        choices=["auto", "test", "validate", "fit"],
        default="auto",
        help="file of each run to read; the first of test, validate and fit that it has if auto",
    )
    parser.add_argument("--unfinished", action="store_true", help="count runs that took too few steps, too")


def _table(args: Namespace) -> int:
    from thriftseg.reports import compare_table

    scores = None if args.scores == "auto" else args.scores
    comparison = compare_table(args.name, args.runs, scores=scores, unfinished=args.unfinished)
    if args.format == "text":
        from thriftseg.reports import print_comparison

        print_comparison(comparison)
    else:
        from thriftseg.reports import comparison_csv, comparison_markdown

        write = comparison_csv if args.format == "csv" else comparison_markdown
        sys.stdout.write(write(comparison))
    for note in comparison.notes:
        print(f"note: {note}", file=sys.stderr)
    if args.out is not None:
        from thriftseg.reports import plot_comparison

        pictures = plot_comparison(comparison, args.out)
        for picture in pictures:
            print(picture, file=sys.stderr)
        if not pictures:
            print("note: no picture, as no row has both mIoU and annotation hours", file=sys.stderr)
    return 0


def _declare_list(parser: ArgumentParser) -> None:
    parser.add_argument("name", type=str | None, nargs="?", metavar="NAME", help="table to list; all of them if unset")
    parser.add_argument("--configs", action="store_true", help="print the configs of the rows, one in a line")


def _list(args: Namespace) -> int:
    from thriftseg.reports import configs_of, list_tables, load_table

    names = list_tables() if args.name is None else [args.name]
    if args.configs:
        print("\n".join(dict.fromkeys(config for name in names for config in configs_of(name))))
    elif args.name is None:
        width = max(map(len, names))
        for name in names:
            print(f"{name:<{width}}  {load_table(name).title}")
    else:
        table = load_table(args.name)
        width = max(len(row.key) for row in table.rows)
        for row in table.rows:
            print(f"{row.key:<{width}}  {row.config}")
    return 0


def _declare_annotation(parser: ArgumentParser) -> None:
    parser.add_argument(
        "runs", type=str, nargs="+", metavar="DIR", help="folders of `thriftseg annotate hvsa`, or folders of these"
    )
    parser.add_argument("--out", type=str | None, metavar="FILE.png", help="plot the quality against clicks and hours")


def _annotation(args: Namespace) -> int:
    from thriftseg.reports import (
        annotation_comparison,
        find_annotation_runs,
        group_runs,
        plot_annotation_groups,
        print_table,
    )

    groups = group_runs(find_annotation_runs(args.runs))
    print_table(annotation_comparison(groups))
    if args.out is not None:
        picture = plot_annotation_groups(groups, args.out)
        print(picture or "note: no picture, as no score is known", file=sys.stderr)
    return 0


def _declare_curve(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--runs",
        type=str,
        nargs="+",
        required=True,
        metavar="NAME=GLOB",
        help="folders of `thriftseg annotate eva-vos` that form a curve, such as 'random=runs/random_*'",
    )
    parser.add_argument("--target", type=float, default=0.85, help="J&F whose hours are read")
    parser.add_argument("--out", type=str | None, metavar="FILE.png", help="plot J&F against hours")


def _curve(args: Namespace) -> int:
    from thriftseg.reports import curve_table, plot_annotation_curves, print_table, read_curve_groups

    groups = read_curve_groups(_patterns(args.runs))
    print_table(curve_table(groups, args.target))
    if args.out is not None:
        print(plot_annotation_curves(groups, args.out, args.target), file=sys.stderr)
    return 0


def _patterns(runs: list[str]) -> dict[str, str]:
    patterns: dict[str, str] = {}
    for text in runs:
        name, _, pattern = text.partition("=")
        if not name or not pattern or name in patterns:
            raise ConfigError("--runs", expected="NAME=GLOB, each name once", found=text)
        patterns[name] = pattern
    return patterns


ACTIONS = {
    "annotation": Action(_declare_annotation, _annotation, "compare runs that labelled videos with small budgets"),
    "curve": Action(_declare_curve, _curve, "compare runs that annotated objects, J&F against hours"),
    "table": Action(_declare_table, _table, "set the scores of finished runs beside the numbers of a published table"),
    "list": Action(_declare_list, _list, "list the tables, or the rows or configs of one"),
}
