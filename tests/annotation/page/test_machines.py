"""What machines do for the page: masks from clicks, propagation in the background, queues."""

import os
import signal
import time

import numpy as np
import pytest

from tests.fixtures.annotation_page import Page, box_mask, machine_label
from tests.fixtures.square_and_disc import SQUARE, truth
from thriftseg.annotation.page.frame_state import mask_of_patch
from thriftseg.annotation.page.leases import LEASE_S
from thriftseg.annotation.page.proposals import MaskProposals
from thriftseg.annotation.page.serving import PageMethods
from thriftseg.annotation.people.mask_clicker import mask_iou
from thriftseg.labels import GrabCutPrompter, Prompt
from thriftseg.stores import Patch


def asked(page: Page, place: int, *points, status: int = 200, session: str = "s1", **more):
    body = {"session": session, "video": 0, "place": place, "points": points, **more}
    answer = page.post("/api/prompt", body, status)
    if status != 200:
        return answer["error"]
    return mask_of_patch(Patch(**{**answer["patch"], "runs": tuple(answer["patch"]["runs"])}), truth(0).shape)


def test_a_click_is_answered_as_the_prompter_answers_it(page: Page):
    embedded = GrabCutPrompter().embed(page.work.reader.read_frame(page.work.clips[0], 2))
    points = np.array([[15, 12], [40, 30]], np.float32)
    first = embedded.correct(None, points[:1], np.array([True]), 1).masks[0]
    second = embedded.correct(first, points, np.array([True, True]), 1).masks[0]
    assert np.array_equal(asked(page, 2, [15, 12, True]), first)
    assert mask_iou(first, truth(2) == SQUARE) > 0.9
    assert np.array_equal(asked(page, 2, [15, 12, True], [40, 30, True]), second)
    page.restart()  # without the answers before
    assert np.array_equal(asked(page, 2, [15, 12, True], [40, 30, True]), second)
    base = {"x": 0, "y": 0, "width": 2, "height": 2, "runs": [1, 4]}
    third = embedded.correct(box_mask(0, 0, 2, 2), points[:1], np.array([True]), 1).masks[0]
    assert np.array_equal(asked(page, 2, [15, 12, True], base=base), third)
    (boxed,) = embedded.predict([Prompt(box=(8, 6, 24, 22))], 1)
    assert np.array_equal(asked(page, 2, box=[24, 22, 8, 6]), boxed.masks[0])


def test_each_frame_is_looked_at_once(page: Page):
    frames, prompter = [], page.service._proposals.prompter
    embed = prompter.embed
    prompter.embed = lambda frame: frames.append(1) or embed(frame)
    for number in range(3):
        asked(page, 0, [15, 12 + number, True])
        asked(page, 1, [15, 12 + number, True], session="s2")
    assert len(frames) == 2


def test_questions_that_make_no_sense(page: Page):
    assert asked(page, 0, status=400) == "a question without clicks and without a box"
    assert "outside of the frame; expected inside of 64x48" in asked(page, 0, [64, 3, True], status=400)
    assert "outside of its frame" in asked(
        page, 0, [3, 3, True], base={"x": 60, "y": 0, "width": 9, "height": 1, "runs": [1, 9]}, status=400
    )
    for box in ([0, 0, 65, 9], [-1, 0, 9, 9], [5, 5, 5, 9], [9, 49, 3, 3], [1e9, 1e9, 2e9, 2e9]):
        assert "a box outside of the frame; expected inside of 64x48" in asked(page, 0, box=box, status=400)
    page.service._proposals = None
    assert asked(page, 0, [3, 3, True], status=404) == "there is no prompter here"


class Network:
    """Answers all clicks at once, as networks do: the mean click is the corner of the mask."""

    name = "network"

    def __init__(self) -> None:
        self.asked = []

    def embed(self, frame):
        self.size = frame.shape[:2]
        return self

    def predict(self, prompts, candidates):
        from thriftseg.labels import Candidates

        (prompt,) = prompts
        self.asked.append((len(prompt.points), prompt.box, prompt.mask_logits is not None, candidates))
        masks = np.zeros((candidates, *self.size), bool)
        masks[1, : len(prompt.points) + 1] = True
        scores = np.array([0.1, 0.7, 0.2], np.float32)[:candidates]
        return [Candidates(masks, scores, np.zeros((candidates, 4, 4), np.float32))]


def test_a_network_gets_all_clicks_and_its_own_last_answer(page: Page):
    network = Network()
    page.service._proposals = MaskProposals(network)
    question = {"session": "s", "video": 0, "place": 0}
    for clicks in (1, 2, 2, 3):
        points = [[number, number, True] for number in range(clicks)]
        answer = page.post("/api/prompt", {**question, "points": points})
        assert answer["patch"]["height"] == clicks + 1
        assert answer["score"] == pytest.approx(0.7)
    assert network.asked == [(1, None, False, 3), (2, None, True, 3), (3, None, True, 3)]
    network.asked.clear()
    box = [0.0, 0.0, 9.0, 9.0]
    page.post("/api/prompt", {**question, "points": [[5, 5, False]], "box": box})
    assert network.asked[-1] == (1, tuple(box), False, 3)


