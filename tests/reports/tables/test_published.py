from __future__ import annotations

from pathlib import Path

import pytest

from thriftseg.errors import ConfigError
from thriftseg.reports import compose_row, list_tables, load_table
from thriftseg.reports.tables.published import ABSOLUTE, read_table

PUBLISHED = [
    *(f"samsam2_t{number}" for number in (1, 2, 3, 4, 5, 7)),
    *(f"weclick_{number}" for number in ("f5", "t1", "t2", "t3", "t4", "t5")),
    *(f"taovos_{number}" for number in ("t2", "t3", "t5")),
    *(f"eva_vos_fig3{part}" for part in "abc"),
    "hvsa_t3",
]
TABLE = """
name: small
title: two rows
source: nobody
dataset: cityscapes
metrics: [miou]
x: null
defaults: {samples: 10}
rows:
  - {key: a, run: a, series: s, published: {miou: 50.0}}
  - {key: b, run: b, series: s, samples: 20}
"""


def test_every_published_table_ships() -> None:
    assert set(PUBLISHED) <= set(list_tables())
    for name in list_tables():
        table = load_table(name)
        assert table.name == name
        assert all("-" not in row.run for row in table.rows if row.run is not None)
        assert table.x in (None, "coarse_percent")
        for row in table.rows:
            # What was published is compared, but for the speed on CamVid; shares are per cent.
            assert set(row.published) - ({"fps"} if name == "weclick_t5" else set()) <= set(table.metrics)
            assert all(1 < value <= 100 for metric, value in row.published.items() if metric not in ABSOLUTE)
            assert row.run is not None or row.published


@pytest.mark.parametrize(
    ("name", "key", "number"),
    [
        ("samsam2_t1", "B3", {"miou": 74.48}),
        ("samsam2_t1", "TDNet B5", {"miou": 66.36}),
        ("samsam2_t2", "F2", {"miou": 60.67}),
        ("samsam2_t3", "90 % refined", {"miou": 66.93, "macc": 77.04}),
        ("samsam2_t4", "50 % refined", {"miou": 69.93, "macc": 78.26}),
        ("samsam2_t7", "25 % amg", {"miou": 66.30, "macc": 73.59}),
        ("weclick_t1", "MobileNetV2 + KD", {"miou": 56.26, "macc": 66.14}),
        ("weclick_t2", "R18 backward", {"miou": 57.24, "macc": 65.50}),
        ("weclick_t3", "two-sided, random", {"miou": 57.74, "macc": 66.43}),
        ("weclick_f5", "n = 3, two-sided", {"miou": 57.56, "macc": 66.16}),
        ("weclick_f5", "n = 5, forward", {}),
        ("weclick_t4", "PSP-Mob WeClick", {"miou": 52.44, "macc": 62.71, "params_m": 10.31, "fps": 52.23}),
        ("weclick_t5", "Gated CRF R18", {"miou": 46.2}),
        ("weclick_t5", "WeClick R18", {"miou": 48.7, "fps": 128.3}),
        ("weclick_t5", "Cityscapes Gated CRF R34", {"miou": 57.43}),
        ("eva_vos_fig3a", "IVOS-W", {"hours_at_85": 186}),
        ("eva_vos_fig3a", "EVA-VOS", {"hours_at_85": 80.7}),
        ("hvsa_t3", "80 % mIoU", {"miou": 80, "clicks": 4.3, "pixels": 1.3}),
        ("hvsa_t3", "90 % mIoU", {"miou": 90, "clicks": 44, "pixels": 51}),
        ("taovos_t2", "Box2Seg", {"mean_j": 82.1, "recall_50": 94.3, "recall_70": 85.3}),
        ("taovos_t2", "Box2Seg, first mask", {"mean_j": 86.7, "recall_50": 97.4, "recall_70": 91.8}),
        ("taovos_t2", "Box2Seg, middle mask", {"mean_j": 87.6, "recall_50": 97.9, "recall_70": 93.1}),
        ("taovos_t2", "true masks", {"mean_j": 100.0, "recall_50": 100.0, "recall_70": 100.0}),
    ],
)
def test_numbers_of_the_papers(name: str, key: str, number: dict[str, float]) -> None:
    (row,) = [row for row in load_table(name).rows if row.key == key]
    assert row.published == number


