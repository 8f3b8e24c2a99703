from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console

from thriftseg.datasets import CamVid, Folder
from thriftseg.datasets.images import write_label_png
from thriftseg.datasets.tools.check import CheckReport, check_dataset, print_report
from thriftseg.datasets.tools.leakage import find_leaks
from thriftseg.errors import DatasetError
from thriftseg.pixels import PNG_START
from thriftseg.types import Clip


def write_clip(root: Path, split: str, name: str, numbers: range, labelled: int | None = None) -> None:
    for number in numbers:
        path = root / split / name / "frames" / f"{number:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), np.full((10, 16, 3), number % 256, dtype=np.uint8))
    if labelled is not None:
        label = np.zeros((10, 16), dtype=np.uint8)
        label[:, :4], label[0] = 1, 255
        write_label_png(root / split / name / "labels" / f"{labelled:06d}.png", label)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "classes.yaml").write_text("classes: [ground, person]")
    write_clip(tmp_path, "train", "walk__000000", range(10), labelled=5)
    write_clip(tmp_path, "train", "ride__000000", range(0, 20, 2), labelled=4)
    write_clip(tmp_path, "val", "walk__000040", range(40, 50), labelled=45)
    return tmp_path


def messages(report: CheckReport, kind: str) -> list[str]:
    return [finding.message for finding in report.findings if finding.kind == kind]


def test_counts(root: Path):
    report = check_dataset(Folder(root))
    train, val = report.splits
    assert (train.split, train.clips, train.recordings, train.frames, train.labels) == ("train", 2, 2, 20, 2)
    assert (train.number_range, val.number_range) == ((0, 18), (40, 49))
    assert train.sizes == {(10, 16): 2}
    assert train.pixels.tolist() == [2 * 9 * 12, 2 * 9 * 4, 2 * 16]
    assert report.exit_code == 0
    assert messages(report, "split") == [f"no test split: nothing at {root}/test/{{clip}}/frames"]


def test_every_fault_is_listed_with_its_file(root: Path):
    frames, labels = root / "train/walk__000000/frames", root / "train/walk__000000/labels"
    (frames / "000003.png").write_bytes(b"broken")
    assert cv2.imwrite(str(frames / "000007.png"), np.zeros((10, 17, 3), dtype=np.uint8))
    write_label_png(labels / "000006.png", np.full((10, 16), 9, dtype=np.uint8))
    write_label_png(labels / "000008.png", np.zeros((5, 8), dtype=np.uint8))
    assert cv2.imwrite(str(labels / "000009.png"), np.zeros((10, 16, 3), dtype=np.uint8))
    report = check_dataset(Folder(root), devices=4)
    assert report.exit_code == 2
    broken, size = messages(report, "frame")
    assert broken.startswith(f"{frames}/000003.png: cannot decode the image")
    assert "000007.png: sizes differ inside a clip" in size
    unknown, small, colours = messages(report, "label")
    assert "000006.png: label ids outside the class table" in unknown
    assert unknown.endswith("found 9")
    assert "000008.png: sizes differ" in small
    assert "000009.png: a label map with colours" in colours


def test_hostile_files_are_findings_like_any_other(root: Path):
    frames, labels = root / "train/walk__000000/frames", root / "train/walk__000000/labels"
    huge = PNG_START + struct.pack(">I4sIIBBBBB", 13, b"IHDR", 60_000, 60_000, 8, 0, 0, 0, 0)
    huge += struct.pack(">I", zlib.crc32(huge[12:]))
    (labels / "000006.png").write_bytes(huge)
    (frames / "000003.png").write_bytes(huge)
    (frames / "000007.png").unlink()
    (frames / "000007.png").mkdir()
    (frames / "000008.png").unlink()
    os.mkfifo(frames / "000008.png")
    report = check_dataset(Folder(root), devices=2)
    assert [message.partition("; ")[0] for message in messages(report, "frame")] == [
        f"{frames}/000003.png: too many pixels",
        f"{frames}/000007.png: cannot be read",
        f"{frames}/000008.png: cannot be read",
    ]
    assert messages(report, "label")[0].startswith(f"{labels}/000006.png: too many pixels")


def test_quick_check_only_opens_unlabelled_frames(root: Path):
    path = root / "train/walk__000000/frames/000003.png"
    path.write_bytes(path.read_bytes()[:50])
    assert not check_dataset(Folder(root), every_frame=False).faults
    assert check_dataset(Folder(root)).faults
    path.write_bytes(b"broken")
    assert check_dataset(Folder(root), every_frame=False).faults


def test_missing_file_is_a_fault_but_other_splits_are_still_read(root: Path):
    write_label_png(root / "train/walk__000000/labels/000099.png", np.zeros((10, 16), dtype=np.uint8))
    report = check_dataset(Folder(root))
    assert [summary.split for summary in report.splits] == ["val"]
    assert report.exit_code == 2
    assert "000099.png: a label has no frame" in messages(report, "split")[0]


