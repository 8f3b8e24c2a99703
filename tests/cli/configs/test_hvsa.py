"""Every config of HVSA: parsed as it is, and run on small data of its true layout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.cli.configs.parsed import assert_contains
from thriftseg.cli.main import main
from thriftseg.datasets.registry import create

FOLDER = Path(__file__).resolve().parents[3] / "configs" / "hvsa"
CONFIGS = sorted(path.name for path in FOLDER.glob("*.yaml"))
ROWS = {
    "veis_miou80": {"granularity": "rec40", "unit": "clicks", "budget": "4.3%"},
    "veis_miou85": {},
    "veis_miou90": {"budget": "51%"},
    "veis_miou96": {"budget": "100%", "rounds": 1, "epochs": 1, "strategy": "random"},
    "veis_frame": {},
    "veis_rec20": {"granularity": "rec20"},
    "veis_rec40": {"granularity": "rec40"},
    "veis_rec80": {"granularity": "rec80"},
    "veis_sp": {"granularity": "sp"},
    "veis_random": {"strategy": "random"},
    "veis_uncertainty": {"strategy": "uncertainty"},
    "veis_diversity": {"strategy": "diversity"},
    "veis_lambda0": {"consistency": 0.0},
    "veis_k1": {"rounds": 1},
}
"""What tells each experiment from 10 % of the pixels, whole frames, three rounds."""
QUICK = {"veis_miou80", "veis_miou96"}


def written(name: str) -> dict:
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text())


def test_every_experiment_has_a_config() -> None:
    assert {Path(name).stem for name in CONFIGS} == {*ROWS, "camvid", "synthetic"}


@pytest.mark.parametrize("name", ROWS)
def test_an_experiment_changes_what_it_says_and_nothing_else(name: str) -> None:
    base = written("veis_frame")
    assert (base["budget"], base["rounds"], base["strategy"], base["consistency"]) == ("10%", 3, "both", 1.0)
    assert written(name) == base | ROWS[name]


@pytest.mark.parametrize("config", CONFIGS)
def test_parses_to_what_it_says(config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["annotate", "hvsa", "--config", f"hvsa/{config}", "--print_config"]) == 0
    assert_contains(yaml.safe_load(capsys.readouterr().out), written(Path(config).stem))
    head = (FOLDER / config).read_text()
    assert f"--config hvsa/{config} " in head


@pytest.mark.parametrize(
    "config", [pytest.param(c, marks=[] if Path(c).stem in QUICK else pytest.mark.slow) for c in CONFIGS]
)
def test_runs(config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.chdir(tmp_path)
    content = written(Path(config).stem)
    root: Path = request.getfixturevalue(f"{content['dataset']}_root")
    video = create(content["dataset"], root).clips("val")[0].video
    tiny = ["--network", "deeplabv3plus_mobilenetv2", "--network_options", '{"decoder_channels": 8}', "--epochs", "1"]
    tiny += ["--flow", "dis", "--flow_weights", "null", "--resize", "32", "64", "--accelerator", "cpu"]
    arguments = ["--config", f"hvsa/{config}", *tiny, "--root", str(root), "--video", video]
    assert main(["annotate", "hvsa", *arguments]) == 0
    run = tmp_path / "runs" / Path(config).stem / video
    rows = [json.loads(line) for line in (run / "rounds.jsonl").read_text().splitlines()]
    assert len(rows) == content["rounds"] + 1
    assert rows[-1]["samples"] > 0
    assert (run / "report.html").is_file()
