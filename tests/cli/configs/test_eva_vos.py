"""Configs of EVA-VOS: parsed as they are, and run on small sets of annotated discs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import yaml

from tests.cli.configs.parsed import assert_contains
from tests.fixtures.annotation_sets import write_quality_set, write_type_set
from thriftseg.cli.main import main
from thriftseg.datamodules import MaskQualityDataModule
from thriftseg.reports import compose_row, load_table
from thriftseg.stores.type_set import TypeSet

FOLDER = Path(__file__).resolve().parents[3] / "configs" / "eva_vos"
CONFIGS = sorted(FOLDER.glob("*.yaml"))
TABLES = [f"eva_vos_fig3{part}" for part in "abc"]
FIGURES = {
    "fig3a_eva_vos": ("qnet", "mask", "none"),
    "fig3a_random": ("random", "mask", "none"),
    "fig3a_oracle": ("oracle", "mask", "none"),
    "fig3a_upper_bound": ("upper_bound", "mask", "none"),
    "fig3a_l2_dinov2": ("l2:vit_large_patch14_dinov2.lvd142m", "mask", "none"),
    "fig3a_l2_resnet101": ("l2:resnet101.tv_in1k", "mask", "none"),
    "fig3a_l2_vit": ("l2:vit_large_patch16_224.augreg_in21k_ft_in1k", "mask", "none"),
    "fig3b_eva_vos": ("oracle", "agent", "none"),
    "fig3b_clicks": ("oracle", "clicks", "none"),
    "fig3b_mask": ("oracle", "mask", "none"),
    "fig3b_random": ("oracle", "random", "none"),
    "fig3b_oracle": ("oracle", "oracle", "none"),
    "fig3c_eva_vos": ("qnet", "agent", "value"),
    "fig3c_oracle": ("oracle", "oracle", "oracle"),
    "fig3c_mask": ("random", "mask", "none"),
    "fig3c_clicks": ("random", "clicks", "none"),
    "fig3c_random": ("random", "random", "none"),
}
"""Choice of frames and types, and ranking, of the curves of EVA-VOS."""
TINY = {"trainer": {"accelerator": "cpu", "fast_dev_run": True, "enable_progress_bar": False}}
NETWORK = {"model": {"init_args": {"network": {"init_args": {"pretrained": False}}}}}
RATED = {"data": {"init_args": {"batch_size": 2, "num_workers": 0, "held_out": 0.4}}}
TYPED = {"data": {"init_args": {"batch_size": 2, "held_out": 0.4}}}


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Overlays and folders for both kinds of sets."""
    folder = tmp_path_factory.mktemp("sets")
    rated, rated_frames = write_quality_set(folder / "rated", rounds=1, frames=2)
    typed, typed_frames = write_type_set(folder / "typed", rounds=1)
    states = TypeSet(typed, typed_frames)
    for state in states.states():
        states.embedding(state, "sam", lambda frame: np.ones(256, np.float32))
    (folder / "rated.yaml").write_text(yaml.safe_dump(TINY | NETWORK | RATED))
    (folder / "typed.yaml").write_text(yaml.safe_dump(TINY | NETWORK | TYPED))
    return {
        "mask": [
            "--config",
            f"{folder}/rated.yaml",
            f"--data.quality_set={rated}",
            f"--data.frames_root={rated_frames}",
        ],
        "annotation": [
            "--config",
            f"{folder}/typed.yaml",
            f"--data.type_set={typed}",
            f"--data.frames_root={typed_frames}",
        ],
    }


def test_the_promised_configs_exist() -> None:
    kinds = ("annotation_policy", "mask_quality")
    assert {path.stem for path in CONFIGS} == {f"{kind}{size}" for kind in kinds for size in ("", "_small")}


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_parses_to_what_it_says(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--config", str(config), "--print_config"]) == 0
    assert_contains(yaml.safe_load(capsys.readouterr().out), yaml.safe_load(config.read_text()))


@pytest.mark.parametrize(
    "config",
    [pytest.param(path, id=path.stem, marks=() if "small" in path.stem else pytest.mark.slow) for path in CONFIGS],
)
def test_runs(config: Path, arguments: dict[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = arguments[config.stem.split("_")[0]]
    faster = ["--model.ppo.epochs=1", "--model.ppo.mini_batches=1"] if "policy" in config.stem else []
    assert main(["fit", "--config", str(config), *given, *faster]) == 0


def test_the_confusion_matrix_is_kept(
    arguments: dict[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    short = ["--trainer.fast_dev_run=false", "--trainer.max_epochs=1", "--trainer.limit_train_batches=1"]
    assert main(["fit", "--config", "eva_vos/mask_quality_small.yaml", *arguments["mask"], *short]) == 0
    confusion = np.loadtxt("runs/mask_quality_small/fit_confusion.csv", delimiter=",", dtype=int)
    scores = json.loads(Path("runs/mask_quality_small/fit.json").read_text())["metrics"]
    folders = [Path(argument.partition("=")[2]) for argument in arguments["mask"][2:]]
    data = MaskQualityDataModule(folders[0], frames_root=folders[1], held_out=0.4)
    data.setup()
    assert confusion.shape == (20, 20)
    assert confusion.sum() == len(data.val_dataloader().dataset)
    assert scores["val/accuracy"] == pytest.approx(np.trace(confusion) / confusion.sum())


def test_published_values() -> None:
    """70 000 rollouts of the agent; 30 epochs of 64 masks for QNet."""
    agent = yaml.safe_load((FOLDER / "annotation_policy.yaml").read_text())
    trainer, settings = agent["trainer"], agent["data"]["init_args"]
    assert trainer["max_epochs"] * trainer["limit_train_batches"] * settings["batch_size"] == 70_000
    judge = yaml.safe_load((FOLDER / "mask_quality.yaml").read_text())
    assert (judge["trainer"]["max_epochs"], judge["data"]["init_args"]["batch_size"]) == (30, 64)


def test_every_curve_is_a_row() -> None:
    rows = {row.run: compose_row(table, row.key) for table in TABLES for row in load_table(table).rows if row.run}
    assert rows.keys() == FIGURES.keys()
    assert all(timm.is_model(frame[3:]) for frame, _, _ in FIGURES.values() if frame.startswith("l2:"))
    for run, row in rows.items():
        assert (row.config["frame"], row.config["type"], row.config["ranking"]) == FIGURES[run]
        assert f"--out runs/{run}-seed0" in row.command
        assert ("--qnet_weights" in row.command) == (row.config["frame"] == "qnet")
        assert ("--policy_weights" in row.command) == (row.config["type"] == "agent")
        assert ("prompter_weights" in row.config) == (row.config["type"] != "mask")
        assert row.needs[0].startswith("thriftseg annotate split --dataset mose --root DIR")


def test_ivos_w_is_not_shipped(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["annotate", "eva-vos", "--table", "eva_vos_fig3a", "--row", "IVOS-W"]) == 2
    assert "row 'IVOS-W' of table eva_vos_fig3a is not shipped" in capsys.readouterr().err


@pytest.mark.parametrize("table", TABLES)
def test_a_row_parses_to_what_it_says(table: str, capsys: pytest.CaptureFixture[str]) -> None:
    row = compose_row(table, "EVA-VOS")
    command = ["annotate", "eva-vos", "--table", table, "--row", "EVA-VOS", "--out", "run", "--print_config"]
    assert main(command) == 0
    assert_contains(yaml.safe_load(capsys.readouterr().out), row.config)
