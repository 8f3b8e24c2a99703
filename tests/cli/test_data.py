"""The `data` and `label` commands through the real command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from thriftseg.cli.main import main
from thriftseg.datasets import Cityscapes, write_label_png
from thriftseg.stores.label_store import LabelStore


def write_config(folder: Path, root: Path, store: Path, **mixture: object) -> Path:
    """A training config with only what the mixture command reads."""
    dataset = {"class_path": "thriftseg.datasets.Cityscapes", "init_args": {"root": str(root)}}
    settings = {"dataset": dataset, "mixture": {"class_path": "thriftseg.datamodules.Mixture"}}
    settings["mixture"]["init_args"] = {"store": str(store), **mixture}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({"data": {"init_args": settings}}))
    return path


def test_check_counts_and_passes(cityscapes_root: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["data", "check", "--dataset", "cityscapes", "--root", str(cityscapes_root)]) == 0
    assert "0 faults" in capsys.readouterr().out


def test_check_names_a_corrupt_file_and_exits_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "street"
    synthesize = ["data", "synthesize", "--out", str(out), "--train_clips=1", "--val_clips=1", "--devices=1"]
    assert main([*synthesize, "--frames=3", "--height=64", "--width=128"]) == 0
    label = next((out / "gtFine" / "train").rglob("*labelIds.png"))
    label.write_bytes(label.read_bytes()[:100])
    capsys.readouterr()
    assert main(["data", "check", "--dataset", "cityscapes", "--root", str(out)]) == 2
    assert label.name in capsys.readouterr().out.replace("\n", "")


def test_a_deep_check_finds_rot_of_stored_labels_too(cityscapes_root: Path, tmp_path: Path, capsys):
    data, store = ["--dataset", "cityscapes", "--root", str(cityscapes_root)], tmp_path / "labels"
    assert main(["label", "clicks", *data, "--store", str(store)]) == 0
    assert main(["label", "propagate", *data, "--store", str(store), "--offsets=1"]) == 0
    deep = ["data", "check", *data, "--deep", "--store", str(store)]
    assert main(deep) == 0
    path = next((store / "flow").rglob("*.png"))
    write_label_png(path, np.zeros((64, 128), np.uint8))
    capsys.readouterr()
    assert main(["data", "check", *data]) == 0
    assert main(deep) == 2
    printed = capsys.readouterr().out.replace("\n", "")
    assert f"fault stored label: {path}: missing, or not what was written" in printed
    assert "1 faults" in printed


def test_a_deep_check_decodes_every_frame(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_label_png(tmp_path / "train/walk/labels/000000.png", np.zeros((8, 8), np.uint8))
    for number in range(2):
        path = tmp_path / f"train/walk/frames/{number:06d}.png"
        write_label_png(path, np.zeros((8, 8), np.uint8))
    (tmp_path / "classes.yaml").write_text("classes: [ground]")
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 6] ^= 1
    path.write_bytes(content)
    quick = ["data", "check", "--dataset", "folder", "--root", str(tmp_path), "--every_frame=false"]
    assert main(quick) == 0
    assert main([*quick, "--deep"]) == 2
    assert "000001.png: cannot decode the image" in capsys.readouterr().out.replace("\n", "")


def test_labels_are_made_and_mixed(cityscapes_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    store = tmp_path / "labels"
    where = ["--dataset", "cityscapes", "--root", str(cityscapes_root), "--store", str(store)]
    assert main(["label", "clicks", *where]) == 0
    assert main(["label", "propagate", *where, "--offsets=-1,1"]) == 0
    assert capsys.readouterr().out.count(f"cityscapes: reading {cityscapes_root} (from --root)\n") == 2
    flow = LabelStore(store, "flow", Cityscapes(cityscapes_root).taxonomy)
    assert len(flow.labels) == 3 * 2
    assert not flow.verify()

    config = write_config(tmp_path, cityscapes_root, store, pattern="B3s")
    capsys.readouterr()
    assert main(["data", "mixture", "--config", str(config)]) == 0
    lines = capsys.readouterr().out.splitlines()
    samples = [line.split("\t") for line in lines if "\t" in line][1:]
    assert [(row[1], row[3]) for row in samples] == [("-1", "flow"), ("0", "manual"), ("1", "flow")]
    assert any(line.split()[:3] == ["manual", "manual", "1"] for line in lines)


def test_a_mixture_of_labels_that_were_never_made(cityscapes_root: Path, tmp_path: Path, capsys):
    config = write_config(tmp_path, cityscapes_root, tmp_path / "none", pattern="B3s")
    assert main(["data", "mixture", "--config", str(config)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("thriftseg: error: ")
    assert "flow" in error
    assert main(["data", "mixture", "--config", str(config), "--planned=true"]) == 0


def test_offsets_outside_the_clip(cityscapes_root: Path, tmp_path: Path, capsys):
    where = ["--dataset", "cityscapes", "--root", str(cityscapes_root), "--store", str(tmp_path)]
    assert main(["label", "propagate", *where, "--offsets=-100"]) == 2
    error = capsys.readouterr().err.strip()
    assert "-100" in error
    assert "\n" not in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data", "check", "--dataset", "camvid", "--root", "no/such/folder"], "no/such/folder: no such folder"),
        (["data", "check", "--dataset", "kitti"], "no data set 'kitti'"),
        (["data", "check", "--dataset", "idd", "--reader", '{"views": 1}'], "has no setting 'views'; expected view"),
        (["data", "mixture", "--config", "nowhere.yaml"], "nowhere.yaml: no such config"),
        (["data", "mixture", "--config", "broken.yaml"], "broken.yaml: is not YAML"),
        (["data", "mixture", "--config", "supervised/camvid_pspnet_resnet18.yaml"], "no root given for camvid"),
        (["data"], "expected check, synthesize, import, mixture"),
        (["data", "import", "missing.mp4", "--out", "x"], "missing.mp4"),
    ],
)
def test_faults_end_in_one_line(arguments: list[str], message: str, capsys, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for variable in ("THRIFTSEG_DATA", "THRIFTSEG_DATA_CAMVID"):
        monkeypatch.delenv(variable, raising=False)
    Path("broken.yaml").write_text("data: [never closed")
    assert main(arguments) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert len(error.splitlines()) == 1
