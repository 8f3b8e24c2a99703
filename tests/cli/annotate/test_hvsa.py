"""`thriftseg annotate`: a video labelled with a small budget, the budget that it takes, what to label next."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fixtures.square_and_disc import FRAMES, HEIGHT, WIDTH, truth, write_video
from thriftseg.cli.main import EXIT_WAITING, main
from thriftseg.datasets import CamVid, Folder
from thriftseg.datasets.images import write_label_png
from thriftseg.reports.evaluate import evaluate
from thriftseg.stores.label_store import LabelStore, rows_equal
from thriftseg.synthetic import synthesize

TINY = ["--network", "deeplabv3plus_mobilenetv2", "--network_options", '{"decoder_channels": 8}', "--epochs", "1"]
TINY += ["--accelerator", "cpu", "--rounds", "2"]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return write_video(tmp_path_factory.mktemp("annotate") / "data")


@pytest.fixture
def source(video: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    return ["--dataset", "folder", "--root", str(video.root)]


def rounds_of(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "rounds.jsonl").read_text().splitlines()]


def labels_of(run: Path, video: Folder) -> LabelStore:
    return LabelStore(run / "labels", "hvsa", video.taxonomy)


def test_a_simulated_person(
    source: list[str], video: Folder, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["annotate", "hvsa", *source, *TINY, "--budget", "2", "--unit", "samples", "--out", "run"]) == 0
    printed = capfd.readouterr()
    rows = rounds_of(tmp_path / "run")
    assert [row["samples"] for row in rows] == [0, 1, 2]
    assert [line.split(":")[0] for line in printed.out.splitlines() if line.startswith("round ")][:3] == [
        f"round {number}" for number in range(3)
    ]
    assert "GPU" not in printed.out + printed.err
    assert f"{100 * rows[2]['pasted']['miou']:.1f}" in printed.out.splitlines()[-4]
    assert len(labels_of(tmp_path / "run", video).labels) == FRAMES
    assert {path.name for path in (tmp_path / "run").glob("*.*")} == {
        "overlay.mp4", "report.html", "report.png", "rounds.jsonl", "run.json"
    }  # fmt: skip
    assert f">{rows[2]['cost']['clicks']}<" in (tmp_path / "run" / "report.html").read_text()
    assert main(["report", "annotation", "run", "--out", "compared.png"]) == 0
    assert f"{100 * rows[2]['pasted']['miou']:.1f}" in capfd.readouterr().out
    assert (tmp_path / "compared.png").is_file()


def test_a_real_person(source: list[str], video: Folder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["annotate", "hvsa", *source, *TINY, "--budget", "2", "--unit", "samples", "--out", "run"]
    command += ["--annotator", "files", "--work", "desk", "--seconds_per_sample", "40"]
    for number in (1, 2):
        assert main(command) == EXIT_WAITING == 3
        told = capsys.readouterr().err
        assert told.startswith(f"thriftseg: waiting: desk/round_{number}: 1 of 1 regions are not labelled yet")
        assert told.count("\n") == 1
        (path,) = (tmp_path / "desk" / f"round_{number}" / "labels").rglob("*.png")
        write_label_png(path, truth(int(path.stem.partition("_")[0])), video.taxonomy.flat_palette())
    assert main(command) == 0
    assert rounds_of(tmp_path / "run")[-1]["cost"]["seconds"] == 80


def test_a_folder_of_frames(video: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    frames, classes = video.root / "val" / "street" / "frames", video.root / "classes.yaml"
    command = ["annotate", "hvsa", "--video", str(frames), "--taxonomy", str(classes), *TINY, "--budget", "50%"]
    assert main([*command, "--annotator", "files", "--exchange", "coco"]) == EXIT_WAITING
    work = tmp_path / "runs" / "hvsa" / "frames" / "work" / "round_1"
    assert (work / "annotations.json").is_file()
    assert len(list((work / "images").rglob("*.png"))) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dataset", "folder", "--root", "{}", "--taxonomy", "camvid"], "a data set has its own classes"),
        (["--video", "{}"], "no video was named; expected --dataset NAME, or --video DIR with --taxonomy; fix: add"),
        (["--video", "{}/val/street/frames", "--taxonomy", "{}/classes.yaml"], "needs the truth of every frame; found"),
        (["--dataset", "folder", "--root", "{}", "--work", "desk"], "--work is about a person"),
        (["--dataset", "folder", "--root", "{}", "--flow_weights", "x.pth"], "DIS has no weights"),
        (["--dataset", "folder", "--root", "{}", "--weights", "x.ckpt"], "the weights name their network themselves"),
        (["--dataset", "folder", "--root", "{}", "--budget", "lots"], "not an amount"),
        (["--config", "no_such.yaml"], "no_such.yaml"),
    ],
)
def test_contradictions_are_told_in_one_line(
    options: list[str], message: str, video: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["annotate", "hvsa", *TINY, *(option.format(video.root) for option in options)]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1


def test_weights_of_other_classes(source: list[str], tiny_weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["annotate", "hvsa", *source, "--weights", str(tiny_weights)]) == 2
    assert "the network was trained on other classes; expected ground, square, disc" in capsys.readouterr().err


@pytest.mark.slow
def test_other_weights_are_another_run(
    tiny_weights: Path, camvid_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    name = CamVid(camvid_root).clips("val")[0].video
    command = ["annotate", "hvsa", "--dataset", "camvid", "--root", str(camvid_root), "--accelerator", "cpu"]
    command += [
        "--budget",
        "1%",
        "--rounds",
        "1",
        "--epochs",
        "1",
        "--out",
        "run",
        "--video",
        name,
        "--resize",
        "32",
        "64",
    ]
    assert main([*command, "--weights", str(tiny_weights)]) == 0
    recorded = json.loads((tmp_path / "run" / "run.json").read_text())
    assert recorded["start"]["weights"] == "tiny.ckpt"
    assert recorded["size"] == [32, 64]
    assert main([*command, "--network", "deeplabv3plus_mobilenetv2"]) == 2
    assert "holds a run with other settings" in capsys.readouterr().err


def test_an_experiment_is_a_file(source: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.yaml").write_text(
        "budget: 1200\nunit: clicks\nresize: [24, 32]\nnetwork_options: {small: true}\n"
    )
    command = ["annotate", "hvsa", *source, "--config", "mine.yaml", "--rounds", "5", "--print_config"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    for line in ("budget: 1200", "unit: clicks", "- 24\n- 32", "small: true", "rounds: 5"):
        assert line in printed
    (tmp_path / "mine.yaml").write_text("budgit: 10%\n")
    assert main(command) == 2
    assert "budgit" in capsys.readouterr().err


def test_the_budget_for_a_target(source: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["annotate", "find-budget", *source, *TINY, "--rounds", "1", "--out", "search", "--tolerance", "60"]
    assert main([*command, "--target_miou", "0.85"]) == 0
    told = capsys.readouterr().out.splitlines()[-1]
    assert told.startswith("mIoU 85 takes a budget of 100 %")
    probes = json.loads((tmp_path / "search" / "budgets.json").read_text())["probes"]
    assert [probe["percent"] for probe in probes] == [0, 50, 100]
    assert probes[2]["miou"] == rounds_of(tmp_path / "search" / "budget_100")[-1]["pasted"]["miou"]
    assert probes[1]["cost"]["clicks"] < probes[2]["cost"]["clicks"]
    assert (tmp_path / "search" / "flow").is_dir()
    assert not (tmp_path / "search" / "budget_50" / "flow").exists()
    assert main([*command, "--target_miou", "1.0"]) == 0
    assert "no budget reached mIoU 100" in capsys.readouterr().out


def test_what_to_label_next_goes_round(
    source: list[str], video: Folder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["annotate", "next", *source, "--split", "val"]
    assert main([*command, "--count", "2", "--out", "todo"]) == 2
    assert "nothing is left to be labelled" in capsys.readouterr().err
    assert main([*command, "--count", "2", "--out", "todo", "--include_labelled", "true"]) == 0
    told = capsys.readouterr().out
    with (tmp_path / "todo" / "next.csv").open(newline="") as stream:
        asked = [int(row["frame"]) for row in csv.DictReader(stream)]
    path = tmp_path / "todo" / "annotations.json"
    content = json.loads(path.read_text())
    corners = [0, 0, WIDTH, 0, WIDTH, HEIGHT, 0, HEIGHT]
    content["annotations"] = [
        {"id": image["id"], "image_id": image["id"], "category_id": content["categories"][2]["id"],
         "segmentation": [corners], "iscrowd": 0, "bbox": [0, 0, WIDTH, HEIGHT], "area": WIDTH * HEIGHT}
        for image in content["images"]
    ]  # fmt: skip
    path.write_text(json.dumps(content))
    then = told.splitlines()[-1].partition("thriftseg ")[2].replace("NAME", "hand").split()
    assert main([*then, "--root", str(video.root)]) == 0
    store = LabelStore(tmp_path / "labels" / "folder", "hand", video.taxonomy)
    assert sorted(number for _, number in store.labels) == sorted(asked)
    assert (store.read("street", asked[0]) == 2).all()
    capsys.readouterr()
    again = [*command, "--count", "9", "--out", "more", "--include_labelled", "true", "--labelled", "hand"]
    assert main(again) == 0
    with (tmp_path / "more" / "next.csv").open(newline="") as stream:
        assert sorted(int(row["frame"]) for row in csv.DictReader(stream)) == sorted(set(range(FRAMES)) - set(asked))


def test_what_a_network_is_unsure_of(
    tiny_weights: Path, camvid_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["annotate", "next", "--dataset", "camvid", "--root", str(camvid_root), "--split", "val", "--count", "3"]
    command += ["--weights", str(tiny_weights), "--granularity", "rec40", "--exchange", "cvat", "--out", "todo"]
    assert main([*command, "--accelerator", "cpu", "--include_labelled", "true"]) == 0
    with (tmp_path / "todo" / "next.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 3
    assert all(0 < float(row["score"]) <= 1 and int(row["pixels"]) <= 1600 for row in rows)
    assert (tmp_path / "todo" / "annotations.xml").is_file()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_kill_at_any_moment_changes_nothing(source: list[str], video: Folder, tmp_path: Path) -> None:
    command = ["annotate", "hvsa", *source, *TINY, "--epochs", "2", "--budget", "40%", "--granularity", "rec16"]
    command += ["--out"]
    program = [sys.executable, "-c", "from thriftseg.cli.main import entry_point; entry_point()"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}

    def start(out: str) -> subprocess.Popen[str]:
        process = subprocess.Popen([*program, *command, out], stdout=subprocess.PIPE, text=True, env=environment)
        assert process.stdout.readline().startswith("folder: reading")
        return process

    begun = start("whole")
    since = time.monotonic()
    assert begun.wait() == 0
    begun.stdout.close()
    duration, moments = time.monotonic() - since, random.Random(0)
    for trial in range(10):
        process = start(f"killed{trial}")
        time.sleep(moments.uniform(0, duration))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert main([*command, f"killed{trial}"]) == 0
        assert rows_equal(labels_of(tmp_path / f"killed{trial}", video), labels_of(tmp_path / "whole", video))
        assert rounds_of(tmp_path / f"killed{trial}") == rounds_of(tmp_path / "whole")


@pytest.mark.slow
def test_all_videos_of_a_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    synthesize(Path("veis"), layout="veis", train_clips=1, val_clips=2, frames=4, height=48, width=80, devices=1)
    command = ["annotate", "hvsa", "--dataset", "veis", "--root", "veis", "--all_videos", "--out", "both"]
    command += [*TINY, "--budget", "1", "--unit", "samples", "--rounds", "1"]
    assert main(command) == 0
    told = capfd.readouterr().out
    rows = [rounds_of(path.parent)[-1] for path in sorted(Path("both").glob("*/rounds.jsonl"))]
    assert len(rows) == 2
    hours = sum(row["cost"]["seconds"] for row in rows) / 3600
    assert f"{hours:.2f} h, {sum(row['cost']['clicks'] for row in rows)} clicks" in told
    scored = evaluate(
        "both/masks", "veis", "veis", ["miou", "boundary_iou", "tc"], split="val", pred_ids="train", devices=1
    )
    for name in ("miou", "boundary_iou", "tc"):
        assert f"{name} {100 * scored.scores[name].value:.2f}" in told
    before = {path: path.stat().st_mtime_ns for path in Path("both").rglob("rounds.jsonl")}
    assert main(command) == 0
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert main([*command, "--video", "sequence_00"]) == 2
    assert "all videos, or one of them?" in capfd.readouterr().err
