"""Every supervised config: parsed as it is, and run on small data of its true layout."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from thriftseg.cli.main import main

FOLDER = Path(__file__).resolve().parents[3] / "configs" / "supervised"
CONFIGS = sorted(FOLDER.glob("*.yaml"))
TINY = {
    "trainer": {"accelerator": "cpu", "precision": "32-true", "fast_dev_run": True, "enable_progress_bar": False},
    "model": {"init_args": {"network": {"init_args": {"pretrained": False}}}},
    "data": {
        "init_args": {
            "crop": [32, 64],
            "resize": None,
            "batch_size": 2,
            "eval_batch_size": 1,
            "num_workers": 0,
            "cache": "none",
        }
    },
}


def by_stem(path: Path) -> str:
    return path.stem


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path


def test_the_promised_configs_exist() -> None:
    assert {path.stem.split("_")[0] for path in CONFIGS} == {"camvid", "cityscapes", "folder", "idd", "veis"}


@pytest.mark.parametrize("config", CONFIGS, ids=by_stem)
def test_parses_to_what_it_says(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--config", str(config), "--print_config"]) == 0
    parsed, written = yaml.safe_load(capsys.readouterr().out), yaml.safe_load(config.read_text())
    assert_contains(parsed, written)
    dataset, network, backbone = config.stem.split("_")
    data, model = parsed["data"]["init_args"], parsed["model"]["init_args"]
    assert data["dataset"]["class_path"].rpartition(".")[2].lower() == dataset
    assert model["network"]["class_path"].rpartition(".")[2].lower() == network
    settings = model["network"]["init_args"]
    assert backbone in (settings.get("backbone"), f"w{settings.get('width')}", f"r{settings.get('depth')}")
    assert data["num_workers"] > 0
    assert parsed["trainer"]["max_epochs"] or parsed["trainer"]["max_steps"] > 0


@pytest.mark.parametrize("config", CONFIGS, ids=by_stem)
def test_runs(config: Path, tiny: Path, request: pytest.FixtureRequest) -> None:
    root = request.getfixturevalue(f"{config.stem.split('_')[0]}_root")
    arguments = ["--config", str(config), "--config", str(tiny), f"--data.dataset.root={root}"]
    assert main(["fit", *arguments]) == 0


@pytest.mark.parametrize("form", [["--config={}"], ["--config", "{}"], ["-c", "{}"]], ids=str)
def test_a_shipped_config_is_found_from_any_folder(
    form: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = [part.format(f"supervised/{CONFIGS[0].name}") for part in form]
    assert main(["fit", *arguments, "--print_config"]) == 0
    assert "thriftseg.datasets" in capsys.readouterr().out


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
