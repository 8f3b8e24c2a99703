"""`thriftseg fit` that is stopped or killed, and goes on: the same weights and scores as without."""

from __future__ import annotations

import copy
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.cli.test_train import CONFIG
from tests.fixtures.stopping import Killed
from thriftseg.cli.main import main
from thriftseg.inference import load_network

EPOCHS = 3


@pytest.fixture(scope="module")
def config(camvid_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of three epochs of two steps each, with dropout and two validation batches."""
    content: dict[str, Any] = copy.deepcopy(CONFIG)
    content["trainer"] |= {"max_epochs": EPOCHS, "limit_val_batches": 2}
    content["model"]["init_args"]["network"]["init_args"]["dropout"] = 0.5
    content["data"]["init_args"]["eval_batch_size"] = 2
    content["data"]["init_args"]["dataset"] = {
        "class_path": "thriftseg.datasets.CamVid",
        "init_args": {"root": str(camvid_root)},
    }
    path = tmp_path_factory.mktemp("config") / "small.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture
def fit(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, **strike: Any) -> int:
        told: list[str] = []
        if strike:
            callback = {"class_path": "tests.fixtures.stopping.SignalAt", "init_args": strike}
            Path("strike.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks": [callback]}}))
            told = ["--config", "strike.yaml"]
        return main(["fit", "--config", str(config), *told, "--name=run", *arguments])

    return run


Result = tuple[dict[str, torch.Tensor], dict[str, Any]]


def result() -> Result:
    """Weights and scores of the run."""
    run = Path("runs/run")
    written = json.loads((run / "fit.json").read_text())
    return load_network(run / "checkpoints/last.ckpt").network.state_dict(), {
        name: written[name] for name in ("training", "metrics", "network_sha256")
    }


@pytest.fixture(scope="module")
def undisturbed(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("undisturbed"))
        assert main(["fit", "--config", str(config), "--name=run"]) == 0
        return result()


def check(found: Result, expected: Result) -> None:
    assert found[1] == expected[1]
    assert all(torch.equal(value, expected[0][name]) for name, value in found[0].items())


@pytest.mark.parametrize(
    ("strike", "options", "code"),
    [
        ({"after": 2, "signum": int(signal.SIGINT)}, ["--data.num_workers=1"], 130),
        pytest.param({"after": 4, "validation": True}, [], 143, marks=pytest.mark.slow),
    ],
    ids=["in the middle of an epoch", "in validation"],
)
def test_a_stopped_run_goes_on_as_if_nothing_had_been(
    strike: dict[str, Any],
    options: list[str],
    code: int,
    fit: Callable[..., int],
    undisturbed: Result,
    capsys: pytest.CaptureFixture[str],
) -> None:
    handlers = [signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)]
    assert fit(*options, **strike) == code
    line = "thriftseg: stopped by {}; the same command with --ckpt_path last goes on"
    assert line.format("SIGTERM" if code == 143 else "SIGINT") in capsys.readouterr().err.splitlines()
    assert not Path("runs/run/fit.json").exists()
    assert [signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)] == handlers
    assert fit("--ckpt_path=last", *options) == 0
    check(result(), undisturbed)


def test_a_killed_run_goes_on_from_its_last_epoch(fit: Callable[..., int], undisturbed: Result) -> None:
    with pytest.raises(Killed):
        fit(after=3, signum=0)
    assert fit("--ckpt_path=last") == 0
    check(result(), undisturbed)


def test_scores_lost_are_written_and_those_of_the_best_weights_asked_for(
    config: Path,
    fit: Callable[..., int],
    undisturbed: Result,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    for command in ("validate", "test"):
        assert main([command, "--config", str(config), "--name=run"]) == 2
        assert "checkpoints: no checkpoints to score; expected one; fix: name the weights" in capsys.readouterr().err
    assert fit() == 0
    Path("runs/run/fit.json").unlink()  # as if it had been killed before it wrote them
    assert fit("--ckpt_path=last") == 0
    check(result(), undisturbed)
    best = next(Path("runs/run/checkpoints").glob("epoch*.ckpt"))
    with caplog.at_level("INFO"):
        assert main(["validate", "--config", str(config), "--name=run"]) == 0
    assert f"Scoring {best}" in caplog.text
    scores = json.loads(Path("runs/run/validate.json").read_text())
    assert f"miou{scores['metrics']['val/miou']:.4f}" in best.name
    assert scores["training"]["steps"] == load_network(best).metadata["global_step"]
