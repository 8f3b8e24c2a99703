"""A small network on small data, through the true readers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from torchvision.models.optical_flow import raft_small

from thriftseg.datamodules import SemanticDataModule
from thriftseg.datasets import CamVid
from thriftseg.flow import RAFT
from thriftseg.lightning_modules import SemanticSegmentation
from thriftseg.zoo import PSPNet

NUM_CLASSES = 11


@pytest.fixture(scope="session")
def build_data(camvid_root: Path) -> Callable[..., SemanticDataModule]:
    def build(**changes: Any) -> SemanticDataModule:
        settings: dict[str, Any] = {"crop": (32, 64), "batch_size": 4, "num_workers": 0, "photometric": False}
        return SemanticDataModule(CamVid(camvid_root), **(settings | changes))

    return build


@pytest.fixture(scope="session")
def build_module() -> Callable[..., SemanticSegmentation]:
    def build(seed: int = 0, **settings: Any) -> SemanticSegmentation:
        torch.manual_seed(seed)
        return SemanticSegmentation(
            PSPNet(NUM_CLASSES, backbone="mobilenet_v2", decoder_channels=8, dropout=0.0), **settings
        )

    return build


@pytest.fixture(scope="session")
def build_trainer(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Trainer]:
    def build(**changes: Any) -> Trainer:
        settings: dict[str, Any] = {
            "accelerator": "cpu",
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
            "default_root_dir": tmp_path_factory.mktemp("trainer"),
            "max_epochs": 1,
        }
        return Trainer(**(settings | changes))

    return build


@pytest.fixture(scope="session")
def raft(tmp_path_factory: pytest.TempPathFactory) -> RAFT:
    """The small network with random weights."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("raft") / "small.pth"
    torch.save(raft_small(weights=None).state_dict(), path)
    return RAFT(path, iterations=2, device="cpu")
