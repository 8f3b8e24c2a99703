"""Propagate, train, fill what propagation left open, and train again: the commands of docs/guides/propagation.md."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

from thriftseg.cli.main import main
from thriftseg.datasets import Cityscapes
from thriftseg.inference.checkpoints import load_network
from thriftseg.stores.label_store import LabelStore
from thriftseg.types import LabelKind

CONFIG = {
    "seed_everything": 0,
    "trainer": {
        "accelerator": "cpu",
        "max_epochs": 1,
        "limit_val_batches": 1,
        "num_sanity_val_steps": 0,
        "enable_model_summary": False,
        "enable_progress_bar": False,
    },
    "model": {
        "class_path": "thriftseg.lightning_modules.SemanticSegmentation",
        "init_args": {
            "network": {
                "class_path": "thriftseg.zoo.DeepLabV3Plus",
                "init_args": {"backbone": "mobilenet_v2", "decoder_channels": 8},
            }
        },
    },
    "data": {
        "class_path": "thriftseg.datamodules.SemanticDataModule",
        "init_args": {
            "dataset": {"class_path": "thriftseg.datasets.Cityscapes"},
            "mixture": {"pattern": "B3s", "propagated": "flow"},
            "crop": [32, 64],
            "batch_size": 3,
            "num_workers": 0,
        },
    },
}


@pytest.fixture
def thriftseg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cityscapes_root: Path):
    """Runs a line of the guide in a fresh folder."""
    (tmp_path / "b3.yaml").write_text(yaml.safe_dump(CONFIG))
    monkeypatch.chdir(tmp_path)

    def run(line: str) -> None:
        assert main([word.format(root=cityscapes_root) for word in line.split()]) == 0

    return run


def mixture_of(run: str) -> dict[str, object]:
    return load_network(Path("runs") / run / "checkpoints" / "last.ckpt").labels


def test_filled_labels_train_the_next_network_at_no_cost(thriftseg, cityscapes_root: Path) -> None:
    thriftseg("label propagate --dataset cityscapes --root {root} --offsets=-1,1")
    thriftseg("fit --config b3.yaml --data.dataset.root {root}")
    thriftseg(
        "label fill --dataset cityscapes --root {root} --source flow --out_source filled"
        " --weights runs/b3/checkpoints/last.ckpt --accelerator cpu"
    )
    thriftseg("fit --config b3.yaml --data.dataset.root {root} --name b3-filled --data.mixture.propagated filled")

    dataset = Cityscapes(cityscapes_root)
    flow, filled = (LabelStore("labels/cityscapes", name, dataset.taxonomy) for name in ("flow", "filled"))
    network = load_network("runs/b3/checkpoints/last.ckpt").network
    assert set(filled.labels) == set(flow.labels)
    gaps = 0
    for clip in dataset.clips("train"):
        for number in (number for video, number in flow.labels if video == clip.video):
            before, after = flow.read(clip.video, number), filled.read(clip.video, number)
            frame = torch.from_numpy(dataset.read_frame(clip, number)).permute(2, 0, 1)[None] / 255
            with torch.inference_mode():
                seen = network(network.preprocessing(frame)).argmax(1)[0].numpy()
            assert (after[before != 255] == before[before != 255]).all()
            assert (after[before == 255] == seen[before == 255]).all()
            assert filled.labels[clip.video, number].label_kind == LabelKind.FILLED
            gaps += int((before == 255).sum())
    assert gaps > 100

    first, second = mixture_of("b3"), mixture_of("b3-filled")
    assert first["cost"] == second["cost"]
    assert first["cost"]["seconds"] > 0
    assert [(row["source"], row["samples"]) for row in second["table"]] == [("manual", 1), ("filled", 2), ("total", 3)]
    assert json.loads(Path("runs/b3-filled/fit.json").read_text())["training"]["steps"] == 1
