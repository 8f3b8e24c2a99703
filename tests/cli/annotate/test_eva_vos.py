"""`thriftseg annotate eva-vos` and `report curve` on squares that move by a pixel a frame."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
import torch

from tests.fixtures.moving_squares import HEIGHT, WIDTH, write_squares
from tests.labels.small_sam import write_sam
from thriftseg.annotation import TYPE_CHOICES
from thriftseg.annotation.eva_vos.methods import AnnotationChoices, encoders_of
from thriftseg.cli.main import EXIT_USER_ERROR, EXIT_WAITING, main
from thriftseg.datasets import MOSE
from thriftseg.datasets.images import read_label_png
from thriftseg.flow import DIS
from thriftseg.labels.refining.prompters.sam import SAMPrompter
from thriftseg.zoo import AnnotationPolicy, QNet
from thriftseg.zoo.weights.files import save_weights

SIDE, FRAMES = 12, 4


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> MOSE:
    """An object in four frames, and one that appears late; another object in two frames."""
    short = {place: [1] if place < 2 else [1, 2] for place in range(FRAMES)}
    return write_squares(tmp_path_factory.mktemp("data"), {"a": short, "b": {0: [3], 1: [3]}}, void=False)


@pytest.fixture
def command(dataset: MOSE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    return ["annotate", "eva-vos", "--dataset", "mose", "--root", str(dataset.root), "--split", "train"]


def log(run: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(run, "actions.jsonl").read_text().splitlines()]


def written_curve(run: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path(run, "curve.json").read_text())
    return content


def iou(shift: int) -> float:
    return (SIDE - shift) / (SIDE + shift)


def test_masks_only(command: list[str], dataset: MOSE, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--videos", "a", "--frame", "oracle", "--target_jf", "1.0", "--out", "run"]
    assert main([*command, *options]) == 0
    printed = capsys.readouterr().out.splitlines()
    rows, curve = log("run"), written_curve("run")
    assert [(row["frame"], row["type"]) for row in rows] == [(0, "mask"), (3, "mask"), (1, "mask"), (2, "mask")]
    ious = [[0, 1, 2, 3], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert [row["j"] for row in rows] == pytest.approx([np.mean([iou(s) for s in each]) for each in ious], abs=1e-6)
    assert curve["hours"] == pytest.approx([80 * count / 3600 for count in (1, 2, 3, 4)])
    assert curve["jf"] == [row["jf"] for row in rows]
    assert (curve["target"], curve["hours_at_target"]) == (1.0, pytest.approx(320 / 3600))
    assert curve["area"] == pytest.approx(np.mean([np.mean(curve["jf"][i : i + 2]) for i in range(3)]))
    assert "a: object 2 is skipped, it appears in frame 2 only" in printed
    assert sum(line.startswith("a__1 round ") for line in printed) == 4
    assert f"J&F 100: after {320 / 3600:.3f} h" in printed
    assert f"area under the curve: {curve['area']:.4f}" in printed
    (clip,) = [clip for clip in dataset.clips("train") if clip.video == "a"]
    for number in range(FRAMES):
        found = read_label_png(Path("run/masks/a", f"{number:05d}.png"))
        assert np.array_equal(found, np.equal(dataset.read_mask(clip, number), 1))


def test_clicks_cost_five_seconds_and_a_half(command: list[str]) -> None:
    assert (
        main([*command, "--videos", "a", "--frame", "oracle", "--type", "clicks", "--rounds", "2", "--out", "run"]) == 0
    )
    rows, curve = log("run"), written_curve("run")
    assert [row["type"] for row in rows] == ["mask", "clicks", "clicks"]
    assert [len(row["clicks"]) for row in rows] == [0, 3, 3]
    assert curve["hours"] == pytest.approx([80 / 3600, 85.5 / 3600, 91 / 3600])
    assert rows[2]["j"] > rows[1]["j"] > rows[0]["j"]


def test_clicks_of_an_annotation(command: list[str]) -> None:
    assert main([*command, "--type", "clicks", "--clicks", "1", "--rounds", "1", "--out", "run"]) == 0
    assert [row["cost"]["seconds"] for row in log("run")] == [80, 80, 2.5, 2.5]


def test_hours_rounds_and_target_end_a_run(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    limits = {"hours": ["--hours", "0.06"], "rounds": ["--rounds", "1"]}
    limits["target"] = ["--stop_at_target", "true", "--target_jf", "0.9"]
    for name, options in limits.items():
        assert main([*command, "--frame", "oracle", *options, "--out", name]) == 0
    assert [len(log(name)) for name in limits] == [3, 4, 3]
    assert [row["jf"] > 0.9 for row in log("target")] == [False, True, True]
    assert "J&F 90: after 0." in capsys.readouterr().out


def test_a_run_goes_on_and_refuses_another(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    options = [*command, "--rounds", "1", "--out", "run"]
    assert main(options) == 0
    before = Path("run/actions.jsonl").read_bytes()
    assert main(options) == 0
    assert Path("run/actions.jsonl").read_bytes() == before
    assert main([*options, "--seed", "1"]) == EXIT_USER_ERROR
    assert "holds a run with other settings" in capsys.readouterr().err


def test_stored_flow_is_not_estimated_again(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    options = [*command, "--propagator", "flow", "--frame", "oracle", "--rounds", "1"]
    assert main([*options, "--flow_cache", "flow", "--out", "first"]) == 0
    assert main([*options, "--out", "uncached"]) == 0
    stored = {path: path.read_bytes() for path in Path("flow").rglob("*.png")}
    assert {path.parent.name for path in stored} == {"a", "b"}

    def estimate(*args: object) -> None:
        raise AssertionError("flow was estimated again")

    monkeypatch.setattr(DIS, "estimate", estimate)
    assert main([*options, "--flow_cache", "flow", "--out", "second"]) == 0
    assert log("first") == log("second") == log("uncached")
    assert {path: path.read_bytes() for path in Path("flow").rglob("*.png")} == stored


def test_a_real_person(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    options = [*command, "--videos", "b", "--annotator", "files", "--work", "desk", "--type", "clicks", "--out", "run"]
    options += ["--rounds", "1"]
    assert main(options) == EXIT_WAITING == 3
    assert capsys.readouterr().err.startswith("thriftseg: waiting: desk/b/003/01_000001")
    assert not Path("run/curve.json").exists()
    (task,) = Path("desk").rglob("task.json")
    clicks = [[28, 36, 1]]
    task.write_text(json.dumps({**json.loads(task.read_text()), "clicks": clicks, "seconds": 4, "done": True}))
    assert main(options) == 0
    assert [row["cost"]["seconds"] for row in log("run")] == [80, 4]
    assert written_curve("run")["hours"] == pytest.approx([80 / 3600, 84 / 3600])


def test_networks_choose(command: list[str], tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_weights(QNet(backbone="mobilenet_v2"), tmp_path / "qnet.safetensors")
        agent = AnnotationPolicy(image_encoder="timm:resnet10t", backbone="mobilenet_v2")
        save_weights(agent, tmp_path / "agent.safetensors")
    options = ["--frame", "qnet", "--qnet_weights", "qnet.safetensors", "--type", "agent", "--policy", "argmax"]
    options += ["--policy_weights", "agent.safetensors", "--ranking", "value", "--rounds", "1", "--accelerator", "cpu"]
    assert main([*command, *options, "--videos", "b", "--out", "run"]) == 0
    assert (log("run")[1]["frame"], log("run")[1]["value"] is None) == (1, False)
    told = json.loads(Path("run/run.json").read_text())
    assert (told["frames"]["frames"], told["types"]["choice"]) == ("qnet", "argmax")
    options[1] = "l2:qnet"
    assert main([*command, *options, "--videos", "b", "--out", "pictures"]) == 0
    assert json.loads(Path("pictures/run.json").read_text())["frames"]["frames"] == "l2:qnet"


def test_agents_read_what_sam_says_about_a_frame(tmp_path: Path) -> None:
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    prompter = SAMPrompter(write_sam(tmp_path), device="cpu")
    embedding = encoders_of(prompter)["sam"](frame)
    assert (embedding.shape, embedding.dtype) == ((32, 8, 8), np.float32)
    assert embedding.std() > 0


def test_names_are_those_of_the_package() -> None:
    assert get_args(get_type_hints(AnnotationChoices)["type"]) == TYPE_CHOICES


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--frame", "qnet"], "qnet needs weights; fix: add --qnet_weights"),
        (["--type", "agent"], "agent needs weights; fix: add --policy_weights"),
        (["--propagator", "stm"], "stm needs weights; fix: add --propagator_weights"),
        (["--prompter_weights", "x"], "--prompter grabcut has no such weights; found --prompter_weights x"),
        (["--flow_cache", "x"], "--flow_cache is about flow; found --propagator nearest"),
        (["--work", "desk"], "--work is about a person"),
        (["--frame", "best"], "no such choice of frames"),
        (["--target_jf", "85"], "--target_jf; expected above 0, at most 1; found 85"),
        (["--ranking", "value"], "ranking by value needs an agent"),
        (["--videos", "c"], "has no video 'c'"),
    ],
)
def test_faulty_options(
    command: list[str], options: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, *options, "--out", "run"]) == EXIT_USER_ERROR
    assert problem in capsys.readouterr().err
    assert not Path("run").exists()


def test_runs_set_side_by_side(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for seed in ("0", "1"):
        assert main([*command, "--seed", seed, "--rounds", "2", "--out", f"random_{seed}"]) == 0
    assert main([*command, "--frame", "oracle", "--rounds", "2", "--out", "oracle"]) == 0
    capsys.readouterr()
    runs = ["--runs", "random=random_*", "oracle=oracle"]
    assert main(["report", "curve", *runs, "--target", "0.8", "--out", "curves.png"]) == 0
    printed = capsys.readouterr()
    cells = {
        line.split()[0]: line.split()[1:] for line in printed.out.splitlines() if line.startswith((" ran", " ora"))
    }
    assert (cells["random"][0], cells["oracle"][0]) == ("2", "1")
    assert cells["oracle"][-1] == f"{100 * written_curve('oracle')['area']:.1f}"
    assert printed.err == "curves.png\n"
    assert Path("curves.png").stat().st_size > 0
    assert main(["report", "curve", "--runs", "oracle"]) == EXIT_USER_ERROR
    assert "expected NAME=GLOB" in capsys.readouterr().err
