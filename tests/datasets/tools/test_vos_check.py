"""Faults on disk that `data check` must name, one by one, for data sets with masks of objects."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from tests.datasets.vos import vos_trees as trees
from thriftseg.datasets import COCO, DAVIS, MOSE, TAOVOS, VOSDataset, YouTubeVOS
from thriftseg.datasets.tools.vos_check import VOSCheckReport, check_vos, print_vos_report


def faults(report: VOSCheckReport) -> list[str]:
    return [finding.message for finding in report.faults]


@pytest.mark.parametrize(
    ("write", "reader"),
    [
        (trees.write_davis, DAVIS),
        (trees.write_youtube_vos, YouTubeVOS),
        (trees.write_mose, lambda root: MOSE(root, held_out=0)),
        (trees.write_tao_vos, TAOVOS),
        (trees.write_coco, COCO),
    ],
)
def test_sound_trees_have_no_fault(write: Callable[[Path], Path], reader: Callable[[Path], VOSDataset], tmp_path: Path):
    report = check_vos(reader(write(tmp_path)), devices=2)
    assert faults(report) == []
    assert report.exit_code == 0


def test_counts(tmp_path: Path):
    report = check_vos(MOSE(trees.write_mose(tmp_path), held_out=0))
    train, valid = report.splits
    assert (train.videos, train.frames, train.masks, train.objects, train.late) == (2, 8, 8, 6, 2)
    assert (valid.masks, valid.objects, valid.most_objects) == (1, 2, 2)
    stream = io.StringIO()
    print_vos_report(report, Console(file=stream, width=100))
    assert "most objects" in stream.getvalue()
    assert "0 faults, 0 warnings" in stream.getvalue()


def test_missing_masks(tmp_path: Path):
    root = trees.write_davis(tmp_path)
    for name in ("00001", "00003"):
        (root / f"Annotations/480p/bear/{name}.png").unlink()
    (root / "Annotations/480p/tennis/00000.png").unlink()
    assert faults(check_vos(DAVIS(root))) == [
        "train video bear: 2 masks are missing, the first for frame 00001",
        "test-dev video tennis: 1 masks are missing, the first for frame 00000",
    ]


def test_files_that_cannot_be_used(tmp_path: Path):
    root = trees.write_davis(tmp_path)
    trees.frame(root / "Annotations/480p/bear/00001.png")
    trees.mask(root / "Annotations/480p/bear/00002.png", (1,), (12, 40))
    (root / "JPEGImages/480p/bear/00003.jpg").write_bytes(b"broken")
    broken, colours, small = faults(check_vos(DAVIS(root), devices=3))
    assert "bear/00003.jpg: cannot decode the image" in broken
    assert "bear/00001.png: a label map with colours" in colours
    assert "bear/00002.png: sizes differ inside a clip; expected 40x24" in small


def test_a_first_frame_that_is_no_file(tmp_path: Path):
    root = trees.write_davis(tmp_path)
    first = root / "JPEGImages/480p/bear/00000.jpg"
    first.unlink()
    os.mkfifo(first)
    messages = faults(check_vos(DAVIS(root)))
    assert f"{first}: cannot be read; expected a file; found a pipe or device" in messages


def test_ids_that_the_first_mask_does_not_introduce(tmp_path: Path):
    root = trees.write_davis(tmp_path)
    trees.mask(root / "Annotations/480p/bear/00002.png", (1, 2, 9))
    (message,) = faults(check_vos(DAVIS(root)))
    assert message.endswith("bear/00002.png: ids that are introduced nowhere; expected 1, 2; found 9")


def test_masks_that_disagree_with_the_list(tmp_path: Path):
    root = trees.write_youtube_vos(tmp_path)
    trees.mask(root / "train/Annotations/0a1b2c3d4e/00010.png", (1, 3, 5))
    trees.mask(root / "train/Annotations/0a1b2c3d4e/00015.png", (1,))
    trees.mask(root / "valid/Annotations/0062f687f1/00015.png", (1,))
    report = check_vos(YouTubeVOS(root))
    unlisted, late = faults(report)
    assert "0a1b2c3d4e/00010.png: ids that are introduced nowhere; expected 1, 3; found 5" in unlisted
    assert "0062f687f1/00015.png: object 4 is listed from here on, but the mask lacks it" in late
    messages = [finding.message for finding in report.warnings]
    assert "video 0a1b2c3d4e: object 3 is not in 1 of 6 frames listed for it, such as 00015" in messages


def test_a_mask_that_should_introduce_an_object_is_missing(tmp_path: Path):
    root = trees.write_youtube_vos(tmp_path)
    (root / "valid/Annotations/0062f687f1/00015.png").unlink()
    assert faults(check_vos(YouTubeVOS(root))) == [
        "valid video 0062f687f1: 1 masks are missing, the first for frame 00015"
    ]


def test_videos_shared_by_splits(tmp_path: Path):
    root = trees.write_davis(tmp_path)
    trees.lines(root / "ImageSets/2017/val.txt", "dance", "bear")
    assert faults(check_vos(DAVIS(root))) == ["train and val both have a clip called 'bear' (1 in all); rename it"]


def test_footage_under_another_name(tmp_path: Path):
    root = trees.write_davis(tmp_path)
    for kind in ("JPEGImages", "Annotations"):
        shutil.copytree(root / kind / "480p/bear", root / kind / "480p/panda")
    trees.lines(root / "ImageSets/2017/val.txt", "panda")
    report = check_vos(DAVIS(root))
    assert [finding.message for finding in report.warnings if finding.kind == "leakage"] == [
        "bear of train and panda of val begin with the same image"
    ]
    assert (report.exit_code, check_vos(DAVIS(root), strict=True).exit_code) == (0, 2)


def test_images_that_are_missing(tmp_path: Path):
    root = trees.write_coco(tmp_path)
    (root / "train2017/000000000025.jpg").unlink()
    trees.frame(root / "train2017/000000000030.jpg", (20, 40))
    gone, small = faults(check_vos(COCO(root)))
    assert "000000000025.jpg: no such file" in gone
    assert "000000000030.jpg: sizes differ inside a clip; expected 40x24" in small


def test_real_sequences(reference_dir: Path):
    report = check_vos(DAVIS(reference_dir / "data" / "davis_sample"), every_frame=False)
    assert faults(report) == []
    assert report.splits[0].masks == 106