def test_numbers_of_networks_trained_on_labels_made_of_boxes() -> None:
    rows = load_table("taovos_t3").rows
    assert [(row.masks, row.published["davis/jf"], row.published["youtube_vos/overall"]) for row in rows] == [
        (159_976, 78.6, 79.4),
        (9_627, 71.6, 56.3),
        (0, 60.0, 69.1),
        (159_976, 78.8, 79.3),
        (159_976, 78.2, 79.8),
        (0, 74.9, 74.3),
        (None, 76.0, 74.6),
        (0, 76.1, 76.2),
        (6_459, 77.7, 77.3),
        (6_459, 76.9, 77.9),
    ]
    assert [row.masks for row in load_table("taovos_t2").rows] == [0, 6_459, 6_459, 159_976]


def test_numbers_of_tao_vos_and_of_methods_that_are_not_shipped() -> None:
    rows = load_table("taovos_t5").rows
    assert [(row.run is None, *(row.published[f"tao_vos/{score}"] for score in ("jf", "j", "f"))) for row in rows] == [
        (False, 62.3, 59.9, 64.7),
        (False, 63.8, 61.5, 66.1),
        (True, 63.9, 61.9, 66.0),
        (True, 66.3, 63.8, 68.8),
        (True, 55.9, 53.0, 58.7),
        (True, 59.5, 56.7, 62.4),
    ]


def test_rows_of_both_data_sets_have_the_numbers_of_one_experiment() -> None:
    first = {row.run: row.published["miou"] for row in load_table("weclick_t1").rows}
    rows = {row.run: row.published["miou"] for row in load_table("weclick_t5").rows if row.series == "cityscapes"}
    assert rows == {run: first.get(run, 57.43) for run in rows}
    assert rows.keys() - first.keys() == {"cityscapes_dl_r34_weak"}


def test_refining_helps_all_classes_but_two() -> None:
    classes, coarse = load_table("samsam2_t5"), load_table("samsam2_t3")
    assert len(classes.metrics) == 20
    assert {row.run for row in classes.rows} <= {row.run for row in coarse.rows}
    numbers = {row.key: row.published for row in classes.rows}
    not_refined, refined = numbers["100 %"], numbers["100 % refined"]
    assert len(refined) == 8
    better = [name for name in refined if refined[name] > not_refined[name]]
    assert sorted(refined.keys() - better) == ["iou/bicycle", "iou/car"]


def test_a_table_has_defaults(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(TABLE)
    table = read_table(path)
    assert [(row.key, row.samples, row.hours, dict(row.published)) for row in table.rows] == [
        ("a", 10, None, {"miou": 50.0}),
        ("b", 20, None, {}),
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("key: b", "key: a", "keys of rows are not unique; found a"),
        ("samples: 20", "sample: 20", r"malformed at \$\.rows\[1\]; found an unknown entry sample$"),
        ("title: two rows", "", r"malformed at \$; expected an entry title"),
        ("rows:", "lines:", r"malformed at \$; expected an entry rows"),
        ("samples: 20", "samples: many", r"malformed at \$\.rows\[1\]\.samples; expected int \| null; found 'many'"),
    ],
)
def test_a_damaged_table_is_named(old: str, new: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(TABLE.replace(old, new))
    with pytest.raises(ConfigError, match=f"small.yaml: {message}"):
        read_table(path)


def test_unknown_tables_are_answered_with_the_known_ones() -> None:
    with pytest.raises(
        ConfigError, match=r"no such table; expected camvid_street, .*weclick_t5, or a YAML file.*'samsam2_t9'"
    ):
        load_table("samsam2_t9")


def test_a_table_of_ones_own_is_named_by_its_path_and_takes_files_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "{title: mine, dataset: camvid, metrics: [miou], fragments: parts.yaml, rows: ["
        "{key: long, run: long, series: mine, uses: [more], settings: {trainer.max_epochs: 4}},"
        "{key: shipped, run: other, series: mine, base: camvid_small}]}"
    )
    (tmp_path / "parts.yaml").write_text("more: {base: base.yaml, settings: {data.batch_size: 2}}")
    (tmp_path / "base.yaml").write_text("{trainer: {max_epochs: 1}, data: {batch_size: 8}}")
    table = load_table(str(path))
    assert (table.name, table.source, table.x) == (str(path), "unpublished", None)
    long = compose_row(str(path), "long")
    assert long.config == {"trainer": {"max_epochs": 4}, "data": {"batch_size": 2}}
    assert long.command == f"thriftseg fit --table {path} --row long"
    assert compose_row(table, "shipped").config["trainer"]["max_epochs"] == 12
    (tmp_path / "base.yaml").unlink()
    with pytest.raises(ConfigError, match=r"base\.yaml: no such file"):
        compose_row(table, "long")
    with pytest.raises(ConfigError, match=r"none\.yaml: no such file"):
        load_table(str(tmp_path / "none.yaml"))
