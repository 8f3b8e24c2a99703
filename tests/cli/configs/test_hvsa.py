"""Configs and rows of HVSA: parsed as they are, and run on small data of their true layout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.cli.configs.parsed import assert_contains, written
from thriftseg.cli.main import main
from thriftseg.datasets.registry import create
from thriftseg.reports import compare_table, compose_row, load_table

ROWS = {row.run: compose_row("hvsa_veis", row.key) for row in load_table("hvsa_veis").rows}
SEARCHES = {row.run: compose_row("hvsa_t3", row.key) for row in load_table("hvsa_t3").rows}
FILES = ["camvid", "scenenet", "synthetic"]
TINY = ["--network", "deeplabv3plus_mobilenetv2", "--network_options", '{"decoder_channels": 8}', "--epochs", "1"]
TINY += ["--flow", "dis", "--flow_weights", "null", "--resize", "32", "64", "--accelerator", "cpu"]
QUICK = {"veis_miou80"}


def settings_of(name: str) -> dict:
    return ROWS[name].config if name in ROWS else written(f"hvsa/{name}.yaml")


def arguments_of(name: str) -> list[str]:
    return ["--table", "hvsa_veis", f"--row={name}"] if name in ROWS else ["--config", f"hvsa/{name}.yaml"]


def test_rows_differ_from_the_base_by_what_they_say() -> None:
    base = written("bases/hvsa.yaml")
    assert (base["budget"], base["rounds"], base["strategy"], base["consistency"]) == ("10%", 3, "both", 1.0)
    for row in ROWS.values():
        assert row.config == base | row.row.recipe.settings
        assert row.row.recipe.settings.keys() <= base.keys()


def test_scenenet_takes_the_published_batch() -> None:
    base = written("bases/hvsa.yaml")
    assert written("hvsa/scenenet.yaml") == base | {"dataset": "scenenet", "batch_size": 14}


def test_searches_find_what_the_rows_of_fixed_budgets_suppose() -> None:
    base = written("bases/hvsa.yaml")
    for target, search in zip((0.8, 0.85, 0.9, 0.96), SEARCHES.values(), strict=True):
        fixed = ROWS[search.row.run.replace("least", "miou")]
        assert fixed.row.key == search.row.key
        assert search.row.published["miou"] == 100 * search.config["target_miou"] == 100 * target
        assert base | search.config == fixed.config | {"budget": base["budget"], "target_miou": target}
        assert search.command.startswith("thriftseg annotate find-budget --table hvsa_t3 --row ")


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_parses_to_what_it_says(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["annotate", "find-budget", "--table", "hvsa_t3", f"--row={name}", "--print_config"]) == 0
    assert_contains(yaml.safe_load(capsys.readouterr().out), SEARCHES[name].config)


def test_a_search_stands_beside_the_published_budget(
    veis_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    video = create("veis", veis_root).clips("val")[0].video
    arguments = ["--table", "hvsa_t3", "--row", "96 % mIoU", *TINY, "--root", str(veis_root), "--video", video]
    assert main(["annotate", "find-budget", *arguments, "--tolerance", "60", "--target_miou", "0.5"]) == 0
    search = tmp_path / "runs" / "veis_least96" / video
    probes = json.loads((search / "budgets.json").read_text())["probes"]
    found = next(probe for probe in probes if probe["miou"] >= 0.5)
    (row,) = compare_table(load_table("hvsa_t3").with_rows("96 % mIoU")).rows
    assert row.measured("miou").mean == pytest.approx(100 * found["miou"])
    end = json.loads((search / found["run"] / "rounds.jsonl").read_text().splitlines()[-1])
    for name in ("pixels", "clicks", "boundary_clicks"):
        assert 0 < row.measured(name).mean == pytest.approx(100 * end["share"][name])


@pytest.mark.parametrize("name", [*FILES, "veis_miou80"])
def test_parses_to_what_it_says(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["annotate", "hvsa", *arguments_of(name), "--print_config"]) == 0
    assert_contains(yaml.safe_load(capsys.readouterr().out), settings_of(name))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in [*FILES, *ROWS]]
)
def test_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.chdir(tmp_path)
    content = settings_of(name)
    root: Path = request.getfixturevalue(f"{content['dataset']}_root")
    video = create(content["dataset"], root).clips("val")[0].video
    arguments = [*arguments_of(name), *TINY, "--root", str(root), "--video", video]
    assert main(["annotate", "hvsa", *arguments]) == 0
    run = tmp_path / "runs" / name / video
    rows = [json.loads(line) for line in (run / "rounds.jsonl").read_text().splitlines()]
    assert len(rows) == content["rounds"] + 1
    assert rows[-1]["samples"] > 0
    assert (run / "report.html").is_file()
    if name in ROWS:
        (found,) = compare_table(load_table("hvsa_veis").with_rows(name)).rows
        assert found.measured("miou") is not None
