"""How the rows of all tables are put together, and how the command line takes them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.cli.configs.parsed import FOLDER, assert_contains, class_name, parsed, pieces, written
from thriftseg.cli.main import main
from thriftseg.reports import compose_row, find_row, list_tables, load_table

ALL = [compose_row(name, row.key) for name in list_tables() for row in load_table(name).rows if row.run]
TRAINED = [path.stem for path in (FOLDER / "bases").glob("*.yaml") if "trainer" in written(f"bases/{path.name}")]


def test_rows_of_one_run_are_one_experiment() -> None:
    configs: dict[str, dict] = {}
    for row in ALL:
        assert configs.setdefault(row.row.run, row.config) == row.config


def test_every_fragment_and_base_is_used() -> None:
    named = {f"{path.stem}/{name}" for path in (FOLDER / "fragments").glob("*.yaml") for name in written(str(path))}
    assert set().union(*(pieces(row) for row in ALL if row.table.fragments)) == named
    text = "".join(path.read_text() for folder in ("fragments", "tables") for path in (FOLDER / folder).glob("*"))
    assert all(f"base: {path.stem}" in text for path in (FOLDER / "bases").glob("*.yaml"))


@pytest.mark.parametrize("base", sorted(TRAINED))
def test_every_base_parses_to_what_it_says(base: str) -> None:
    assert_contains(parsed(f"bases/{base}.yaml"), written(f"bases/{base}.yaml"))


def test_what_has_to_be_there_comes_first_and_once() -> None:
    row = compose_row("vos_davis", "davis_stm_r18_ft_middle")
    assert len(set(row.needs)) == len(row.needs) == 7
    trained = [command.split()[-1].strip("'") for command in row.needs if command.startswith("thriftseg fit")]
    assert trained == ["frames", "masks", "synthetic_box2seg_r18"]
    assert row.needs[-1].endswith("--finetune middle --steps 50 --lr 1e-4")
    filled = compose_row("samsam2_options", "B3 with gaps filled")
    assert [command.split()[1:3] for command in filled.needs] == [
        ["label", "propagate"],
        ["fit", "--table"],
        ["label", "fill"],
    ]


def test_a_row_prints_its_config(capsys: pytest.CaptureFixture[str]) -> None:
    row = compose_row("weclick_t1", "R18 + KD + MFD")
    assert main(["fit", "--table", "weclick_t1", "--row=R18 + KD + MFD", "--print_config"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert_contains(printed["model"], row.config["model"])
    assert class_name(printed["model"]["init_args"]["teacher"]) == "DeepLabV3Plus"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--table", "nothing", "--row", "B3"], "no such table; expected camvid_street, "),
        (
            ["--table", "samsam2_t2", "--row", "B5"],
            "no such row of table samsam2_t2; expected 'N1', 'F2', 'B3'; found 'B5'",
        ),
        (["--table", "samsam2_t2"], "--row is missing; expected --table NAME --row KEY"),
        (
            ["--config", "samsam2/cityscapes_td2fanet_b3.yaml"],
            "samsam2/cityscapes_td2fanet_b3.yaml: this config is a row of a table now; fix: pass --table samsam2_t1 "
            "--row 'TDNet B3'",
        ),
        (["--config=configs/vos/davis_stm_gt.yaml"], "pass --table taovos_davis --row 'true masks'"),
        (
            ["--table", "taovos_t5", "--row", "CFBI"],
            "row 'CFBI' of table taovos_t5 is not shipped: its published figures stand alone; fix: run another row",
        ),
    ],
)
def test_what_can_go_wrong_is_told_in_one_line(
    arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", *arguments]) == 2
    err = capsys.readouterr().err
    assert problem in err
    assert len(err.splitlines()) == 1


def test_a_run_is_found_in_its_first_table() -> None:
    table, row = find_row("coco_stm_static") or pytest.fail("not found")
    assert (table.name, row.key) == ("taovos_t3", "static images only, original")
    assert find_row("nothing") is None


def test_old_names_of_annotation_configs_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["annotate", "hvsa", "--config", "hvsa/veis_rec40.yaml"]) == 2
    assert "pass --table hvsa_veis --row 'squares of 40 px'" in capsys.readouterr().err
