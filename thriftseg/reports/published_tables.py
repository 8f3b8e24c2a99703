"""The published tables that shipped configs re-run: one row per experiment, with the numbers to compare with.

A table is a file `configs/tables/<name>.yaml`, written by hand; the configs that its rows name are generated from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from thriftseg.errors import ConfigError
from thriftseg.resources import config_path, list_configs

FOLDER = "tables"
"""Below `configs/`."""


@dataclass(frozen=True)
class PublishedRow:
    """One experiment of a table. What is not known is `None`.

    Attributes:
        key: Name of the row, unique in its table.
        config: Config that runs it, as `--config` takes it. Several rows may share one.
        series: Rows that form one line of a plot.
        published: Published numbers by name; those that `PublishedTable.metrics` lists are per cent.
        samples: Labelled frames to train on.
        hours: Annotation hours by the published times per frame.
        iterations: Optimiser steps.
        coarse_percent: Per cent of the samples whose label is coarse.
        settings: What its config has of its own, for the generator of configs.
    """

    key: str
    config: str
    series: str
    published: Mapping[str, float] = field(default_factory=dict)
    samples: int | None = None
    hours: float | None = None
    iterations: int | None = None
    coarse_percent: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PublishedTable:
    """A table or figure of a paper, or one of the same form without published numbers.

    Attributes:
        name: Name on the command line.
        title: What it shows.
        source: Citation.
        dataset: Names of its data sets.
        metrics: Scores it compares, named as they are logged after `val/`: miou, macc, iou/<class>.
        x: Attribute of the rows to plot the metrics against, if the order of rows is not all there is.
        rows: Rows, top to bottom.
    """

    name: str
    title: str
    source: str
    dataset: str
    metrics: tuple[str, ...]
    x: str | None
    rows: tuple[PublishedRow, ...]


def list_tables() -> list[str]:
    """Names of the tables that ship with the package, sorted.

    Example:
        >>> "samsam2_t1" in list_tables()
        True
    """
    return [Path(name).stem for name in list_configs(FOLDER)]


def load_table(name: str) -> PublishedTable:
    """Read a table that ships with the package.

    Args:
        name: Its name, such as "samsam2_t1".

    Raises:
        ConfigError: There is no such table, or its file is not one.

    Example:
        >>> row = load_table("samsam2_t1").rows[0]
        >>> row.key, row.samples, row.hours, row.published["miou"]
        ('N1', 2975, 4462.5, 75.65)
    """
    if name not in list_tables():
        raise ConfigError("no such table", expected=", ".join(list_tables()), found=repr(name))
    return read_table(config_path(f"{FOLDER}/{name}.yaml"))


def read_table(path: Path) -> PublishedTable:
    """Read a table from a file.

    Args:
        path: YAML of the attributes of `PublishedTable`; `defaults` holds what the rows do not say themselves.

    Raises:
        ConfigError: An entry is missing, unknown or given twice.
    """
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or not isinstance(content.get("rows"), list):
        raise ConfigError("not a table", path=path, expected="a mapping with rows")
    defaults = content.pop("defaults", {})
    rows = tuple(_build(PublishedRow, defaults | row, path) for row in content["rows"])
    keys = [row.key for row in rows]
    repeated = sorted({key for key in keys if keys.count(key) > 1})
    if repeated:
        raise ConfigError("keys of rows are not unique", path=path, found=", ".join(repeated))
    metrics = tuple(content.get("metrics") or ())
    table: PublishedTable = _build(PublishedTable, content | {"rows": rows, "metrics": metrics}, path)
    return table


def _build(kind: type[Any], values: Mapping[str, Any], path: Path) -> Any:
    known = {f.name for f in fields(kind)}
    required = {f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING}
    wrong = sorted((required - values.keys()) | (values.keys() - known))
    if wrong:
        raise ConfigError(
            f"{kind.__name__} has missing or unknown entries",
            path=path,
            expected=", ".join(f.name for f in fields(kind)),
            found=", ".join(wrong),
        )
    return kind(**values)
