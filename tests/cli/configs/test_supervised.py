"""Every supervised config: parsed as it is, and run on small data of its true layout."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.cli.configs.parsed import FOLDER, assert_contains, class_name, parsed, written
from tests.fixtures.moving_squares import write_squares
from thriftseg.cli.main import main

CONFIGS = sorted((FOLDER / "supervised").glob("*.yaml"))
TINY = {
    "trainer": {"accelerator": "cpu", "precision": "32-true", "fast_dev_run": True, "enable_progress_bar": False},
    "model": {"init_args": {"network": {"init_args": {"pretrained": False}}}},
    "data": {
        "init_args": {
            "crop": [32, 64],
            "resize": None,
            "batch_size": 2,
            "num_workers": 0,
        }
    },
}
SLOW = {"camvid_segformer_pvt_v2_b0", "camvid_upernet_convnext_atto", "cityscapes_deeplabv3plus_resnet18"}
OF_CLASSES = {"eval_batch_size": 1, "cache": "none"}
OF_OBJECTS = {"eval_resize": None}


def by_stem(path: Path) -> str:
    return path.stem


@pytest.fixture(scope="session")
def mose_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    videos = {name: {number: [1, 2] for number in range(4)} for name in ("a", "b", "c")}
    return write_squares(tmp_path_factory.mktemp("mose"), videos, held_out=("c",)).root


def test_the_promised_configs_exist() -> None:
    assert {path.stem.split("_")[0] for path in CONFIGS} == {"camvid", "cityscapes", "folder", "idd", "mose", "veis"}


def test_every_config_parses_to_what_it_says(subtests: pytest.Subtests) -> None:
    for config in CONFIGS:
        with subtests.test(config.stem):
            content = parsed(f"supervised/{config.name}")
            assert_contains(content, written(f"supervised/{config.name}"))
            dataset, network, backbone = config.stem.split("_", 2)
            data, model = content["data"]["init_args"], content["model"]["init_args"]
            assert class_name(data["dataset"]).lower() == dataset
            assert class_name(model["network"]).lower() == network
            settings = model["network"]["init_args"]
            encoder = str(settings.get("backbone", (settings.get("config") or {}).get("model_type"))).removeprefix(
                "tu-"
            )
            assert backbone in (encoder, f"w{settings.get('width')}", f"r{settings.get('depth')}")
            assert data["num_workers"] > 0
            assert content["trainer"]["max_epochs"] or content["trainer"]["max_steps"] > 0


def test_a_config_is_printed_as_it_is_parsed(capsys: pytest.CaptureFixture[str]) -> None:
    name = f"supervised/{CONFIGS[0].name}"
    assert main(["fit", "--config", str(FOLDER / name), "--print_config"]) == 0
    assert_contains(yaml.safe_load(capsys.readouterr().out), written(name))


@pytest.mark.parametrize(
    "config", [pytest.param(path, marks=pytest.mark.slow if path.stem in SLOW else ()) for path in CONFIGS], ids=by_stem
)
def test_runs(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.chdir(tmp_path)
    tiny, further = tmp_path / "tiny.yaml", OF_OBJECTS if "stm" in config.stem else OF_CLASSES
    data = {"data": {"init_args": TINY["data"]["init_args"] | further}}
    if "_hfnetwork_" in config.stem:
        pytest.importorskip("transformers")
        data["model"] = {}  # without an option of that name
    tiny.write_text(yaml.safe_dump(TINY | data))
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
