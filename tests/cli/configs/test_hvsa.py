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
FILES = ["camvid", "synthetic"]
QUICK = {"veis_miou80", "veis_miou96"}


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
    tiny = ["--network", "deeplabv3plus_mobilenetv2", "--network_options", '{"decoder_channels": 8}', "--epochs", "1"]
    tiny += ["--flow", "dis", "--flow_weights", "null", "--resize", "32", "64", "--accelerator", "cpu"]
    arguments = [*arguments_of(name), *tiny, "--root", str(root), "--video", video]
    assert main(["annotate", "hvsa", *arguments]) == 0
    run = tmp_path / "runs" / name / video
    rows = [json.loads(line) for line in (run / "rounds.jsonl").read_text().splitlines()]
    assert len(rows) == content["rounds"] + 1
    assert rows[-1]["samples"] > 0
    assert (run / "report.html").is_file()
    if name in ROWS:
        (found,) = compare_table(load_table("hvsa_veis").with_rows(name)).rows
        assert found.measured("miou") is not None
