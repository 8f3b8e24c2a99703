"""The config of a row of a published table: its base, with the fragments and settings of the row over it."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec.structs import asdict

from thriftseg.errors import ConfigError
from thriftseg.parsing import check
from thriftseg.reports.tables.fragments import Fragment, fill_in, load_yaml, merge_trees, take_away
from thriftseg.reports.tables.published import PublishedRow, PublishedTable, is_own_file, list_tables, load_table
from thriftseg.resources import config_path

BASES, FRAGMENTS = "bases", "fragments"
"""Folders below `configs/`."""


@dataclass(frozen=True)
class ComposedRow:
    """What it takes to run a row of a table.

    Attributes:
        table: The table.
        row: The row.
        config: Settings of the command that runs it, as a YAML file holds them.
        needs: Commands that come before, in order: those that make its labels, and trainings that it starts from.
        command: The command that runs it, with what only the user knows in capitals.
        then: Commands that follow.

    Example:
        >>> from thriftseg.reports import compose_row
        >>> composed = compose_row("samsam2_t1", "B3")
        >>> composed.row.iterations, composed.config["trainer"]["max_steps"], len(composed.needs)
        (40000, 40000, 1)
    """

    table: PublishedTable
    row: PublishedRow
    config: dict[str, Any]
    needs: tuple[str, ...]
    command: str
    then: tuple[str, ...]


def compose_row(table: str | PublishedTable, key: str, name: str | None = None) -> ComposedRow:
    """Put the config of a row together, and the commands around it.

    Args:
        table: The table, or its name.
        key: Key of the row, or name of its runs.
        name: Folder of the run below `runs/` that the commands after it work on; the row's `run` if unset.

    Raises:
        ConfigError: There is no such table or row, or its pieces do not fit together, or it is not shipped.

    Example:
        >>> composed = compose_row("samsam2_t1", "B3")
        >>> composed.config["data"]["init_args"]["mixture"]
        {'pattern': 'B3', 'propagated': 'sam2', 'cost_model': 'published'}
        >>> composed.needs[0].partition(" --method")[0]
        'thriftseg label propagate --dataset cityscapes'
        >>> composed.command
        'thriftseg fit --table samsam2_t1 --row B3 --data.dataset.root DIR'
    """
    table = load_table(table) if isinstance(table, str) else table
    row = table.row(key)
    if row.run is None:
        raise ConfigError(
            f"row {row.key!r} of table {table.name} is not shipped: its published figures stand alone",
            fix="run another row; `thriftseg report list` names those that have runs",
        )
    named: dict[str, Fragment] = {}
    if table.fragments is not None:
        path = _find(table, FRAGMENTS, table.fragments)
        named = check(load_yaml(path), dict[str, Fragment], path, fault=ConfigError)
    parts = [*row.recipe.flattened(named)]
    bases = [part.base for part in parts if part.base]
    if not bases:
        raise ConfigError(f"row {row.key!r} of table {table.name} cannot be run", expected="a base", found="none")
    values = {name: value for name, value in asdict(row).items() if name != "recipe"} | {"table": table.name}
    values["name"] = name or row.run
    for part in parts:
        values |= part.values
    config = load_yaml(_find(table, BASES, bases[-1]))
    for part in parts:
        config = functools.reduce(take_away, part.without, config)
        config = merge_trees(config, fill_in(part.settings, values))
    needs = [command for part in parts for command in fill_in(part.needs, values)]
    shared = sum(each.run == row.run for each in table.rows) > 1
    give = " ".join(["", *(option for part in parts for option in fill_in(part.give, values))])
    return ComposedRow(
        table,
        row,
        dict(config),
        tuple(dict.fromkeys(command for need in needs for command in _with_its_needs(need))),
        f"thriftseg {table.command} --table {table.name} --row {shlex.quote(row.run if shared else row.key)}{give}",
        tuple(command for part in parts for command in fill_in(part.then, values)),
    )


def find_row(run: str) -> tuple[PublishedTable, PublishedRow] | None:
    """The first row of any table whose runs are called so.

    Args:
        run: Name of a run, such as "cityscapes_tmanet_b3".

    Example:
        >>> table, row = find_row("cityscapes_tmanet_b3")
        >>> table.name, row.key, find_row("unheard_of")
        ('samsam2_t1', 'B3', None)
    """
    rows = ((table, row) for table in map(load_table, list_tables()) for row in table.rows)
    return next(((table, row) for table, row in rows if row.run == run), None)


def _with_its_needs(command: str) -> Iterator[str]:
    """A command, after what is needed by the row that it trains, if it trains one."""
    words = shlex.split(command)
    if "--table" in words and "--row" in words:
        table, key = (words[words.index(option) + 1] for option in ("--table", "--row"))
        needed = compose_row(table, key)
        yield from needed.needs
        command = needed.command
    yield command


def _find(table: PublishedTable, folder: str, name: str) -> Path:
    """A file that a table names: one that ships with the package, or one beside a table of one's own."""
    return Path(table.name).parent / name if is_own_file(name) else config_path(f"{folder}/{name}.yaml")
