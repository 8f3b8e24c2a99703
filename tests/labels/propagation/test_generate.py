from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from thriftseg.datamodules.mixing.mixture import Mixture
from thriftseg.datasets import CamVid, Cityscapes
from thriftseg.errors import ConfigError, LabelStoreError
from thriftseg.labels import FlowPropagator, label_propagate
from thriftseg.labels.propagation.plan import plan_propagation
from thriftseg.stores.label_store import LabelStore, rows_equal
from thriftseg.types import Clip, LabelKind


def make_clip(frames, labels, step: int = 1) -> Clip:
    return Clip("v", {n: Path(f"{n}.png") for n in frames}, {n: Path(f"{n}_l.png") for n in labels}, frame_step=step)


class TestPlan:
    def test_offsets_of_a_cityscapes_snippet(self):
        clip = make_clip(range(30), [19])
        (task,) = plan_propagation([clip], "-10..10").tasks
        assert task.targets == (*range(9, 19), *range(20, 30))
        assert plan_propagation([clip], [-19]).tasks[0].targets == (0,)
        for offset in (-20, 11):
            with pytest.raises(
                ConfigError, match=rf"clip 'v' has no frame at offset {offset} .*expected offsets within -19\.\.10"
            ):
                plan_propagation([clip], [offset])

    def test_long_sequences_keep_their_numbers(self):
        clip = make_clip(range(275, 305), [294])
        assert plan_propagation([clip], [-19, 10]).tasks[0].targets == (275, 304)

    def test_offsets_are_steps(self):
        clip = make_clip(range(0, 40, 2), [20], step=2)
        assert plan_propagation([clip], [-2, 1]).tasks[0].targets == (16, 22)

    def test_nearest_wins_and_ties_go_to_the_earlier(self):
        plan = plan_propagation([make_clip(range(11), [2, 6])], "-2..4")
        assert {task.annotated: task.targets for task in plan.tasks} == {2: (0, 1, 3, 4, 6), 6: (5, 7, 8, 9, 10)}
        assert plan.superseded == 2
        assert sum(len(task.targets) for task in plan.tasks) + plan.superseded == 12

    def test_annotated_frame_is_left_out_unless_wanted(self):
        clip = make_clip(range(5), [2])
        assert plan_propagation([clip], "-1..1").tasks[0].targets == (1, 3)
        assert plan_propagation([clip], "-1..1", include_annotated=True).tasks[0].targets == (1, 2, 3)
        with pytest.raises(ConfigError, match="give offsets other than 0"):
            plan_propagation([clip], 0)

    def test_missing_frames_may_be_skipped(self):
        plan = plan_propagation([make_clip(range(5), [3])], "-1..3", on_missing="skip")
        assert (plan.tasks[0].targets, plan.absent) == ((2, 4), 2)
        with pytest.raises(ConfigError, match="expected error or skip"):
            plan_propagation([], 1, on_missing="drop")


OFFSETS = "-5..2"  # the fixture's clips have 8 frames, the sixth is annotated
LABELS = 3 * 7


