"""Whatever becomes of the server, what it acknowledged is there."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from urllib.request import Request, urlopen

import numpy as np
import pytest

from tests.fixtures.annotation_page import WIDTH, Page, box_mask, patch_json, read_label, unlabelled_video
from thriftseg.errors import ConfigError
from thriftseg.folders import sole_writer
from thriftseg.stores import AnnotationJournal

SQUARE = box_mask(8, 6, 20, 18)


def test_a_restart_shows_everything(page: Page):
    page.open(1)
    page.draw(1, 1, 1, SQUARE, strokes=2)
    page.draw(1, 2, 3, box_mask(0, 0, 12, 9))
    before = page.label(1)
    page.restart()
    header, ids = page.label(1)
    assert np.array_equal(ids, before[1])
    assert (header["state"], header["origin"]) == ("w", "work")
    assert header["objects"] == before[0]["objects"]
    page.open(1, "s2", "Bob")
    page.finish(1, session="s2")
    (action,) = page.work.drawn.store.actions.values()
    assert (action.cost.seconds, action.cost.strokes, action.cost.class_clicks) == (5.0, 2, 2)


def test_a_torn_row_is_the_only_loss(page: Page):
    page.open(1)
    page.draw(1, 1, 1, SQUARE)
    lost = page.action(patch=patch_json(SQUARE, 0))
    page.act(1, lost)
    path = page.work.journal.path
    path.write_bytes(path.read_bytes()[:-7])
    page.restart()
    assert np.array_equal(page.label(1)[1], SQUARE)
    page.open(1)
    page.act(1, lost)  # sent again
    page.restart()
    assert not page.label(1)[1].any()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_loses_nothing(page: Page, monkeypatch, code):
    page.open(1)
    page.draw(1, 1, 1, SQUARE)

    def full(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    refused = page.action(objects=[[2, 2]], patch=patch_json(box_mask(0, 0, 5, 5), 2))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        answer = page.act(1, refused, status=507)
        assert "disk is full" in answer["error"]
        assert "journal.jsonl" in answer["error"]
        assert "disk is full" in page.finish(1, status=507)["error"]
        assert np.array_equal(page.label(1)[1], SQUARE)
        assert page.states() == ".w...."
    assert page.act(1, refused)["acknowledged"] == [refused["id"]]
    page.restart()
    assert (page.label(1)[1] == 2).sum() == 25
    page.open(1)
    assert page.finish(1)["state"] == "d"
    page.restart()
    assert page.label(1)[0]["origin"] == "drawn"


def test_a_failure_between_label_and_journal_leaves_the_frame_unfinished(page: Page, monkeypatch):
    page.open(1)
    page.draw(1, 1, 1, SQUARE)
    finish = {"session": "s1", "verdict": "drawn", "action": page.action("finish")}

    def fail(rows):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(page.work.journal, "append", fail)
        assert page.post("/api/frames/0/1/finish", finish, 500)["error"] == "OSError: [Errno 5] Input/output error"
    assert page.states() == ".w...."
    page.restart()
    assert page.states() == ".w...."
    assert np.array_equal(page.label(1)[1], SQUARE)
    page.open(1)
    page.post("/api/frames/0/1/finish", finish)
    (action,) = page.work.drawn.store.actions.values()
    assert action.cost.seconds == 4.0


def test_a_prompter_that_crashes_harms_nobody(page: Page):
    question = {"session": "s1", "video": 0, "place": 0, "points": [[30, 20, True]]}
    page.service._proposals.prompter.embed = None
    assert "TypeError" in page.post("/api/prompt", question, 500)["error"]
    page.open(0)
    page.draw(0, 1, 1, SQUARE)
    page.restart()
    page.post("/api/prompt", question)
    assert np.array_equal(page.label(0)[1], SQUARE)


class Served:
    """A server of its own, as users start it."""

    def __init__(self, folder) -> None:
        where = ["--root", str(folder / "data"), "--store", str(folder / "labels"), "--port", "0"]
        command = [sys.executable, "-m", "thriftseg", "annotate", "serve", *where]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.home, self.token = "", ""
        for line in self.process.stdout:
            if "token=" in line:
                address, _, self.token = line.strip().partition("?token=")
                self.home = address.rstrip("/")
                return
        raise AssertionError(self.process.stderr.read())

    def ask(self, path: str, body=None) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        request = Request(f"{self.home}{path}", data, {"Authorization": f"Bearer {self.token}"})  # noqa: S310
        with urlopen(request, timeout=60) as answer:  # noqa: S310
            return answer.read()


def test_a_killed_server_has_all_that_it_acknowledged(tmp_path):
    """SIGKILL while actions stream in, then SIGTERM, which is the end as of other commands."""
    unlabelled_video(tmp_path / "data")
    served = Served(tmp_path)
    acknowledged: list[int] = []
    enough = threading.Event()

    def stroke(number: int) -> dict:
        action = {"id": f"a{number}", "tool": "brush", "start": number, "end": number + 1, "seconds": 1, "strokes": 1}
        row, column = divmod(number, WIDTH)
        patch = {"x": column, "y": row, "width": 1, "height": 1, "runs": [1, 1]}
        return {**action, "objects": [[1, 1]], "patch": patch}

    def draw() -> None:
        served.ask("/api/frames/0/0/open", {"session": "s", "person": "Ann"})
        for number in range(2000):
            body = {"session": "s", "person": "Ann", "actions": [stroke(number)]}
            try:
                served.ask("/api/frames/0/0/actions", body)
            except OSError:
                return
            acknowledged.append(number)
            if number == 30:
                enough.set()

    drawing = threading.Thread(target=draw)
    drawing.start()
    assert enough.wait(60)
    served.process.kill()
    served.process.wait()
    drawing.join()
    assert 31 <= len(acknowledged) < 2000
    rows = [row for row in AnnotationJournal(tmp_path / "labels" / "drawn").read() if row.tool == "brush"]
    assert [row.id for row in rows][: len(acknowledged)] == [f"a{number}" for number in acknowledged]
    assert len(rows) <= len(acknowledged) + 1

    again = Served(tmp_path)
    with (
        pytest.raises(ConfigError, match="another process is writing here"),
        sole_writer(tmp_path / "labels" / "drawn" / ".page"),
    ):
        pass
    header, ids = read_label(again.ask("/api/frames/0/0/label"))
    assert header["state"] == "w"
    assert (ids.ravel()[: len(rows)] == 1).all()
    assert ids.sum() == len(rows)
    again.process.send_signal(signal.SIGTERM)
    assert again.process.wait(30) == 143
    assert "Traceback" not in again.process.stderr.read()


def test_people_and_machine_need_sources_of_their_own(tmp_path):
    from thriftseg.annotation.page.dataset_work import DatasetWork

    with pytest.raises(ConfigError, match="one source; found flow; fix: choose another --source"):
        DatasetWork(unlabelled_video(tmp_path / "data"), ["train"], tmp_path / "labels", "flow", "flow")
