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
        config: Config that runs it, as `--config` takes it. Several rows may share one. For a row of labels, the config
            of the network that makes them.
        series: Rows that form one line of a plot.
        published: Published numbers by name; those that `PublishedTable.metrics` lists are per cent.
        samples: Labelled frames to train on.
        hours: Annotation hours by the published times per frame, or by the times per mask and box.
        iterations: Optimiser steps.
        coarse_percent: Per cent of the samples whose label is coarse.
        masks: Masks of objects that are drawn by hand.
        labels: Source in a label store whose quality the row tells; `None` for scores of a trained network.
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
    masks: int | None = None
    labels: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """Name of the folder with its scores: that of the labels, or that of runs of the config."""
        return self.labels or Path(self.config).stem


@dataclass(frozen=True)
class PublishedTable:
    """A table or figure of a paper, or one of the same form without published numbers.

    Attributes:
        name: Name on the command line.
        title: What it shows.
        source: Citation.
        dataset: Names of its data sets.
        metrics: Scores it compares, named as they are logged after `val/`: miou, macc, iou/<class>, jf. Those of a data
            set of `tests` have its name before them, as in davis/jf; those of labels are mean_j, recall_50, recall_70.
        x: Attribute of the rows to plot the metrics against, if the order of rows is not all there is.
        rows: Rows, top to bottom.
        tests: Data sets that each run is tested on, into a folder of that name within the run's; none where the run's
            own scores are compared.
    """

    name: str
    title: str
    source: str
    dataset: str
    metrics: tuple[str, ...]
    x: str | None
    rows: tuple[PublishedRow, ...]
    tests: tuple[str, ...] = ()

    @property
    def of_labels(self) -> bool:
        """Whether it compares labels in a store instead of trained networks."""
        return any(row.labels for row in self.rows)


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
    lists = {name: tuple(content.get(name) or ()) for name in ("metrics", "tests")}
    table: PublishedTable = _build(PublishedTable, content | lists | {"rows": rows}, path)
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