@pytest.fixture(scope="module")
def uninterrupted(cityscapes_root, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("uninterrupted")
    summary = label_propagate(Cityscapes(cityscapes_root), "train", OFFSETS, store=root, progress=False)
    assert (summary.written, summary.kept) == (LABELS, 0)
    return root


def assert_same(first: Path, second: Path) -> None:
    """Same rows, and the same files byte for byte."""
    taxonomy = Cityscapes().taxonomy
    stores = [LabelStore(root, "flow", taxonomy) for root in (first, second)]
    assert rows_equal(*stores)
    assert [store.verify() for store in stores] == [[], []]
    contents = [
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (first, second)
    ]
    assert contents[0] == contents[1]


class TestCommand:
    def test_rows_name_their_origin(self, uninterrupted, cityscapes_root):
        dataset = Cityscapes(cityscapes_root)
        store = LabelStore(uninterrupted, "flow", dataset.taxonomy)
        assert len(store.labels) == LABELS
        for (video, number), row in store.labels.items():
            assert row.parents == (f"manual:cityscapes/{video}/000005",)
            assert row.kind == LabelKind.PROPAGATED.label
            assert row.arguments == {
                "estimator": "DIS(preset='medium')",
                "chained": True,
                "alpha": 0.01,
                "beta": 0.5,
                "flood": True,
                "object_unit": "class",
            }
            assert row.ignored_share >= 1 - row.confidence - 1e-6
            assert store.read(video, number).shape == (64, 128)

    def test_labels_fit_the_frames(self, uninterrupted, cityscapes_root):
        """Next to the annotated frame, the labels agree better with the exact ones than a plain copy."""
        dataset = Cityscapes(cityscapes_root)
        store = LabelStore(uninterrupted, "flow", dataset.taxonomy)
        for clip in dataset.clips("train"):
            label = dataset.read_label(clip, 5)
            warped = store.read(clip.video, 4)
            assert 0.5 < (warped != 255).mean() < 1
            assert (warped == label)[warped != 255].mean() > 0.7

    def test_enters_a_mixture_at_no_further_cost(self, uninterrupted, cityscapes_root):
        dataset = Cityscapes(cityscapes_root)
        mixture = Mixture(pattern="B5s", total=15, store=uninterrupted, cost_model="published")
        drawn = mixture.draw(dataset, "train")
        assert [(row.source, row.samples, row.hours) for row in drawn.table()] == [
            ("manual", 3, 4.5),
            ("flow", 12, 0.0),
            ("total", 15, 4.5),
        ]

    def test_second_run_writes_nothing(self, uninterrupted, cityscapes_root):
        before = {path: path.stat().st_mtime_ns for path in uninterrupted.rglob("*.png")}
        summary = label_propagate(Cityscapes(cityscapes_root), "train", OFFSETS, store=uninterrupted, progress=False)
        assert (summary.written, summary.kept) == (0, LABELS)
        assert {path: path.stat().st_mtime_ns for path in uninterrupted.rglob("*.png")} == before
        assert f"0 labels written to {uninterrupted / 'flow'}, {LABELS} were there already" in str(summary)

    @pytest.mark.slow
    def test_several_processes_give_the_same_files(self, uninterrupted, cityscapes_root, tmp_path):
        label_propagate(Cityscapes(cityscapes_root), "train", OFFSETS, store=tmp_path, devices=2, progress=False)
        assert_same(uninterrupted, tmp_path)

    def test_ranks_share_the_clips(self, uninterrupted, cityscapes_root, tmp_path):
        dataset = Cityscapes(cityscapes_root)
        for rank in range(2):
            if rank == 1:  # the other machine is still at work
                (tmp_path / "flow" / ".lock").write_text(f"1\n{socket.gethostname()}\n")
            label_propagate(dataset, "train", OFFSETS, store=tmp_path, rank=rank, world=2, progress=False)
        (tmp_path / "flow" / ".lock").unlink()
        store = LabelStore(tmp_path, "flow", dataset.taxonomy)
        assert sorted(path.name for path in store.folder.glob("manifest*")) == ["manifest.0.jsonl", "manifest.1.jsonl"]
        store.consolidate()
        assert_same(uninterrupted, tmp_path)

    def test_more_offsets_later(self, uninterrupted, cityscapes_root, tmp_path):
        dataset = Cityscapes(cityscapes_root)
        for offsets, kept in (("-1,1", 0), ("-5..2", 6)):
            assert label_propagate(dataset, "train", offsets, store=tmp_path, progress=False).kept == kept
        assert_same(uninterrupted, tmp_path)

    def test_annotated_frame_is_copied_unchanged(self, cityscapes_root, tmp_path):
        dataset = Cityscapes(cityscapes_root)
        label_propagate(dataset, "val", "0", store=tmp_path, include_annotated=True, progress=False)
        store = LabelStore(tmp_path, "flow", dataset.taxonomy)
        for clip in dataset.clips("val"):
            np.testing.assert_array_equal(store.read(clip.video, 5), dataset.read_label(clip, 5))
            assert store.labels[clip.video, 5].label_kind == LabelKind.MANUAL

    def test_other_settings_need_another_source(self, uninterrupted, cityscapes_root, tmp_path):
        dataset = Cityscapes(cityscapes_root)
        stricter = FlowPropagator(beta=0.1)
        with pytest.raises(LabelStoreError, match="made in another way"):
            label_propagate(dataset, "train", 1, method=stricter, store=uninterrupted, progress=False)
        label_propagate(dataset, "train", 1, method=stricter, source="strict", store=tmp_path, progress=False)
        assert (tmp_path / "strict/manifest.jsonl").is_file()

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"method": "magic"}, "no such propagation method; expected flow, nearest, stm, sam2"),
            ({"devices": 0}, "number of devices; expected at least 1"),
            ({"annotated_every": 0}, "annotated_every; expected at least 1"),
            ({"object_unit": "thing"}, "no such unit of objects; expected class, instance, component"),
            ({"min_area": 0}, "min_area; expected at least 1 pixel"),
            ({"rank": 1}, "no such rank"),
            ({"offsets": 7}, r"no frame at offset 7 .*expected offsets within -5\.\.2"),
        ],
    )
    def test_bad_settings(self, cityscapes_root, tmp_path, settings, message):
        with pytest.raises(ConfigError, match=message):
            label_propagate(Cityscapes(cityscapes_root), "train", **{"offsets": 1, "store": tmp_path} | settings)


