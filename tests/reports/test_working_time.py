from __future__ import annotations

import json
import re

import numpy as np
import pytest

from tests.labels.propagation.known_motion import Scene
from thriftseg.cli.main import main
from thriftseg.datasets import Cityscapes
from thriftseg.errors import ConfigError, LabelStoreError
from thriftseg.reports.working_time import TimedLabel, TimeGroup, print_working_time, working_time
from thriftseg.stores.annotation_journal import AnnotationJournal, JournalRow
from thriftseg.stores.label_store import LabelStore
from thriftseg.types import LabelKind

ROAD, CAR = 0, 13


def action(number: int, frame: int, tool: str, seconds: float, person: str = "Ann", **rest) -> JournalRow:
    place = {"session": "s", "person": person, "video": "clip0", "frame": frame}
    return JournalRow(f"a{number}", tool, number, number + 1, seconds, **place, **rest)


ROWS = [
    action(0, 3, "open", 0, objects=((1, ROAD),)),
    action(1, 3, "click", 4.0, train_id=CAR, clicks=2, objects=((2, CAR),)),
    action(2, 3, "brush", 6.0, train_id=CAR, strokes=1),
    action(3, 3, "polygon", 10.0, train_id=ROAD, vertices=7),
    action(4, 3, "finish", 2.0, verdict="drawn"),
    action(5, 5, "brush", 30.0, "Bob", train_id=CAR, strokes=4),
    action(6, 5, "finish", 2.0, "Bob", verdict="drawn"),
    action(7, 7, "finish", 3.0, verdict="accept"),
    action(8, 9, "open", 0.0),
    action(9, 9, "brush", 5.5, train_id=ROAD, strokes=1),
    action(10, 3, "eraser", 1.25, train_id=CAR, strokes=1),  # goes on with a finished frame
]


@pytest.fixture
def street(tmp_path) -> Scene:
    """Two drawn frames: a square of 4 corners, 1.5 s each and 1 s more, and two of them; and one that was accepted."""
    label = np.full((24, 48), 255, np.uint8)
    label[4:12, 4:12] = CAR
    store = LabelStore(tmp_path, "drawn", Scene(label).taxonomy)
    store.write("clip0", 3, label, kind=LabelKind.MANUAL, generator="page")
    label[4:12, 20:28] = ROAD
    store.write("clip0", 5, label, kind=LabelKind.MANUAL, generator="page")
    AnnotationJournal(tmp_path / "drawn").append(ROWS)
    return Scene(label)


def test_groups_by_hand(street, tmp_path):
    found = working_time(street, store=tmp_path)
    groups = {(group.by, group.name): group for group in found.groups}
    assert list(groups) == [
        ("all", "all"),
        *(("verdict", name) for name in ("drawn", "accept")),
        *(("tool", name) for name in ("brush", "polygon", "finish", "click", "open")),
        *(("class", name) for name in ("car", "road", "-")),
        *(("person", name) for name in ("Bob", "Ann")),
    ]
    assert groups["all", "all"] == TimeGroup("all", "all", 3, 57.0, 19.0, 22.0, 2, 7, 5)
    assert groups["verdict", "drawn"] == TimeGroup("verdict", "drawn", 2, 54.0, 27.0, 27.0, 2, 7, 5)
    assert groups["tool", "brush"] == TimeGroup("tool", "brush", 2, 36.0, 18.0, 18.0, 0, 0, 5)
    assert groups["tool", "finish"] == TimeGroup("tool", "finish", 3, 7.0, 7 / 3, 2.0, 0, 0, 0)
    assert groups["class", "car"] == TimeGroup("class", "car", 2, 40.0, 20.0, 20.0, 2, 0, 5)
    assert groups["class", "-"] == TimeGroup("class", "-", 3, 7.0, 7 / 3, 2.0, 0, 0, 0)
    assert groups["person", "Ann"] == TimeGroup("person", "Ann", 2, 25.0, 12.5, 12.5, 2, 7, 1)
    assert (found.unfinished, found.unfinished_seconds) == (2, 6.75)


def test_labels_beside_the_cost_models(street, tmp_path):
    """A square costs 4 x 1.5 + 1 = 7 s by the polygon model; nothing is published for this data set."""
    found = working_time(street, store=tmp_path)
    assert found.labels == (TimedLabel("clip0", 3, 22.0, 7.0, None), TimedLabel("clip0", 5, 32.0, 14.0, None))
    assert found.total == TimedLabel("all", 2, 54.0, 21.0, None)
    LabelStore(tmp_path, "drawn", street.taxonomy).path_of("clip0", 5).unlink()
    found = working_time(street, store=tmp_path)
    assert [label.frame for label in found.labels] == [3]
    assert found.notes[-1] == "1 labels are not in the store any more, and not compared"


def test_a_published_time_where_there_is_one(street, tmp_path):
    found = working_time(Cityscapes(tmp_path), store=tmp_path)
    assert found.total == TimedLabel("all", 2, 54.0, 21.0, 10800.0)


def test_printed(street, tmp_path, capsys):
    print_working_time(working_time(street, store=tmp_path))
    lines = [re.split(r"\s{2,}", line.strip()) for line in capsys.readouterr().out.splitlines()]
    assert ["tool", "brush", "2", "36.00", "18.00", "18.00", "0", "0", "5"] in lines
    assert ["clip0/000005", "32.00", "14.00", "2.29"] in lines
    assert ["all", "54.00", "21.00", "2.57"] in lines
    assert ["note: 2 frames are not finished; their 6.8 s are left out"] in lines


def test_files(street, tmp_path):
    found = working_time(street, store=tmp_path)
    rows = found.write(tmp_path / "time.csv").read_text().splitlines()
    assert rows[0].startswith("by,name,labels,seconds,mean,median,clicks,vertices,strokes,polygon,of_polygon,")
    assert "class,car,2,40.0,20.0,20.0,2,0,5,,,," in rows
    assert "label,clip0/000003,1,22.0,,,,,,7.0,3.1429,," in rows
    assert rows[-1] == "compared,all,2,54.0,,,,,,21.0,2.5714,,"
    assert "| clip0/000003 | 22.00 | 7.00 | 3.14 |" in found.write(tmp_path / "time.md").read_text()
    content = json.loads(found.write(tmp_path / "time.json").read_text())
    assert content["labels"][1] == {"video": "clip0", "frame": 5, "seconds": 32.0, "polygon": 14.0, "published": None}
    assert (content["total"]["seconds"], content["unfinished"], len(content["groups"])) == (54.0, 2, 13)
    with pytest.raises(ConfigError, match=r"ending of the file to write; expected \.csv, \.md, \.json; found \.txt"):
        found.write(tmp_path / "time.txt")


def test_the_command(street, cityscapes_root, tmp_path, capsys):
    options = ["--dataset", "cityscapes", "--root", str(cityscapes_root), "--store", str(tmp_path)]
    assert main(["report", "time", *options, "--out", str(tmp_path / "time.csv")]) == 0
    assert "5400.00" in capsys.readouterr().out
    assert (tmp_path / "time.csv").read_text().endswith("compared,all,2,54.0,,,,,,21.0,2.5714,10800.0,0.005\n")
    assert main(["report", "time", *options, "--source", "other"]) == 2
    assert "nobody has worked on source 'other' in the page" in capsys.readouterr().err


def test_no_journal(street, tmp_path):
    with pytest.raises(LabelStoreError, match=r"other/journal\.jsonl: nobody has worked on source 'other' in the page"):
        working_time(street, "other", store=tmp_path)
