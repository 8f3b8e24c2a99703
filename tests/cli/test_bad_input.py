"""What a user gets wrong ends in one line that names the culprit, exit code 2 and no traceback."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from thriftseg.cli.main import main

CONFIG = """
trainer:
  fast_dev_run: 3
  accelerator: cpu
  enable_progress_bar: false
  enable_model_summary: false
model:
  class_path: thriftseg.lightning_modules.SemanticSegmentation
  init_args:
    network:
      class_path: thriftseg.zoo.PSPNet
      init_args: {backbone: resnet18, output_stride: 16, decoder_channels: 8}
data:
  class_path: thriftseg.datamodules.SemanticDataModule
  init_args:
    dataset: {class_path: thriftseg.datasets.Cityscapes, init_args: {root: ROOT}}
    crop: [32, 64]
    scale: [1.0, 1.0]
    batch_size: 2
    num_workers: WORKERS
"""


@pytest.fixture
def street(cityscapes_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the data that a test may damage."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(cityscapes_root, tmp_path / "street"))


@pytest.fixture
def fit_error(street: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run `fit`, expect exit code 2, and return the message."""

    def run(*arguments: str, workers: int = 0) -> str:
        config = Path("config.yaml")
        config.write_text(CONFIG.replace("ROOT", str(street)).replace("WORKERS", str(workers)))
        capsys.readouterr()
        assert main(["fit", "--config", str(config), *arguments]) == 2
        error = capsys.readouterr().err
        assert "Traceback" not in error
        lines = [line for line in error.splitlines() if line.startswith("thriftseg: error: ")]
        assert len(lines) == 1
        return lines[0]

    return run


def train_label(root: Path) -> Path:
    return min((root / "gtFine" / "train").rglob("*labelIds.png"))


def test_missing_root(fit_error):
    assert "nowhere: no such folder" in fit_error("--data.init_args.dataset.init_args.root=nowhere")


def test_missing_label(street, fit_error):
    label = train_label(street)
    label.unlink()
    (label.parent / label.name.replace("labelIds.png", "polygons.json")).unlink(missing_ok=True)
    assert label.name in fit_error()


def test_no_label_at_all(street, fit_error):
    shutil.rmtree(street / "gtFine" / "train")
    assert "no frame of the split is annotated" in fit_error()


def test_empty_split(street, fit_error):
    shutil.rmtree(street / "leftImg8bit" / "train")
    shutil.rmtree(street / "leftImg8bit_sequence" / "train")
    shutil.rmtree(street / "gtFine" / "train")
    shutil.rmtree(street / "gtCoarse" / "train")
    assert "split 'train' of cityscapes is empty" in fit_error()


@pytest.mark.parametrize("workers", [0, 1])
def test_corrupt_label_is_named(street, fit_error, workers):
    for label in (street / "gtFine" / "val").rglob("*labelIds.png"):
        label.write_bytes(label.read_bytes()[:60])
    assert "labelIds.png" in fit_error(workers=workers)


def test_corrupt_frame_is_named(street, fit_error):
    for path in street.rglob("*_leftImg8bit.png"):
        path.write_bytes(path.read_bytes()[:200])
    assert "_leftImg8bit.png" in fit_error()


def test_label_id_outside_the_table(street, fit_error):
    label = train_label(street)
    ids = np.asarray(Image.open(label)).copy()
    ids[:5] = 77
    Image.fromarray(ids).save(label)
    message = fit_error()
    assert label.name in message
    assert "77" in message


def test_frame_sizes_that_differ_inside_a_clip(street, fit_error):
    for label in (street / "gtFine" / "train").rglob("*labelIds.png"):
        for frame in street.rglob(label.name.replace("_gtFine_labelIds", "_leftImg8bit")):
            cv2.imwrite(str(frame), np.zeros((40, 80, 3), np.uint8))
    message = fit_error()
    assert "_leftImg8bit.png: " in message
    assert "128x64" in message
    assert "80x40" in message


def test_mixture_with_offsets_that_do_not_exist(fit_error):
    part = '[{"labels": "manual"}, {"labels": "flow", "offsets": [-50]}]'
    message = fit_error(
        "--data.init_args.mixture=thriftseg.datamodules.Mixture", f"--data.init_args.mixture.init_args.parts={part}"
    )
    assert "-50" in message


def test_crop_larger_than_the_padded_image(fit_error):
    assert "crop 512x512" in fit_error("--data.init_args.crop=[512,512]")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_asked_for_and_absent(fit_error):
    assert "cuda" in fit_error("--trainer.accelerator=cuda").lower()


def test_resume_without_a_checkpoint(fit_error):
    assert "last.ckpt" in fit_error("--ckpt_path=last")


def test_unknown_option(fit_error):
    assert "no_such_option" in fit_error("--data.init_args.no_such_option=1")


def test_fine_detail_of_the_tree_follows_the_line(street, fit_error, capsys):
    shutil.rmtree(street / "gtFine" / "train")
    shutil.rmtree(street / "leftImg8bit" / "train")
    shutil.rmtree(street / "leftImg8bit_sequence" / "train")
    config = Path("config.yaml")
    config.write_text(CONFIG.replace("ROOT", str(street)).replace("WORKERS", "0"))
    main(["fit", "--config", str(config)])
    assert "leftImg8bit/{" in capsys.readouterr().err
