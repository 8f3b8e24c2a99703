from __future__ import annotations

import shutil

import numpy as np
import pytest

from thriftseg.annotation.hvsa.manual_labels import ManualLabels, paste
from thriftseg.annotation.people.requests import Answer, Request
from thriftseg.annotation.ranking.selection import Sample
from thriftseg.costs import AnnotationCost
from thriftseg.errors import LabelStoreError
from thriftseg.stores.label_store import LabelStore, rows_equal
from thriftseg.stores.rows import annotated_frame
from thriftseg.taxonomies import CAMVID
from thriftseg.types import LabelKind

HEIGHT, WIDTH = 12, 16
ARGUMENTS = {"granularity": "rec8"}


def answer(number, region, rows, columns, value, clicks=4, video="drive", size=(HEIGHT, WIDTH), cost_model="polygon"):
    mask = np.zeros(size, bool)
    mask[rows, columns] = True
    request = Request.of(video, Sample(number, region), mask, "rec8")
    patch = np.full(request.mask.shape, value, np.uint8)
    patch[0, 0] = 255
    return Answer(request, patch, AnnotationCost(seconds=1.5 * clicks, clicks=clicks, class_clicks=1), cost_model)


FIRST = answer(0, 0, np.s_[0:8], np.s_[0:8], 3, clicks=4)
SECOND = answer(0, 1, np.s_[0:8], np.s_[8:16], 5, clicks=6)
OTHER_FRAME = answer(30, 0, np.s_[0:8], np.s_[0:8], 7, clicks=10)


def labels_in(root, **settings) -> ManualLabels:
    arguments = {"generator": "test/person", "arguments": ARGUMENTS} | settings
    return ManualLabels(LabelStore(root, "hand", CAMVID), "camvid", "drive", **arguments)


def expected_first() -> np.ndarray:
    label = np.full((HEIGHT, WIDTH), 255, np.uint8)
    label[0:8, 0:8] = 3
    label[0, 0] = 255
    return label


def test_rounds_add_up(tmp_path):
    labels = labels_in(tmp_path)
    assert (labels.numbers, labels.samples, labels.cost) == ([], set(), AnnotationCost())
    labels.add([FIRST])
    np.testing.assert_array_equal(labels.read(0), expected_first())
    labels.add([OTHER_FRAME, SECOND])
    both = expected_first()
    both[0:8, 8:16] = 5
    both[0, 8] = 255
    np.testing.assert_array_equal(labels.read(0), both)
    assert labels.numbers == [0, 30]
    assert labels.samples == {Sample(0, 0), Sample(0, 1), Sample(30, 0)}
    assert labels.cost == AnnotationCost(seconds=30.0, clicks=20, class_clicks=3)


def test_a_pixel_labelled_twice_keeps_the_newer_label(tmp_path):
    labels = labels_in(tmp_path)
    labels.add([FIRST])
    labels.add([answer(0, 2, np.s_[4:8], np.s_[4:12], 9)])
    expected = expected_first()
    expected[4:8, 4:12] = 9
    expected[4, 4] = 3  # of this pixel the newer answer says nothing
    np.testing.assert_array_equal(labels.read(0), expected)


def test_what_was_labelled_is_there_after_a_restart(tmp_path):
    labels = labels_in(tmp_path)
    labels.add([FIRST, OTHER_FRAME])
    again = labels_in(tmp_path)
    assert (again.numbers, again.samples, again.cost) == (labels.numbers, labels.samples, labels.cost)
    np.testing.assert_array_equal(again.read(0), expected_first())


def test_the_same_answer_costs_once(tmp_path):
    labels = labels_in(tmp_path)
    labels.add([FIRST, SECOND])
    before = labels.cost
    labels.add([FIRST])
    assert labels.cost == before
    labels.add([Answer(FIRST.request, FIRST.patch, AnnotationCost(seconds=60.0))])
    assert labels.cost == AnnotationCost(seconds=60.0) + SECOND.cost


