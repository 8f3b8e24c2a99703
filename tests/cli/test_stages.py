"""`thriftseg fit` of a student whose config names an untrained teacher: two stages, together or alone."""

from __future__ import annotations

import copy
import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from tests.cli.test_train import CONFIG
from thriftseg.cli.main import main
from thriftseg.datasets import Cityscapes
from thriftseg.inference.checkpoints import load_network
from thriftseg.labels import label_clicks
from thriftseg.zoo.weights.files import weights_digest

TEACHER = Path("runs/student/teacher")


@pytest.fixture(scope="module")
def clicks(cityscapes_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("labels")
    label_clicks(Cityscapes(cityscapes_root), "train", store=store, min_component=10, progress=False)
    return store


@pytest.fixture
def fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cityscapes_root: Path, clicks: Path) -> Callable[..., int]:
    config = copy.deepcopy(CONFIG)
    student, data = config["model"]["init_args"], config["data"]["init_args"]
    student["objective"] = {"class_path": "thriftseg.lightning_modules.WeClick"}
    student["teacher"] = copy.deepcopy(student["network"])
    student["teacher"]["init_args"]["decoder_channels"] = 16
    data["dataset"] = {"class_path": "thriftseg.datasets.Cityscapes", "init_args": {"root": str(cityscapes_root)}}
    data |= {"mixture": {"parts": [{"labels": "clicks"}], "store": str(clicks)}, "batch_size": 2}
    data |= {"neighbours": {"n": 2, "distance": 1}, "neighbour_flow": True, "tc": "off"}
    config["trainer"]["limit_val_batches"] = 1
    (tmp_path / "student.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: main(["fit", "--config", "student.yaml", *arguments])


def scores(folder: Path) -> dict[str, float]:
    return json.loads((folder / "fit.json").read_text())["metrics"]


def test_both_stages_in_one_command(fit: Callable[..., int], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        assert fit() == 0
    assert f"Stage one: the teacher is trained into {TEACHER}" in caplog.text
    first, second = scores(TEACHER), scores(Path("runs/student"))
    assert "train/loss/memory_flow" not in first  # the teacher sees no neighbours
    assert {"train/loss/label", "train/loss/memory_flow", "train/loss/distillation"} <= second.keys()
    assert first["cost/clicks"] == second["cost/clicks"] > 0  # the same clicks are paid for once
    teacher = load_network(TEACHER / "teacher.ckpt").network
    assert teacher.init_args["decoder_channels"] == 16
    checkpoint = torch.load("runs/student/checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["thriftseg"]["teacher"]["network_sha256"] == weights_digest(teacher)
    # The student alone, taught by the same weights, is the same: stage one leaves no trace in the random numbers.
    assert fit("--name", "alone", "--model.teacher_weights", str(TEACHER / "teacher.ckpt")) == 0
    alone = load_network("runs/alone/checkpoints/last.ckpt").network
    assert weights_digest(alone) == weights_digest(load_network("runs/student/checkpoints/last.ckpt").network)
    assert not Path("runs/alone/teacher").exists()


@pytest.mark.slow
def test_each_stage_alone(fit: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert fit("--stage", "student") == 2
    assert "teacher.ckpt: no trained teacher; fix: train it with --stage teacher or both" in capsys.readouterr().err
    assert fit("--stage", "teacher") == 0
    assert not Path("runs/student/fit.json").exists()
    digest = weights_digest(load_network(TEACHER / "teacher.ckpt").network)
    assert fit("--stage", "student") == 0
    assert Path("runs/student/fit.json").is_file()
    assert weights_digest(load_network(TEACHER / "teacher.ckpt").network) == digest


@pytest.mark.slow
def test_a_run_that_ended_in_stage_one_goes_on(fit: Callable[..., int]) -> None:
    # As a killed run leaves it: the last checkpoint, and no complete teacher.
    assert fit("--stage", "teacher", "--trainer.max_steps", "1") == 0
    (TEACHER / "teacher.ckpt").unlink()
    assert fit("--ckpt_path", "last", "--trainer.max_epochs", "3") == 0
    steps = {
        version: [int(row["step"]) for row in csv.DictReader((TEACHER / version / "metrics.csv").open())]
        for version in ("version_0", "version_1")
    }
    assert set(steps["version_0"]) == {0}
    assert set(steps["version_1"]) == {1, 2}  # the first step is not taken again
    assert load_network("runs/student/checkpoints/last.ckpt").metadata["global_step"] == 3


@pytest.mark.parametrize(
    ("path", "message"), [("last", "no last.ckpt to resume from"), ("gone.ckpt", "gone.ckpt: no such checkpoint")]
)
def test_a_missing_checkpoint_is_told_before_the_teacher_is_trained(
    fit: Callable[..., int], capsys: pytest.CaptureFixture[str], path: str, message: str
) -> None:
    assert fit("--ckpt_path", path) == 2
    assert message in capsys.readouterr().err
    assert not Path("runs").exists()


def test_a_trial_run_keeps_nothing(fit: Callable[..., int]) -> None:
    assert fit("--trainer.fast_dev_run", "true") == 0
    assert not [path for path in Path("runs").rglob("*") if path.suffix in (".ckpt", ".json")]


def test_a_stage_without_a_teacher_is_refused(fit: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert fit("--stage", "teacher", "--model.teacher", "null") == 2
    assert "there is no teacher to train" in capsys.readouterr().err
