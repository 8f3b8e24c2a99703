from __future__ import annotations

import os
import random
import resource
from pathlib import Path

import cv2
import numpy as np
import pytest
from torch.utils.data import DataLoader, Dataset

from tests.fixtures.videos import COUNT, HEIGHT, WIDTH, decoded, pictures, write_h264
from thriftseg.datasets.images import encode_frame, frame_bytes, probe_size, read_frame
from thriftseg.datasets.video import _DECODERS, _OPEN_VIDEOS, frame_file, lies_in_video, list_video
from thriftseg.errors import DatasetError
from thriftseg.pixels import decode_image

pytest.importorskip("av")

TIMES = [place * 4 + (place % 3) * (place % 2) + (60 if place > 20 else 0) for place in range(COUNT)]
KINDS = {
    "B-frames": ("a.mp4", {"x264": "keyint=12:bframes=3:b-pyramid=none"}),
    "pyramid": ("a.mp4", {"x264": "keyint=16:bframes=5:b-pyramid=normal:b-adapt=0"}),
    "open groups": ("a.mp4", {"x264": "keyint=10:min-keyint=10:bframes=3:open-gop=1:b-adapt=0:scenecut=0"}),
    "one key frame": ("a.mov", {"x264": "keyint=1000:bframes=2"}),
    "variable rate": ("a.mp4", {"times": TIMES}),
    "variable rate, mkv": ("a.mkv", {"times": TIMES}),
    "turned": ("a.mp4", {"turned": 90}),
    "turned back": ("a.mp4", {"turned": -90}),
    "upside down": ("a.mp4", {"turned": 180}),
    "another codec": ("a.avi", {"codec": "mpeg4"}),
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_h264(tmp_path_factory.mktemp("video") / "drive.mp4", pictures())


@pytest.fixture(autouse=True)
def _forgotten():
    _DECODERS.reset()


@pytest.mark.parametrize("kind", KINDS)
def test_frames_in_any_order_equal_those_decoded_one_after_another(kind: str, tmp_path: Path):
    name, settings = KINDS[kind]
    video = write_h264(tmp_path / name, pictures(), **settings)
    for number, image in enumerate(decoded(video)):  # OpenCV reads them without seeking
        cv2.imwrite(str(tmp_path / f"{number}.png"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    frames = list_video(video)
    assert list(frames) == list(range(COUNT))
    drawn = random.Random(0)
    orders = {
        "forwards": range(COUNT),
        "backwards": range(COUNT)[::-1],
        "shuffled": drawn.sample(range(COUNT), COUNT),
        "far": [0, 39, 1, 38, 20, 2, 37],
        "with steps": [*range(0, COUNT, 7), *range(COUNT - 1, 0, -5)],
    }
    for order, numbers in orders.items():
        _DECODERS.reset()
        for number in numbers:
            image = read_frame(frames[number])
            np.testing.assert_array_equal(image, read_frame(tmp_path / f"{number}.png"), f"{order}, frame {number}")
            assert probe_size(frames[number]) == image.shape[:2]
    assert image.shape[:2] == ((WIDTH, HEIGHT) if kind.startswith("turned") else (HEIGHT, WIDTH))


def test_order_of_reading_decides_what_is_decoded(plain: Path):
    counts = {}
    for name, numbers in {"forwards": range(COUNT), "backwards": range(COUNT)[::-1], "far": [5, 37]}.items():
        _DECODERS.reset()
        for number in numbers:
            read_frame(plain / f"{number:06d}.png")
        counts[name] = len(_DECODERS._kept)
    assert counts["forwards"] == counts["backwards"] == COUNT
    assert counts["far"] < 6 + 6


def test_what_is_kept_is_bounded(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("thriftseg.datasets.video._KEPT_BYTES", 6 * HEIGHT * WIDTH * 2)
    for number in [*range(COUNT), *range(COUNT)[::-1]]:
        read_frame(plain / f"{number:06d}.png")
        assert len(_DECODERS._kept) <= 8
    for copy in range(_OPEN_VIDEOS + 4):
        (tmp_path / f"{copy}.mp4").write_bytes(plain.read_bytes())
        read_frame(tmp_path / f"{copy}.mp4/3.png")
    assert len(_DECODERS._open) == _OPEN_VIDEOS


class Frames(Dataset):
    def __init__(self, video: Path) -> None:
        self.video = video

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, number: int) -> tuple[int, np.ndarray]:
        return os.getpid(), read_frame(self.video / f"{number:06d}.png")


def test_forked_workers_open_the_file_themselves(plain: Path):
    truth = decoded(plain)
    read_frame(plain / "000011.png")
    loader = DataLoader(Frames(plain), batch_size=None, num_workers=2, multiprocessing_context="fork")
    processes = set()
    for number, (process, image) in enumerate(loader):
        processes.add(process)
        np.testing.assert_array_equal(image, truth[number])
        np.testing.assert_array_equal(read_frame(plain / f"{COUNT - 1 - number}.png"), truth[COUNT - 1 - number])
    assert len(processes) == 2
    assert os.getpid() not in processes


def test_numbers_stand_in_the_name_of_a_clip(plain: Path, tmp_path: Path):
    truth = decoded(plain)
    for name, numbers in {"frames_70.mp4": range(70, 110), "frames_70_3.MP4": range(70, 190, 3)}.items():
        (tmp_path / name).write_bytes(plain.read_bytes())
        frames = list_video(tmp_path / name)
        assert list(frames) == list(numbers)
        assert frames[70].stem == "000070"
        np.testing.assert_array_equal(read_frame(frames[numbers[5]]), truth[5])


def test_a_frame_as_a_file(plain: Path, tmp_path: Path):
    path = plain / "000009.png"
    content = decode_image(frame_bytes(path), path, cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(content, decoded(plain)[9])
    assert lies_in_video(path)
    assert frame_file(path) == plain
    folder = tmp_path / "folder.mp4"  # of pictures, whatever its name
    folder.mkdir()
    (folder / "1.png").write_bytes(encode_frame(pictures()[3], ".png"))
    assert not lies_in_video(folder / "1.png")
    np.testing.assert_array_equal(read_frame(folder / "1.png"), pictures()[3])
    assert frame_bytes(folder / "1.png") == (folder / "1.png").read_bytes()


@pytest.mark.parametrize("name", ["000040", "99999999999999999999999", "-1", "x", "1.5"])
def test_frames_that_are_not_there(plain: Path, name: str):
    with pytest.raises(DatasetError, match=r"drive\.mp4/.*: no such frame in this video; expected 0\.\.39 by 1"):
        read_frame(plain / f"{name}.png")


def test_another_file_under_the_same_name_is_seen(plain: Path, tmp_path: Path):
    video = tmp_path / "a.mp4"
    video.write_bytes(plain.read_bytes())
    read_frame(video / "30.png")
    write_h264(video, pictures()[20:30])
    assert len(list_video(video)) == 10
    np.testing.assert_array_equal(read_frame(video / "3.png"), decoded(video)[3])
    with pytest.raises(DatasetError, match="no such frame"):
        read_frame(video / "30.png")
    video.unlink()
    with pytest.raises(DatasetError, match="no such"):
        read_frame(video / "3.png")


def test_a_file_that_was_cut(plain: Path, tmp_path: Path):
    video, content = tmp_path / "cut.mp4", plain.read_bytes()
    for size in (0, 40, len(content) // 2, content.index(b"moov")):
        video.write_bytes(content[:size])
        with pytest.raises(DatasetError, match=r"cut\.mp4: frames of this video cannot be read; .*fix: copy the file"):
            list_video(video)


def test_a_file_that_was_cut_behind_its_header(tmp_path: Path):
    from thriftseg.drawing import VideoWriter

    with VideoWriter(tmp_path / "a.mp4", seekable=True) as writer:
        for image in pictures():
            writer.write(image)
    content = (tmp_path / "a.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    (tmp_path / "a.mp4").write_bytes(content[: -len(content) // 3])
    with pytest.raises(DatasetError, match=r"a\.mp4: .*cut short, \d+ of 40 frames"):
        list_video(tmp_path / "a.mp4")


def test_a_declared_number_of_frames_beyond_the_limit(plain: Path, tmp_path: Path):
    video, content = tmp_path / "long.mp4", bytearray(plain.read_bytes())
    count = content.index(b"stts") + 12  # of the frames with the first duration
    content[count : count + 4] = (2**31 - 1).to_bytes(4, "big")
    video.write_bytes(content)
    with pytest.raises(DatasetError, match=r"long\.mp4: too many frames; expected at most 262144; found 2147483647"):
        list_video(video)


def test_a_declared_size_beyond_the_limit(tmp_path: Path):
    video = write_h264(tmp_path / "large.mkv", pictures(4, 300, 300), codec="ffv1")
    content = video.read_bytes()
    for side in (b"\xb0", b"\xba"):  # the elements of width and height, two bytes each
        assert side + b"\x82\x01\x2c" in content
        content = content.replace(side + b"\x82\x01\x2c", side + b"\x82" + (20000).to_bytes(2, "big"), 1)
    video.write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DatasetError, match=r"large\.mkv: (too many pixels|frames of this video cannot be read)"):
        list_video(video)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB


def test_a_frame_larger_than_the_limit(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    list_video(plain)
    (tmp_path / "large.mp4").write_bytes(plain.read_bytes())
    monkeypatch.setenv("THRIFTSEG_LIMIT_IMAGE_PIXELS", str(HEIGHT * WIDTH - 1))
    with pytest.raises(DatasetError, match=r"drive\.mp4: .*cannot be"):
        read_frame(plain / "000003.png")
    with pytest.raises(DatasetError, match=r"large\.mp4: too many pixels; expected at most 3071; found 3072"):
        list_video(tmp_path / "large.mp4")


def test_a_pipe_is_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "frames.mp4")
    with pytest.raises(DatasetError, match=r"frames\.mp4: frames of this video cannot be read; found no file"):
        list_video(tmp_path / "frames.mp4")
