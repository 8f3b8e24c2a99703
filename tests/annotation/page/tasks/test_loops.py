"""Loops whose person answers on the page: they end as they do with files."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from tests.fixtures.annotation_page import patch_json
from tests.fixtures.disc_prompter import DiscPrompter
from tests.fixtures.moving_squares import write_squares
from tests.fixtures.page_client import Annotating, PageClient, address_in
from tests.fixtures.square_and_disc import truth, write_video
from thriftseg.annotation import (
    FilesAnnotator,
    HVSASettings,
    MaskFilesPerson,
    PageAddress,
    StartNetwork,
    TuningSettings,
    VideoLoop,
    Wait,
    annotate_eva_vos,
    annotate_videos,
    answered_on_page,
    create_frame_choice,
    create_mask_propagator,
    create_type_choice,
    list_objects,
)
from thriftseg.annotation.eva_vos.objects import ObjectVideo
from thriftseg.annotation.eva_vos.progress import ObjectProgress
from thriftseg.annotation.eva_vos.settings import EVAVOSSettings
from thriftseg.annotation.eva_vos.type_choice import TypeDecision
from thriftseg.cli.main import main
from thriftseg.datasets import MOSE, Folder, write_label_png
from thriftseg.datasets.vos.base import PALETTE
from thriftseg.errors import WaitingForLabels
from thriftseg.stores.label_store import LabelStore, rows_equal

ADDRESS = PageAddress(port=0)
SETTINGS = HVSASettings(budget="2", unit="samples", rounds=2, epochs=1)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return write_video(tmp_path_factory.mktemp("loops") / "data")


def video_loop(video: Folder) -> VideoLoop:
    network = StartNetwork(network="deeplabv3plus_mobilenetv2", network_options={"decoder_channels": 8})
    return VideoLoop(video, "val", None, network, TuningSettings(accelerator="cpu"))


def draw_truth(client: PageClient, video: int, place: int) -> None:
    label = truth(client.number(video, place))
    for train_id in range(3):
        client.draw(video, place, train_id, label == train_id)
    client.finish(video, place)


def rounds_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "rounds.jsonl").read_text().splitlines()]


def test_hvsa_on_the_page_is_hvsa_with_files(video: Folder, tmp_path: Path) -> None:
    """Two rounds of a frame each; three polygons of 2 s and a last look of 1 s."""
    lines: list[str] = []
    loop = video_loop(video)
    person = FilesAnnotator(tmp_path / "desk", video.taxonomy, loop.read_frame)
    with Annotating(lambda: address_in(lines), draw_truth) as somebody:
        answered_on_page(
            lambda wait: loop.run(SETTINGS, person, tmp_path / "page"),
            tmp_path / "desk",
            address=ADDRESS,
            say=lines.append,
        )
    assert somebody.answered == 2
    assert lines.count("answered; going on") == 2

    person = FilesAnnotator(tmp_path / "files_desk", video.taxonomy, loop.read_frame)
    for number in (1, 2):
        with pytest.raises(WaitingForLabels):
            loop.run(SETTINGS, person, tmp_path / "files")
        folder = tmp_path / "files_desk" / f"round_{number}"
        (path,) = (folder / "labels").rglob("*.png")
        write_label_png(path, truth(int(path.stem.partition("_")[0])), video.taxonomy.flat_palette())
        task = json.loads((folder / "task.json").read_text())
        task["tasks"][0] |= {"seconds": 7.0, "done": True}
        (folder / "task.json").write_text(json.dumps(task, indent=1) + "\n")
    loop.run(SETTINGS, person, tmp_path / "files")

    rows = rounds_of(tmp_path / "page")
    assert rows == rounds_of(tmp_path / "files")
    assert [row["cost"].get("seconds", 0) for row in rows] == [0, 7, 14]
    stores = [LabelStore(tmp_path / name / "labels", "hvsa", video.taxonomy) for name in ("page", "files")]
    assert rows_equal(*stores)
    assert len(stores[0].labels) == 6
    for path in (tmp_path / "files_desk").rglob("*.*"):
        if path.suffix in (".png", ".json"):
            assert path.read_bytes() == (tmp_path / "desk" / path.relative_to(tmp_path / "files_desk")).read_bytes()


def test_all_videos_are_asked_at_once(tmp_path: Path) -> None:
    """Both videos wait before the first is answered."""
    dataset = write_video(tmp_path / "data", 3)
    write_video(tmp_path / "more", 3)
    (tmp_path / "more/val/street").rename(tmp_path / "data/val/alley")
    network = StartNetwork(network="deeplabv3plus_mobilenetv2", network_options={"decoder_channels": 8})
    tuning = TuningSettings(accelerator="cpu")
    loops = [VideoLoop(dataset, "val", clip.video, network, tuning) for clip in dataset.clips("val")]
    settings, out = HVSASettings(budget="1", unit="samples", rounds=1, epochs=1), tmp_path / "out"
    lines: list[str] = []

    def run(wait: object) -> Any:
        def person(loop: VideoLoop, folder: Path) -> FilesAnnotator:
            return FilesAnnotator(folder / "work", dataset.taxonomy, loop.read_frame)

        return annotate_videos(loops, settings, person, out)

    with Annotating(lambda: address_in(lines), draw_truth) as somebody:
        found = answered_on_page(run, out, inside="*/work", address=ADDRESS, say=lines.append)
    assert (somebody.answered, sorted(found.runs)) == (2, ["alley", "street"])
    assert lines[0] == "waiting: 2 videos wait for labels"
    assert lines.count("answered; going on") == 1


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> MOSE:
    """Two objects in four frames."""
    frames = {place: [1] for place in range(4)}
    return write_squares(tmp_path_factory.mktemp("squares"), {"a": frames, "b": frames}, void=False)


def eva_vos(
    videos: tuple[ObjectVideo, ...], kind: str, folder: Path, out: Path, wait: Wait | None = None, **settings: Any
) -> Any:
    person = MaskFilesPerson(folder, DiscPrompter(), clicks=2)
    choices = create_frame_choice("random"), create_type_choice(kind)
    ways, chosen = create_mask_propagator("nearest"), EVAVOSSettings(rounds=2, **settings)
    return annotate_eva_vos(videos, person, ways, *choices, out, chosen, wait=wait)


def rows_of(result: Any) -> list[dict[str, Any]]:
    return [dict(row) for row in result.rows]


def test_masks_of_eva_vos(squares: MOSE, tmp_path: Path) -> None:
    """The page opens with the mask so far; one answer is that the object is not there."""
    videos, lines = list_objects(squares, "train").videos, list[str]()
    seen = []

    def answer(client: PageClient, video: int, place: int) -> None:
        header, ids = client.label(video, place)
        name = client.get("/api/work")["videos"][video]["id"]
        seen.append((name, header["task"]["kind"], header["origin"], int((ids == 1).sum())))
        if name.startswith("b/001/02"):
            client.finish(video, place, "absent")
            return
        (shown,) = [each for each in videos if each.video == name[0]]
        mask = shown.truth(shown.numbers.index(client.number(video, place)))
        client.draw(video, place, 0, mask)
        client.act(video, place, client.action("eraser", patch=patch_json((ids == 1) & ~mask, 0), strokes=1))
        client.finish(video, place)

    with Annotating(lambda: address_in(lines), answer):
        found = answered_on_page(
            lambda wait: eva_vos(videos, "mask", tmp_path / "desk", tmp_path / "page", wait),
            tmp_path / "desk",
            DiscPrompter(),
            address=ADDRESS,
            say=lines.append,
        )
    assert [(name[:4], kind, origin, pixels) for name, kind, origin, pixels in seen] == [
        ("a/00", "mask", "machine", 144), ("b/00", "mask", "machine", 144)
    ] * 2  # fmt: skip
    rows = rows_of(found)
    assert [row["type"] for row in rows] == ["mask"] * 5 + ["absent"]

    with_files: Any = None
    while with_files is None:
        try:
            with_files = eva_vos(videos, "mask", tmp_path / "files_desk", tmp_path / "files")
        except WaitingForLabels:
            for path in (tmp_path / "files_desk").rglob("task.json"):
                answered = json.loads((tmp_path / "desk" / path.relative_to(tmp_path / "files_desk")).read_text())
                if not json.loads(path.read_text())["done"]:
                    (shown,) = [each for each in videos if each.video == answered["video"]]
                    if not answered["absent"]:
                        mask = shown.truth(shown.numbers.index(answered["frame"]))
                        write_label_png(path.parent / "mask.png", mask.view(np.uint8), PALETTE)
                    path.write_text(json.dumps(answered))
    assert rows == rows_of(with_files)
    for path in (tmp_path / "files_desk").rglob("mask.png"):
        assert path.read_bytes() == (tmp_path / "desk" / path.relative_to(tmp_path / "files_desk")).read_bytes()


def test_clicks_of_eva_vos(squares: MOSE, tmp_path: Path) -> None:
    """What is accepted is the answer: not what was tried before, nor what was undone."""
    videos, lines = list_objects(squares, "train", ["a"]).videos, list[str]()

    def answer(client: PageClient, video: int, place: int) -> None:
        assert client.label(video, place)[0]["task"]["kind"] == "clicks"
        client.finish(video, place, status=409)
        for tries in ([[30, 40, True]], [[10, 8, True]], [[10, 8, True], [40, 20, False]]):
            patch = client.prompt(video, place, tries)["patch"]
        client.act(video, place, client.action("click", clicks=2, object=1, patch=patch))
        patch = client.prompt(video, place, [[5, 5, True]])["patch"]
        client.act(video, place, client.action("click", clicks=1, object=1, patch=patch))
        client.act(video, place, client.action("undo"))
        client.finish(video, place)

    with Annotating(lambda: address_in(lines), answer):
        found = answered_on_page(
            lambda wait: eva_vos(videos, "clicks", tmp_path / "desk", tmp_path / "page", wait),
            tmp_path / "desk",
            DiscPrompter(),
            address=ADDRESS,
            say=lines.append,
        )
    rows = rows_of(found)
    assert [row["clicks"] for row in rows] == [[], *[[[10, 8, 1], [40, 20, 0]]] * 2]
    assert [row["cost"].get("seconds") for row in rows] == [80, 7, 7]

    with_files: Any = None
    while with_files is None:
        try:
            with_files = eva_vos(videos, "clicks", tmp_path / "files_desk", tmp_path / "files")
        except WaitingForLabels as waiting:
            task = Path(str(waiting.path)) / "task.json"
            clicks = {"clicks": [[10, 8, 1], [40, 20, 0]], "seconds": 7, "done": True}
            task.write_text(json.dumps(json.loads(task.read_text()) | clicks))
    assert rows == rows_of(with_files)
    states = [sorted((tmp_path / name).rglob("*.npz")) for name in ("page", "files")]
    assert [path.read_bytes() for path in states[0]] == [path.read_bytes() for path in states[1]]


class Counted:
    """Asks for masks, those of object b before all others, and counts how often it was asked itself."""

    needs_truth = False
    has_values = True
    arguments: ClassVar[dict[str, Any]] = {"types": "counted"}

    def __init__(self) -> None:
        self.calls: list[str] = []

    def choose(self, progress: ObjectProgress, place: int) -> TypeDecision:
        self.calls.append(progress.video.video)
        return TypeDecision("mask", 1.0 if progress.video.video == "b" else 0.5)


def test_a_ranking_is_not_made_anew_after_every_answer(squares: MOSE, tmp_path: Path) -> None:
    """A loop that waits ranks an object again once that has been annotated; one that is called anew ranks all."""
    videos, settings = list_objects(squares, "train").videos, EVAVOSSettings(rounds=2, ranking="value")

    def run(name: str, types: Counted, wait: Wait | None) -> Any:
        person = MaskFilesPerson(tmp_path / name / "desk", DiscPrompter())
        parts = create_mask_propagator("nearest"), create_frame_choice("random"), types
        return annotate_eva_vos(videos, person, *parts, tmp_path / name / "run", settings, wait=wait)

    def answer(error: WaitingForLabels) -> None:
        path = Path(str(error.path)) / "task.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"seconds": 5, "done": True}))

    waiting, again, result = Counted(), Counted(), None
    rows = rows_of(run("waiting", waiting, answer))
    assert [(row["video"], row["round"]) for row in rows[2:]] == [("b", 1), ("b", 2), ("a", 1), ("a", 2)]
    assert waiting.calls == ["a", "b", "b", "a"]
    while result is None:
        try:
            result = run("again", again, None)
        except WaitingForLabels as error:
            answer(error)
    assert rows_of(result) == rows
    assert len(again.calls) > len(waiting.calls)


@pytest.fixture
def command(squares: MOSE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    found = ["annotate", "eva-vos", "--dataset", "mose", "--root", str(squares.root), "--split", "train"]
    return [*found, "--videos", "a", "--rounds", "1", "--annotator", "page", "--port", "0", "--out", "run"]


def begun(arguments: list[str]) -> tuple[subprocess.Popen[str], str]:
    """The command in a process of its own, once its page is there, and the address of that."""
    program = [sys.executable, "-c", "from thriftseg.cli.main import entry_point; entry_point()", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    lines: list[str] = []
    while address_in(lines) is None:
        line = process.stdout.readline()
        assert line, process.stderr.read() if process.stderr else ""
        lines.append(line.strip())
    return process, str(address_in(lines))


@pytest.mark.slow
def test_a_command_that_is_ended_goes_on(
    command: list[str], squares: MOSE, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What was drawn before the end is still there, and the answer counts the seconds of both sessions."""
    process, url = begun(command)
    client = PageClient(url)
    ((video, place, *_),) = client.tasks()
    client.open(video, place)
    mask = np.zeros((48, 80), bool)
    mask[5:9, 7:11] = True
    client.draw(video, place, 0, mask)
    process.send_signal(signal.SIGTERM)
    assert process.communicate()[1].count("\n") == 1
    assert process.returncode == 143

    printed: list[str] = []

    def address() -> str | None:
        printed.extend(capfd.readouterr().out.splitlines())
        return address_in(printed)

    def answer(client: PageClient, video: int, place: int) -> None:
        header, ids = client.label(video, place)
        assert (header["state"], bool((ids[5:9, 7:11] == 1).all())) == ("w", True)
        client.finish(video, place)

    with Annotating(address, answer) as somebody:
        assert main(command) == 0
    assert somebody.answered == 1
    rows = [json.loads(line) for line in Path("run/actions.jsonl").read_text().splitlines()]
    assert [row["cost"]["seconds"] for row in rows] == [80, 3]