def wait_for_job(page: Page, *states: str) -> dict:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        job = page.get("/api/changes?since=0&session=s1")["job"]
        if job["state"] in states:
            return job
        time.sleep(0.05)
    raise AssertionError(job)


def test_drawn_labels_are_carried_in_the_background(page: Page):
    """Neither drawn nor locked frames are touched; a killed process is told, and the page goes on."""
    label = truth(0) == SQUARE
    assert page.get("/api/changes?since=0&session=s1")["job"] is None
    for place in (0, 3):
        page.open(place)
        page.draw(place, SQUARE, 1, label)
        page.finish(place)
    drawn = page.work.drawn.store.rows()
    everything = {"video": 0, "first": 0, "last": 5}
    page.post("/api/propagate", everything, 202)
    assert "already" in page.post("/api/propagate", everything, 409)["error"]
    os.kill(page.service._propagation._process.pid, signal.SIGKILL)
    job = wait_for_job(page, "failed")
    assert job["message"] == "the process that propagates ended by SIGKILL"
    page.post("/api/propagate", {"video": 0, "first": 1, "last": 4}, 202)
    job = wait_for_job(page, "done", "failed")
    assert (job["state"], job["done"], job["total"]) == ("done", 3, 3), job
    assert page.states() == "dmmdm."
    assert page.work.drawn.store.rows() == drawn
    header, ids = page.label(1)
    assert header["objects"] == [{"id": 1, "class": SQUARE, "locked": False}]
    assert np.array_equal(ids == 1, label)
    page.post("/api/propagate", {"video": 0, "first": 4, "last": 1}, 400)
    page.post("/api/propagate", {"video": 0, "first": 4, "last": 6}, 404)
    page.post("/api/propagate", everything, 202)
    page.post("/api/propagate/cancel", {})
    assert page.get("/api/changes?since=0&session=s1")["job"]["state"] == "cancelled"
    page.post("/api/propagate/cancel", {})


def queue(page: Page, name: str, status: int = 200):
    return page.get(f"/api/queue?id={name}&session=s1", status)


def test_the_list_goes_on_after_the_frame_that_is_done(page: Page):
    assert [item[:2] for item in queue(page, "list")["items"]] == [[0, place] for place in range(6)]
    page.open(1, "s2", "Bob")
    page.open(0)
    assert page.finish(0)["next"] == [0, 2]
    page.open(5)
    assert page.finish(5)["next"] == [0, 2]
    assert [item[1] for item in queue(page, "list")["items"]] == [2, 3, 4]


def test_the_queue_of_a_window_that_is_gone_is_forgotten(page: Page):
    for number in range(3):
        page.get(f"/api/queue?id=list&session=gone{number}")
    assert len(page.service._queue_of) == 3
    page.now += LEASE_S / 2
    queue(page, "list")
    page.now += LEASE_S / 2 + 1
    page.get("/api/changes?since=0&session=s1")
    assert page.service._queue_of == {"s1": "list"}


def test_doubtful_machine_labels_come_first(page: Page):
    assert queue(page, "review")["items"] == []
    for number, confidence in ((1, 0.9), (2, 0.3), (4, 0.6)):
        machine_label(page, number, confidence)
    assert queue(page, "review")["items"] == [
        [0, 2, 0.3, "confidence 0.30"],
        [0, 4, 0.6, "confidence 0.60"],
        [0, 1, 0.9, "confidence 0.90"],
    ]
    page.open(2)
    assert page.finish(2, "accept")["next"] == [0, 4]
    page.open(4)
    page.finish(4)
    assert [item[1] for item in queue(page, "review")["items"]] == [1]


def ranked(page: Page):
    """What is worth drawing, once it is known."""
    while (answer := page.client.get("/api/queue?id=next&session=s1")).status_code == 503:
        assert answer.json()["error"] == "looking at the frames to rank them"
        time.sleep(0.01)
    return answer


def test_a_network_that_cannot_be_loaded_is_told_and_tried_again(page: Page):
    loads = PageMethods(network_weights="nowhere.ckpt").make_view(page.work.reader)
    page.work._queues._view = loads
    for _ in range(2):
        answer = ranked(page)
        assert answer.status_code == 422
        assert "nowhere.ckpt" in answer.json()["error"]
    page.work._queues._view = None
    assert len(ranked(page).json()["items"]) == 6


def test_what_is_worth_drawing_is_ranked_meanwhile(page: Page):
    items = ranked(page).json()["items"]
    assert sorted(item[1] for item in items) == list(range(6))
    assert [item[2] for item in items] == sorted((item[2] for item in items), reverse=True)
    place = items[0][1]
    page.open(place)
    assert page.finish(place)["next"] == items[1][:2]
    assert [item[1] for item in queue(page, "next")["items"]] == [item[1] for item in items[1:]]
