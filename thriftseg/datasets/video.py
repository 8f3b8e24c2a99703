"""Frames of video files, read by their number as if each were a picture in a folder named like the video.

`frames.mp4/000012.png` is frame 12 of `frames.mp4`: the path of a `Clip` that everything that reads frames accepts. An
index of the packets, made when a file is first looked at, says from which key frame to decode; it is kept in memory.
"""

from __future__ import annotations

import os
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import chain, dropwhile
from pathlib import Path, PurePath
from stat import S_ISREG
from typing import Any, NamedTuple

import numpy as np

from thriftseg.arrays import Int64Array, UInt8Array
from thriftseg.errors import ConfigError, DatasetError
from thriftseg.limits import FRAMES, IMAGE_PIXELS
from thriftseg.shards import is_file, packed_span, stamp_of

VIDEO_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")
"""File name endings of videos."""

_CLIP_VIDEO = re.compile(r"frames(?:_(\d{1,18}))?(?:_(\d{1,18}))?")

_NEAR = 16  # frames from the last one asked for; what lies between is decoded and kept, as it may be asked for next
_OPEN_VIDEOS, _KEPT_BYTES = 16, 2**26


def is_clip_video(path: PurePath) -> bool:
    """Whether a file is named as the video of a clip is: `frames`, its first number (0), the step of its numbers (1).

    Example:
        >>> [is_clip_video(Path(name)) for name in ("frames.mp4", "frames_90.mov", "frames_90_3.mp4", "frames_a.mp4")]
        [True, True, True, False]
    """
    return path.suffix.lower() in VIDEO_SUFFIXES and _CLIP_VIDEO.fullmatch(path.stem) is not None


def list_video(video: Path) -> dict[int, Path]:
    """The frames of a video file, by number.

    They count from 0 in the order in which they are shown; those of `frames_70_2.mp4` are 70, 72, 74, ...

    Raises:
        DatasetError: The file is missing, unreadable, cut short, or does not say when its frames are shown.
        ConfigError: The package `av` is not installed.

    Example:
        >>> import tempfile
        >>> from thriftseg.drawing import VideoWriter
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with VideoWriter(Path(folder, "frames_70_2.mp4")) as video:
        ...         for grey in (0, 100, 200):
        ...             video.write(np.full((32, 48, 3), grey, np.uint8))
        ...     [(number, path.name) for number, path in list_video(video.path).items()]
        [(70, '000070.png'), (72, '000072.png'), (74, '000074.png')]
    """
    first, step = _numbering(video)
    return {n: video / f"{n:06d}.png" for n in range(first, first + step * len(_index(video).shown), step)}


def lies_in_video(path: str | Path) -> bool:
    """Whether a path is that of a frame in a video file.

    Example:
        >>> lies_in_video("drive/000012.png"), lies_in_video("no_such_drive.mp4/000012.png")
        (False, False)
    """
    folder = os.path.dirname(path)  # noqa: PTH120 - asked for every picture that is read
    return folder.lower().endswith(VIDEO_SUFFIXES) and is_file(folder)


def frame_file(path: Path) -> Path:
    """The file on disk that holds a frame: its picture, or its video.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Path(folder, "drive.mp4").touch()
        ...     frame_file(Path(folder, "drive.mp4", "000012.png")).name, frame_file(Path(folder, "000012.png")).name
        ('drive.mp4', '000012.png')
    """
    return path.parent if lies_in_video(path) else path


def read_video_frame(path: str | Path) -> UInt8Array:
    """Frame of a video file, (H, W, 3) uint8 RGB, turned upright where the file says how it was held.

    Raises:
        DatasetError: The video has no such frame, or cannot be decoded.
    """
    video, place = _place(path)
    return _DECODERS.frame(video, place)


def video_size(path: str | Path) -> tuple[int, int]:
    """Height and width of the frames of a video file, given the path of one of them; nothing is decoded.

    Raises:
        DatasetError: The video has no such frame, or cannot be read.
    """
    video, _ = _place(path)
    return _index(video).size


class _Index(NamedTuple):
    """Where the frames of a video are.

    Attributes:
        shown: (N,) time stamps of the frames in the order in which they are shown, int64.
        keys: (K,) time stamps of the frames that decoding can begin at, increasing, int64.
        seeks: (K,) the time stamps that lead to them in the file, int64.
        size: Height and width, upright.
    """

    shown: Int64Array
    keys: Int64Array
    seeks: Int64Array
    size: tuple[int, int]


