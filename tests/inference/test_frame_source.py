from __future__ import annotations

import logging
import re
from itertools import pairwise

import cv2
import numpy as np
import pytest

from thriftseg.drawing import VideoWriter
from thriftseg.errors import DatasetError
from thriftseg.inference.frame_source import FrameSource


def picture(value, height=24, width=32):
    return np.full((height, width, 3), value, dtype=np.uint8)


def write_pictures(folder, names, **size):
    folder.mkdir(exist_ok=True)
    for index, name in enumerate(names):
        cv2.imwrite(str(folder / name), picture(20 * index, **size))
    return folder


def test_folders_are_read_in_natural_order_whatever_the_names(tmp_path):
    names = ["shot_2.png", "shot_10.png", "Shot_1.jpg", "cover.jpeg"]
    source = FrameSource(write_pictures(tmp_path, names))
    (tmp_path / "notes.txt").write_text("no frame")
    assert source.count == 4
    assert source.fps is None
    frames = list(source)
    assert [frame.name for frame in frames] == ["cover", "Shot_1", "shot_2", "shot_10"]
    assert [int(frame.image.mean().round()) for frame in frames] == [60, 40, 0, 20]


def test_frames_are_rgb(tmp_path):
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 2] = 255  # OpenCV writes BGR
    cv2.imwrite(str(tmp_path / "a.png"), red)
    assert next(iter(FrameSource(tmp_path))).image[0, 0].tolist() == [255, 0, 0]


def test_one_picture_is_a_video_of_one_frame(tmp_path):
    write_pictures(tmp_path, ["x.png"])
    source = FrameSource(tmp_path / "x.png")
    assert [frame.name for frame in source] == ["x"]
    assert source.count == 1


def test_videos_are_named_by_position_and_can_be_read_twice(tmp_path):
    with VideoWriter(tmp_path / "v.mp4", fps=12) as video:
        for index in range(5):
            video.write(picture(40 * index))
    source = FrameSource(video.path)
    assert (source.fps, source.count) == (12, 5)
    for _ in range(2):
        frames = list(source)
        assert [frame.name for frame in frames] == [f"{index:06d}" for index in range(5)]
        brightness = [frame.image.mean() for frame in frames]
        assert all(later > earlier + 20 for earlier, later in pairwise(brightness))


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda folder: folder / "absent", "absent: no such file or folder"),
        (lambda folder: folder, "no frames in this folder; expected .png or .jpg or .jpeg"),
        (lambda folder: write_pictures(folder, ["a.png", "a.jpg"]), "a.png: two frames share a name; found a.jpg"),
    ],
)
def test_bad_inputs_are_refused_at_once(tmp_path, prepare, message):
    with pytest.raises(DatasetError, match=re.escape(message)):
        FrameSource(prepare(tmp_path))


@pytest.mark.parametrize("content", [b"", b"not a video" * 100])
def test_unreadable_videos(tmp_path, content):
    path = tmp_path / "v.mp4"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"v\.mp4: cannot read this video; .* fix: convert it to H\.264 MP4"):
        FrameSource(path)


def test_sizes_that_differ(tmp_path):
    write_pictures(tmp_path, ["1.png"])
    cv2.imwrite(str(tmp_path / "2.png"), picture(0, height=30, width=40))
    message = "frame '2' differs in size from the first frame; expected 32x24; found 40x30"
    with pytest.raises(DatasetError, match=message):
        list(FrameSource(tmp_path))


def test_a_corrupt_picture_is_named(tmp_path):
    write_pictures(tmp_path, ["1.png", "2.png"])
    (tmp_path / "2.png").write_bytes((tmp_path / "2.png").read_bytes()[:40])
    with pytest.raises(DatasetError, match=r"2\.png: cannot decode the image"):
        list(FrameSource(tmp_path))


def test_a_video_cut_short_is_reported(tmp_path, caplog):
    with VideoWriter(tmp_path / "v.mp4", codec="mp4v") as video:
        for index in range(40):
            video.write(np.random.default_rng(index).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    cut = _without_tail_of_pictures(video.path.read_bytes())
    (tmp_path / "cut.mp4").write_bytes(cut)
    with caplog.at_level(logging.WARNING):
        frames = list(FrameSource(tmp_path / "cut.mp4"))
    assert 0 < len(frames) < 40
    assert f"declares 40 frames, only {len(frames)} could be read" in caplog.text


def _without_tail_of_pictures(content: bytes) -> bytes:
    """Zero the second half of the picture data and leave the index, which is at the end, intact."""
    start, end = content.index(b"mdat") + 4, content.rindex(b"moov") - 4
    middle = (start + end) // 2
    return content[:middle] + bytes(end - middle) + content[end:]