class TestFailures:
    @pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
    def test_corrupt_frame_is_listed_and_the_others_go_on(self, uninterrupted, cityscapes_copy, tmp_path, workers):
        dataset = Cityscapes(cityscapes_copy)
        frame = dataset.clips("train")[1].frames[2]
        whole = frame.read_bytes()
        frame.write_bytes(whole[:40])
        with pytest.raises(LabelStoreError, match=r"3 of 21 labels could not be made") as caught:
            label_propagate(dataset, "train", OFFSETS, store=tmp_path / "s", devices=workers, progress=False)
        lines = caught.value.detail.splitlines()
        assert [line.partition(" ")[0][-6:] for line in lines] == ["000000", "000001", "000002"]
        assert all(str(frame) in line for line in lines)
        assert len(LabelStore(tmp_path / "s", "flow", dataset.taxonomy).labels) == LABELS - 3
        frame.write_bytes(whole)
        summary = label_propagate(dataset, "train", OFFSETS, store=tmp_path / "s", progress=False)
        assert (summary.written, summary.kept) == (3, LABELS - 3)
        assert_same(uninterrupted, tmp_path / "s")

    def test_corrupt_label_fails_its_targets_only(self, camvid_copy, tmp_path):
        dataset = CamVid(camvid_copy)
        clip = dataset.clips("val")[0]
        first, second = clip.annotated[:2]
        clip.labels[first].write_bytes(b"no image")
        with pytest.raises(LabelStoreError, match=r"could not be made") as caught:
            label_propagate(dataset, "val", 1, on_missing="skip", store=tmp_path / "s", progress=False)
        assert len(caught.value.detail.splitlines()) == 1
        assert f"{clip.video}/{second:06d} (from frame {first})" in caught.value.detail

    def test_frame_of_another_size(self, cityscapes_copy, tmp_path):
        import cv2

        dataset = Cityscapes(cityscapes_copy)
        frame = dataset.clips("train")[0].frames[7]
        cv2.imwrite(str(frame), np.zeros((32, 128, 3), np.uint8))
        with pytest.raises(LabelStoreError, match=r"1 of 6[\s\S]*size.*expected 128x64 .*found 128x32"):
            label_propagate(dataset, "train", "1..2", store=tmp_path / "s", progress=False)