def _numbering(video: Path) -> tuple[int, int]:
    found = _CLIP_VIDEO.fullmatch(video.stem)
    first, step = found.groups() if found else (None, None)
    if step is not None and not int(step):
        raise DatasetError("frames without distance", path=video, expected="frames_{first}_{step}, step at least 1")
    return int(first or 0), int(step or 1)


def _place(path: str | Path) -> tuple[Path, int]:
    """The video of a frame, and the position of the frame in it."""
    video, stem = Path(path).parent, Path(path).stem
    first, step = _numbering(video)
    count = len(_index(video).shown)
    place, rest = divmod(int(stem) - first, step) if stem.isdecimal() else (-1, 0)
    if rest or not 0 <= place < count:
        last = first + step * (count - 1)
        raise DatasetError("no such frame in this video", path=path, expected=f"{first}..{last} by {step}", found=stem)
    return video, place


def _index(video: Path) -> _Index:
    return _index_of(video, *_stamp(video))


def _stamp(video: Path) -> tuple[int, int]:
    try:
        status = video.stat()
    except FileNotFoundError as error:
        packed = stamp_of(video)
        if packed is None:
            raise DatasetError("no such video", path=video, found=error.strerror) from None
        return packed
    except OSError as error:
        raise DatasetError("no such video", path=video, found=error.strerror) from None
    if not S_ISREG(status.st_mode):  # opening a pipe waits for whoever writes it
        raise _unusable(video, "no file")
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=4096)
def _index_of(video: Path, size: int, changed: int) -> _Index:
    with _reading(video):
        container, stream = _open(video)
        declared = stream.frames
        FRAMES.check(declared, video)
        height, width = stream.codec_context.height, stream.codec_context.width
        IMAGE_PIXELS.check(height * width, video)
        shown, keys, found = [], [], 0
        for packet in container.demux(stream):
            if packet.size == 0:
                continue
            found += 1
            FRAMES.check(found, video)
            if packet.pts is None:
                raise _unusable(video, "a frame without a time stamp")
            if packet.is_keyframe:
                keys.append((packet.pts, packet.pts if packet.dts is None else packet.dts))
            if not packet.is_discard:
                shown.append(packet.pts)
        if found < declared and "mp4" in container.format.name:  # others count what they do not hold
            raise _unusable(video, f"cut short, {found} of {declared} frames")
        if len(set(shown)) < len(shown):
            raise _unusable(video, "two frames at the same time")
        times, starts = np.array(sorted(shown), np.int64), np.array(sorted(keys), np.int64).reshape(-1, 2)
        if not times.size or not starts.size or starts[0, 0] > times[0]:
            raise _unusable(video, f"{times.size} frames, {len(starts)} to begin at")
        container.seek(int(starts[0, 1]), stream=stream)
        turned = next((abs(frame.rotation) % 180 == 90 for frame in container.decode(stream)), False)
    return _Index(times, starts[:, 0], starts[:, 1], (width, height) if turned else (height, width))


class _Decoder:
    """An open video.

    Args:
        video: The file.
        index: Its index.
    """

    def __init__(self, video: Path, index: _Index) -> None:
        from av.video.reformatter import VideoReformatter

        self.index = index
        self._video, self._reformatter = video, VideoReformatter()
        with _reading(video):
            self._container, self._stream = _open(video)
        self._coming: Iterator[Any] | None = None  # frames that follow the last one
        self._last = -1  # position of the frame that was asked for last

    def pictures(self, place: int) -> Iterator[tuple[int, Any]]:
        """Decode up to a frame: it, and others on the way, as position and `av.VideoFrame`."""
        shown, wanted = self.index.shown, int(self.index.shown[place])
        key = int(np.searchsorted(self.index.keys, wanted, side="right")) - 1
        begin = int(np.searchsorted(shown, self.index.keys[key]))
        coming, self._coming = self._coming, None
        goes_on = coming is not None and begin - 1 <= self._last < place
        whole = goes_on or abs(place - self._last) <= _NEAR
        self._last = place
        with _reading(self._video):
            if coming is None or not goes_on:
                coming = self._all(key) if whole else self._only(key, wanted)
            for picture in coming:
                found = int(np.searchsorted(shown, picture.pts)) if picture.pts is not None else len(shown)
                if begin <= found < len(shown) and shown[found] == picture.pts:  # others refer to frames before the key
                    yield found, picture
                if found >= place:
                    self._coming = coming if whole else None
                    return

    def _all(self, key: int) -> Iterator[Any]:
        """All frames from a key frame on."""
        self._stream.codec_context.skip_frame = "DEFAULT"
        return (picture for packet in self._packets(key) for picture in packet.decode())

    def _only(self, key: int, wanted: int) -> Iterator[Any]:
        """Frames up to one of them without those that no other refers to; the decoder is at its end then."""
        context = self._stream.codec_context
        for packet in self._packets(key):
            context.skip_frame = "DEFAULT" if packet.pts == wanted else "NONREF"
            yield from packet.decode()
            if packet.pts == wanted:
                break
        yield from context.decode(None)

    def _packets(self, key: int) -> Iterator[Any]:
        """Packets from a key frame on; read from the beginning where seeking leads to later ones."""
        for start in (key, 0):
            self._container.seek(int(self.index.seeks[start]), stream=self._stream)
            demuxed = self._container.demux(self._stream)
            packets = dropwhile(lambda each: each.size and each.pts != self.index.keys[key], demuxed)
            first = next(packets, None)
            if first is not None and first.size:
                return chain((first,), packets)
        return iter(())

    def image(self, picture: Any) -> UInt8Array:
        """A decoded frame as (H, W, 3) RGB, upright."""
        with _reading(self._video):
            image = self._reformatter.reformat(picture, format="rgb24", threads=1).to_ndarray()
        return np.ascontiguousarray(np.rot90(image, round(picture.rotation / 90)), np.uint8)


