"""`thriftseg data` on data sets with masks of objects, from the command line."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from thriftseg.cli.main import main

SMALL = ["--train_clips", "2", "--val_clips", "2", "--frames", "6", "--height", "48", "--width", "80", "--devices", "1"]


@pytest.mark.parametrize("layout", ["davis", "mose", "youtube_vos", "tao_vos"])
def test_what_is_synthesized_passes_the_check(layout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["data", "synthesize", "--layout", layout, "--out", str(tmp_path / "made"), *SMALL]) == 0
    assert "warped by DIS 0." in capsys.readouterr().out
    assert main(["data", "check", "--dataset", layout, "--root", str(tmp_path / "made"), "--strict"]) == 0
    assert "0 faults" in capsys.readouterr().out


def test_check_fails_on_a_missing_mask(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    main(["data", "synthesize", "--layout", "mose", "--out", str(tmp_path), *SMALL])
    next((tmp_path / "train/Annotations").rglob("00003.png")).unlink()
    assert main(["data", "check", "--dataset", "mose", "--root", str(tmp_path)]) == 2
    assert "1 masks are missing, the first for frame 00003" in capsys.readouterr().out


def test_submit(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    root, results, out = tmp_path / "made", tmp_path / "results", tmp_path / "mose.zip"
    main(["data", "synthesize", "--layout", "mose", "--out", str(root), *SMALL])
    shutil.copytree(root / "valid_truth/Annotations", results)
    command = ["data", "submit", "--dataset", "mose", "--root", str(root), "--split", "valid", "--out", str(out)]
    assert main([*command, "--predictions", str(results)]) == 0
    assert "12 masks of 2 videos" in capsys.readouterr().out
    with zipfile.ZipFile(out) as packed:
        assert len(packed.namelist()) == 12
    out.unlink()
    next(results.rglob("00004.png")).unlink()
    assert main([*command, "--predictions", str(results)]) == 2
    message = capsys.readouterr().err
    assert "1 predictions cannot be submitted" in message
    assert "00004.png: no such file" in message
    assert not out.exists()


@pytest.mark.parametrize(
    ("layout", "folder"),
    [("davis", "Annotations_truth/480p"), ("tao_vos", "valid/Annotations"), ("mose", "valid_truth")],
)
def test_predictions_are_scored(layout: str, folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Also where the layout publishes first masks only: the others lie beside it."""
    root = tmp_path / "made"
    tests = "0" if layout == "tao_vos" else "2"
    main(["data", "synthesize", "--layout", layout, "--out", str(root), *SMALL, "--test_clips", tests])
    results = tmp_path / "results"
    shutil.copytree(root / folder, results)
    for video in {path.parent for path in results.rglob("*.png")}:
        first, *others = sorted(video.iterdir())
        for other in others:
            shutil.copy(first, other)
    command = ["evaluate", "--pred", str(results), "--gt", str(root / folder), "--layout", layout, "--metrics", "jf"]
    capsys.readouterr()
    assert main([*command, "--resamples", "10", "--json"]) == 0
    assert 0.1 < json.loads(capsys.readouterr().out)["scores"]["j_mean"]["value"] < 0.95


def test_unknown_data_set_is_named(capsys: pytest.CaptureFixture[str]):
    assert main(["data", "submit", "--dataset", "vipseg", "--split", "a", "--predictions", "b", "--out", "c.zip"]) == 2
    assert "no data set 'vipseg'; expected davis, youtube_vos, mose" in capsys.readouterr().err
