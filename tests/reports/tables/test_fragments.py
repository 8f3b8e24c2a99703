from __future__ import annotations

from pathlib import Path

import pytest

from thriftseg.errors import ConfigError
from thriftseg.reports.tables.composing import compose_row
from thriftseg.reports.tables.fragments import Fragment, fill_in, load_yaml, merge_trees, take_away
from thriftseg.reports.tables.published import PublishedRow, PublishedTable

MODEL = {"model": {"class_path": "M", "init_args": {"net": {"class_path": "N", "init_args": {"depth": 18}}, "lr": 0.1}}}


def test_paths_leave_out_the_arguments_of_classes() -> None:
    merged = merge_trees(MODEL, {"model.net.depth": 50, "model": {"lr": 1}, "data.crop": [2, 2]})
    assert merged == {
        "model": {"class_path": "M", "init_args": {"net": {"class_path": "N", "init_args": {"depth": 50}}, "lr": 1}},
        "data": {"crop": [2, 2]},
    }
    assert MODEL["model"]["init_args"]["net"]["init_args"] == {"depth": 18}


def test_another_class_takes_nothing_over() -> None:
    merged = merge_trees(MODEL, {"model.net": {"class_path": "P", "init_args": {"width": 3}}})
    assert merged["model"]["init_args"]["net"] == {"class_path": "P", "init_args": {"width": 3}}
    same = merge_trees(MODEL, {"model.net": {"class_path": "N", "init_args": {"width": 3}}})
    assert same["model"]["init_args"]["net"]["init_args"] == {"depth": 18, "width": 3}


def test_lists_and_nulls_replace() -> None:
    assert merge_trees({"a": [1, 2], "b": {"c": 1}}, {"a": [3], "b": None}) == {"a": [3], "b": None}


def test_settings_are_taken_away() -> None:
    assert take_away(MODEL, "model.net.depth")["model"]["init_args"]["net"] == {"class_path": "N", "init_args": {}}
    with pytest.raises(ConfigError, match="no setting to take away; found width"):
        take_away(MODEL["model"], "net.width")


def test_names_are_filled_in() -> None:
    values = {"a": 5, "b": "x$a", "c": "${b}y"}
    assert fill_in({"k": ["$a", "$c", 3, None]}, values) == {"k": [5, "x5y", 3, None]}
    with pytest.raises(ConfigError, match=r"nothing says what a name stands for; found \$d"):
        fill_in("to $d", values)


def test_fragments_come_in_order_and_what_is_missing_is_named() -> None:
    named = {"a": Fragment(uses=("b",)), "b": Fragment(base="x")}
    assert list(Fragment(uses=("a",)).flattened(named)) == [named["b"], named["a"], Fragment(uses=("a",))]
    with pytest.raises(ConfigError, match="no such fragment; expected a, b; found c"):
        list(Fragment(uses=("c",)).flattened(named))


def test_a_row_without_a_base_cannot_be_run() -> None:
    table = PublishedTable("demo", "", "", "camvid", ("miou",), None, (PublishedRow("a", "run", "s"),))
    with pytest.raises(ConfigError, match="row 'a' of table demo cannot be run; expected a base"):
        compose_row(table, "a")


def test_a_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: 1")
    assert load_yaml(path) == {"a": 1}
    path.write_text("a: [")
    with pytest.raises(ConfigError, match="not YAML"):
        load_yaml(path)
