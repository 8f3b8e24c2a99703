from __future__ import annotations

import json
import re
from dataclasses import replace

import cv2
import pytest
import torch
from PIL import Image

from thriftseg.cli.main import main
from thriftseg.errors import ConfigError
from thriftseg.inference.checkpoints import load_network
from thriftseg.quickstart import QuickstartConfig, quickstart
from thriftseg.resources import config_path
from thriftseg.zoo import load

TINY = """
train_clips: 6
val_clips: 2
frames: 6
height: 48
width: 96
flow_offsets: [-1, 1]
click_min_component: 20
network: deeplabv3plus_mobilenetv2
network_options: {decoder_channels: 8}
start: deeplabv3plus_mobilenetv2.synthetic_manual
crop: [48, 64]
scale: [0.75, 1.5]
batch_size: 2
epochs: 2
learning_rate: 1.0e-3
warmup_steps: 1
weight_decay: 0.01
demo_frames: 3
students:
  - {key: manual, name: manual, pattern: N1}
  - {key: mixed, name: mixed, pattern: B3s}
  - {key: clicks, name: clicks, parts: [{labels: clicks}]}
"""


@pytest.fixture(scope="module")
def tiny_yaml(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_yaml):
    """A finished quickstart; tests leave it as it is."""
    out = tmp_path_factory.mktemp("quickstart") / "out"
    return quickstart(out, seed=1, config=QuickstartConfig.load(tiny_yaml), progress=False)


def test_everything_promised_is_there(finished):
    folder = finished.folder
    assert Image.open(folder / "cost_quality.png").size[0] > 400
    video = cv2.VideoCapture(str(folder / "best_student.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 3
    assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(17)
    for key in ("manual", "mixed", "clicks"):
        loaded = load_network(folder / "students" / key / "student.ckpt")
        assert loaded.taxonomy == "cityscapes"
        assert loaded.class_names[0] == "road"


def test_results_are_numbers_of_real_labels(finished):
    results = json.loads((finished.folder / "results.json").read_text())
    manual, mixed, clicks = results["students"]
    assert [point["name"] for point in (manual, mixed, clicks)] == ["manual", "mixed", "clicks"]
    assert manual["hours"] > 2 * mixed["hours"] > 0
    assert manual["hours"] > 2 * clicks["hours"]
    assert clicks["hours"] == pytest.approx(clicks["clicks"] * 2.5 / 3600)
    for point in results["students"]:
        assert 0 < point["miou"] < 1
        assert 0 < point["tc"] <= 1
    assert (
        results["best"]
        == max(zip(("manual", "mixed", "clicks"), finished.points, strict=True), key=lambda p: p[1].miou)[0]
    )


def test_students_keep_the_encoder_that_they_start_from(finished):
    encoder = load("deeplabv3plus_mobilenetv2.synthetic_manual").network.encoder.state_dict()
    decoders = []
    for key in ("manual", "mixed", "clicks"):
        network = load_network(finished.folder / "students" / key / "student.ckpt").network
        assert all(torch.equal(value, encoder[name]) for name, value in network.encoder.state_dict().items())
        decoders.append(network.decoder.state_dict())
    assert any(not torch.equal(decoders[0][name], decoders[1][name]) for name in decoders[0])


@pytest.mark.slow
def test_a_second_run_elsewhere_gives_the_same_table_and_weights(finished, tiny_yaml, tmp_path, capsys):
    arguments = ["quickstart", "--config", str(tiny_yaml), "--seed", "1", "--out", str(tmp_path / "again")]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert re.search(r"manual +[\d.]+ +[\d ]+ +[\d.]+", printed)
    again = tmp_path / "again"
    assert (again / "results.json").read_bytes() == (finished.folder / "results.json").read_bytes()
    assert (again / "cost_quality.png").read_bytes() == (finished.folder / "cost_quality.png").read_bytes()
    first = load_network(finished.folder / "students/mixed/student.ckpt").network.state_dict()
    second = load_network(again / "students/mixed/student.ckpt").network.state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_finished_students_are_not_trained_again(finished, tiny_yaml):
    folder = finished.folder
    weights = {key: folder / "students" / key / "student.ckpt" for key in ("manual", "mixed", "clicks")}
    (folder / "students/clicks/result.json").unlink()
    before = {key: path.stat().st_mtime_ns for key, path in weights.items()}
    again = quickstart(folder, seed=1, config=QuickstartConfig.load(tiny_yaml), progress=False)
    after = {key: path.stat().st_mtime_ns for key, path in weights.items()}
    assert again == finished
    assert [key for key in weights if after[key] != before[key]] == ["clicks"]


def test_a_folder_of_other_settings_is_kept(finished, tiny_yaml):
    config = QuickstartConfig.load(tiny_yaml)
    with pytest.raises(ConfigError, match="other settings; expected seed 2; found seed 1; fix: pass --overwrite or"):
        quickstart(finished.folder, seed=2, config=config, progress=False)
    with pytest.raises(
        ConfigError,
        match=r"holds a quickstart with other settings; expected config\.epochs 3; found config\.epochs \d;",
    ):
        quickstart(finished.folder, seed=1, config=replace(config, epochs=3), progress=False)


def test_a_foreign_folder_is_refused_even_to_overwrite(tmp_path, tiny_yaml):
    (tmp_path / "thesis.tex").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(ConfigError, match=r"is not empty and has no quickstart\.json; fix: pass another --out"):
            quickstart(tmp_path, config=QuickstartConfig.load(tiny_yaml), overwrite=overwrite, progress=False)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_overwriting_deletes_only_what_a_quickstart_makes(tmp_path, tiny_yaml):
    config = QuickstartConfig.load(tiny_yaml)
    stale = tmp_path / "students/manual/result.json"
    stale.parent.mkdir(parents=True)
    stale.write_text("{}")
    (tmp_path / "quickstart.json").write_text("{}")
    (tmp_path / "notes.txt").write_text("mine")
    broken = replace(config, network="no_such_network")
    with pytest.raises(ConfigError, match="no_such_network"):
        quickstart(tmp_path, config=broken, overwrite=True, progress=False)
    broken = replace(config, network="pspnet_resnet18", network_options={})
    with pytest.raises(
        ConfigError, match="do not start from this checkpoint; expected one with their encoder; found deep"
    ):
        quickstart(tmp_path, config=broken, overwrite=True, progress=False)
    assert not stale.exists()
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_shipped_config_compares_manual_with_thrifty_labels():
    config = QuickstartConfig.load()
    assert [student.key for student in config.students] == ["manual", "mixed", "clicks"]
    assert config.crop[0] <= config.height
    assert config.crop[1] <= config.width


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("epochs: 2", "epochs: many", "not a quickstart config; found .*epochs"),
        ("epochs: 2", "epoch: 2", "not a quickstart config; found .*epoch"),
        ("train_clips: 6\n", "", "not a quickstart config; found .*train_clips"),
    ],
)
def test_faulty_configs_are_refused(tmp_path, old, new, message):
    path = tmp_path / "broken.yaml"
    path.write_text(TINY.replace(old, new))
    with pytest.raises(ConfigError, match=message):
        QuickstartConfig.load(path)


def test_missing_config(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml: no such config"):
        QuickstartConfig.load(tmp_path / "none.yaml")


@pytest.mark.parametrize("name", ["quickstart.yaml", "studies/synthetic_sources.yaml"])
def test_shipped_configs_compare_three_sources(name):
    config = QuickstartConfig.load(config_path(name))
    assert [student.key for student in config.students] == ["manual", "mixed", "clicks"]
    assert config.train_clips % config.batch_size == 0


@pytest.mark.slow
def test_the_study_runs_at_a_small_size(tmp_path):
    config = QuickstartConfig.load(config_path("studies/synthetic_sources.yaml"))
    small = replace(config, height=48, width=96, frames=10, crop=(48, 64), val_clips=4, epochs=1, demo_frames=3)
    result = quickstart(tmp_path / "out", config=small, progress=False)
    manual, mixed, clicks = result.points
    assert manual.hours > 2 * mixed.hours > clicks.hours > 0
