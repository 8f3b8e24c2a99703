"""The index of a manifest: stores of many rows look like those of few, whatever happened to the index."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import pickle
import resource
from pathlib import Path

import pytest

from thriftseg.costs import AnnotationCost
from thriftseg.errors import LabelStoreError
from thriftseg.stores import row_index
from thriftseg.stores.label_store import LabelStore
from thriftseg.stores.manifest import canonical
from thriftseg.stores.review_log import Decision
from thriftseg.stores.row_index import index_of
from thriftseg.stores.rows import ActionRow, LabelRow
from thriftseg.taxonomies import CAMVID, CITYSCAPES

FRAMES = 50


def row(number: int, sha256: str | None = None) -> LabelRow:
    video, frame = f"drive{number // FRAMES:03d}", number % FRAMES
    return LabelRow(
        video=video,
        frame=frame,
        kind="propagated",
        source="flow",
        generator="test",
        arguments={"alpha": 0.01},
        space="train_id",
        taxonomy=CAMVID.name,
        taxonomy_version=CAMVID.version,
        parents=(f"manual:camvid/{video}/000010",),
        ignored_share=0.125,
        confidence=0.75,
        sha256=sha256 or hashlib.sha256(str(number).encode()).hexdigest(),
    )


def write_rows(root: Path, count: int) -> Path:
    path = root / "flow" / "manifest.jsonl"
    path.parent.mkdir(parents=True)
    with path.open("w") as stream:
        for number in range(count):
            stream.write(canonical(row(number).to_json()) + "\n")
            if number % FRAMES == 10:
                name = f"manual:camvid/drive{number // FRAMES:03d}/000010"
                action = ActionRow(name, "flow", f"drive{number // FRAMES:03d}", 10, AnnotationCost(60.0, clicks=9))
                stream.write(canonical(action.to_json()) + "\n")
    return path


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr(row_index, "INDEXED_FROM", 4096)
    return write_rows(tmp_path, 200)


def opened(path: Path) -> LabelStore:
    return LabelStore(path.parent.parent, "flow", CAMVID)


def test_a_store_with_an_index_looks_like_one_without(path, monkeypatch):
    indexed = opened(path)
    assert len(indexed.labels) == 200
    assert index_of(path).is_file()
    monkeypatch.setattr(row_index, "INDEXED_FROM", 2**40)
    index_of(path).rename(path.with_name("away"))
    plain = opened(path)
    assert indexed.labels == plain.labels
    assert list(indexed.labels) == list(plain.labels)
    assert list(indexed.labels.values()) == list(plain.labels.values())
    assert dict(indexed.actions) == dict(plain.actions)
    assert len(indexed.actions) == 4
    assert indexed.rows() == plain.rows()
    assert indexed.usable_of(["drive002", "none"]) == plain.usable_of(["drive002", "none"])
    assert [row.frame for row in indexed.usable_of(["drive002"])["drive002"]] == list(range(FRAMES))
    assert ("drive003", 49) in indexed.labels
    assert ("drive003", 50) not in indexed.labels
    assert "drive003" not in indexed.labels
    with pytest.raises(KeyError):
        indexed.labels["drive003", 50]


def test_opening_again_parses_no_row(path, monkeypatch):
    opened(path).rows()
    monkeypatch.setattr(row_index, "parse_line", lambda *_: pytest.fail("a row was parsed"))
    store = opened(path)
    assert (len(store.labels), len(store.actions), ("drive001", 7) in store.labels) == (200, 4, True)
    store.require_recipe("test", {"alpha": 0.01})


def test_appended_rows_are_seen_and_replace_others(path):
    opened(path).rows()
    before = index_of(path).read_bytes()
    with path.open("a") as stream:
        stream.write(canonical(row(3, "new").to_json()) + "\n" + canonical(row(200).to_json()) + "\n")
    store = opened(path)
    assert store.labels["drive000", 3].sha256 == "new"
    assert [item.sha256 for item in store.labels.values()].count("new") == 1
    assert [item.sha256 for item in store.usable_of(["drive000"])["drive000"]][3] == "new"
    assert (len(store.labels), len(list(store.labels))) == (201, 201)
    assert index_of(path).read_bytes() == before
    with path.open("a") as stream:
        stream.writelines(canonical(row(number).to_json()) + "\n" for number in range(200, 240))
    assert len(opened(path).labels) == 240
    assert index_of(path).read_bytes() != before
    assert opened(path).labels["drive000", 3].sha256 == "new"
    assert len(opened(path).labels) == 240


def test_own_rows_and_those_of_other_writers_are_seen(path):
    store = opened(path)
    store.record_action(ActionRow("human:1", "flow", "drive000", 3, AnnotationCost(80.0, masks=1)))
    assert store.actions["human:1"].cost.masks == 1
    LabelStore(store.root, "flow", CAMVID, writer="1").record_action(
        ActionRow("human:2", "flow", "drive000", 4, AnnotationCost(80.0, masks=2))
    )
    store.refresh()
    assert {name for name in store.actions if name.startswith("human")} == {"human:1", "human:2"}
    store.consolidate()
    assert sorted(path.parent.glob("manifest*.jsonl")) == [path]
    assert (len(opened(path).actions), len(opened(path).labels)) == (6, 200)


def test_rejected_labels_are_hidden(path):
    store = opened(path)
    store.record_reviews([Decision("drive001", 5, "reject"), Decision("drive009", 5, "reject")])
    assert len(store.usable) == len(list(store.usable)) == len(list(store.usable.items())) == 199
    assert ("drive001", 5) not in store.usable
    assert ("drive001", 5) in store.labels
    assert len(store.usable_of(["drive001"])["drive001"]) == FRAMES - 1


def damage_by_cutting(path: Path) -> None:
    index_of(path).write_bytes(index_of(path).read_bytes()[:3000])


def damage_by_noise(path: Path) -> None:
    index_of(path).write_bytes(b"no table" * 1000)


def delete_it(path: Path) -> None:
    index_of(path).unlink()


def delete_a_line(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:20], *lines[21:], lines[20]]))


def edit_in_place(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"frame":33', b'"frame":99'))


@pytest.mark.parametrize("harm", [damage_by_cutting, damage_by_noise, delete_it, delete_a_line, edit_in_place])
def test_an_index_that_does_not_fit_is_made_again(path, harm):
    opened(path).rows()
    harm(path)
    expected = {
        (each["video"], each["frame"]): each["sha256"]
        for each in map(json.loads, path.read_text().splitlines())
        if each["kind"] != "action"
    }
    for _ in range(2):
        assert {frame: item.sha256 for frame, item in opened(path).labels.items()} == expected
        assert all(opened(path).labels[frame].sha256 == digest for frame, digest in list(expected.items())[::40])


def test_where_no_index_can_be_written_the_rows_stay_in_memory(path):
    index_of(path).mkdir()
    store = opened(path)
    assert (len(store.labels), store.labels["drive003", 49]) == (200, row(199))


def test_a_torn_line_does_not_count(path):
    with path.open("ab") as stream:
        stream.write(b'{"schema":1,"vid')
    for _ in range(2):
        assert len(opened(path).labels) == 200


def test_a_damaged_line_is_named_whether_or_not_it_is_indexed(path):
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:150], b"[1]\n", *lines[150:]]))
    with pytest.raises(LabelStoreError, match=r"manifest\.jsonl: line 151 is malformed"):
        opened(path).rows()
    path.write_bytes(b"".join(lines))
    opened(path).rows()
    path.write_bytes(b"".join([*lines, b"[1]\n"]))
    with pytest.raises(LabelStoreError, match=r"manifest\.jsonl: line 205 is malformed"):
        opened(path).rows()


def test_what_holds_for_all_rows_is_known_from_the_index(path):
    opened(path).rows()
    with pytest.raises(LabelStoreError, match="labels of another class table"):
        LabelStore(path.parent.parent, "flow", CITYSCAPES).rows()
    with pytest.raises(LabelStoreError, match="made in another way"):
        opened(path).require_recipe("test", {"alpha": 0.02})


def _look_up(store: LabelStore, answers: multiprocessing.SimpleQueue) -> None:
    answers.put([store.labels["drive001", frame].frame for frame in range(FRAMES)])


def test_forked_processes_look_rows_up(path):
    store, context = opened(path), multiprocessing.get_context("fork")
    assert len(store.labels) == 200
    answers = context.SimpleQueue()
    children = [context.Process(target=_look_up, args=(store, answers)) for _ in range(2)]
    for child in children:
        child.start()
    assert [answers.get() for _ in children] == [list(range(FRAMES))] * 2
    for child in children:
        child.join()


def test_an_open_store_can_be_sent_to_another_process(path):
    store = opened(path)
    assert pickle.loads(pickle.dumps(store)).labels == store.labels  # noqa: S301


@pytest.mark.slow
def test_opening_does_not_grow_with_the_rows(tmp_path, monkeypatch):
    path = write_rows(tmp_path, 100_000)
    assert len(opened(path).labels) == 100_000
    parsed, parse = [], row_index.parse_line
    monkeypatch.setattr(row_index, "parse_line", lambda *values: parsed.append(values[1]) or parse(*values))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    store = opened(path)
    assert (len(store.labels), len(store.actions), store.labels["drive100", 7]) == (100_000, 2000, row(5007))
    assert len(parsed) == 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB
