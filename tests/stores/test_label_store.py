from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import signal

import numpy as np
import pytest
from PIL import Image

from thriftseg.costs import AnnotationCost
from thriftseg.errors import LabelStoreError
from thriftseg.stores.label_store import LabelStore, rows_equal
from thriftseg.stores.rows import ActionRow
from thriftseg.taxonomies import CAMVID, CITYSCAPES, IDD26
from thriftseg.types import LabelKind

PARENT = "manual:camvid/drive/000030"


def make_label(value: int = 3, shape: tuple[int, int] = (6, 8)) -> np.ndarray:
    label = np.full(shape, value, np.uint8)
    label[0] = 255
    return label


def write(store: LabelStore, number: int, value: int = 3, video: str = "drive"):
    return store.write(
        video,
        number,
        make_label(value),
        kind=LabelKind.PROPAGATED,
        generator="test",
        arguments={"alpha": 0.01},
        parents=[PARENT],
        confidence=0.75,
    )


@pytest.fixture
def store(tmp_path):
    return LabelStore(tmp_path, "flow", CAMVID)


def test_label_and_row(store, tmp_path):
    write(store, 30)
    fresh = LabelStore(tmp_path, "flow", CAMVID)
    np.testing.assert_array_equal(fresh.read("drive", 30, verify=True), make_label())
    with Image.open(tmp_path / "flow/drive/000030.png") as image:
        assert image.mode == "P"
        assert tuple(image.getpalette()[9:12]) == CAMVID.palette[3]
    (row,) = fresh.rows()
    assert row.pop("sha256") == fresh.labels["drive", 30].sha256
    assert row == {
        "schema": 1,
        "video": "drive",
        "frame": 30,
        "kind": "propagated",
        "source": "flow",
        "generator": "test",
        "arguments": {"alpha": 0.01},
        "space": "train_id",
        "taxonomy": "camvid",
        "taxonomy_version": CAMVID.version,
        "parents": [PARENT],
        "ignored_share": round(8 / 48, 6),
        "confidence": 0.75,
    }
    assert fresh.labels["drive", 30].label_kind is LabelKind.PROPAGATED


def test_licences_and_the_want_of_a_review_stand_in_rows_that_have_them(store):
    free = store.write("a", 1, np.zeros((2, 2), np.uint8), kind=LabelKind.PROPAGATED, generator="demo")
    bound = store.write(
        *("a", 2, np.zeros((2, 2), np.uint8)),
        kind=LabelKind.TEXT,
        generator="demo",
        licences=["mit", "SAM License", "mit"],
        needs_review=True,
    )
    lines = [json.loads(line) for line in store.manifest_path.read_text().splitlines()]
    assert not {"licences", "needs_review"} & lines[0].keys()
    assert (lines[1]["kind"], lines[1]["licences"], lines[1]["needs_review"]) == ("text", ["SAM License", "mit"], True)
    again = LabelStore(store.root, store.source, store.taxonomy)
    assert again.labels == {("a", 1): free, ("a", 2): bound}
    assert (free.licences, free.needs_review) == ((), False)


def test_video_names_may_be_nested(store):
    write(store, 1, video="split/drive")
    assert store.path_of("split/drive", 1).is_file()
    assert store.has("split/drive", 1)


def test_later_row_wins_and_order_does_not_matter(tmp_path):
    first, second = LabelStore(tmp_path / "a", "s", CAMVID), LabelStore(tmp_path / "b", "s", CAMVID)
    for number in (1, 2, 3):
        write(first, number)
    for number, value in ((3, 5), (2, 3), (3, 3), (1, 3)):
        write(second, number, value)
    assert rows_equal(first, second)
    write(second, 1, 4)
    assert not rows_equal(first, second)


class TestCrash:
    def test_png_without_row_does_not_count(self, store):
        write(store, 1)
        (store.folder / "drive/000002.png").write_bytes(store.path_of("drive", 1).read_bytes())
        assert not store.has("drive", 2)

    def test_row_without_png_does_not_count(self, store):
        write(store, 1)
        store.path_of("drive", 1).unlink()
        assert not store.has("drive", 1)

    @pytest.mark.parametrize("torn", [b'{"schema":1,"vid', b"\xff\x00", b'{"schema": 99}'])
    def test_torn_last_line_is_ignored_then_cut(self, store, tmp_path, torn):
        write(store, 1)
        complete = store.manifest_path.read_bytes()
        store.manifest_path.write_bytes(complete + torn)
        fresh = LabelStore(tmp_path, "flow", CAMVID)
        assert list(fresh.labels) == [("drive", 1)]
        write(fresh, 2)
        assert store.manifest_path.read_bytes().startswith(complete + b'{"arguments"')
        assert set(LabelStore(tmp_path, "flow", CAMVID).labels) == {("drive", 1), ("drive", 2)}

    def test_half_written_files_are_swept(self, store):
        write(store, 1)
        left = store.folder / "drive/.000002.png.77.partial"
        left.write_bytes(b"half")
        store.consolidate()
        assert not left.exists()
        assert store.has("drive", 1)

    @pytest.mark.parametrize("line", [b"nonsense\n", b"[1]\n"])
    def test_damaged_line_in_the_middle_is_named(self, store, tmp_path, line):
        write(store, 1)
        store.manifest_path.write_bytes(line + store.manifest_path.read_bytes())
        with pytest.raises(LabelStoreError, match=r"manifest\.jsonl: line 1 is (not JSON|malformed)"):
            LabelStore(tmp_path, "flow", CAMVID).rows()


