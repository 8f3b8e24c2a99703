from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
import yaml

from thriftseg.cli.main import main
from thriftseg.inference.checkpoints import load_network
from thriftseg.lightning_modules import SemanticSegmentation
from thriftseg.taxonomies import CAMVID
from thriftseg.zoo import SlidingWindow
from thriftseg.zoo.weights.files import weights_digest

CONFIG = {
    "trainer": {
        "accelerator": "cpu",
        "max_epochs": 1,
        "limit_train_batches": 2,
        "num_sanity_val_steps": 0,
        "enable_model_summary": False,
        "enable_progress_bar": False,
        "log_every_n_steps": 1,
    },
    "model": {
        "class_path": "thriftseg.lightning_modules.SemanticSegmentation",
        "init_args": {
            "network": {
                "class_path": "thriftseg.zoo.PSPNet",
                "init_args": {"backbone": "mobilenet_v2", "decoder_channels": 8},
            }
        },
    },
    "data": {
        "class_path": "thriftseg.datamodules.SemanticDataModule",
        "init_args": {
            "dataset": {"class_path": "thriftseg.datasets.CamVid"},
            "crop": [32, 64],
            "batch_size": 4,
            "eval_batch_size": 8,
            "num_workers": 0,
            "photometric": False,
        },
    },
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(CONFIG))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def thriftseg(folder: Path, camvid_root: Path):
    def run(command: str, *arguments: str) -> int:
        return main([command, "--config", "small.yaml", f"--data.dataset.root={camvid_root}", *arguments])

    return run


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that the program wrote about the fault."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("thriftseg: error: ")]
    assert len(lines) == 1
    return lines[0].removeprefix("thriftseg: error: ")


def read_metrics(path: Path) -> list[dict[str, str]]:
    with path.open() as stream:
        return list(csv.DictReader(stream))


