"""Shipped configs and rows of tables as they are written, and as `thriftseg fit` understands them."""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser

from thriftseg.cli.train import TrainingCLI
from thriftseg.reports import ComposedRow, compose_row, list_tables, load_table

FOLDER = Path(__file__).resolve().parents[3] / "configs"


class ParserBuilt(Exception):
    """Carries the parser of the command line, which takes as long to build as a config takes to parse."""


class ParserOnly(TrainingCLI):
    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        raise ParserBuilt(parser, self._parser("fit"))


@functools.cache
def command_lines() -> tuple[LightningArgumentParser, LightningArgumentParser]:
    """Of `thriftseg`, and of `thriftseg fit` alone, which parses a config once instead of twice."""
    with pytest.raises(ParserBuilt) as caught:
        ParserOnly(["fit"], "thriftseg fit")
    whole, fit = caught.value.args
    return whole, fit


@functools.cache
def parsed(config: str) -> dict[str, Any]:
    """The untouched config as `thriftseg fit` understands it."""
    return understood(written(config))


def understood(config: dict[str, Any]) -> dict[str, Any]:
    """Settings as `thriftseg fit` understands them."""
    content: dict[str, Any] = plain(command_lines()[1].parse_object(copy.deepcopy(config)))
    data = content["data"]["init_args"]
    if data.get("mixture"):
        data["mixture"] = data["mixture"]["init_args"]  # the one class that configs need not name
    return content


@functools.cache
def composed() -> dict[str, ComposedRow]:
    """The rows of all tables that `thriftseg fit` trains, by the names of their runs."""
    tables = [table for table in map(load_table, list_tables()) if table.command == "fit"]
    return {row.run: compose_row(table, row.key) for table in tables for row in table.rows if row.run}


def pieces(row: ComposedRow) -> set[str]:
    """Fragments that a row is made of, and its base."""
    named = yaml.load((FOLDER / "fragments" / f"{row.table.fragments}.yaml").read_text(), yaml.CSafeLoader)
    found, waiting = set(), [row.row.recipe.uses]
    while waiting:
        names = waiting.pop()
        found |= set(names)
        waiting += [named[name].get("uses", []) for name in names]
    return {f"{row.table.fragments}/{name}" for name in found}


def every_piece_once(rows: dict[str, ComposedRow]) -> list[str]:
    """Few runs that use every fragment which any of the rows uses."""
    seen: set[str] = set()
    chosen = []
    for run in sorted(rows, key=lambda run: (-len(pieces(rows[run])), run)):
        if not pieces(rows[run]) <= seen:
            chosen.append(run)
            seen |= pieces(rows[run])
    return chosen


def plain(value: Any) -> Any:
    """Parsed settings as a YAML file would hold them."""
    if isinstance(value, Namespace):
        value = vars(value)
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    return [plain(entry) for entry in value] if isinstance(value, list | tuple) else value


@functools.cache
def written(config: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.load((FOLDER / config).read_text(), yaml.CSafeLoader)
    return content


def class_name(entry: dict[str, Any]) -> str:
    return str(entry["class_path"]).rpartition(".")[2]


def assert_contains(parsed: object, written: object) -> None:
    """Every setting of the file arrived in the parsed config."""
    if isinstance(written, dict):
        assert isinstance(parsed, dict)
        for key, value in written.items():
            assert_contains(parsed[key], value)
    elif isinstance(written, list):
        assert isinstance(parsed, list)
        for found, value in zip(parsed, written, strict=True):
            assert_contains(found, value)
    else:
        assert parsed == written
