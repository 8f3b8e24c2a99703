"""Two sessions on one page: leases, actions sent twice, what is refused."""

import numpy as np
import pytest

from tests.fixtures.annotation_page import HEIGHT, WIDTH, Page, box_mask, machine_label, patch_json
from thriftseg.annotation.page.leases import LEASE_S
from thriftseg.errors import LabelStoreError
from thriftseg.types import LabelKind

SQUARE = box_mask(8, 6, 20, 18)


def test_a_frame_is_leased_to_one_session(page: Page):
    assert page.open(2)["state"] == "."
    refused = page.open(2, "s2", "Bob", status=409)
    assert refused == {"error": "Ann works on this frame", "fix": "take another one, or wait", "person": "Ann"}
    assert page.get("/api/changes?since=0&session=s2")["leases"] == [[0, 2, "Ann"]]
    assert page.get("/api/changes?since=0&session=s1")["leases"] == []
    assert page.get("/api/videos/0")["leases"] == {"2": "Ann"}
    page.draw(2, 1, 1, SQUARE)
    assert "the frame is not open" in page.act(2, page.action(), session="s2", status=409)["error"]
    assert "the frame is not open" in page.finish(2, session="s2", status=409)["error"]
    page.open(3, "s2", "Bob")
    page.post("/api/frames/0/2/close", {"session": "s2"})  # not theirs
    page.open(2, "s2", "Bob", status=409)
    page.post("/api/frames/0/2/close", {"session": "s1"})
    assert page.open(2, "s2", "Bob")["origin"] == "work"
    page.post("/api/leave", {"session": "s2"})
    assert page.get("/api/videos/0")["leases"] == {}


def test_a_lease_ends_with_its_session(page: Page):
    page.open(0)
    page.now += LEASE_S - 1
    page.get("/api/changes?since=0&session=s1")  # a sign of life
    page.now += LEASE_S - 1
    page.open(0, "s2", "Bob", status=409)
    page.now += 2
    page.open(0, "s2", "Bob")
    page.open(0, status=409)


def test_without_a_lease_nothing_is_done(page: Page):
    page.open(0)
    page.now += 10 * LEASE_S
    assert page.act(0, page.action(), status=409)["fix"] == "open it again"
    assert page.finish(0, status=409)["fix"] == "open it again"
    assert not page.work.journal.path.exists()
    page.open(0)
    page.act(0, page.action())


def late(page: Page, place: int, version: str, *actions: dict, status: int = 412, **body):
    """Actions of the first session on a frame as it was when it was opened."""
    body = {"session": "s1", "person": "Ann", "version": version, "actions": actions, **body}
    return page.post(f"/api/frames/0/{place}/actions", body, status)


def test_late_actions_are_not_done_on_what_somebody_else_has_made_of_the_frame(page: Page):
    version = page.open(0)["version"]
    stroke = page.action(objects=[[1, 1]], patch=patch_json(SQUARE, 1))
    late(page, 0, version, stroke, status=200)
    page.now += 10 * LEASE_S  # the laptop of Ann sleeps
    page.open(0, "s2", "Bob")
    body = {"session": "s2", "person": "Bob", "verdict": "drawn", "action": page.action("finish")}
    page.post("/api/frames/0/0/finish", body)
    stored = page.label(0)[1]
    more = page.action(objects=[[2, 2]], patch=patch_json(box_mask(0, 0, 4, 4), 2))
    assert "has changed since it was opened" in late(page, 0, version, more)["error"]  # while Bob has it
    page.post("/api/leave", {"session": "s2"})
    again = page.open(0)["version"]
    assert again != version
    rows = page.work.journal.path.read_bytes()
    finish = {"session": "s1", "verdict": "drawn", "action": page.action("finish"), "version": version}
    for _ in range(2):
        late(page, 0, version, more)
        page.post("/api/frames/0/0/finish", finish, 412)
        page.restart()
        page.open(0)
    late(page, 0, version, stroke, status=200)  # known
    assert np.array_equal(page.label(0)[1], stored)
    assert page.work.journal.path.read_bytes() == rows
    late(page, 0, again, more, status=200)
    page.restart()
    page.open(0)
    late(page, 0, again, page.action(), status=200)  # its own actions change nothing for a session


def test_late_actions_are_not_done_on_a_label_that_was_made_again(page: Page):
    label = machine_label(page, 2)
    version = page.open(2)["version"]
    page.now += 10 * LEASE_S
    page.work.made.store.write("street", 2, 0 * label, kind=LabelKind.PROPAGATED, generator="propagate/flow")
    late(page, 2, version, page.action())
    page.open(2)
    late(page, 2, version, page.action())
    accept = {"session": "s1", "verdict": "accept", "action": page.action("finish"), "version": version}
    page.post("/api/frames/0/2/finish", accept, 412)
    assert not page.work.made.store.reviews.decisions


def test_a_label_that_is_made_again_is_kept_for_who_has_the_frame_open_and_shown_to_all_afterwards(page: Page):
    label = machine_label(page, 2)
    page.open(2)
    store = page.work.made.store
    store.write("street", 2, 0 * label, kind=LabelKind.PROPAGATED, generator="propagate/flow")
    assert np.array_equal(page.label(2)[1], np.array([1, 5, 3])[label])
    page.now += 10 * LEASE_S
    assert (page.label(2)[1] == 1).all()


def test_a_frame_that_cannot_be_opened_is_leased_to_nobody(page: Page, monkeypatch: pytest.MonkeyPatch):
    def broken(place: object) -> None:
        raise LabelStoreError("damaged")

    monkeypatch.setattr(page.work, "start", broken)
    page.open(0, status=422)
    monkeypatch.undo()
    page.open(0, "s2", "Bob")


