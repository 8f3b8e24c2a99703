from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.fixtures.videos import pictures, write_h264
from thriftseg.datasets import Folder, FrameFolder
from thriftseg.datasets.images import write_label_png
from thriftseg.errors import DatasetError

CLASSES = "name: yard\nclasses: [{name: ground}, {name: person, id: 7, color: [220, 20, 60], instances: true}]\n"


def write_frame(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((10, 16, 3), 90, dtype=np.uint8))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "classes.yaml").write_text(CLASSES)
    for number in (100, 102, 104, 110):
        write_frame(tmp_path / f"train/walk__000100/frames/frame_{number:05d}.jpg")
    write_label_png(tmp_path / "train/walk__000100/labels/frame_00102.png", np.full((10, 16), 7, dtype=np.uint8))
    write_frame(tmp_path / "test/run/frames/0.png")
    return tmp_path


def test_clips_and_labels(root: Path):
    dataset = Folder(root)
    (clip,) = dataset.clips("train")
    assert (clip.video, clip.drive, clip.frame_step) == ("walk__000100", "walk", 2)
    assert (list(clip.frames), clip.annotated) == ([100, 102, 104, 110], (102,))
    assert dataset.taxonomy.class_names == ["ground", "person"]
    assert np.unique(dataset.read_label(clip, 102)).tolist() == [1]


def test_clips_without_labels_serve_prediction(root: Path):
    (clip,) = Folder(root).clips("test")
    assert (clip.video, clip.drive, clip.annotated) == ("run", "run", ())
    assert Folder(root).read_frame(clip, 0).shape == (10, 16, 3)


def test_missing_class_table_draws_the_tree(root: Path):
    (root / "classes.yaml").unlink()
    with pytest.raises(DatasetError, match=r"classes\.yaml: no class table.*thriftseg data import") as raised:
        _ = Folder(root).taxonomy
    assert "{train,val,test}/{clip}/labels/{number}.png" in str(raised.value)


def test_missing_split(root: Path):
    with pytest.raises(DatasetError, match="split 'val' of folder is empty"):
        Folder(root).clips("val")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("train/walk__000100/labels/00101.png", r"00101\.png: a label has no frame of the same number"),
        ("train/walk__000100/frames/cover.jpg", r"cover\.jpg: a file name without a number"),
        ("train/walk__000100/frames/100.jpg", r"two files for frame 100 in frames"),
        ("train/empty/labels/1.png", r"empty/frames: the clip has no frames"),
    ],
)
def test_wrong_files_are_named(root: Path, name: str, message: str):
    write_frame(root / name)
    with pytest.raises(DatasetError, match=message):
        Folder(root).clips("train")


def test_ids_outside_the_class_file_are_named(root: Path):
    path = root / "train/walk__000100/labels/frame_00102.png"
    write_label_png(path, np.full((10, 16), 1, dtype=np.uint8))
    dataset = Folder(root)
    with pytest.raises(DatasetError, match=r"frame_00102\.png: .*'yard'; expected ids 0, 7, 255; found 1"):
        dataset.read_label(dataset.clips("train")[0], 102)


def test_png_is_preferred_to_jpeg(root: Path):
    write_frame(root / "train/walk__000100/frames/frame_00104.png")
    assert Folder(root).clips("train")[0].frames[104].suffix == ".png"


def test_a_video_stands_for_the_folder_of_frames(root: Path):
    pytest.importorskip("av")
    video = write_h264(root / "train/ride__000300/frames_300_2.mp4", pictures(20))
    write_label_png(root / "train/ride__000300/labels/000310.png", np.zeros((48, 64), np.uint8))
    dataset = Folder(root)
    clip, other = dataset.clips("train")
    assert (clip.video, clip.drive, clip.frame_step, clip.annotated) == ("ride__000300", "ride", 2, (310,))
    assert list(clip.frames) == list(range(300, 340, 2))
    assert clip.frames[306] == video / "000306.png"
    assert (dataset.clip_size(clip), dataset.clip_size(other)) == ((48, 64), (10, 16))
    assert dataset.read_frame(clip, 338)[19 % 24 + 2, 57 % 52 + 2].tolist() == pytest.approx([250, 114, 20], abs=30)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["frames.mp4", "frames_9.mkv"], r"frames_9\.mkv: the clip has its frames twice"),
        (["frames.mp4", "frames/3.png"], r"frames\.mp4: the clip has its frames twice"),
        (["frames_9_0.mp4"], r"frames_9_0\.mp4: frames without distance; expected .* step at least 1"),
        (["drive.mp4"], r"ride/frames: the clip has no frames"),
        (["frames.mp4", "labels/30.png"], r"30\.png: a label has no frame of the same number; found frames 0\.\.19"),
    ],
)
def test_wrong_videos_are_named(root: Path, names: list[str], message: str):
    pytest.importorskip("av")
    for name in names:
        path = root / "train/ride" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_frame(path) if path.suffix == ".png" else write_h264(path, pictures(20))
    with pytest.raises(DatasetError, match=message):
        Folder(root).clips("train")


def test_a_video_that_is_not_there(root: Path):
    for name in ("none", "none.mp4"):
        with pytest.raises(DatasetError, match=rf"{name}: no such folder"):
            FrameFolder(root / name, root / "classes.yaml").clips("all")
