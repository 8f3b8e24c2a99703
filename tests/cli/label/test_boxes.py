from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.datasets.vos import vos_trees as trees
from thriftseg import zoo
from thriftseg.cli.main import main

OPTIONS = ["--dataset", "davis", "--split", "train", "--accelerator", "cpu"]


@pytest.fixture
def boxes(tmp_path: Path):
    trees.write_davis(tmp_path / "davis")

    def run(*arguments: str) -> int:
        place = ["--root", str(tmp_path / "davis"), "--store", str(tmp_path / "store")]
        return main(["label", "boxes", *OPTIONS, *place, *arguments])

    return run


def test_grabcut_from_masks(boxes, tmp_path, capsys):
    assert boxes("--from-masks", "--export", str(tmp_path / "out")) == 0
    shown = capsys.readouterr().out
    assert "8 labels of 16 boxes written to" in shown
    assert "recall@50" in shown
    assert "16 boxes, 0 masks" in shown
    assert len(list((tmp_path / "out" / "Annotations" / "480p" / "bear").glob("*.png"))) == 4
    assert json.loads((tmp_path / "store" / "boxes_grabcut" / "quality.json").read_text())["boxes"] == 16


def test_plain_grabcut_is_that_of_the_prompter(boxes, tmp_path):
    """Its recipe is that of former labels, so that a store of those goes on."""
    assert boxes("--from-masks", "--method", "grabcut-alone") == 0
    manifest = (tmp_path / "store" / "boxes_grabcut" / "manifest.jsonl").read_text()
    rows = [json.loads(row) for row in manifest.splitlines()]
    (arguments,) = {json.dumps(row["arguments"]) for row in rows if "arguments" in row}
    assert json.loads(arguments) == {
        "iterations": 5,
        "reach": 0.1,
        "margin": 0.25,
        "largest_side": 640,
        "boxes": "masks",
        "keep_soft": False,
    }


def test_fine_tuned_box2seg_with_a_filter(boxes, tmp_path):
    zoo.save_weights(zoo.Box2Seg(backbone="resnet18", decoder_channels=8), tmp_path / "tiny.safetensors")
    method = ["--method", "box2seg", "--weights", str(tmp_path / "tiny.safetensors")]
    settings = ["--settings", '{"crop": [33, 33], "margin": 5}', "--finetune", "first", "--steps", "1"]
    assert boxes("--from_masks", *method, *settings, "--filter", "oracle", "--threshold", "0.7") == 0
    report = json.loads((tmp_path / "store" / "boxes_box2seg_ft_first_oracle0.7" / "quality.json").read_text())
    assert report["manual"] == 4
    assert report["cost"] == {"seconds": 16 * 7 + 4 * 80, "boxes": 16, "masks": 4}


def test_failures_are_listed(boxes, tmp_path, capsys):
    (tmp_path / "davis" / "JPEGImages" / "480p" / "bear" / "00001.jpg").write_bytes(b"")
    assert boxes("--from-masks") == 2
    captured = capsys.readouterr()
    assert "7 labels of 14 boxes" in captured.out
    assert "bear/000001: " in captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "boxes come from a file or from the masks"),
        (["--from-masks", "--from-tracks", "x.json"], "boxes come from a file or from the masks"),
        (["--from-tracks", "x.json", "--box_noise", "0.1"], "--box_noise moves boxes around true masks"),
        (["--from-tracks", "x.json"], "x.json: no such file"),
        (["--from-masks", "--method", "box2seg"], "box2seg needs weights"),
        (["--from-masks", "--finetune", "middle"], "only box2seg is fine-tuned"),
        (["--from-masks", "--filter", "list"], "--filter list and --bad_list belong together"),
        (["--from-masks", "--weights", "x"], "grabcut has no weights"),
        (["--from-masks", "--settings", '{"color": 1}'], "wrong settings of grabcut"),
        (["--from-masks", "--settings", '{"unsure": 2}'], "setting of GrabCut of boxes"),
    ],
)
def test_contradictions_are_refused(boxes, capsys, arguments, message):
    assert boxes(*arguments) == 2
    assert message in capsys.readouterr().err
