from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.labels.small_cutie import write_cutie
from tests.labels.small_video_networks import write_video_network
from thriftseg.cli.main import main
from thriftseg.costs import CostModel
from thriftseg.datasets import CamVid, Cityscapes
from thriftseg.stores.label_store import LabelStore, rows_equal


def propagate(root: Path, store: Path, *options: str, dataset: str = "cityscapes", offsets: str = "-1,1") -> int:
    given = ["--dataset", dataset, "--root", str(root), "--store", str(store), f"--offsets={offsets}"]
    return main(["label", "propagate", *given, "--accelerator", "cpu", *options])


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("│ \n").split("│")]


def test_tables_of_cost_and_quality(camvid_root, tmp_path, capsys):
    options = ["--split", "val", "--annotated_every", "2", "--on_missing", "skip", "--method", "nearest"]
    assert propagate(camvid_root, tmp_path, *options, dataset="camvid", offsets="1") == 0
    lines = capsys.readouterr().out.splitlines()
    dataset, model = CamVid(camvid_root), CostModel.named("polygon")
    starts = [(clip, n) for clip in dataset.clips("val") for n in clip.annotated[::2]]
    starts = [(clip, n) for clip, n in starts if clip.number_at(n, 1) in clip.frames]
    hours = sum(model.manual_frame("camvid", dataset.read_label(*start)).hours for start in starts)
    totals = next(cells(line) for line in lines if line.startswith("│"))
    assert totals[:4] == [str(len(starts)), "0", "0", "0"]
    assert totals[-1] == f"{hours:.2f} h"
    (quality,) = [cells(line) for line in lines if line.startswith("│ 1 ")]
    assert 0.3 < float(quality[1]) <= float(quality[2]) < 1


def test_failures_are_listed_after_the_table(cityscapes_root, tmp_path, capsys):
    import shutil

    root = shutil.copytree(cityscapes_root, tmp_path / "data")
    clip = Cityscapes(root).clips("train")[0]
    clip.frames[6].write_bytes(b"no image")
    assert propagate(root, tmp_path / "s") == 2
    out, err = capsys.readouterr()
    assert next(cells(line) for line in out.splitlines() if line.startswith("│"))[:3] == ["5", "0", "1"]
    assert "1 of 6 labels could not be made" in err
    assert f"{clip.video}/000006 (from frame 5)" in err


def test_objects_of_stm(cityscapes_root, tmp_path):
    from thriftseg.zoo import STM, save_weights

    torch.manual_seed(0)
    save_weights(STM("resnet18", decoder_channels=8), tmp_path / "stm.safetensors")
    options = ["--method", "stm", "--weights", str(tmp_path / "stm.safetensors"), "--settings", '{"memory_every": 2}']
    objects = ["--object_unit", "instance", "--save_objects", "true"]
    assert propagate(cityscapes_root, tmp_path / "s", *options, *objects) == 0
    store = LabelStore(tmp_path / "s", "stm", Cityscapes().taxonomy)
    assert len(store.labels) == 6
    for (video, number), row in store.labels.items():
        assert row.arguments["memory_every"] == 2
        assert row.arguments["object_unit"] == "instance"
        assert store.object_log.path_of_ids(video, number).is_file()


@pytest.mark.slow
def test_sam2(cityscapes_root, tmp_path):
    """The true predictor with random weights; how many objects are merged at once changes nothing."""
    pytest.importorskip("sam2")
    from tests.labels.small_sam2 import write_checkpoint

    weights = str(write_checkpoint(tmp_path))
    options = ["--method", "sam2", "--weights", weights, "--settings", '{"image_size": 256}', "--split", "val"]
    stores = []
    for size in ("1", "32"):
        assert propagate(cityscapes_root, tmp_path / size, *options, "--max_objects", size) == 0
        stores.append(LabelStore(tmp_path / size, "sam2", Cityscapes().taxonomy))
    assert len(stores[0].labels) == 4
    assert rows_equal(*stores)
    assert stores[0].object_log.read() == stores[1].object_log.read()
    assert all(item.score is not None for items in stores[0].object_log.read().values() for item in items)


@pytest.mark.parametrize(
    ("method", "devices"),
    [("hf", "1"), *(pytest.param(*case, marks=pytest.mark.slow) for case in (("cutie", "1"), ("hf", "2")))],
)
def test_foundation_models(cityscapes_root, tmp_path, method, devices):
    """The true networks with random weights; that of `transformers` goes to two processes, too."""
    pytest.importorskip({"hf": "transformers"}.get(method, method))
    weights = tmp_path / "weights.pth"
    write_video_network(weights, "edgetam_video") if method == "hf" else write_cutie(weights)
    options = ["--method", method, "--weights", str(weights), "--max_objects", "2", "--devices", devices]
    assert propagate(cityscapes_root, tmp_path, *options, "--split", "val", "--object_unit", "instance") == 0
    store = LabelStore(tmp_path, method, Cityscapes().taxonomy)
    assert len(store.labels) == 4
    for row in store.labels.values():
        assert row.generator == f"propagate/{method}"
        assert len(row.arguments["weights"]) == 64
        assert 0 < row.confidence <= 1
    assert any(item.score for items in store.object_log.read().values() for item in items)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--method", "hf"], "a video network of transformers has no weights"),
        (["--method", "hf", "--weights", "runs/none/best"], "runs/none/best: no such folder"),
        (["--method", "cutie"], "Cutie has no weights"),
        (["--flow_weights", "x.pth"], "DIS has no weights"),
        (["--weights", "x"], "flow has no weights; found --weights x"),
        (["--method", "nearest", "--settings", '{"a": 1}'], "wrong settings of the propagation method 'nearest'"),
        (["--method", "stm"], "stm needs weights"),
        (["--method", "stm", "--weights", "absent.safetensors"], "absent.safetensors"),
        (["--workers", "2"], "label propagate has no --workers any more; fix: write --devices"),
        (["--object_unit", "instance", "--min_area", "-3"], "min_area; expected at least 1 pixel"),
    ],
)
def test_bad_options(cityscapes_root, tmp_path, capsys, options, message):
    assert propagate(cityscapes_root, tmp_path, *options) == 2
    assert message in capsys.readouterr().err
