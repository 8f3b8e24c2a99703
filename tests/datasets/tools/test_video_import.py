from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from thriftseg.datasets import Folder
from thriftseg.datasets.images import read_frame, write_label_png
from thriftseg.datasets.tools.check import check_dataset
from thriftseg.datasets.tools.video_import import import_videos
from thriftseg.datasets.video import _index
from thriftseg.errors import ConfigError, DatasetError

RATE, FRAMES = 10, 120
SHARES = (0.6, 0.2, 0.2)


def write_video(path: Path, frames: int = FRAMES, rate: float = RATE) -> Path:
    """Frame n is a grey of 2 n, so that what is decoded tells its number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), rate, (64, 48))
    for number in range(frames):
        writer.write(np.full((48, 64, 3), 2 * number, dtype=np.uint8))
    writer.release()
    return path


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "my street.avi")


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_splits_lie_apart_in_time(video: Path, tmp_path: Path):
    summary = import_videos([video], tmp_path, shares=SHARES)
    assert summary.clips == ("train/my-street__000000", "val/my-street__000070", "test/my-street__000100")
    dataset = Folder(tmp_path)
    ranges = [(min(clip.frames), max(clip.frames)) for split in dataset.splits for clip in dataset.clips(split)]
    assert ranges == [(0, 59), (70, 89), (100, 119)]
    assert summary.frames == 100
    steps = str(summary).splitlines()
    assert steps[:2] == [
        f"3 clips with 100 frames in {tmp_path}",
        f"next: 1. name your classes in {tmp_path}/classes.yaml",
    ]
    assert [line.strip()[:7] for line in steps[2:]] == ["2. make", "3. thri"]
    assert {clip.drive for split in dataset.splits for clip in dataset.clips(split)} == {"my-street"}
    assert check_dataset(dataset).exit_code == 0


def test_file_names_are_frame_numbers_of_the_video(video: Path, tmp_path: Path):
    import_videos([video], tmp_path, shares=SHARES)
    dataset = Folder(tmp_path)
    for split in dataset.splits:
        (clip,) = dataset.clips(split)
        shown = [dataset.read_frame(clip, number).mean() / 2 for number in clip.frames]
        np.testing.assert_allclose(shown, list(clip.frames), atol=1)


def test_one_frame_per_period_is_to_be_labelled(video: Path, tmp_path: Path):
    summary = import_videos([video], tmp_path, every=2.0, shares=SHARES)
    assert summary.to_label == (
        "train/my-street__000000/labels/000010.png",
        "train/my-street__000000/labels/000030.png",
        "train/my-street__000000/labels/000050.png",
        "val/my-street__000070/labels/000080.png",
        "test/my-street__000100/labels/000110.png",
    )
    assert (tmp_path / "to_label.txt").read_text().splitlines() == list(summary.to_label)
    for name in summary.to_label:
        write_label_png(tmp_path / name, np.ones((48, 64), dtype=np.uint8))
    assert Folder(tmp_path).clips("train")[0].annotated == (10, 30, 50)
    report = check_dataset(Folder(tmp_path))
    assert report.exit_code == 0
    assert [summary.labels for summary in report.splits] == [3, 1, 1]


def test_short_clips_still_get_a_frame_to_label(video: Path, tmp_path: Path):
    summary = import_videos([video], tmp_path, every=60.0, shares=SHARES)
    assert [Path(name).name for name in summary.to_label] == ["000030.png", "000080.png", "000110.png"]


def test_fewer_frames_per_second(video: Path, tmp_path: Path):
    import_videos([video], tmp_path, fps=5, every=2.0, shares=(0.5, 0.5, 0), frame_format="png")
    dataset = Folder(tmp_path)
    (clip,) = dataset.clips("train")
    assert list(clip.frames) == list(range(0, 54, 2))
    assert clip.frame_step == 2
    assert clip.frames[0].suffix == ".png"
    assert min(dataset.clips("val")[0].frames) == 66
    assert not (tmp_path / "test").exists()
    assert check_dataset(dataset).exit_code == 0


def test_a_video_per_clip(tmp_path: Path):
    pytest.importorskip("av")
    film = write_video(tmp_path / "drive.avi", rate=30)
    settings = {"fps": 15, "every": 0.8, "shares": (0.5, 0.5, 0), "gap": 0.4}
    pictures = import_videos([film], tmp_path / "pictures", **settings)
    videos = import_videos([film], tmp_path / "videos", keep_video=True, **settings)
    assert (videos.clips, videos.frames, videos.to_label) == (pictures.clips, pictures.frames, pictures.to_label)
    held = [name for name in contents(tmp_path / "videos") if not name.endswith((".json", ".yaml", ".txt", "lock"))]
    assert held == ["train/drive__000000/frames_0_2.mp4", "val/drive__000066/frames_66_2.mp4"]
    wanted = {int(Path(name).stem) for name in videos.to_label}
    assert wanted == {12, 36, 78, 102}
    for split in ("train", "val"):
        (one,), (other,) = (Folder(tmp_path / name).clips(split) for name in ("pictures", "videos"))
        assert list(one.frames) == list(other.frames)
        for number, path in other.frames.items():
            assert (
                np.abs(read_frame(path).mean(axis=(0, 1)) - read_frame(one.frames[number]).mean(axis=(0, 1))).max() < 3
            )
        keys = [
            number
            for number, stamp in zip(other.frames, _index(path.parent).shown, strict=True)
            if stamp in _index(path.parent).keys
        ]
        assert wanted & set(other.frames) <= set(keys)
        assert np.diff([*keys, max(other.frames)]).max() <= 8 * 2
    assert check_dataset(Folder(tmp_path / "videos")).exit_code == 0
    again = import_videos([film], tmp_path / "videos", keep_video=True, **settings)
    assert again.skipped == 2
    with pytest.raises(DatasetError, match="imported before with other settings"):
        import_videos([film], tmp_path / "videos", **settings)
    with pytest.raises(ConfigError, match=r"a video, or frame files\?; found keep_video with png"):
        import_videos([film], tmp_path / "none", keep_video=True, frame_format="png")


def test_gap_is_never_small_enough_to_leak(video: Path, tmp_path: Path):
    import_videos([video], tmp_path, gap=0, shares=SHARES)
    assert check_dataset(Folder(tmp_path)).exit_code == 0


def test_template_is_a_valid_class_table(video: Path, tmp_path: Path):
    import_videos([video], tmp_path / "a: new place", shares=SHARES)
    taxonomy = Folder(tmp_path / "a: new place").taxonomy
    assert (taxonomy.name, taxonomy.class_names) == ("a: new place", ["background", "object"])


def test_class_table_of_the_user_is_copied_and_kept(video: Path, tmp_path: Path):
    table = tmp_path / "mine.yaml"
    table.write_text("classes: [road, car, sky]")
    out = tmp_path / "out"
    for given in (table, None):
        summary = import_videos([video], out, given, shares=SHARES)
        assert "name your classes" not in str(summary)
        assert "next: 1. make the 10 label PNGs" in str(summary)
    assert Folder(out).taxonomy.class_names == ["road", "car", "sky"]
    other = tmp_path / "other.yaml"
    other.write_text("classes: [sky]")
    with pytest.raises(DatasetError, match=r"classes\.yaml: there is another class table already"):
        import_videos([video], out, other, shares=SHARES)
    with pytest.raises(DatasetError, match=r"none\.yaml: no such file"):
        import_videos([video], out, tmp_path / "none.yaml", shares=SHARES)


def test_more_videos_join_later(video: Path, tmp_path: Path):
    import_videos([video], tmp_path / "out", shares=SHARES)
    second = write_video(tmp_path / "yard.avi")
    summary = import_videos([second], tmp_path / "out", shares=SHARES)
    assert summary.clips[0] == "train/yard__000000"
    assert [clip.video for clip in Folder(tmp_path / "out").clips("train")] == ["my-street__000000", "yard__000000"]
    listed = (tmp_path / "out/to_label.txt").read_text().splitlines()
    assert len(listed) == len(set(listed)) == 20


def test_second_run_does_nothing(video: Path, tmp_path: Path):
    first = import_videos([video], tmp_path, shares=SHARES)
    before = contents(tmp_path)
    again = import_videos([video], tmp_path, shares=SHARES)
    assert (first.skipped, again.skipped) == (0, 3)
    assert contents(tmp_path) == before


def test_killed_run_is_completed_by_the_next(video: Path, tmp_path: Path):
    code = """