def test_an_action_that_is_sent_twice_counts_once(page: Page):
    page.open(0)
    first = page.action(objects=[[1, 1]], patch=patch_json(SQUARE, 1))
    undone = page.action("undo", patch=patch_json(SQUARE, 0))
    assert page.act(0, first)["acknowledged"] == [first["id"]]
    assert page.act(0, first, undone, undone)["acknowledged"] == [first["id"], undone["id"], undone["id"]]
    page.act(0, first)
    assert not page.label(0)[1].any()
    assert [row.id for row in page.work.journal.read()][1:] == [first["id"], undone["id"]]
    page.now += 10 * LEASE_S
    page.open(0, "s2", "Bob")
    assert page.act(0, first)["acknowledged"] == [first["id"]]  # known, whoever has the frame now


def test_finishing_twice_stores_once(page: Page):
    page.open(0)
    page.draw(0, 1, 1, SQUARE)
    body = {"session": "s1", "verdict": "drawn", "action": page.action("finish")}
    assert page.post("/api/frames/0/0/finish", body)["state"] == "d"
    rows = page.work.journal.path.read_bytes()
    assert page.post("/api/frames/0/0/finish", body)["state"] == "d"
    assert page.work.journal.path.read_bytes() == rows


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objects": [[1, 3]]}, "no such class; expected 0..2; found 3"),
        ({"patch": {"x": WIDTH, "y": 0, "width": 1, "height": 1, "runs": [0, 1]}}, "outside of its frame"),
        ({"patch": {"x": 0, "y": 0, "width": 1, "height": 1, "runs": [5, 1]}}, "the frame does not have; found 5"),
        ({"objects": [[0, 1]]}, "malformed at $.actions[1].objects[0][0]; expected int >= 1; found 0"),
        ({"object": 65536}, "malformed at $.actions[1].object; expected int <= 65535"),
        ({"clicks": 2**62}, "malformed at $.actions[1].clicks; expected int <= 1000000"),
        ({"seconds": 1e300}, "malformed at $.actions[1].seconds"),
        ({"tool": "open"}, "begins and ends by requests of their own; found open"),
        ({"tool": "hammer"}, "malformed at $.actions[1].tool"),
        ({"seconds": -1}, "malformed at $.actions[1].seconds"),
        ({"colour": "red"}, "an unknown entry colour"),
        ({"patch": {"x": 0, "y": 0, "width": 1, "height": 1, "runs": [65536.5, 1]}}, "malformed at $.actions[1].patch"),
    ],
)
def test_actions_that_do_not_fit_leave_nothing(page: Page, change, message):
    page.open(0)
    good = page.action(objects=[[1, 1]], patch=patch_json(SQUARE, 1))
    assert message in page.act(0, good, page.action(**change), status=400)["error"]
    assert page.label(0)[1].sum() == 0
    assert not page.work.journal.path.exists()
    assert page.states() == "......"


def test_frames_that_are_not_there(page: Page):
    for path in ("frames/0/6/label", "frames/1/0/image", "videos/1", "queue?id=mine&session=a"):
        assert "no such" in page.get(f"/api/{path}", 404)["error"]
    page.open(6, status=404)
    page.post("/api/prompt", {"session": "a", "video": 0, "place": 9, "points": [[1, 1, True]]}, 404)


def test_what_has_changed_is_told_once(page: Page):
    start = page.get("/api/changes?since=0&session=s1")
    page.open(1)
    page.draw(1, 1, 1, SQUARE)
    after = page.get(f"/api/changes?since={start['version']}&session=s1")
    assert after["frames"] == [[0, 1, "w", -1]]
    assert page.get(f"/api/changes?since={after['version']}&session=s1")["frames"] == []
    assert page.finish(1) == {"state": "d", "next": None}
    assert page.get(f"/api/changes?since={after['version']}&session=s1")["frames"] == [[0, 1, "d", -1]]
    assert page.states() == ".d...."


def test_the_page_describes_its_work(page: Page):
    found = page.get("/api/work")
    assert (found["title"], found["kind"], found["dataset"], found["person"], found["pause_s"]) == (
        *("data", "videos", "folder", "Ann", 20.0),
    )
    assert [(each["id"], each["name"], each["thing"]) for each in found["classes"]] == [
        (0, "ground", False),
        (1, "square", True),
        (2, "disc", False),
    ]
    assert len({tuple(each["safe_color"]) for each in found["classes"]}) == 3
    assert (found["prompter"], found["propagator"]) == ({"name": "grabcut"}, {"name": "nearest"})
    assert found["videos"] == [{"id": "street", "frames": 6, "height": HEIGHT, "width": WIDTH}]
    assert page.get("/api/videos/0")["numbers"] == list(range(6))


def test_locked_objects_cannot_be_drawn_over(page: Page):
    page.open(0)
    page.draw(0, 1, 1, SQUARE)
    page.draw(0, 2, 2, box_mask(30, 30, 40, 40))
    lock = {"video": 0, "place": 0, "object": 1, "locked": True}
    assert page.post("/api/lock_object", lock, 409)["fix"] == "finish it first"
    page.finish(0)
    page.post("/api/lock_object", {**lock, "object": 7}, 409)
    page.post("/api/lock_object", lock)
    assert {each["id"]: each["locked"] for each in page.label(0)[0]["objects"]} == {1: True, 2: False}
    page.open(0)
    over = page.action(patch=patch_json(box_mask(8, 6, 9, 7), 2))
    assert "locked object" in page.act(0, over, status=400)["error"]
    page.post("/api/lock_object", {**lock, "locked": False})
    page.act(0, over)
    assert page.label(0)[1][8, 6] == 2
    assert np.array_equal(page.label(0)[1] == 1, SQUARE & ~box_mask(8, 6, 9, 7))
