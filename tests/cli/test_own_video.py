"""From a video file and a three-class table to a trained student and its predictions."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from thriftseg.cli.main import main
from thriftseg.synthetic import SceneConfig, render_clip

CLASSES = """\
name: street3
classes:
  - {name: ground, color: [128, 64, 128]}
  - {name: vehicle, color: [0, 0, 142], instances: true}
  - {name: other, color: [70, 70, 70]}
"""
GROUND, VEHICLE, OTHER = 0, 1, 2
HEIGHT, WIDTH, FRAMES = 64, 96, 60


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, np.ndarray]]:
    """A video file and the true class of every pixel of every frame."""
    path = tmp_path_factory.mktemp("film") / "drive.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (WIDTH, HEIGHT))
    to_three = np.full(256, OTHER, np.uint8)
    to_three[[0, 1, 9]] = GROUND  # road, sidewalk, terrain
    to_three[13:19] = VEHICLE
    to_three[255] = 255
    truth = {}
    for number, frame in enumerate(render_clip(SceneConfig(height=HEIGHT, width=WIDTH, num_frames=FRAMES, seed=3))):
        writer.write(cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))
        truth[number] = to_three[frame.label]
    writer.release()
    return path, truth


def test_import_label_fit_predict(filmed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    video, truth = filmed
    monkeypatch.chdir(tmp_path)
    Path("classes.yaml").write_text(CLASSES)
    cut = ["--out", "mine", "--classes", "classes.yaml", "--every", "0.5", "--shares", "[0.7, 0.3, 0.0]", "--gap=0.5"]
    assert main(["data", "import", str(video), *cut]) == 0

    wanted = [Path("mine") / line for line in Path("mine/to_label.txt").read_text().split()]
    assert len(wanted) >= 8
    for path in wanted:
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(truth[int(path.stem)]).save(path)
    assert main(["data", "check", "--dataset", "folder", "--root", "mine"]) == 0

    overlay = Path("fit.yaml")
    overlay.write_text(
        """
trainer: {max_epochs: 12, logger: true, enable_progress_bar: false, accelerator: cpu, check_val_every_n_epoch: 12}
model:
  class_path: thriftseg.lightning_modules.SemanticSegmentation
  init_args:
    network:
      class_path: thriftseg.zoo.PSPNet
      init_args: {backbone: resnet18, output_stride: 16, decoder_channels: 32}
data:
  class_path: thriftseg.datamodules.SemanticDataModule
  init_args:
    dataset: {class_path: thriftseg.datasets.Folder, init_args: {root: mine}}
    crop: [64, 96]
    scale: [1.0, 1.0]
    batch_size: 4
    num_workers: 0
"""
    )
    assert main(["fit", "--config", str(overlay), "--name", "mine"]) == 0
    checkpoint = Path("runs/mine/checkpoints/last.ckpt")
    assert main(["predict", "--weights", str(checkpoint), "--input", str(video), "--out", "out"]) == 0

    predicted = sorted(Path("out").rglob("*.png"))
    assert len(predicted) == FRAMES
    assert any(Path("out").glob("*.mp4"))
    hits = [np.mean((np.asarray(Image.open(p)) == t)[t != 255]) for p, t in zip(predicted, truth.values(), strict=True)]
    largest_class = max(np.mean([np.mean(t[t != 255] == c) for t in truth.values()]) for c in range(3))
    assert np.mean(hits) > largest_class + 0.05  # more than the constant answer
    assert any("street3" in p.read_text() or "vehicle" in json.dumps(p.read_text()) for p in Path("out").glob("*.json"))


@pytest.mark.parametrize("shares", ["0.6,0.4,0", "[0.6,0.4,0]", "[0.6, 0.4, 0.0]"])
def test_spellings_of_the_shares(filmed, tmp_path: Path, capsys: pytest.CaptureFixture[str], shares: str):
    table = tmp_path / "classes.yaml"
    table.write_text(CLASSES)
    cut = ["--classes", str(table), "--shares", shares, "--gap", "0"]
    assert main(["data", "import", str(filmed[0]), "--out", str(tmp_path / "mine"), *cut]) == 0
    assert json.loads((tmp_path / "mine/import.json").read_text())["drive"]["shares"] == [0.6, 0.4, 0]
    assert "name your classes" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ("1,0", "--shares; expected three numbers such as 1,0,0 or [1,0,0]; found 1,0"),
        ("all", "--shares; expected three numbers such as 1,0,0 or [1,0,0]; found all"),
        ("0.5,0.2,0.2", "expected three numbers with sum 1; found (0.5, 0.2, 0.2)"),
    ],
)
def test_shares_that_are_none(filmed, tmp_path: Path, capsys: pytest.CaptureFixture[str], shares: str, message: str):
    assert main(["data", "import", str(filmed[0]), "--out", str(tmp_path / "mine"), "--shares", shares]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "mine").exists()
