"""Commands and configs choose what estimates flow."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from jsonargparse import ArgumentParser
from torchvision.models.optical_flow import raft_small

from thriftseg.cli.main import main
from thriftseg.datamodules import SemanticDataModule
from thriftseg.datasets import Cityscapes
from thriftseg.flow import DIS, FlowEstimator
from thriftseg.stores.label_store import LabelStore


def propagate(root: Path, store: Path, *arguments: str) -> int:
    where = ["--dataset=cityscapes", f"--root={root}", f"--store={store}", "--offsets=1"]
    return main(["label", "propagate", *where, *arguments])


def test_labels_carried_by_raft(cityscapes_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    torch.save(raft_small(weights=None).state_dict(), tmp_path / "small.pth")
    assert propagate(cityscapes_root, tmp_path, "--flow=raft", f"--flow_weights={tmp_path / 'small.pth'}") == 0
    labels = LabelStore(tmp_path, "flow", Cityscapes(cityscapes_root).taxonomy).labels
    assert len(labels) == 3
    for row in labels.values():
        assert row.arguments["estimator"].startswith("RAFT(weights='small.pth', sha256='")
    assert propagate(cityscapes_root, tmp_path) == 2  # the labels there were not made with DIS
    assert "made in another way" in capsys.readouterr().err


def test_weights_must_fit_the_choice(cityscapes_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert propagate(cityscapes_root, tmp_path, "--flow_weights=raft-things.pth") == 2
    assert "DIS has no weights; found --flow_weights raft-things.pth; fix: add --flow raft" in capsys.readouterr().err
    assert propagate(cityscapes_root, tmp_path, "--flow=raft") == 2
    assert "RAFT has no weights" in capsys.readouterr().err


def test_config_names_the_estimator() -> None:
    parser = ArgumentParser()
    parser.add_argument("--flow", type=FlowEstimator | None)
    chosen = parser.instantiate(parser.parse_args(["--flow=thriftseg.flow.DIS", "--flow.preset=fast"])).flow
    assert repr(chosen) == "DIS(preset='fast')"
    assert parser.parse_args([]).flow is None


def test_data_module_keeps_the_flow_of_its_estimator(cityscapes_root: Path, tmp_path: Path) -> None:
    dataset = Cityscapes(cityscapes_root)
    data = SemanticDataModule(dataset, crop=(32, 64), flow=DIS("fast"), flow_cache=tmp_path, num_workers=1)
    data.setup("validate")
    paired = [batch for batch in data.val_dataloader() if batch["paired"].any()]
    assert len(paired) == 2
    assert json.loads((tmp_path / "flow.json").read_bytes())["estimator"] == "DIS(preset='fast')"
    assert len(list((tmp_path / "128x64").rglob("*.png"))) == 2 * len(paired)