def test_nothing_at_all_is_a_fault(tmp_path: Path):
    (tmp_path / "classes.yaml").write_text("classes: [a]")
    assert check_dataset(Folder(tmp_path)).exit_code == 2


def test_missing_root_and_class_table_raise(tmp_path: Path):
    with pytest.raises(DatasetError, match="no class table"):
        check_dataset(Folder(tmp_path))
    with pytest.raises(DatasetError, match="no such folder"):
        check_dataset(CamVid(tmp_path / "none"))


def test_leakage_in_own_splits_is_a_fault(root: Path):
    write_clip(root, "val", "ride__000022", range(22, 30))
    report = check_dataset(Folder(root))
    assert report.exit_code == 2
    (leak,) = messages(report, "leakage")
    assert leak.startswith("recording ride: of 8 frames in val, 0 lie between frames of train and 2 within 5 steps")


def test_clip_name_in_two_splits_is_a_fault(root: Path):
    write_clip(root, "val", "ride__000000", range(1000, 1010))
    report = check_dataset(Folder(root))
    assert report.exit_code == 2
    assert messages(report, "leakage") == ["train and val both have a clip called 'ride__000000' (1 in all); rename it"]


def test_split_without_labels_is_pointed_out(root: Path):
    write_clip(root, "test", "new", range(3))
    report = check_dataset(Folder(root))
    assert messages(report, "label") == ["split 'test' has no labels: it serves prediction only"]
    assert report.exit_code == 0


def test_outcome_does_not_depend_on_threads(root: Path):
    for number in (1, 4, 8):
        (root / f"train/walk__000000/frames/{number:06d}.png").write_bytes(b"broken")
    reports = [check_dataset(Folder(root), devices=jobs) for jobs in (1, 8)]
    assert reports[0].findings == reports[1].findings
    assert len(reports[0].faults) == 3


def test_printed_report(root: Path):
    (root / "train/walk__000000/frames/000003.png").write_bytes(b"broken")
    stream = io.StringIO()
    print_report(check_dataset(Folder(root)), Console(file=stream, width=80))
    text = stream.getvalue()
    assert "10..18" not in text
    assert "0..18" in text
    assert "16x10" in text
    assert "67.50" in text  # ground: 9 x 12 of 10 x 16 pixels
    assert "1 faults, 1 warnings" in text
    assert f"fault frame: {root}/train/walk__000000/frames/000003.png: cannot decode the image" in text


@pytest.mark.parametrize(
    ("train", "val", "expected"),
    [
        (range(50), range(60, 90), None),
        (range(50), range(53, 90), ("train", "val", 2, 0, 4)),  # close: 53 and 54 lie at most 5 steps from 49
        (range(0, 300, 30), range(41, 47), ("train", "val", 0, 6, 11)),  # between 30 and 60, but far from both
        (range(98, 104), range(0, 300, 100), ("val", "train", 6, 6, 0)),  # the longer stretch is the reference
    ],
)
def test_leaks(train: range, val: range, expected: tuple[str, str, int, int, int] | None):
    clips = {
        "train": [Clip("a", dict.fromkeys(train, Path()), frame_step=train.step, drive="street")],
        "val": [Clip("b", dict.fromkeys(val, Path()), frame_step=val.step, drive="street")],
    }
    found = [(leak.reference, leak.other, leak.near, leak.enclosed, leak.distance) for leak in find_leaks(clips)]
    assert found == ([] if expected is None else [expected])


def test_recordings_are_told_apart():
    clips = {"train": [Clip("a", {0: Path()}, drive="x")], "val": [Clip("b", {0: Path()}, drive="y")]}
    assert not find_leaks(clips)


def test_real_camvid_splits_leak(reference_dir: Path):
    dataset = CamVid(reference_dir / "data" / "camvid")
    leaks = {leak.recording: leak for leak in find_leaks({split: dataset.clips(split) for split in dataset.splits})}
    assert set(leaks) == {"0016E5", "0001TP"}
    assert (leaks["0016E5"].other, leaks["0016E5"].enclosed, leaks["0016E5"].distance) == ("val", 101, 31)
    assert (leaks["0001TP"].other, leaks["0001TP"].near, leaks["0001TP"].distance) == ("test", 5, 30)


@pytest.mark.parametrize(("strict", "exit_code"), [(False, 0), (True, 2)])
def test_leakage_in_official_splits_is_a_fault_only_when_strict(reference_dir: Path, strict: bool, exit_code: int):
    report = check_dataset(CamVid(reference_dir / "data" / "camvid"), strict=strict, every_frame=False)
    assert report.exit_code == exit_code
    assert [summary.frames for summary in report.splits] == [367, 101, 233]
    assert len(messages(report, "leakage")) == len(report.findings) == 2
