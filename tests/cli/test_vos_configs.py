"""Configs of video object segmentation: parsed as they are, and run on small synthetic videos."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

from tests.cli.test_configs import assert_contains
from thriftseg.cli.main import main
from thriftseg.lightning_modules import load_vos_network

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "vos" / "synthetic_stm_r18.yaml"
TINY = {
    "trainer": {
        "accelerator": "cpu",
        "max_epochs": 1,
        "check_val_every_n_epoch": 1,
        "log_every_n_steps": 1,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    },
    "model": {"init_args": {"network": {"init_args": {"decoder_channels": 8}}}},
    "data": {"init_args": {"crop": [32, 48], "batch_size": 2, "num_workers": 0}},
}


@pytest.fixture(scope="module")
def davis(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made") / "davis"
    clips = ["--train_clips", "2", "--val_clips", "1", "--test_clips", "1", "--frames", "5", "--jobs", "1"]
    size = ["--height", "48", "--width", "80"]
    assert main(["data", "synthesize", "--layout", "davis", "--out", str(root), *clips, *size]) == 0
    return root


def test_parses_to_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--config", str(CONFIG), "--print_config"]) == 0
    parsed, written = yaml.safe_load(capsys.readouterr().out), yaml.safe_load(CONFIG.read_text())
    assert_contains(parsed, written)
    assert parsed["model"]["init_args"]["network"]["init_args"]["decoder_channels"] == 64


def test_fit_validate_and_test(
    davis: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(yaml.safe_dump(TINY))
    common = ["--config", str(CONFIG), "--config", "tiny.yaml", f"--data.dataset.root={davis}", "--name", "run"]
    assert main(["fit", *common]) == 0
    run = Path("runs/run")
    fitted = json.loads((run / "fit.json").read_text())["metrics"]
    assert {"train/loss", "train/loss/frame2", "train/loss/frame3", "val/j", "val/f", "val/jf"} <= fitted.keys()
    (best,) = run.glob("checkpoints/epoch000-jf*.ckpt")
    last = run / "checkpoints" / "last.ckpt"
    assert main(["validate", *common, f"--ckpt_path={last}"]) == 0
    validated = json.loads((run / "validate.json").read_text())["metrics"]
    assert validated["val/jf"] == pytest.approx(fitted["val/jf"], abs=1e-6)
    written = [f"--model.predictions={tmp_path / 'out'}", "--data.test_split=test-dev"]
    assert main(["test", *common, f"--ckpt_path={best}", *written]) == 0
    assert len(list((tmp_path / "out").rglob("*.png"))) == 5
    capsys.readouterr()
    command = ["data", "submit", "--dataset", "davis", "--root", str(davis), "--split", "test-dev", "--out", "out.zip"]
    assert main([*command, "--predictions", "out"]) == 0
    assert "5 masks of 1 videos" in capsys.readouterr().out
    started = ["--model.optimizer.lr=0", f"--weights={last}", "--trainer.limit_train_batches=1"]
    assert main(["fit", *common, "--name", "further", *started]) == 0
    before, after = (load_vos_network(folder / "checkpoints/last.ckpt") for folder in (run, Path("runs/further")))
    assert before.memory_policy.max_frames == 8
    assert all(torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters(), strict=True))