def test_a_folder_of_tasks_is_served(command: list[str], tmp_path: Path) -> None:
    files = ["files" if word == "page" else word for word in command]
    files[files.index("--port") : files.index("--port") + 2] = []
    assert main(files) == 3
    process, url = begun(["annotate", "serve", "--tasks", "run/work", "--port", "0"])
    client = PageClient(url)
    work = client.get("/api/work")
    assert (work["kind"], work["title"], work["prompter"]) == ("tasks", "work", {"name": "grabcut"})
    assert [(each["id"], each["frames"], each["height"]) for each in work["videos"]] == [
        (path.parent.relative_to("run/work").as_posix(), 1, 48) for path in Path("run/work").rglob("task.json")
    ]
    client.open(0, 0)
    client.draw(0, 0, 0, np.ones((48, 80), bool))
    client.finish(0, 0)
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert main(files) == 0
    assert main(["report", "time", "--tasks", "run/work", "--out", "time.csv"]) == 0
    assert "tool,polygon,1,2.0,2.0,2.0,0,0,0,,,," in Path("time.csv").read_text().splitlines()
    assert main(["report", "time", "--tasks", "run/work", "--root", "mine"]) == 2


def test_contradictions(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    simulated = ["simulated" if word == "page" else word for word in command]
    assert main(simulated) == 2
    assert re.search(r"settings of a page without one; found --annotator simulated", capsys.readouterr().err)
    assert main(["annotate", "serve", "--tasks", "nowhere"]) == 2
    assert "nowhere: no tasks in this folder; expected task.json in folders below it" in capsys.readouterr().err
    assert main(["annotate", "serve", "--tasks", "desk", "--root", "mine"]) == 2
    assert "a folder of tasks, or a data set?" in capsys.readouterr().err
