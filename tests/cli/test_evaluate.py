from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from thriftseg.cli.main import main
from thriftseg.cli.options.signatures import signature_of
from thriftseg.datasets.images import write_label_png


@pytest.fixture
def folders(tmp_path):
    """CamVid truth and predictions of one recording; a quarter of the pixels of each frame is wrong."""
    for number in (0, 30):
        label = np.zeros((8, 16), np.uint8)
        label[:, 8:] = 3
        pred = label.copy()
        pred[:, 12:] = 0
        write_label_png(tmp_path / "gt" / f"R_{number:05d}.png", label)
        write_label_png(tmp_path / "pred" / f"R_{number:05d}.png", pred)
    return ["--pred", str(tmp_path / "pred"), "--gt", str(tmp_path / "gt"), "--layout", "camvid"]


def test_tables_and_files(folders, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    out, json_file = tmp_path / "out", tmp_path / "scores.json"
    assert main(["evaluate", *folders, "--metrics", "miou", "--out", str(out), "--json", str(json_file)]) == 0
    printed = capsys.readouterr().out
    lines = [line.split() for line in printed.splitlines()]
    assert ["mIoU", "58.3", "58.3", "to", "58.3"] in lines  # sky 8 of 12 columns, road 4 of 8
    assert ["pixel", "acc.", "75.0", "75.0", "to", "75.0"] in lines
    assert ["road", "50.0", "50.0"] in lines
    assert ["R", "2", "58.3", "75.0"] in lines
    assert "2 frames of 1 videos" in printed
    assert "1000 draws of 2 1-second blocks, as there are fewer than 5 videos" in printed
    assert json.loads(json_file.read_text()) == json.loads((out / "report.json").read_text())
    assert (out / "confusion.png").is_file()


def test_json_alone_goes_to_stdout(folders, capsys):
    assert main(["evaluate", *folders, "--json", "--metrics", "boundary_iou,miou", "--boundary_width", "1"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["scores"]["miou"]["value"] == pytest.approx(7 / 12)
    assert content["settings"]["metrics"] == ["miou", "boundary_iou"]
    assert content["confusion"][3][:4] == [64, 0, 0, 64]


def test_flow_is_named(folders, tmp_path, capsys):
    rng, frames = np.random.default_rng(0), tmp_path / "frames"
    frames.mkdir()
    for number in (0, 30):
        frame = rng.integers(0, 255, (8, 16, 3), dtype=np.uint8)
        Image.fromarray(frame.repeat(8, 0).repeat(8, 1)).save(frames / f"R_{number:05d}.jpg")
        for folder in ("pred", "gt"):
            path = tmp_path / folder / f"R_{number:05d}.png"
            write_label_png(path, np.array(Image.open(path)).repeat(8, 0).repeat(8, 1))
    arguments = ["evaluate", *folders, "--metrics", "tc", "--tc_rule", "etc", "--frames", str(frames)]
    assert main([*arguments, "--flow_store", str(tmp_path / "flow")]) == 0
    assert "TC over 1 pairs of frames, rule etc, flow by DIS(preset='medium')" in capsys.readouterr().out
    assert len(list((tmp_path / "flow").rglob("*.png"))) == 2


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--pred", "nowhere"], "nowhere: no such folder; expected predictions"),
        (["--gt", "nowhere"], "nowhere: no such folder; expected labels such as testannot/"),
        (["--metrics", "mIoU"], "no such metric; expected miou, boundary_iou, tc, jf; found mIoU"),
        (["--layout", "davis"], "no predictions"),
        (["--classes", "nowhere.yaml"], "nowhere.yaml: no such file"),
        (["--devices", "many"], "devices"),
        (["--workers", "2"], "thriftseg evaluate has no --workers any more; fix: write --devices"),
        (["--layout", "kitti"], "kitti"),
    ],
)
def test_faults_end_in_one_line_and_exit_code_2(folders, tmp_path, capsys, extra, message):
    if "davis" in extra:
        for path in (tmp_path / "pred").iterdir():
            path.unlink()
    assert main(["evaluate", *folders, *extra]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert message in lines[-1]
    assert len(lines) == 1


def test_the_options_are_what_the_function_takes():
    from inspect import signature

    from thriftseg.reports.evaluate import evaluate

    options = {option.name for option in signature_of("thriftseg.cli.evaluate.run").options}
    assert options - {"out", "json"} == set(signature(evaluate).parameters)