class _Decoders:
    """The videos that a process has open, and the frames decoded last; both bounded, the longest unused go first."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all, as in a process that was forked: open files are not to be shared."""
        self._lock = threading.Lock()
        self._open: OrderedDict[tuple[Path, int, int], _Decoder] = OrderedDict()
        self._kept: OrderedDict[tuple[Path, int, int, int], tuple[Any, int]] = OrderedDict()
        self._bytes = 0

    def frame(self, video: Path, place: int) -> UInt8Array:
        """A frame by its position."""
        key = (video, *_stamp(video))
        with self._lock:
            if key not in self._open:
                self._open[key] = _Decoder(video, _index(video))
                if len(self._open) > _OPEN_VIDEOS:
                    self._open.popitem(last=False)
            self._open.move_to_end(key)
            decoder = self._open[key]
            if (*key, place) not in self._kept:
                for found, picture in decoder.pictures(place):
                    self._keep((*key, found), picture)
            if (*key, place) not in self._kept:
                raise _unusable(video, f"frame {place} of the file cannot be decoded")
            picture, _ = self._kept[(*key, place)]
            return decoder.image(picture)

    def _keep(self, key: tuple[Path, int, int, int], picture: Any) -> None:
        if picture.is_corrupt:
            return
        self._bytes -= self._kept.pop(key, (None, 0))[1]
        self._kept[key] = picture, sum(plane.buffer_size for plane in picture.planes)
        self._bytes += self._kept[key][1]
        while self._bytes > _KEPT_BYTES and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1][1]


_DECODERS = _Decoders()
os.register_at_fork(after_in_child=_DECODERS.reset)


def _open(video: Path) -> tuple[Any, Any]:
    """The container, and its stream of pictures; it starts no threads, which a forked process would wait for."""
    import av

    span = None if video.is_file() else packed_span(video)
    address = f"file:{video}" if span is None else "subfile,,start,{1},end,{2},,:file:{0}".format(*span)
    # neither a name nor a playlist leads to other files
    container = av.open(address, metadata_errors="ignore", options={"protocol_whitelist": "file,subfile"})
    stream = next(iter(container.streams.video), None)
    if stream is None or stream.codec_context is None:
        raise _unusable(video, "no pictures, or of an unknown kind")
    stream.codec_context.thread_count = 1
    stream.codec_context.options = {
        "max_pixels": str(IMAGE_PIXELS.value)
    }  # frames may be larger than their header says
    return container, stream


@contextmanager
def _reading(video: Path) -> Iterator[None]:
    try:
        from av import FFmpegError
    except ImportError as error:
        raise ConfigError("frames of a video file need the package av", path=video, fix="pip install av") from error
    try:
        yield
    except (FFmpegError, OSError) as error:
        raise _unusable(video, error.strerror) from error


def _unusable(video: Path, found: object) -> DatasetError:
    fix = "copy the file again, or convert it: thriftseg data import VIDEO --out DIR --keep_video true"
    return DatasetError("frames of this video cannot be read", path=video, found=found, fix=fix)
