"""A generator gets from the skeleton: resuming, kill-safety, processes, progress, failures and cost."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from tests.labels.jobs import shift_generator
from tests.labels.jobs.shift_generator import ShiftJob, label_shift
from tests.labels.propagation.known_motion import shifted
from thriftseg.costs import CostModel
from thriftseg.datasets import CamVid
from thriftseg.errors import ConfigError, LabelStoreError
from thriftseg.labels import LabelTask, UnfinishedError, annotated_frames, generate
from thriftseg.stores import LabelStore
from thriftseg.workers import Workers

FRAMES = 24
TWO = Workers(2, "cpu")


@pytest.fixture
def dataset(camvid_root: Path) -> CamVid:
    return CamVid(camvid_root)


@pytest.fixture(scope="module")
def uninterrupted(camvid_root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("shifted")
    label_shift(CamVid(camvid_root), "train", 5, store=folder)
    return contents(folder)


def contents(folder: Path) -> dict[str, bytes]:
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: content for name, content in found.items() if not name.startswith("costs.")}


def test_it_is_short():
    lines = Path(shift_generator.__file__).read_text().splitlines()
    assert len(lines) < 60


def test_labels_and_their_cost(dataset: CamVid, tmp_path: Path):
    summary = label_shift(dataset, "train", 5, store=tmp_path)
    store, model = LabelStore(tmp_path, "shifted", dataset.taxonomy), CostModel.named("polygon")
    seconds, ignored = 0.0, []
    for clip in dataset.clips("train"):
        for number in clip.annotated:
            label = dataset.read_label(clip, number)
            moved = shifted(label, 5, 255)
            np.testing.assert_array_equal(store.read(clip.video, number), moved)
            seconds += model.manual_frame("camvid", label).seconds
            ignored.append((moved == 255).mean())
    assert (summary.written, summary.kept, summary.failures) == (FRAMES, 0, ())
    assert summary.cost.seconds == pytest.approx(seconds)
    assert summary.ignored_share == pytest.approx(np.mean(ignored), abs=1e-6)
    assert str(summary).startswith(f"{FRAMES} labels written to {tmp_path / 'shifted'}, 0 were there already; ")


def test_a_model_without_a_price_is_refused_before_the_work(dataset: CamVid, tmp_path: Path):
    with pytest.raises(ConfigError, match="no annotation time is published for 'camvid'"):
        label_shift(dataset, "train", 5, store=tmp_path, cost_model="published")
    assert not list(tmp_path.iterdir())


def test_it_goes_on_where_it_stopped(dataset: CamVid, uninterrupted: dict[str, bytes], tmp_path: Path):
    label_shift(dataset, "train", 5, store=tmp_path)
    store = LabelStore(tmp_path, "shifted", dataset.taxonomy)
    for frame in list(store.labels)[:3]:
        store.path_of(*frame).unlink()
    again = label_shift(dataset, "train", 5, store=tmp_path)
    assert (again.written, again.kept) == (3, FRAMES - 3)
    assert contents(tmp_path) == uninterrupted
    with pytest.raises(LabelStoreError, match="made in another way"):
        label_shift(dataset, "train", 6, store=tmp_path)


def test_processes_write_the_same_files(dataset: CamVid, uninterrupted: dict[str, bytes], tmp_path: Path):
    summary = label_shift(dataset, "train", 5, store=tmp_path, workers=TWO)
    assert summary.written == FRAMES
    assert contents(tmp_path) == uninterrupted


class DyingShift(ShiftJob):
    """Is killed when the file of a label is there and its row is not."""

    def write(self, task: LabelTask, number: int, *arguments, **options) -> None:
        if len(self.store.labels) == 3:
            path = self.store.path_of(task.clip.video, number)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
        super().write(task, number, *arguments, **options)


def test_a_killed_process_is_named_and_its_labels_are_kept(
    dataset: CamVid, uninterrupted: dict[str, bytes], tmp_path: Path
):
    job = DyingShift(dataset, LabelStore(tmp_path, "shifted", dataset.taxonomy), 5, "polygon")
    with pytest.raises(LabelStoreError, match=r"a label process died; found process [01] .* SIGKILL; fix: run the"):
        generate(job, annotated_frames(dataset, "train"), TWO)
    done = len(LabelStore(tmp_path, "shifted", dataset.taxonomy).labels)
    assert 3 <= done <= 6
    summary = label_shift(dataset, "train", 5, store=tmp_path)
    assert (summary.written, summary.kept) == (FRAMES - done, done)
    assert contents(tmp_path) == uninterrupted


class OtherDisk(ShiftJob):
    """Its processes see another disk where this one has the store."""

    def start(self, device: str, writer: str | None) -> None:
        self.store.root = self.store.root / "elsewhere"
        super().start(device, writer)


def test_machines_that_share_no_disk(dataset: CamVid, tmp_path: Path):
    job = OtherDisk(dataset, LabelStore(tmp_path, "shifted", dataset.taxonomy), 5, "polygon")
    with pytest.raises(LabelStoreError, match=rf"{FRAMES} labels; found 0; fix: put the store on a disk that they"):
        generate(job, annotated_frames(dataset, "train"), TWO)


@pytest.mark.parametrize("workers", [Workers(accelerator="cpu"), TWO], ids=["one", "two"])
def test_failures_are_listed_and_the_others_are_made(camvid_copy: Path, tmp_path: Path, workers: Workers):
    dataset = CamVid(camvid_copy)
    clip = dataset.clips("train")[0]
    broken = clip.labels[clip.annotated[1]]
    whole = broken.read_bytes()
    broken.write_bytes(b"no image")
    with pytest.raises(UnfinishedError, match=rf"1 of {FRAMES} labels could not be made") as caught:
        label_shift(dataset, "train", 5, store=tmp_path / "s", workers=workers)
    summary = caught.value.summary
    assert (summary.written, summary.kept) == (FRAMES - 1, 0)
    assert summary.cost.masks == FRAMES - 1
    assert summary.failures == (caught.value.detail,)
    assert caught.value.detail.startswith(f"{clip.video}/{clip.annotated[1]:06d}: {broken}: cannot ")
    broken.write_bytes(whole)
    assert label_shift(dataset, "train", 5, store=tmp_path / "s").written == 1


@pytest.mark.parametrize("shown", [True, False])
def test_progress_is_shown_on_a_terminal(dataset: CamVid, tmp_path: Path, monkeypatch, capfd, shown: bool):
    monkeypatch.setenv("FORCE_COLOR", "1")  # takes the captured stream for a terminal
    label_shift(dataset, "train", 5, store=tmp_path, workers=Workers(accelerator="cpu", progress=shown))
    out, err = capfd.readouterr()
    assert out == ""
    assert ("shift" in err) == ("100%" in err) == shown
