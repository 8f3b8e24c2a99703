"""What a user gets wrong ends in one line that names the culprit, exit code 2 and no traceback."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from tests.hostile.world import INVOCATIONS
from thriftseg.cli.main import main
from thriftseg.errors import ConfigError
from thriftseg.zoo.network import Preprocessing

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


@pytest.mark.parametrize(
    ("command", "wrong", "message"),
    [
        ("predict", "--resize 0 5", "size to work at; expected height and width above 0; found 0x5"),
        ("label fill", "--resize 0 5", "size to work at; expected height and width above 0; found 0x5"),
        ("predict", "--fps 0", "frames per second must be positive; found 0.0"),
        ("data check", "--devices=-1", "number of devices; expected at least 1; found -1"),
        ("evaluate", "--seed=-1", "seed of the bootstrap; expected 0 or more; found -1"),
        ("data import", "--every 1e308", "seconds between labelled frames; expected 0 to 1000000000; found 1e+308"),
        ("data import", "--gap 1e308", "seconds between splits; expected 0 to 1000000000; found 1e+308"),
        ("fit", "--seed_everything=-1", "a setting is refused; found -1 is not in bounds"),
        ("fit", "--trainer.accelerator=foo", "a setting is refused; found You selected an invalid accelerator name"),
        ("fit", "--trainer.precision=foo", "trainer.precision: "),
        ("fit", "--ckpt_path=best", "run/checkpoints: no checkpoints to score; expected one"),
        ("test", "--ckpt_path=best", "run/checkpoints: no checkpoints to score; expected one"),
        ("validate", "--ckpt_path=hpc", "runs/run: no checkpoint written by SLURM's signal"),
        ("fit", "--ckpt_path=registry", "registry: no such checkpoint"),
        ("annotate hvsa", "--lr=-1", "a setting is refused; found Invalid learning rate: -1.0"),
        ("annotate hvsa", "--weight_decay=-1", "a setting is refused; found Invalid weight_decay value: -1.0"),
        ("annotate hvsa", "--precision foo", "a setting is refused; found Precision 'foo' is invalid"),
        ("annotate hvsa", "--budget 0", "--budget; expected more than 0; found 0"),
        ("annotate hvsa", "--budget 0%", "--budget; expected more than 0; found 0%"),
        ("annotate eva-vos", "--accelerator foo", "unknown device; expected auto, cpu, gpu or cuda:N; found foo"),
        ("annotate collect", "--accelerator cuda:99", "this CUDA device is not there"),
        ("annotate next", "--seed=-1", "seed of a ranking; expected 0 or more; found -1"),
        ("label clicks", "--min_component=-1", "min_component; expected at least 1 pixel; found -1"),
        (
            "label propagate",
            "--split test --reader '{}' --source=",
            "split 'test' of cityscapes has no annotated frames",
        ),
        ("label propagate", "--source=", "name of a label source; expected letters, digits, and any of _.+-"),
        ("label refine", "--source=", "name of a label source; expected letters, digits, and any of _.+-"),
        ("label boxes", "--source=", "name of a label source; expected letters, digits, and any of _.+-"),
        ("label inspect", "--frames=-1", "--frames; expected at least 1; found -1"),
        ("report curve", "--target 7", "--target; expected above 0, at most 1; found 7.0"),
        ("quickstart", "--epochs 0", "epochs of a quickstart; expected at least 1; found 0"),
        ("quickstart", "--learning_rate=-1", "a setting is refused; found Invalid learning rate: -1.0"),
        ("sweep", "--seeds=-1", "--seeds; expected numbers from 0 on, with commas between; found -1"),
        ("zoo list", "--folder nowhere", "nowhere: no such folder; expected a folder with index.json"),
        ("fit", "--name=a\0b", "a NUL character in an argument; found --name=a\\x00b"),
        ("label propagate", "--store /proc/below", "/proc/below: no such file or directory; fix: check the path"),
    ],
)
def test_a_wrong_value(
    command: str,
    wrong: str,
    message: str,
    world: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(world["store"], "store")
    words = [*command.split(), *shlex.split(INVOCATIONS[command].words.format(**world)), *shlex.split(wrong)]
    assert main(words) == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("thriftseg: "))
    assert line.startswith("thriftseg: error: ")
    assert message in line
    assert not [path for path in tmp_path.rglob("*") if path.name == ".lock" or path.suffix == ".partial"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x80\x04N.", "is not UTF-8; found byte 0x80 at position 0"),
        (b"", "malformed at $; expected object; found None; fix: pass a YAML file of options by name"),
        (b"- a", "malformed at $; expected object; found a list of 1; fix: pass a YAML file of options by name"),
    ],
)
@pytest.mark.parametrize("command", ["fit", "label clicks"])
def test_a_file_that_is_no_config(
    command: str, content: bytes, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.yaml"
    config.write_bytes(content)
    assert main([*command.split(), "--config", str(config)]) == 2
    assert capsys.readouterr().err.startswith(f"thriftseg: error: {config}: {message}")


def test_a_last_checkpoint_with_pickled_objects(fit_error: Callable[..., str]) -> None:
    checkpoints = Path("runs/run/checkpoints")
    checkpoints.mkdir(parents=True)
    torch.save({"state_dict": Path("x")}, checkpoints / "last.ckpt")
    options = ("--name=run", "--trainer.fast_dev_run=false", "--ckpt_path=last")
    assert "last.ckpt: holds pickled objects, which are not loaded because they can run code" in fit_error(*options)


def write_own(root: Path, clip: str = "c", frames: tuple[str, ...] = ("1", "2", "3"), side: int = 32) -> Path:
    """A clip of a user; the second frame has a label."""
    for kind in ("frames", "labels"):
        (root / "train" / clip / kind).mkdir(parents=True)
    for name in frames:
        cv2.imwrite(str(root / "frame.png"), np.zeros((side, side, 3), np.uint8))
        (root / "frame.png").rename(root / "train" / clip / "frames" / f"{name}.png")
    Image.fromarray(np.zeros((side, side), np.uint8)).save(root / "train" / clip / "labels" / f"{frames[1]}.png")
    (root / "classes.yaml").write_text("classes: [{name: a}, {name: b}]\n")
    return root


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"side": 1}, "frames are too small for this flow; found 1x1; fix: take raft"),
        ({"clip": os.fsdecode(b"caf\xe9")}, "caf\\udce9: a name that is not UTF-8; fix: rename the file or folder"),
        ({"frames": ("1", "2", "3" * 200)}, f"number of a frame; expected at most {2**62}; found 3333"),
    ],
    ids=["one pixel", "not UTF-8", "200 digits"],
)
def test_odd_clips(own: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, store = write_own(tmp_path / "own", **own), tmp_path / "store"
    options = ["--root", str(root), "--store", str(store), "--offsets=-1..1", "--accelerator=cpu"]
    assert main(["label", "propagate", "--dataset", "folder", *options]) == 2
    assert message in capsys.readouterr().err


def test_weights_that_are_no_numbers(
    world: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = torch.load(world["checkpoint"], weights_only=True)
    name = next(name for name, value in content["state_dict"].items() if value.is_floating_point())
    content["state_dict"][name].view(-1)[0] = torch.nan
    torch.save(content, tmp_path / "nan.ckpt")
    options = ["--input", str(world["video"]), "--out", str(tmp_path / "out"), "--accelerator=cpu"]
    assert main(["predict", "--weights", str(tmp_path / "nan.ckpt"), *options]) == 2
    assert f"nan.ckpt: weight {name.removeprefix('network.')!r} is not finite; fix: the training diverged" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize("std", [0.0, -1.0, float("nan")])
def test_a_normalisation_that_divides_by_nothing(std: float) -> None:
    with pytest.raises(ConfigError, match="normalisation of frames; expected finite numbers, std above 0"):
        Preprocessing(std=(1.0, std, 1.0))