class TestWriters:
    def test_shards_are_merged(self, tmp_path):
        for rank in range(3):
            writer = LabelStore(tmp_path, "flow", CAMVID, writer=str(rank))
            write(writer, rank)
            write(writer, 10, rank)
        store = LabelStore(tmp_path, "flow", CAMVID)
        assert sorted(number for _, number in store.labels) == [0, 1, 2, 10]
        rows = store.rows()
        store.consolidate()
        assert [path.name for path in store.folder.glob("manifest*")] == ["manifest.jsonl"]
        assert LabelStore(tmp_path, "flow", CAMVID).rows() == rows

    def test_a_sorted_manifest_is_left_as_it_is(self, store):
        for number in (1, 2):
            write(store, number)
        store.consolidate()
        content, place = store.manifest_path.read_bytes(), store.manifest_path.stat().st_ino
        store.consolidate()
        assert store.manifest_path.stat().st_ino == place
        lines = content.splitlines(keepends=True)
        for other in ([*reversed(lines)], [*lines, lines[0]], [lines[0].replace(b"0.", b"0.9"), *lines]):
            store.manifest_path.write_bytes(b"".join(other))
            store.consolidate()
            assert store.manifest_path.read_bytes() == content

    def test_shard_is_newer_than_the_common_manifest(self, store, tmp_path):
        write(store, 1, 3)
        write(LabelStore(tmp_path, "flow", CAMVID, writer="0"), 1, 5)
        assert not LabelStore(tmp_path, "flow", CAMVID).verify()

    def test_processes_write_at_the_same_time(self, tmp_path):
        context = multiprocessing.get_context("spawn")
        processes = [context.Process(target=_write_many, args=(str(tmp_path), rank)) for rank in range(2)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(60)
        store = LabelStore(tmp_path, "flow", CAMVID)
        assert len(store.labels) == 40
        assert store.verify() == []

    def test_killed_writer_leaves_whole_labels(self, tmp_path):
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=_write_many, args=(str(tmp_path), 0, 13))
        process.start()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
        store = LabelStore(tmp_path, "flow", CAMVID)
        assert len(store.labels) == 13
        assert store.verify() == []


def _write_many(root: str, rank: int, kill_after: int | None = None) -> None:
    store = LabelStore(root, "flow", CAMVID, writer=str(rank))
    for number in range(20):
        if number == kill_after:
            os.kill(os.getpid(), signal.SIGKILL)
        write(store, 100 * rank + number)


