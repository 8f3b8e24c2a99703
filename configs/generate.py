"""Writes the configs below `samsam2/`, `vos/` and `weclick/` from the rows of `tables/` and from the recipes beside it.

    python configs/generate.py            write them
    python configs/generate.py --check    say which are out of date, and fail if any is

Every file is complete: nothing but the comment on its top points back to here.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from recipes import Experiment, Recipe, component, samsam2, weclick
from vos_recipes import vos

from thriftseg.reports.tables.published import PublishedRow, list_tables, load_table

FOLDER = Path(__file__).resolve().parent
WIDTH = 120
RECIPES: dict[str, Callable[[Experiment], Recipe]] = {"samsam2": samsam2, "vos": vos, "weclick": weclick}
"""By the folder of the configs."""


def main(argv: list[str] | None = None) -> int:
    """Write the configs, or check them."""
    parser = argparse.ArgumentParser(description="Write the configs of the published tables.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file is out of date")
    check = parser.parse_args(argv).check
    wanted = generate()
    present = {str(path.relative_to(FOLDER)) for paper in RECIPES for path in (FOLDER / paper).glob("*.yaml")}
    stale = sorted(present - wanted.keys()) + sorted(name for name, text in wanted.items() if _read(name) != text)
    for name in stale:
        if not check:
            _write(name, wanted.get(name))
        sys.stdout.write(f"{'out of date' if check else 'written' if name in wanted else 'removed'}: {name}\n")
    return int(check and bool(stale))


def generate() -> dict[str, str]:
    """Content of every config by its path below `configs/`."""
    return {experiment.name: _render(experiment) for experiment in experiments()}


def experiments() -> list[Experiment]:
    """The configs of all tables, each once.

    Raises:
        ValueError: Two rows want different things of one config.
    """
    found: dict[str, Experiment] = {}
    for table in map(load_table, list_tables()):
        for row in table.rows:
            experiment = found.setdefault(row.config, Experiment(row.config, row))
            if _demands(row) != _demands(experiment.row):
                raise ValueError(f"{table.name} {row.key}: other settings than {experiment.rows[0]} for {row.config}")
            experiment.rows.append(f"{table.name} {row.key!r}")
    return [found[name] for name in sorted(found)]


def _demands(row: PublishedRow) -> tuple[Mapping[str, Any], float | None]:
    return row.settings, row.coarse_percent if "coarse" in row.settings else None


def _render(experiment: Experiment) -> str:
    recipe = RECIPES[experiment.name.partition("/")[0]](experiment)
    data = component(f"datamodules.{recipe.module}", **recipe.data)
    content = {"seed_everything": 0, "trainer": recipe.trainer, "model": recipe.model, "data": data}
    text = yaml.dump(content, Dumper=_Dumper, sort_keys=False, width=WIDTH - 8)
    return "".join(f"# {line}\n" for line in _comment(experiment, recipe)) + text


def _comment(experiment: Experiment, recipe: Recipe) -> Iterator[str]:
    yield from _wrapped(f"{recipe.title}.")
    yield from _wrapped(f"In tables: {', '.join(experiment.rows)}.")
    for command in [*recipe.commands, f"thriftseg fit --config {experiment.name}{recipe.options}", *recipe.tests]:
        yield from _command_lines(command)
    roots = [f"--data.{option}.root DIR, or THRIFTSEG_DATA_{name.upper()}" for option, name in recipe.roots.items()]
    yield from _wrapped(" ".join([*recipe.notes, *([f"Data: {'; '.join(roots)}."] if roots else [])]))
    yield "Written by configs/generate.py from configs/tables."


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH - 2, break_long_words=False, break_on_hyphens=False)


def _command_lines(command: str) -> Iterator[str]:
    """The command, continued by backslashes before its options."""
    head, *options = command.split(" --")
    line = f"  {head}"
    for option in options:
        if len(f"{line} --{option} \\") > WIDTH - 2:
            yield f"{line} \\"
            line = f"    --{option}"
        else:
            line += f" --{option}"
    yield line


class _Dumper(yaml.SafeDumper):
    """Lists of plain values, and entries of lists, on one line."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _represent_list(dumper: yaml.SafeDumper, values: list[Any]) -> yaml.Node:
    if any(isinstance(value, dict) for value in values):
        entries = [dumper.represent_mapping("tag:yaml.org,2002:map", value, flow_style=True) for value in values]
        return yaml.SequenceNode("tag:yaml.org,2002:seq", entries, flow_style=False)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=True)


_Dumper.add_representer(list, _represent_list)
_Dumper.ignore_aliases = lambda *_: True  # type: ignore[assignment,method-assign]


def _read(name: str) -> str | None:
    path = FOLDER / name
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _write(name: str, text: str | None) -> None:
    path = FOLDER / name
    if text is None:
        path.unlink()
    else:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
