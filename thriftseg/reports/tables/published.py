"""The published tables that can be run again: one row per experiment, with the numbers to compare with.

A table is a file `configs/tables/<name>.yaml`; `composing` makes the config of a row from what it says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from thriftseg.errors import ConfigError
from thriftseg.parsing import Count, Number, Record, check
from thriftseg.reports.tables.fragments import Fragment, load_yaml
from thriftseg.resources import config_path, list_configs

FOLDER = "tables"
"""Below `configs/`."""
ABSOLUTE = ("params_m", "gflops", "fps", "hours_at_85")
"""Metrics that are no per cent: millions of parameters, billions of operations per frame and frames per second of a
network, and hours of annotation to a J&F of 0.85."""


class PublishedRow(Record, frozen=True):
    """One experiment of a table. What is not known is `None`.

    Attributes:
        key: Name of the row, unique in its table.
        run: Name of its runs below `runs/`. Rows that share it are one experiment. For a row of labels, the runs of
            the network that makes them. `None` for a method that is not shipped, whose published figures stand alone.
        series: Rows that form one line of a plot.
        published: Published numbers by name, in per cent but for `ABSOLUTE`.
        samples: Labelled frames to train on.
        hours: Annotation hours by the published times per frame, or by the times per mask and box.
        iterations: Optimiser steps.
        coarse_percent: Per cent of the samples whose label is coarse.
        masks: Masks of objects that are drawn by hand.
        labels: Source in a label store whose quality the row tells; `None` for scores of a trained network.
        network: Name of the network in the zoo, where its size and speed are compared.
        recipe: What its config is made of; in the file, its entries stand beside the others.

    Example:
        >>> row = PublishedRow("B3", run="own_b3", series="manual", published={"miou": 76.5}, labels="boxes")
        >>> row.folder, row.published["miou"], row.hours  # a row of labels is looked up by their source
        ('boxes', 76.5, None)
    """

    key: str
    run: str | None
    series: str
    published: Mapping[str, Number] = msgspec.field(default_factory=dict)
    samples: Count | None = None
    hours: Number | None = None
    iterations: Count | None = None
    coarse_percent: Number | None = None
    masks: Count | None = None
    labels: str | None = None
    network: str | None = None
    recipe: Fragment = Fragment()

    @property
    def folder(self) -> str | None:
        """Name of the folder with its scores: that of the labels, or that of its runs, if it has any."""
        return self.labels or self.run


class PublishedTable(Record, frozen=True):
    """A table or figure of a paper, or one of the same form without published numbers.

    Attributes:
        name: Name on the command line: its own, or the path of a file that does not ship with the package.
        title: What it shows.
        source: Citation.
        dataset: Names of its data sets.
        metrics: Scores it compares, named as they are logged after `val/`: miou, macc, iou/<class>, jf. Those of a data
            set of `tests` have its name before them, as in davis/jf; those of labels are mean_j, recall_50, recall_70;
            those of annotation clicks, boundary_clicks and pixels, shares of what labelling everything takes. Some are
            `ABSOLUTE`.
        x: Attribute of the rows to plot the metrics against, if the order of rows is not all there is.
        rows: Rows, top to bottom.
        tests: Data sets that each run is tested on, into a folder of that name within the run's; none where the run's
            own scores are compared.
        best_of: Name of the data set that `tests` are ways to test on; by it metrics mean the test with the best J&F.
        fragments: File of `configs/fragments`, without suffix, that its rows take fragments from; or the path of a file
            of your own, from the folder of the table.
        command: Command of `thriftseg` that runs a row.

    Example:
        >>> rows = tuple(PublishedRow(key, run=f"own_{key}", series="own") for key in ("clicks", "masks"))
        >>> table = PublishedTable("own", "My own", "unpublished", "camvid", metrics=("miou",), x=None, rows=rows)
        >>> table.row("own_masks").key, len(table.with_rows("clicks").rows), table.of_training
        ('masks', 1, True)
    """

    name: str
    title: str
    source: str
    dataset: str
    metrics: tuple[str, ...]
    x: str | None
    rows: tuple[PublishedRow, ...]
    tests: tuple[str, ...] = ()
    best_of: str | None = None
    fragments: str | None = None
    command: str = "fit"

    def row(self, key: str) -> PublishedRow:
        """The row of a key, or the first whose runs are called so.

        Raises:
            ConfigError: There is none.
        """
        found = [row for row in self.rows if row.key == key] or [row for row in self.rows if row.run == key]
        if not found:
            keys = ", ".join(repr(row.key) for row in self.rows)
            raise ConfigError(f"no such row of table {self.name}", expected=keys, found=repr(key))
        return found[0]

    def with_rows(self, keys: str | Sequence[str] | None) -> PublishedTable:
        """The table with some of its rows only.

        Args:
            keys: Keys of rows, or names of their runs; in a text with commas between; all rows if `None`.

        Raises:
            ConfigError: There is no such row.
        """
        if keys is None:
            return self
        if isinstance(keys, str):
            keys = [keys] if any(keys in (row.key, row.run) for row in self.rows) else keys.split(",")
        return replace(self, rows=tuple({row.key: row for row in (self.row(key.strip()) for key in keys)}.values()))

    @property
    def of_labels(self) -> bool:
        """Whether it compares labels in a store instead of trained networks."""
        return any(row.labels for row in self.rows)

    @property
    def of_training(self) -> bool:
        """Whether its rows compare networks that `thriftseg fit` trains."""
        return self.command == "fit" and not self.of_labels

    @property
    def of_annotation(self) -> bool:
        """Whether its rows compare runs of `thriftseg annotate`."""
        return self.command.startswith("annotate")

    @property
    def searches_budgets(self) -> bool:
        """Whether each of its runs is a search for the least budget that reaches a quality."""
        return self.command == "annotate find-budget"


class _File(msgspec.Struct):
    rows: list[dict[str, Any]]
    defaults: dict[str, Any] = msgspec.field(default_factory=dict)


def list_tables() -> list[str]:
    """Names of the tables that ship with the package, sorted.

    Example:
        >>> "samsam2_t1" in list_tables()
        True
    """
    return [Path(name).stem for name in list_configs(FOLDER)]


def load_table(name: str) -> PublishedTable:
    """Read a table that ships with the package, or one of your own.

    Args:
        name: Its name, such as "samsam2_t1", or the path of a YAML file.

    Raises:
        ConfigError: There is no such table, or its file is not one.

    Example:
        >>> row = load_table("samsam2_t1").rows[0]
        >>> row.key, row.samples, row.hours, row.published["miou"]
        ('N1', 2975, 4462.5, 75.65)
    """
    if is_own_file(name):
        return replace(read_table(Path(name)), name=name)
    if name not in list_tables():
        expected = f"{', '.join(list_tables())}, or a YAML file of your own"
        raise ConfigError("no such table", expected=expected, found=repr(name))
    return read_table(config_path(f"{FOLDER}/{name}.yaml"))


def scale_of(metric: str) -> int:
    """What a table multiplies a score by: 100, for per cent, but for `ABSOLUTE`."""
    return 1 if metric in ABSOLUTE else 100


def is_own_file(name: str) -> bool:
    """Whether a table, base or file of fragments is named by a path instead of a shipped name.

    Example:
        >>> is_own_file("mine.yaml"), is_own_file("samsam2_t1")
        (True, False)
    """
    return Path(name).suffix in (".yaml", ".yml")


def read_table(path: Path) -> PublishedTable:
    """Read a table from a file.

    Args:
        path: YAML of the attributes of `PublishedTable`; `defaults` holds what the rows do not say themselves. Name,
            source and x may be missing.

    Raises:
        ConfigError: An entry is missing, unknown or given twice.
    """
    content = load_yaml(path)
    file = check(content, _File, path, fault=ConfigError)
    lists = {name: content.get(name) or [] for name in ("metrics", "tests")}
    given = {"name": path.stem, "source": "unpublished", "x": None} | content
    given.pop("defaults", None)
    rows = [_with_recipe(file.defaults | row) for row in file.rows]
    table = check(given | lists | {"rows": rows}, PublishedTable, path, fault=ConfigError)
    keys = [row.key for row in table.rows]
    repeated = sorted({key for key in keys if keys.count(key) > 1})
    if repeated:
        raise ConfigError("keys of rows are not unique", path=path, found=", ".join(repeated))
    return table


def _with_recipe(row: Mapping[str, Any]) -> dict[str, Any]:
    recipe = {name: value for name, value in row.items() if name in Fragment.__struct_fields__}
    return {name: value for name, value in row.items() if name not in recipe} | {"recipe": recipe}