SCRIPT = """
import os, signal, sys, time
from thriftseg.datasets import Cityscapes
from thriftseg.stores.manifest import Manifest, canonical
from thriftseg.labels import label_propagate

moment, calls = sys.argv[3], 0
append = Manifest.append

def watched_append(self, rows):
    global calls
    if self._stem != "manifest":
        return append(self, rows)
    calls += 1
    if moment == "any":  # leave time to be killed from outside
        time.sleep(0.1)
    elif moment == "second":
        if calls == 4 and self._own.name == "manifest.1.jsonl":
            os.kill(os.getpid(), signal.SIGKILL)
    elif calls == 8:
        if moment == "inside":  # half of the row reaches the disk
            line = "".join(map(canonical, rows)).encode()
            with self._own.open("ab") as stream:
                stream.write(line[: len(line) // 2])
        os.kill(os.getpid(), signal.SIGKILL)  # "before": the label is there, its row is not
    return append(self, rows)

Manifest.append = watched_append

if __name__ == "__main__":
    dataset, workers = Cityscapes(sys.argv[1]), int(sys.argv[4])
    label_propagate(dataset, "train", "-5..2", store=sys.argv[2], devices=workers, progress=False)
"""


class TestKill:
    """`kill -9` in the middle, then the same command again: complete and identical."""

    def start(self, tmp_path, root, moment, workers=1) -> subprocess.Popen:
        script = tmp_path / "run.py"
        script.write_text(SCRIPT)
        command = [sys.executable, str(script), str(root), str(tmp_path / "s"), moment, str(workers)]
        return subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True)

    @pytest.mark.parametrize("moment", [pytest.param("before", marks=pytest.mark.slow), "inside"])
    def test_at_the_worst_moment(self, uninterrupted, cityscapes_root, tmp_path, moment):
        assert self.start(tmp_path, cityscapes_root, moment).wait() == -signal.SIGKILL
        manifest = tmp_path / "s/flow/manifest.jsonl"
        assert manifest.read_bytes().count(b"\n") == 7
        assert manifest.read_bytes().endswith(b"\n") == (moment == "before")
        assert len(list((tmp_path / "s").rglob("*.png"))) == 8
        summary = label_propagate(Cityscapes(cityscapes_root), "train", OFFSETS, store=tmp_path / "s", progress=False)
        assert (summary.written, summary.kept) == (LABELS - 7, 7)
        assert_same(uninterrupted, tmp_path / "s")

    def test_one_of_two_processes(self, uninterrupted, cityscapes_root, tmp_path):
        process = self.start(tmp_path, cityscapes_root, "second", workers=2)
        _, stderr = process.communicate()
        assert process.returncode == 1
        assert "LabelStoreError: a label process died; found process 1 terminated with signal SIGKILL" in stderr
        store = tmp_path / "s/flow"
        assert (store / "manifest.1.jsonl").read_bytes().count(b"\n") == 3
        assert not (store / "manifest.jsonl").exists()
        done = len(LabelStore(tmp_path / "s", "flow", Cityscapes().taxonomy).labels)
        summary = label_propagate(Cityscapes(cityscapes_root), "train", OFFSETS, store=tmp_path / "s", progress=False)
        assert (summary.written, summary.kept) == (LABELS - done, done)
        assert_same(uninterrupted, tmp_path / "s")

    @pytest.mark.slow
    @pytest.mark.parametrize("workers", [1, 2])
    def test_from_outside(self, uninterrupted, cityscapes_root, tmp_path, workers):
        process = self.start(tmp_path, cityscapes_root, "any", workers)
        while process.poll() is None and len(list((tmp_path / "s").rglob("*.png"))) < 3:
            time.sleep(0.001)
        os.kill(process.pid, signal.SIGKILL)  # the parent only: its workers must not outlive it
        assert process.wait() == -signal.SIGKILL
        while session_members(process.pid):  # or the suite's limit ends the test
            time.sleep(0.05)
        done = len(LabelStore(tmp_path / "s", "flow", Cityscapes().taxonomy).labels)
        assert done < LABELS
        summary = label_propagate(Cityscapes(cityscapes_root), "train", OFFSETS, store=tmp_path / "s", progress=False)
        assert summary.kept == done
        assert_same(uninterrupted, tmp_path / "s")


def session_members(leader: int) -> list[int]:
    """Living processes of the session that `leader` started."""
    members = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader and fields[0] not in "ZX":
            members.append(int(status.parent.name))
    return members
