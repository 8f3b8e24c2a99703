"""A task of a CVAT server: the client is the true one, the server a small one of ours (see `cvat_server`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.labels.cvat_server import TASK, TOKEN, Task, serve
from thriftseg.cli.main import main
from thriftseg.datasets import Folder
from thriftseg.errors import ConfigError, DatasetError
from thriftseg.exchange import CVATTask
from thriftseg.labels import NearestPropagator, sync_cvat
from thriftseg.stores import LabelStore

pytest.importorskip("cvat_sdk")

NUMBERS = (3, 4, 5, 6, 7, 8)
LEFT, RIGHT = "110000" * 2, "000011" * 2  # masks of 2 x 6 pixels


@pytest.fixture
def dataset(tmp_path: Path) -> Folder:
    frames = tmp_path / "own/train/drive/frames"
    frames.mkdir(parents=True)
    (tmp_path / "own/classes.yaml").write_text("classes: [{name: road}, {name: car}]\n")
    for number in NUMBERS:
        cv2.imwrite(str(frames / f"{number:06d}.png"), np.full((2, 6, 3), number, np.uint8))
    return Folder(tmp_path / "own")


@pytest.fixture
def task() -> Task:
    return Task([f"drive/{number:06d}.png" for number in NUMBERS], (2, 6), ["car", "road"])


@pytest.fixture
def url(task: Task, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("CVAT_ACCESS_TOKEN", TOKEN)
    server, address = serve(task)
    yield address
    server.shutdown()
    server.server_close()


def shapes(task: Task) -> list[tuple[int, str, str, list[float]]]:
    """Frame, label, source and points, in the order of frames and labels."""
    return sorted((s["frame"], task.labels[s["label_id"] - 1], s["source"], s["points"]) for s in task.shapes)


def test_what_was_drawn_is_propagated_and_sent_back(dataset: Folder, task: Task, url: str, tmp_path: Path) -> None:
    task.draw(1, "car", LEFT)
    task.draw(1, "road", RIGHT)
    task.draw(2, "road", RIGHT, source="auto")  # of an earlier run
    task.draw(5, "car", RIGHT, source="auto")  # out of reach
    task.draw(1, "car", RIGHT, source="auto")  # from before a person drew the frame
    made = sync_cvat(dataset, "train", CVATTask(url, TASK), NearestPropagator(), reach=2, store=tmp_path / "labels")
    left, right = [0, 4, 0, 0, 1, 1], [0, 4, 4, 0, 5, 1]  # as the boxes of the masks hold nothing else
    auto = [(place, label, "auto", points) for place in (0, 2, 3) for label, points in (("car", left), ("road", right))]
    drawn = [(1, "car", "manual", [0, 2, 4, 2, 4, 0, 0, 5, 1]), (1, "road", "manual", [4, 2, 4, 2, 0, 0, 5, 1])]
    assert shapes(task) == sorted([*auto, *drawn, (5, "car", "auto", [4, 2, 4, 2, 0, 0, 5, 1])])
    assert (made.drawn.written, made.frames, made.shapes) == (1, 3, 6)
    store = LabelStore(tmp_path / "labels", "cvat-nearest", dataset.taxonomy)
    assert sorted(number for _, number in store.labels) == [3, 5, 6]
    np.testing.assert_array_equal(store.read("drive", 6), [[1, 1, 255, 255, 0, 0]] * 2)
    assert {row.parents for row in store.labels.values()} == {("cvat:folder/drive/000004",)}


def test_again_it_makes_what_new_drawings_reach(dataset: Folder, task: Task, url: str, tmp_path: Path) -> None:
    def sync() -> tuple[int, int]:
        made = sync_cvat(dataset, "train", CVATTask(url, TASK), NearestPropagator(), store=tmp_path / "labels")
        return made.propagated.written, made.shapes

    task.draw(0, "car", LEFT)
    assert sync() == (5, 5)
    before = shapes(task)
    assert sync() == (0, 5)
    assert shapes(task) == before
    task.shapes = [shape for shape in task.shapes if shape["frame"] != 5]
    task.draw(5, "car", RIGHT, source="semi-auto")  # a person has moved what the machine drew
    assert sync() == (3, 4)  # the frame that was corrected, too
    assert [points[-4] for place, _, source, points in shapes(task) if source == "auto"] == [0, 0, 4, 4]
    assert [place for place, _, source, _ in shapes(task) if source == "semi-auto"] == [5]


def test_frames_of_a_video_are_counted(dataset: Folder, task: Task, url: str, tmp_path: Path) -> None:
    task.video = True
    task.draw(2, "car", LEFT)
    (dataset.root / "train/drive").rename(dataset.root / "train/street")
    task.names = [f"street/{number:06d}.png" for number in NUMBERS]
    renamed = Folder(dataset.root)
    sync_cvat(renamed, "train", CVATTask(url, TASK), NearestPropagator(), reach=1, store=tmp_path / "labels")
    assert [(place, source) for place, _, source, _ in shapes(task)] == [(1, "auto"), (2, "manual"), (3, "auto")]


def test_the_command(
    dataset: Folder, task: Task, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    task.draw(0, "car", LEFT)
    where = ["--dataset", "folder", "--root", "own", "--url", url, "--task", str(TASK)]
    assert main(["label", "sync", "cvat", *where, "--method", "nearest", "--reach", "2"]) == 0
    assert "2 shapes in 2 frames sent to the server" in capsys.readouterr().out
    assert main(["label", "sync", "cvat", *where, "--reach", "0"]) == 2
    assert "reach; expected at least 1 frame; found 0" in capsys.readouterr().err


def test_people_s_shapes_are_never_sent_for(dataset: Folder, task: Task, url: str, tmp_path: Path) -> None:
    """A run that fails before it sends leaves the task as it is."""
    task.draw(0, "car", LEFT)
    task.labels[0] = "lorry"
    before = shapes(task)
    with pytest.raises(DatasetError, match="class names outside the class table"):
        sync_cvat(dataset, "train", CVATTask(url, TASK), NearestPropagator(), store=tmp_path / "labels")
    assert shapes(task) == before
    assert not any(line.startswith("PATCH") for line in task.log)


def test_refusals(task: Task, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"refuses task 8; found 404 .*check the number of the task"):
        CVATTask(url, 8)
    monkeypatch.setenv("CVAT_ACCESS_TOKEN", "wrong")
    with pytest.raises(ConfigError, match=r"refuses task 7; found 401 .*check CVAT_ACCESS_TOKEN"):
        CVATTask(url, TASK)
    monkeypatch.delenv("CVAT_ACCESS_TOKEN")
    with pytest.raises(ConfigError, match=r"nothing says who asks .*set CVAT_ACCESS_TOKEN, or CVAT_USER"):
        CVATTask(url, TASK)
