"""Recipes that got another name are still found by the old one, in configs and in checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LightningArgumentParser

from thriftseg.lightning_modules import AnnotationTypeSelection, BoxSegmentation, TrainingModule

RENAMED: list[tuple[str, type[TrainingModule], dict[str, Any]]] = [
    ("Box2Seg", BoxSegmentation, {"backbone": "resnet18", "decoder_channels": 16}),
    ("AnnotationPolicy", AnnotationTypeSelection, {"image_encoder": "sam"}),
]


@pytest.fixture(params=RENAMED, ids=["Box2Seg", "AnnotationPolicy"])
def renamed(request: pytest.FixtureRequest) -> tuple[LightningModule, type[TrainingModule], str]:
    """The module that a config with the old class path builds, the recipe under its new name, and that path."""
    name, recipe, init_args = request.param
    class_path = f"thriftseg.lightning_modules.{name}"
    network = {"class_path": f"thriftseg.zoo.{name}", "init_args": init_args}
    parser = LightningArgumentParser(exit_on_error=False)
    parser.add_lightning_class_args(LightningModule, "model", subclass_mode=True)
    config = parser.parse_object({"model": {"class_path": class_path, "init_args": {"network": network}}})
    return parser.instantiate_classes(config).model, recipe, class_path


def test_a_config_names_it(renamed) -> None:
    module, recipe, _ = renamed
    assert type(module) is recipe


def test_a_checkpoint_names_it(renamed, build_trainer, tmp_path: Path) -> None:
    module, recipe, class_path = renamed
    trainer = build_trainer()
    trainer.strategy.connect(module)
    trainer.save_checkpoint(tmp_path / "new.ckpt")
    content = torch.load(tmp_path / "new.ckpt", weights_only=True)
    content["hyper_parameters"]["_class_path"] = class_path
    torch.save(content, tmp_path / "old.ckpt")
    for loader in (recipe, LightningModule):
        loaded = loader.load_from_checkpoint(tmp_path / "old.ckpt", weights_only=True)
        assert type(loaded) is recipe
        for name, value in module.state_dict().items():
            assert torch.equal(loaded.state_dict()[name], value)