def test_fit_resume_validate_and_test(thriftseg, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert thriftseg("fit") == 0
    run = folder / "runs" / "small"
    last = run / "checkpoints" / "last.ckpt"
    assert sorted(path.name for path in (run / "version_0").iterdir()) == ["config.yaml", "hparams.yaml", "metrics.csv"]
    best = [path.name for path in (run / "checkpoints").glob("epoch*.ckpt")]
    assert len(best) == 1
    assert best[0].startswith("epoch000-miou0.")
    scored = [row for row in read_metrics(run / "version_0" / "metrics.csv") if row["val/miou"]]
    assert float(scored[0]["cost/hours"]) > 0
    assert 0 <= float(scored[0]["val/miou"]) < 1

    loaded = load_network(last)
    assert (loaded.taxonomy, len(loaded.class_names), loaded.network.num_classes) == ("camvid", 11, 11)
    assert loaded.metadata["global_step"] == 2
    assert loaded.metadata["SemanticDataModule"]["mixture"]["cost"]["masks"] == 24
    module = SemanticSegmentation.load_from_checkpoint(last, weights_only=True)
    assert module.class_names[0] == loaded.class_names[0] != "0"

    assert thriftseg("fit", "--ckpt_path=last", "--trainer.max_epochs=2") == 0
    assert load_network(last).metadata["global_step"] == 4
    assert (run / "version_1" / "metrics.csv").is_file()
    trained = json.loads((run / "fit.json").read_text())
    assert trained["training"] == {"steps": 4, "scored_step": 4, "seed": 0}
    assert trained["network_sha256"] == weights_digest(load_network(last).network)
    assert trained["metrics"]["cost/hours"] == float(scored[0]["cost/hours"])

    assert thriftseg("fit", "--ckpt_path=last", "--trainer.max_epochs=2") == 0
    assert json.loads((run / "fit.json").read_text()) == trained

    capsys.readouterr()
    assert thriftseg("validate", f"--ckpt_path={last}") == 0
    assert "val/miou" in capsys.readouterr().out
    assert thriftseg("test", f"--ckpt_path={last}") == 0
    out = capsys.readouterr().out
    assert "test/tc" in out
    assert "cost/hours" in out
    assert json.loads((run / "test.json").read_text())["training"] == {"steps": 4, "scored_step": 4}


def test_last_is_the_end_of_training_with_or_without_a_better_score(thriftseg, folder: Path) -> None:
    assert thriftseg("fit", "--trainer.max_epochs=3", "--trainer.check_val_every_n_epoch=2") == 0
    checkpoints = folder / "runs" / "small" / "checkpoints"
    assert [path.name[:8] for path in sorted(checkpoints.iterdir())] == ["epoch001", "last.ckp"]
    trained = json.loads((checkpoints.parent / "fit.json").read_text())
    assert trained["training"] == {"steps": 6, "scored_step": 4, "seed": 0}
    assert trained["network_sha256"] is None
    assert load_network(checkpoints / "last.ckpt").metadata["global_step"] == 6
    stale = checkpoints.parent / "validate.json"
    stale.write_text("{}")
    assert thriftseg("fit", "--ckpt_path=last", "--trainer.max_epochs=4", "--trainer.check_val_every_n_epoch=2") == 0
    assert load_network(checkpoints / "last.ckpt").metadata["global_step"] == 8
    assert not stale.exists()


def test_settings_of_the_command_line_win_over_the_checkpoint(thriftseg, folder: Path) -> None:
    assert thriftseg("fit", "--trainer.limit_val_batches=1", "--name=first") == 0
    checkpoint = folder / "runs" / "first" / "checkpoints" / "last.ckpt"
    sliding = ["--model.evaluation.inference=thriftseg.zoo.SlidingWindow", "--model.evaluation.inference.crop=[32,32]"]
    fewer = ["--trainer.limit_train_batches=1", "--trainer.max_epochs=2", "--data.resize=[32,64]"]
    arguments = [*sliding, f"--ckpt_path={checkpoint}", *fewer]
    assert thriftseg("fit", "--name=second", *arguments) == 0
    last = folder / "runs/second/checkpoints/last.ckpt"
    loaded = load_network(last)
    assert (loaded.inference, loaded.eval_size) == (SlidingWindow((32, 32)), (32, 64))
    assert loaded.palette == tuple(CAMVID.palette)
    assert SemanticSegmentation.load_from_checkpoint(last, weights_only=True).evaluation.inference == SlidingWindow(
        (32, 32)
    )


@pytest.mark.parametrize(("native", "used"), [(True, "bf16-mixed"), (False, "32-true")])
def test_bfloat16_is_not_emulated(thriftseg, folder: Path, native, used, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: native)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
    assert thriftseg("fit", "--trainer.precision=bf16-mixed", "--trainer.limit_train_batches=1") == 0
    told = yaml.safe_load((folder / "runs" / "small" / "version_0" / "config.yaml").read_text())
    assert told["trainer"]["precision"] == used


def test_everything_at_once_from_the_config(thriftseg, folder: Path) -> None:
    overlay = {
        "trainer": {
            "precision": "bf16-mixed",
            "gradient_clip_val": 0.5,
            "callbacks": [
                {"class_path": "lightning.pytorch.callbacks.EMAWeightAveraging", "init_args": {"decay": 0.9}},
                {"class_path": "thriftseg.lightning_modules.PredictionImages", "init_args": {"frames": [0]}},
                {"class_path": "lightning.pytorch.callbacks.LearningRateMonitor"},
            ],
        },
        "model": {
            "init_args": {
                "objective": {"class_path": "thriftseg.losses.OHEMCrossEntropy"},
                "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.01, "momentum": 0.9}},
                "lr_scheduler": {"class_path": "thriftseg.lightning_modules.PolyLR", "init_args": {"warmup_steps": 1}},
            }
        },
    }
    (folder / "overlay.yaml").write_text(yaml.safe_dump(overlay))
    assert thriftseg("fit", "--config=overlay.yaml") == 0
    run = folder / "runs" / "small"
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert {"current_model_state", "averaging_state"} <= checkpoint.keys()
    assert checkpoint["optimizer_states"][0]["param_groups"][0]["weight_decay"] == 0
    assert load_network(run / "checkpoints" / "last.ckpt").network.num_classes == 11
    rates = [float(row["lr-SGD"]) for row in read_metrics(run / "version_0" / "metrics.csv") if row["lr-SGD"]]
    assert rates[0] == pytest.approx(0.005)
    assert len(list((run / "version_0" / "predictions").rglob("*.png"))) == 1
    assert thriftseg("fit", "--config=overlay.yaml", "--ckpt_path=last", "--trainer.max_epochs=2") == 0


def test_a_constant_rate_and_no_logger(thriftseg, folder: Path) -> None:
    assert thriftseg("fit", "--model.lr_scheduler=null", "--trainer.logger=false", "--trainer.limit_val_batches=1") == 0
    assert sorted(path.name for path in (folder / "runs" / "small").iterdir()) == [
        "checkpoints",
        "config.yaml",
        "fit.json",
    ]
    checkpoint = torch.load(folder / "runs/small/checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["lr_schedulers"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ckpt_path=last"], "checkpoints: no last.ckpt to resume from; fix: train without --ckpt_path first"),
        (["--ckpt_path=gone.ckpt"], "gone.ckpt: no such checkpoint"),
        (["--ckpt_path=small.yaml"], "small.yaml: not a checkpoint, or cut short"),
        (["--data.dataset.root=gone"], "gone: no such folder; expected the root of camvid (from --root)"),
        (["--data.crop=[3200,64]"], "crop 3200x64 is larger than the padded image"),
        (["--model.network.depth=3"], "model.network: Option 'depth' is not accepted"),
        (
            ["--model.objective=thriftseg.losses.CrossEntropy", "--model.objective.reduction=sum"],
            "model.objective.reduction: Expected",
        ),
        (["--trainer.max_epochs=many"], "trainer.max_epochs: Expected a <class 'int'>"),
        (["--trainer.colour=red"], "unrecognized arguments: --trainer.colour=red"),
        (["--config=gone.yaml"], "config: File does not exist"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_faults_end_in_one_line(
    thriftseg, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert thriftseg("fit", *arguments) == 2
    assert message in error_line(capsys)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
@pytest.mark.parametrize("accelerator", ["cuda", "gpu"])
def test_an_absent_gpu(thriftseg, capsys: pytest.CaptureFixture[str], accelerator: str) -> None:
    assert thriftseg("fit", f"--trainer.accelerator={accelerator}") == 2
    assert error_line(capsys) == (
        f"accelerator {accelerator!r} is not available on this machine; fix: pass --trainer.accelerator cpu"
    )


def test_a_missing_config(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit"]) == 2
    assert "required" in error_line(capsys)


def test_a_fault_in_a_worker_process(folder: Path, camvid_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import shutil

    broken = folder / "camvid"
    shutil.copytree(camvid_root, broken)
    for label in (broken / "trainannot").iterdir():
        label.write_bytes(label.read_bytes()[:60])
    arguments = ["--config=small.yaml", f"--data.dataset.root={broken}", "--data.num_workers=1"]
    assert main(["fit", *arguments]) == 2
    assert "trainannot" in error_line(capsys)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (["--model.loss", "thriftseg.losses.CrossEntropy"], "model.loss has another name; fix: set model.objective"),
        (["--model.gated_crf_weight", "0"], "fix: set model.objective.gated_crf_weight"),
        (["--model.inference", "thriftseg.zoo.WholeImage"], "fix: set model.evaluation.inference"),
        (["--config", "old.yaml"], "WeClick is an objective now"),
    ],
)
def test_former_settings_are_refused_with_their_new_names(
    setting: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("old.yaml").write_text("model: {class_path: thriftseg.lightning_modules.WeClick}")
    assert main(["fit", "--config", "supervised/cityscapes_hrnet_w18.yaml", *setting]) == 2
    assert message in capsys.readouterr().err
