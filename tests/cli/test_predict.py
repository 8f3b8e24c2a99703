from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from thriftseg.cli.main import main


@pytest.fixture
def frames_dir(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for index in range(2):
        cv2.imwrite(str(folder / f"{index}.jpg"), np.full((32, 48, 3), 100 * index, dtype=np.uint8))
    return folder


def test_predict_writes_results_and_prints_shares(tmp_path, tiny_weights, frames_dir, capsys):
    out = tmp_path / "out"
    arguments = ["predict", "--weights", str(tiny_weights), "--input", str(frames_dir), "--out", str(out)]
    assert main([*arguments, "--accelerator", "cpu", "--inference", "sliding", "--crop", "32", "32"]) == 0
    printed = capsys.readouterr().out
    assert "2 frames" in printed
    assert json.loads((out / "summary.json").read_text())["frames"] == 2
    assert sorted(path.name for path in (out / "labels").iterdir()) == ["0.png", "1.png"]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--input", "nowhere"], "nowhere: no such file or folder"),
        (["--weights", "nothing.ckpt"], "nothing.ckpt: no such checkpoint"),
        (["--inference", "sliding"], "sliding inference needs a window; fix: add --crop H W"),
        (["--crop", "32", "32"], "--crop and --stride belong to sliding inference"),
        (["--accelerator", "cuda:99"], "this CUDA device is not there"),
    ],
)
def test_faults_end_in_one_line_and_exit_code_2(tmp_path, tiny_weights, frames_dir, capsys, extra, message):
    arguments = ["predict", "--weights", str(tiny_weights), "--input", str(frames_dir), "--out", str(tmp_path / "out")]
    assert main([*arguments, *extra]) == 2
    captured = capsys.readouterr().err.strip().splitlines()
    assert len(captured) == 1
    assert message in captured[0]