import os, signal, sys
from thriftseg.datasets.tools import video_import
encode, encoded = video_import.encode_frame, []
def encode_or_die(frame, suffix):
    encoded.append(suffix)
    if len(encoded) == 70:
        os.kill(os.getpid(), signal.SIGKILL)
    return encode(frame, suffix)
video_import.encode_frame = encode_or_die
video_import.import_videos([sys.argv[1]], sys.argv[2], shares=(0.6, 0.2, 0.2))
"""
    killed = subprocess.run([sys.executable, "-c", code, str(video), str(tmp_path / "killed")], check=False)
    assert killed.returncode == -9
    assert [path.name for path in (tmp_path / "killed/val").iterdir()] == [".my-street__000070.partial"]
    summary = import_videos([video], tmp_path / "killed", shares=SHARES)
    assert summary.skipped == 1
    import_videos([video], tmp_path / "whole", shares=SHARES)
    killed_files, whole_files = contents(tmp_path / "killed"), contents(tmp_path / "whole")
    del killed_files["classes.yaml"], whole_files["classes.yaml"]  # they name their folder
    assert killed_files == whole_files


def test_other_settings_for_the_same_video_are_refused(video: Path, tmp_path: Path):
    import_videos([video], tmp_path, shares=SHARES)
    with pytest.raises(DatasetError, match=r"my street\.avi: imported before with other settings"):
        import_videos([video], tmp_path, every=3.0, shares=SHARES)
    record = json.loads((tmp_path / "import.json").read_text())
    assert record["my-street"]["every"] == 1.0


def test_two_videos_of_one_name_are_refused(video: Path, tmp_path: Path):
    other = write_video(tmp_path / "my-street.avi", frames=3)
    with pytest.raises(DatasetError, match=r"my-street\.avi: two videos would get the same name"):
        import_videos([video, other], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_unreadable_videos_are_named_and_nothing_is_written(video: Path, tmp_path: Path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"not a video at all")
    with pytest.raises(DatasetError, match=r"broken\.mp4: cannot open the video"):
        import_videos([video, broken], tmp_path / "out")
    with pytest.raises(DatasetError, match=r"none\.mp4: no such video"):
        import_videos([tmp_path / "none.mp4"], tmp_path / "out")
    with pytest.raises(ConfigError, match="no videos to import"):
        import_videos([], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_video_too_short_for_its_splits(tmp_path: Path):
    short = write_video(tmp_path / "short.avi", frames=15)
    with pytest.raises(DatasetError, match=r"short\.avi: the video is too short for a train clip.*15 frames at 10 per"):
        import_videos([short], tmp_path / "out")
    summary = import_videos([short], tmp_path / "out", shares=(1, 0, 0))
    assert summary.clips == ("train/short__000000",)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"every": 0}, "seconds between labelled frames"),
        ({"gap": -1}, "seconds between splits"),
        ({"fps": 0}, "frames per second to keep"),
        ({"shares": (0.5, 0.2, 0.2)}, "three numbers with sum 1"),
        ({"shares": (0, 0.5, 0.5)}, "shares of train"),
        ({"frame_format": "webp"}, "jpg or png"),
    ],
)
def test_settings_are_checked(video: Path, tmp_path: Path, settings: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        import_videos([video], tmp_path, **settings)
