from __future__ import annotations

import cv2
import numpy as np
import pytest

from thriftseg.drawing import VideoWriter
from thriftseg.errors import ConfigError, ThriftsegError


def read_video(path):
    capture = cv2.VideoCapture(str(path))
    frames = []
    while True:
        more, frame = capture.read()
        if not more:
            break
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    rate = capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    return frames, rate


def moving_square(count, height, width):
    for index in range(count):
        frame = np.full((height, width, 3), (30, 90, 160), dtype=np.uint8)
        frame[8:24, 4 * index : 4 * index + 16] = (220, 200, 40)
        yield frame


@pytest.mark.parametrize("codec", ["h264", "mp4v"])
def test_frames_come_back_in_order_at_the_right_rate(tmp_path, codec):
    if codec == "h264":
        pytest.importorskip("av")
    written = list(moving_square(7, 48, 64))
    with VideoWriter(tmp_path / "new" / "a.mp4", fps=12.5, codec=codec) as video:
        for frame in written:
            video.write(frame)
    read, rate = read_video(video.path)
    assert len(read) == video.count == 7
    assert rate == pytest.approx(12.5)
    for before, after in zip(written, read, strict=True):
        assert np.abs(before.astype(int) - after.astype(int)).mean() < 8
    assert [path.name for path in video.path.parent.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize("codec", ["h264", "mp4v"])
def test_odd_sizes_are_padded_by_one(tmp_path, codec):
    if codec == "h264":
        pytest.importorskip("av")
    with VideoWriter(tmp_path / "odd.mp4", codec=codec) as video:
        for frame in moving_square(3, 47, 63):
            video.write(frame)
    frames, _ = read_video(video.path)
    assert frames[0].shape == (48, 64, 3)


def test_seekable_videos_keep_odd_sizes_and_have_key_frames_where_asked(tmp_path):
    av = pytest.importorskip("av")
    written = list(moving_square(40, 47, 363))
    with VideoWriter(tmp_path / "a.mp4", seekable=True) as video:
        for number, frame in enumerate(written):
            video.write(frame, key=number in (5, 20))
    read, _ = read_video(video.path)
    assert (video.codec, len(read)) == ("h264", 40)
    for before, after in zip(written, read, strict=True):
        assert after.shape == before.shape
        assert np.abs(before.astype(int) - after.astype(int)).mean() < 8
    with av.open(str(video.path)) as container:
        keys = [number for number, frame in enumerate(container.decode(video=0)) if frame.key_frame]
    assert keys == [0, 5, 13, 20, 28, 36]


def write_frames(path, frames, failure=None):
    with VideoWriter(path) as video:
        for frame in frames:
            video.write(frame)
        if failure is not None:
            raise failure


def test_a_failed_block_leaves_the_old_file_and_no_rubbish(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="stop"):
        write_frames(path, moving_square(2, 32, 32), failure=RuntimeError("stop"))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_frame_of_another_size_is_refused(tmp_path):
    frames = [np.zeros((16, 16, 3), np.uint8), np.zeros((16, 18, 3), np.uint8)]
    message = r"frame 1 of the video has another size; expected \(16, 16\); found \(16, 18\)"
    with pytest.raises(ConfigError, match=message):
        write_frames(tmp_path / "a.mp4", frames)
    assert list(tmp_path.iterdir()) == []


def test_label_maps_are_not_frames(tmp_path):
    with pytest.raises(ConfigError, match=r"not a video frame; expected \(H, W, 3\) uint8"):
        write_frames(tmp_path / "a.mp4", [np.zeros((16, 16), np.uint8)])


def test_a_video_without_frames_is_an_error(tmp_path):
    with pytest.raises(ThriftsegError, match="no frames for this video"):
        write_frames(tmp_path / "a.mp4", [])


def test_bad_arguments(tmp_path):
    with pytest.raises(ConfigError, match="frames per second must be positive; found 0"):
        VideoWriter(tmp_path / "a.mp4", fps=0)
    with pytest.raises(ConfigError, match=r"a name that ends in \.mp4"):
        VideoWriter(tmp_path / "a.avi")
