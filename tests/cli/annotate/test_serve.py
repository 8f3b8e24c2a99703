from __future__ import annotations

import re
import socket
import sys

import cv2
import numpy as np
import pytest
import uvicorn

from tests.fixtures.annotation_page import unlabelled_video
from thriftseg.annotation.page import serving
from thriftseg.annotation.page.serving import PageMethods
from thriftseg.annotation.page.work import Work
from thriftseg.cli.main import main
from thriftseg.errors import CheckpointError
from thriftseg.labels import GrabCutPrompter


@pytest.fixture
def served(monkeypatch) -> list[Work]:
    """What would be served; nothing is."""
    found: list[Work] = []
    monkeypatch.setattr(serving, "serve_work", lambda work, *_, **__: found.append(work))
    return found


def write_film(path, frames: int = 40) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for number in range(frames):
        writer.write(np.full((48, 64, 3), 2 * number, np.uint8))
    writer.release()


def test_all_splits_with_clips_are_served(tmp_path, served, capsys):
    unlabelled_video(tmp_path / "data")
    where = ["--root", str(tmp_path / "data"), "--store", str(tmp_path / "labels")]
    assert main(["annotate", "serve", *where]) == 0
    assert main(["annotate", "serve", *where, "--split", "train", "--method", "nearest", "--source", "mine"]) == 0
    assert [(work.splits, work.made.store.source, work.drawn.store.source) for work in served] == [
        (["train"], "flow", "drawn"),
        (["train"], "nearest", "mine"),
    ]
    assert not (tmp_path / "labels").exists()
    assert main(["annotate", "serve", *where, "--split", "val"]) == 2
    assert "split 'val' of folder is empty" in capsys.readouterr().err


def test_a_video_is_cut_first_and_only_once(tmp_path, served, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_film(tmp_path / "drive.avi")
    (tmp_path / "classes.yaml").write_text("classes: [road, car]\n")
    assert main(["annotate", "serve", "--video", "drive.avi"]) == 2
    assert "a video has no class table; fix: add --taxonomy classes.yaml" in capsys.readouterr().err
    film = ["annotate", "serve", "--video", "drive.avi", "--taxonomy", "classes.yaml"]
    for _ in range(2):
        assert main([*film, "--shares", "1,0,0"]) == 0
    first, again = served
    assert [(video.name, len(video.numbers), video.size) for video in first.videos] == [("drive__000000", 40, (48, 64))]
    assert first.reader.root.resolve() == (tmp_path / "videos" / "drive").resolve()
    assert first.root.resolve() == (tmp_path / "videos" / "drive" / "labels").resolve()
    assert again.videos == first.videos
    write_film(tmp_path / "long.avi", 100)
    assert main([*film, "--video", "long.avi"]) == 0
    assert [served[-1].split_of(number) for number in range(3)] == ["train", "val", "test"]
    (tmp_path / "films").mkdir()
    assert main(["annotate", "serve", "--video", "films", "--taxonomy", "classes.yaml"]) == 2
    assert "no videos in the folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--taxonomy", "c.yaml"], "--taxonomy is about a video; fix: add --video, or leave it out"),
        (["--method", "hf"], "weights of the method hf; found none; fix: add --weights"),
        (["--weights", "w"], "weights of the method flow; found w; fix: leave out --weights"),
        (["--prompter", "grabcut", "--prompter_weights", "w"], "grabcut has no weights"),
        (["--prompter", "lasso"], "no such prompter"),
        (["--machine", "drawn"], "people and machine write to one source; found drawn"),
        (["--source", "manual"], "name of a label source"),
    ],
)
def test_options_that_contradict_each_other(tmp_path, served, capsys, options, message):
    unlabelled_video(tmp_path / "data")
    assert main(["annotate", "serve", "--root", str(tmp_path / "data"), *options]) == 2
    assert message in capsys.readouterr().err
    assert not served


def test_a_port_that_is_taken(tmp_path, capsys):
    unlabelled_video(tmp_path / "data")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        where = ["--root", str(tmp_path / "data"), "--store", str(tmp_path / "labels"), "--port", port]
        assert main(["annotate", "serve", *where]) == 2
    assert f"cannot listen at 127.0.0.1 port {port}" in capsys.readouterr().err
    assert not (tmp_path / "labels" / "drawn" / ".page").exists()


def test_other_machines_are_let_in_with_a_warning(tmp_path, monkeypatch, capsys):
    unlabelled_video(tmp_path / "data")
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: None)
    where = ["--root", str(tmp_path / "data"), "--store", str(tmp_path / "labels"), "--port", "0"]
    tokens = set()
    for host, shown, warned in (("127.0.0.1", "127.0.0.1", False), ("0.0.0.0", socket.gethostname(), True)):  # noqa: S104
        assert main(["annotate", "serve", *where, "--host", host]) == 0
        *lines, url = capsys.readouterr().out.splitlines()
        assert re.fullmatch(rf"http://{re.escape(shown)}:\d+/\?token=[\w-]{{32}}", url)
        assert any(line.startswith("warning: whoever reaches 0.0.0.0") for line in lines) == warned
        tokens.add(url.partition("=")[2])
    assert len(tokens) == 1, "open pages go on after a restart"


def test_without_the_extra_it_says_what_to_install(tmp_path, monkeypatch, capsys):
    unlabelled_video(tmp_path / "data")
    monkeypatch.setitem(sys.modules, "starlette", None)
    assert main(["annotate", "serve", "--root", str(tmp_path / "data")]) == 2
    assert 'fix: pip install "thriftseg[page]"' in capsys.readouterr().err


def test_the_prompter_fits_the_method(tmp_path):
    assert isinstance(PageMethods().make_prompter(), GrabCutPrompter)
    assert isinstance(PageMethods(method="cutie", weights="w").make_prompter(), GrabCutPrompter)
    assert PageMethods(prompter="none").make_prompter() is None
    for methods in (
        PageMethods(method="hf", weights=str(tmp_path)),
        PageMethods(prompter="hf", prompter_weights=str(tmp_path)),
    ):
        with pytest.raises(CheckpointError, match="the weights of SAM"):
            methods.make_prompter()
