"""Finished frames become labels of a person, with their objects and what they cost; machine labels are judged."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.fixtures.annotation_page import CLASSES, HEIGHT, WIDTH, Page, box_mask, machine_label, patch_json, stored
from tests.fixtures.square_and_disc import DISC, GROUND, SQUARE, truth
from tests.fixtures.videos import decoded, pictures, write_h264
from thriftseg.costs import AnnotationCost
from thriftseg.datasets import Folder
from thriftseg.datasets.images import encode_frame, write_label_png
from thriftseg.stores import LabelSource, LoggedObject
from thriftseg.types import LabelKind

ACTION = "drawn:folder/street/000002"


def test_a_drawn_frame_is_stored_with_its_objects_and_its_cost(page: Page):
    page.open(2)
    first, second = box_mask(8, 10, 20, 22), box_mask(30, 0, 40, 10)
    page.draw(2, SQUARE, 1, first, vertices=4)
    page.draw(2, SQUARE, 7, second, strokes=3)
    page.draw(2, DISC, 4, box_mask(0, 50, 10, 60), clicks=2)
    page.act(2, page.action("delete", object=4, patch=patch_json(box_mask(0, 50, 10, 60), 0)))
    assert page.finish(2) == {"state": "d", "next": None}
    store = stored(page, "drawn")
    row = store.labels["street", 2]
    assert (row.kind, row.generator, row.parents, row.confidence) == ("manual", "page", (ACTION,), None)
    expected = np.where(first | second, SQUARE, 255)
    assert np.array_equal(store.read("street", 2, verify=True), expected)
    assert store.objects["street", 2] == (LoggedObject(1, SQUARE, 1, 144), LoggedObject(7, SQUARE, 2, 100))
    assert store.actions[ACTION].cost == AnnotationCost(9.0, masks=1, clicks=6, class_clicks=3, strokes=3)
    source = LabelSource(Folder(page.folder / "data"), page.folder / "labels", "drawn")
    instances = source.read_instances(source.find(page.work.clips[0], 2))
    assert np.array_equal(instances, 1001 * first + 1002 * second)
    assert page.get("/api/videos/0")["objects"] == [[1, SQUARE], [7, SQUARE]]


def test_drawing_again_goes_on_and_costs_more(page: Page):
    page.open(2)
    page.draw(2, SQUARE, 1, box_mask(0, 0, 10, 10))
    page.finish(2)
    page.restart()
    opened = page.open(2)
    assert (opened["origin"], opened["state"]) == ("drawn", "d")
    assert opened["objects"] == [{"id": 1, "class": SQUARE, "locked": False}]
    page.draw(2, DISC, 2, box_mask(5, 5, 10, 15), clicks=1)
    assert page.states() == "..w..."
    page.finish(2)
    store = stored(page, "drawn")
    label = store.read("street", 2, verify=True)
    assert ((label == SQUARE).sum(), (label == DISC).sum()) == (75, 50)
    assert store.actions[ACTION].cost == AnnotationCost(6.0, masks=1, clicks=1, class_clicks=2)
    assert store.labels["street", 2].parents == (ACTION,)


def test_undo_is_a_patch_and_its_time_counts(page: Page):
    page.open(0)
    page.draw(0, SQUARE, 1, box_mask(0, 0, 10, 10))
    page.act(0, page.action("undo", patch=patch_json(box_mask(0, 0, 10, 10), 0)))
    page.act(0, page.action("class", object=1, objects=[[1, DISC]]))
    page.act(0, page.action("redo", patch=patch_json(box_mask(0, 0, 10, 10), 1)))
    page.finish(0)
    store = stored(page, "drawn")
    assert (store.read("street", 0) == DISC).sum() == 100
    assert store.actions["drawn:folder/street/000000"].cost.seconds == 9.0


@pytest.mark.parametrize("ids", [False, True])
def test_a_frame_starts_from_the_machine_label(page: Page, ids: bool):
    label = machine_label(page, 2, ids=ids)
    assert page.get("/api/videos/0")["confidence"] == [-1, -1, 80, -1, -1, -1]
    header, found = page.label(2)
    assert (header["origin"], header["state"], header["confidence"]) == ("machine", "m", 80)
    assert {each["id"]: each["class"] for each in header["objects"]} == {1: GROUND, 5: SQUARE, 3: DISC}
    assert np.array_equal(found, np.array([1, 5, 3])[label])
    page.open(2)
    page.act(2, page.action("eraser", patch=patch_json(label == DISC, 0), strokes=1))
    assert page.label(2)[0]["origin"] == "work"
    page.finish(2)
    store = stored(page, "drawn")
    row = store.labels["street", 2]
    assert row.parents == ("drawn:folder/street/000000", ACTION)
    assert row.licences == ("mit",)
    assert store.actions["drawn:folder/street/000000"].cost.seconds == 9.0
    assert np.array_equal(store.read("street", 2), np.where(label == DISC, 255, label))


def test_a_frame_in_work_keeps_what_it_started_from(page: Page):
    label = machine_label(page, 2)
    page.open(2)
    page.act(2, page.action("eraser", patch=patch_json(label == DISC, 0)))
    store = stored(page, "flow")
    store.write("street", 2, 0 * label, kind=LabelKind.PROPAGATED, generator="propagate/flow")
    page.restart()
    assert np.array_equal(page.label(2)[1], np.array([1, 5, 0])[label])
    (page.work.folder / "street" / "000002.png").write_bytes(b"nothing")
    page.restart()
    assert "not what the frame started from" in page.get("/api/frames/0/2/label", 422)["error"]


def test_machine_labels_are_judged(page: Page):
    for number in range(4):
        machine_label(page, number)
    assert page.states() == "mmmm.."
    for place, verdict, state in ((0, "accept", "r"), (1, "reject", "x"), (2, "lock", "l")):
        page.open(place)
        assert page.finish(place, verdict)["state"] == state
    reviews = stored(page, "flow").reviews
    assert (reviews.rejected, reviews.locked) == ({("street", 1)}, {("street", 2)})
    assert "locked" in page.act(2, page.action(), status=409)["error"]
    assert "locked" in page.finish(2, status=409)["error"]
    page.finish(2, "unlock")
    page.act(2, page.action())
    page.open(3)
    page.open(4)
    assert "no label to decide about" in page.finish(4, "accept", status=409)["error"]
    assert "nothing is absent" in page.finish(3, "absent", status=409)["error"]
    assert page.states() == "rxwm.."


def test_a_decision_does_not_throw_a_drawing_away(page: Page):
    label = machine_label(page, 0)
    page.open(0)
    page.act(0, page.action(patch=patch_json(label == DISC, 5)))
    assert "something was drawn" in page.finish(0, "accept", status=409)["error"]
    page.act(0, page.action("undo", patch=patch_json(label == DISC, 3)))
    assert page.finish(0, "accept")["state"] == "r"


def test_a_decision_does_not_throw_a_change_of_class_away(page: Page):
    machine_label(page, 0)
    page.open(0)
    number, train_id = next((row["id"], row["class"]) for row in page.label(0)[0]["objects"])
    page.act(0, page.action("class", objects=[[number, (train_id + 1) % 3]]))
    assert "something was drawn" in page.finish(0, "accept", status=409)["error"]
    page.act(0, page.action("class", objects=[[number, train_id]]))
    assert page.finish(0, "accept")["state"] == "r"


def test_a_rejected_drawing_counts_again_when_it_is_drawn_anew(page: Page):
    page.open(0)
    page.finish(0)
    assert page.finish(0, "reject")["state"] == "x"
    page.draw(0, SQUARE, 1, box_mask(0, 0, 9, 9))
    assert page.finish(0)["state"] == "r"
    assert ("street", 0) in stored(page, "drawn").usable


def test_objects_of_machine_labels_are_locked(page: Page):
    label = machine_label(page, 1)
    page.post("/api/lock_object", {"video": 0, "place": 1, "object": 5, "locked": True})
    (locked,) = stored(page, "flow").reviews.locked_objects("street", 1)
    assert (locked.id, locked.train_id) == (5, SQUARE)
    page.open(1)
    page.act(1, page.action(patch=patch_json(label == SQUARE, 3)), status=400)


def test_labels_of_the_data_set_are_drawn_by_people_too(page: Page):
    path = page.folder / "data" / "train" / "street" / "labels" / "000003.png"
    write_label_png(path, truth(3))
    page.restart()
    assert page.states() == "...d.."
    header, ids = page.label(3)
    assert header["origin"] == "drawn"
    assert np.array_equal(ids, truth(3) + 1)
    page.open(3)
    assert "came with the data set" in page.finish(3, "accept", status=409)["error"]
    page.finish(3)
    own = "drawn:folder/street/000003"
    assert stored(page, "drawn").labels["street", 3].parents == ("manual:folder/street/000003", own)


def test_another_process_that_writes_there_is_waited_for(page: Page):
    page.open(0)
    page.draw(0, SQUARE, 1, box_mask(0, 0, 9, 9))
    holds = f"with sole_writer({str(page.work.drawn.store.folder)!r}): print('held', flush=True); input()"
    command = [sys.executable, "-c", f"from thriftseg.folders import sole_writer\n{holds}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        assert page.finish(0, status=503)["error"].startswith("another process is writing the labels 'drawn'")
        assert page.states() == "w....."
        other.communicate("\n")
    assert page.finish(0)["state"] == "d"


def test_frames_and_images_are_what_is_on_disk(page: Page):
    answer = page.client.get("/api/frames/0/4/image?v=3")
    assert answer.content == (page.folder / "data/train/street/frames/000004.png").read_bytes()
    assert answer.headers["content-type"] == "image/png"
    assert "immutable" in answer.headers["cache-control"]
    answer = page.client.get("/api/frames/0/4/label")
    assert answer.headers["content-encoding"] == "deflate"
    assert len(answer.content) > 2 * HEIGHT * WIDTH
    plain = page.client.get("/api/frames/0/4/label", headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.content == answer.content


def test_frames_of_a_video_are_shown_as_png(tmp_path: Path):
    pytest.importorskip("av")
    video = write_h264(tmp_path / "data/train/ride/frames.mp4", pictures(20))
    (tmp_path / "data/classes.yaml").write_text(CLASSES)
    answer = Page(tmp_path).client.get("/api/frames/0/13/image?v=3")
    assert answer.headers["content-type"] == "image/png"
    assert "immutable" in answer.headers["cache-control"]
    assert answer.content == encode_frame(decoded(video)[13], ".png")
