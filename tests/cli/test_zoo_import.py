"""`thriftseg zoo import` on checkpoints in the containers of the authors."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.golden.fill import fill, make_inputs
from thriftseg import zoo
from thriftseg.cli.main import main

MODELS = Path(__file__).parents[1] / "golden" / "models"


def read_golden(name: str) -> dict[str, Any]:
    golden: dict[str, Any] = json.loads((MODELS / f"{name}.json").read_text())
    return golden


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as the training of the agent stores it."""
    golden = read_golden("actor_critic_resnet18_a3")
    weights = fill(golden["keys"], golden["kinds"], golden["fill"])
    path = tmp_path_factory.mktemp("authors") / "_checkpoint.pth"
    torch.save({"network": weights, "reward": np.float64(0.5)}, path)
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "imported" / "agent.safetensors"


def run(*arguments: str | Path) -> int:
    return main(["zoo", "import", *map(str, arguments)])


def test_imported_network_gives_the_authors_results(agent: Path, out: Path, capsys: pytest.CaptureFixture[str]):
    assert run("--arch", "annotation_policy_resnet18", agent, "--out", out) == 0
    assert capsys.readouterr().out == (
        f"{out}: annotation_policy_resnet18 (num_actions=3, image_encoder=sam, use_cost=False); 126 entries loaded; "
        "licence of the weights: MIT\n"
    )
    golden = read_golden("actor_critic_resnet18_a3")
    inputs = make_inputs(golden["inputs"])
    with torch.inference_mode():
        output = zoo.load(out).network(inputs["sam_embedding"], (inputs["mask_labels"] > 0).float())
    row = next(row for row in golden["outputs"] if row["name"] == "policy_logits")
    np.testing.assert_allclose(output.policy_logits.flatten(), row["sample"], atol=1e-4)


def test_card_names_the_source(agent: Path, out: Path):
    run("--arch", "annotation_policy_resnet18", agent, "--out", out)
    card = json.loads(out.with_suffix(".json").read_text())
    assert card["architecture"] == "annotation_policy_resnet18"
    assert card["network"]["class_path"] == "thriftseg.zoo.AnnotationPolicy"
    assert card["network"]["init_args"]["num_actions"] == 3
    assert card["licences"] == {"weights": "MIT"}
    assert card["source"] == {
        "repository": "https://github.com/thanosDelatolas/eva-vos",
        "file": "_checkpoint.pth",
        "sha256": hashlib.sha256(agent.read_bytes()).hexdigest(),
    }


def test_arguments_that_the_weights_do_not_tell(agent: Path, out: Path):
    assert run("--arch", "annotation_policy_resnet18", agent, "--out", out, "--set", "dropout=0.25") == 0
    assert zoo.load(out).network.init_args["dropout"] == 0.25


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--arch", "stm_r50"], "not the weights of the authors of stm_r50; found those of annotation_policy_resnet18"),
        (["--arch", "annotation_policy_resnet18", "--set", "depth=3"], "has no option 'depth'"),
        (["--arch", "annotation_policy_resnet18", "--set", "depth"], "not an assignment; expected NAME=VALUE"),
        (["--arch", "annotation_policy_resnet18", "--set", "dropout=["], "--set dropout: is not YAML"),
        (["--arch", "annotation_policy_resnet18", "--set", "num_actions=2"], "policy.weight (3, 1024) where"),
    ],
)
def test_refusals(agent: Path, out: Path, arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]):
    assert run(agent, "--out", out, *arguments) == 2
    error = capsys.readouterr().err
    assert problem in error
    assert len(error.splitlines()) == 1
    assert not out.parent.exists()


def test_damaged_file(agent: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    damaged = tmp_path / "cut.pth"
    shutil.copy(agent, damaged)
    with damaged.open("r+b") as stream:
        stream.truncate(agent.stat().st_size // 2)
    assert run("--arch", "annotation_policy_resnet18", damaged, "--out", out) == 2
    size = damaged.stat().st_size
    problem = f"not a checkpoint, or cut short; found {size} bytes; fix: fetch it again"
    assert capsys.readouterr().err == f"thriftseg: error: {damaged}: {problem}\n"
    assert not out.parent.exists()


def test_other_ending(agent: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run("--arch", "annotation_policy_resnet18", agent, "--out", tmp_path / "agent.pth") == 2
    assert "weights are stored as safetensors" in capsys.readouterr().err