def test_rows_of_the_store(tmp_path):
    labels_in(tmp_path).add([FIRST, SECOND])
    store = LabelStore(tmp_path, "hand", CAMVID)
    row = store.labels["drive", 0]
    assert row.parents == ("hand:camvid/drive/000000#0", "hand:camvid/drive/000000#1")
    assert (row.label_kind, row.generator, row.arguments) == (LabelKind.MANUAL, "test/person", ARGUMENTS)
    assert row.ignored_share == pytest.approx(1 - 126 / 192, abs=1e-6)
    assert {id: (action.cost, action.cost_model) for id, action in store.actions.items()} == {
        row.parents[0]: (FIRST.cost, "polygon"),
        row.parents[1]: (SECOND.cost, "polygon"),
    }
    assert [annotated_frame(parent) for parent in row.parents] == [("drive", 0)] * 2
    assert store.verify() == []


@pytest.mark.parametrize("map_written", [False, True])
def test_a_killed_run_asks_again_for_what_was_not_finished(tmp_path, map_written):
    """Actions come first, then the label map, then its row, which decides."""
    whole, broken = (LabelStore(tmp_path / name, "hand", CAMVID) for name in ("whole", "broken"))
    labels_in(whole.root).add([FIRST])
    labels_in(whole.root).add([SECOND, OTHER_FRAME])
    whole.refresh()

    labels_in(broken.root).add([FIRST])
    broken.record_action(whole.actions["hand:camvid/drive/000000#1"])
    if map_written:
        shutil.copy(whole.path_of("drive", 0), broken.path_of("drive", 0))
    resumed = labels_in(broken.root)
    assert (resumed.samples, resumed.cost) == ({Sample(0, 0)}, FIRST.cost)
    resumed.add([SECOND, OTHER_FRAME])
    broken.refresh()
    assert rows_equal(whole, broken)
    assert broken.verify() == []
    np.testing.assert_array_equal(whole.read("drive", 0), broken.read("drive", 0))


def test_a_label_map_that_got_lost_is_asked_for_again(tmp_path):
    labels = labels_in(tmp_path)
    labels.add([FIRST, OTHER_FRAME])
    (tmp_path / "hand/drive/000000.png").unlink()
    again = labels_in(tmp_path)
    assert (again.samples, again.cost) == ({Sample(30, 0)}, OTHER_FRAME.cost)
    again.add([FIRST])
    np.testing.assert_array_equal(again.read(0), expected_first())


def test_other_videos_of_the_source_do_not_count(tmp_path):
    labels_in(tmp_path).add([FIRST])
    store = LabelStore(tmp_path, "hand", CAMVID)
    other = ManualLabels(store, "camvid", "walk", generator="test/person", arguments=ARGUMENTS)
    assert (other.numbers, other.samples, other.cost) == ([], set(), AnnotationCost())
    other.add([answer(0, 0, np.s_[0:8], np.s_[0:8], 1, video="walk")])
    assert other.samples == {Sample(0, 0)}
    assert labels_in(tmp_path).cost == FIRST.cost


def test_what_does_not_fit_is_refused(tmp_path):
    labels = labels_in(tmp_path)
    labels.add([FIRST])
    with pytest.raises(LabelStoreError, match=r"000000\.png: .*; expected 'drive', 16x12; found 'walk', 16x12"):
        labels.add([answer(0, 1, np.s_[0:8], np.s_[8:16], 5, video="walk")])
    with pytest.raises(LabelStoreError, match="expected 'drive', 16x12; found 'drive', 16x20"):
        labels.add([answer(0, 1, np.s_[0:8], np.s_[8:16], 5, size=(20, 16))])
    with pytest.raises(LabelStoreError, match="made in another way"):
        labels_in(tmp_path, arguments={"granularity": "sp"})
    assert labels.samples == {Sample(0, 0)}


def test_paste():
    prediction, label = np.full((2, 3), 4, np.uint8), np.uint8([[255, 0, 255], [1, 255, 255]])
    np.testing.assert_array_equal(paste(prediction, label), [[4, 0, 4], [1, 4, 4]])
    assert paste(prediction, label).dtype == np.uint8