class TestRefusals:
    def test_unknown_schema(self, store, tmp_path):
        row = write(store, 1).to_json() | {"schema": 2}
        store.manifest_path.write_text(json.dumps(row) + "\n")
        with pytest.raises(LabelStoreError, match="rows of an unknown version; expected schema 1; found schema 2"):
            LabelStore(tmp_path, "flow", CAMVID).rows()

    def test_other_class_table(self, store, tmp_path):
        write(store, 1)
        with pytest.raises(LabelStoreError, match=r"another class table; expected idd26 version .*; found camvid"):
            LabelStore(tmp_path, "flow", IDD26).rows()
        newer = dataclasses.replace(CAMVID, version=CAMVID.version + 1)
        with pytest.raises(LabelStoreError, match=r"expected camvid version 2; found camvid version 1"):
            LabelStore(tmp_path, "flow", newer).has("drive", 1)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"kind": "guess"}, r"\$\.kind; expected str matching regex .*points|manual.*; found 'guess'"),
            ({"parents": None}, r"\$\.parents; expected array; found None"),
            ({"surplus": 1}, r"\$; found an unknown entry surplus"),
            ({"frame": 10**30}, r"\$\.frame; expected an integer of 64 bits"),
            ({"video": "a\0b"}, r"\$\.video; expected str matching"),
        ],
    )
    def test_damaged_row(self, store, tmp_path, change, message):
        row = write(store, 1).to_json() | change
        store.manifest_path.write_text(json.dumps(row) + "\n")
        with pytest.raises(LabelStoreError, match=rf"manifest\.jsonl: line 1 is malformed at {message}"):
            LabelStore(tmp_path, "flow", CAMVID).rows()

    @pytest.mark.parametrize("source", ["manual", "", "../x", "a/b", ".hidden"])
    def test_source_name(self, tmp_path, source):
        with pytest.raises(LabelStoreError, match="name of a label source"):
            LabelStore(tmp_path, source, CAMVID)

    def test_ids_outside_the_table(self, store):
        with pytest.raises(
            LabelStoreError, match=r"000001\.png: train ids outside .*; expected 0\.\.10 or 255; found 11"
        ):
            store.write("drive", 1, make_label(11), kind=LabelKind.FILLED, generator="test")
        store.write("drive", 1, make_label(11), kind=LabelKind.FILLED, generator="test", space="object_id")

    @pytest.mark.parametrize(
        "label", [np.zeros((4, 4), np.int64), np.zeros((4, 4, 3), np.uint8), np.zeros((0, 4), np.uint8)]
    )
    def test_no_label_map(self, store, label):
        with pytest.raises(LabelStoreError, match="not a label map"):
            store.write("drive", 1, label, kind=LabelKind.FILLED, generator="test")

    def test_tampered_file_is_found(self, store):
        write(store, 1)
        path = store.path_of("drive", 1)
        Image.fromarray(make_label(5)).save(path)
        assert store.verify() == [path]
        with pytest.raises(LabelStoreError, match="not the one that was written"):
            store.read("drive", 1, verify=True)

    def test_missing_label(self, store):
        with pytest.raises(LabelStoreError, match="has no label map of this frame"):
            store.read("drive", 1)

    def test_labels_of_another_making(self, store):
        write(store, 1)
        store.require_recipe("test", {"alpha": 0.01})
        with pytest.raises(LabelStoreError, match=r"made in another way.*choose another source name"):
            store.require_recipe("test", {"alpha": 0.02})


class TestPoints:
    @pytest.fixture
    def clicks(self, tmp_path):
        store = LabelStore(tmp_path, "clicks", CITYSCAPES)
        points = {("aachen_000000_000019", 19): [(5, 4, 13), (7, 1, 0)], ("bochum_000000_000019", 19): []}
        store.write_points(
            points,
            dataset="cityscapes",
            generator="test",
            costs={frame: AnnotationCost(2.5 * len(clicks), clicks=len(clicks)) for frame, clicks in points.items()},
            sizes=dict.fromkeys(points, (10, 20)),
        )
        return LabelStore(tmp_path, "clicks", CITYSCAPES)

    def test_points_and_actions(self, clicks):
        assert clicks.points("aachen_000000_000019", 19) == ((5, 4, 13), (7, 1, 0))
        assert clicks.points("bochum_000000_000019", 19) == ()
        row = clicks.labels["aachen_000000_000019", 19]
        assert (row.kind, row.label_kind, row.ignored_share) == ("points", LabelKind.CLICKS, 0.99)
        (action,) = row.parents
        assert action == "clicks:cityscapes/aachen_000000_000019/000019"
        assert clicks.actions[action].cost == AnnotationCost(5.0, clicks=2)
        assert json.loads(clicks.click_path.read_text())["aachen_000000_000019"][0] == {"cls": 26, "x": 5, "y": 4}

    def test_changed_click_file_is_found(self, clicks, tmp_path):
        content = json.loads(clicks.click_path.read_text())
        content["aachen_000000_000019"][0]["x"] = 6
        clicks.click_path.write_text(json.dumps(content))
        fresh = LabelStore(tmp_path, "clicks", CITYSCAPES)
        assert fresh.verify() == [clicks.click_path]
        with pytest.raises(LabelStoreError, match="clicks of frame 19 of 'aachen_000000_000019' are not those"):
            fresh.points("aachen_000000_000019", 19)

    def test_frame_without_clicks(self, clicks):
        with pytest.raises(LabelStoreError, match="no clicks for frame 20"):
            clicks.points("aachen_000000_000019", 20)
        with pytest.raises(LabelStoreError, match="no label map"):
            clicks.read("aachen_000000_000019", 19)


def test_actions_survive(store, tmp_path):
    action = ActionRow("human:1", "flow", "drive", 3, AnnotationCost(80.0, masks=1), "polygon")
    store.record_action(action)
    assert LabelStore(tmp_path, "flow", CAMVID).actions == {"human:1": action}
