import os

import pytest

from thriftseg.costs import AnnotationCost
from thriftseg.errors import LabelStoreError
from thriftseg.stores.annotation_journal import AnnotationJournal, JournalRow, Patch, measured_cost

OPENED = JournalRow(
    "a0",
    "open",
    start=100.0,
    end=100.0,
    objects=((1, 0),),
    origin="flow",
    session="s1",
    person="Ann",
    video="drive",
    frame=30,
)
CLICK = JournalRow(
    "a1",
    "click",
    100.0,
    104.0,
    3.5,
    2,
    5,
    clicks=2,
    objects=((2, 5),),
    session="s1",
    person="Ann",
    video="drive",
    frame=30,
)
OUTLINE = JournalRow(
    "a2", "polygon", 104.0, 110.25, 6.25, vertices=7, session="s1", person="Ann", video="drive", frame=30
)
STROKE = JournalRow(
    "a3",
    "brush",
    111,
    112,
    1,
    2,
    5,
    patch=Patch(3, 4, 2, 2, (2, 3, -1, 1)),
    session="s1",
    person="",
    video="drive",
    frame=30,
)
DONE = JournalRow(
    "a4", "finish", 112.0, 113.5, 1.5, strokes=0, verdict="drawn", session="s1", person="Ann", video="drive", frame=30
)


def test_rows_come_back_as_they_were_written(tmp_path):
    journal = AnnotationJournal(tmp_path / "drawn")
    assert journal.read() == []
    journal.append([OPENED, CLICK])
    journal.append([OUTLINE, STROKE, DONE])
    assert AnnotationJournal(tmp_path / "drawn").read() == [OPENED, CLICK, OUTLINE, STROKE, DONE]


def test_defaults_take_no_place():
    assert DONE.to_json().keys() == {
        *("schema", "id", "session", "person", "video", "frame", "tool", "start", "end", "seconds", "verdict")
    }


def test_a_row_that_was_sent_twice_counts_once(tmp_path):
    journal = AnnotationJournal(tmp_path)
    journal.append([CLICK])
    journal.append([JournalRow("a1", "click", 100.0, 104.0, session="s1", person="Bob", video="drive", frame=30), DONE])
    assert journal.read() == [CLICK, DONE]


def test_a_torn_row_does_not_count_and_is_taken_away(tmp_path):
    journal = AnnotationJournal(tmp_path)
    journal.append([CLICK, OUTLINE])
    content = journal.path.read_bytes()
    journal.path.write_bytes(content[:-5])
    again = AnnotationJournal(tmp_path)
    assert again.read() == [CLICK]
    again.append([DONE])
    assert again.read() == [CLICK, DONE]


def test_a_row_that_a_full_disk_has_cut_is_taken_away_too(tmp_path, monkeypatch):
    journal = AnnotationJournal(tmp_path)
    journal.append([CLICK])
    complete = journal.path.stat().st_size

    def full(descriptor):
        os.truncate(journal.path, complete + 9)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=r"No space left on device: .*journal\.jsonl"):
            journal.append([OUTLINE])
    journal.append([DONE])
    assert journal.read() == [CLICK, DONE]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"schema":2}', "rows of an unknown version; expected schema 1; found schema 2"),
        ('{"schema":1,"id":"a"}', r"line 1 is malformed at \$; expected an entry tool"),
        ('{"schema":1,"id":"","session":"s"}', r"malformed at \$\.id"),
    ],
)
def test_a_damaged_row_is_refused(tmp_path, line, message):
    (tmp_path / "journal.jsonl").write_text(f"{line}\n")
    with pytest.raises(LabelStoreError, match=message):
        AnnotationJournal(tmp_path).read()


def test_cost_is_measured():
    assert measured_cost([OPENED, CLICK, OUTLINE, STROKE]) == AnnotationCost(10.75, clicks=9, class_clicks=1)
    brushed = JournalRow(
        "a5", "brush", 0, 0, strokes=3, objects=((2, 5), (7, 5)), session="s1", person="", video="drive", frame=30
    )
    found = measured_cost([OPENED, CLICK, OUTLINE, STROKE, brushed, DONE])
    assert found == AnnotationCost(12.25, masks=1, clicks=9, class_clicks=2, strokes=3)
    gone = JournalRow("a6", "finish", 0, 0, verdict="absent", session="s1", person="", video="drive", frame=30)
    assert measured_cost([gone]) == AnnotationCost(absent=1)
