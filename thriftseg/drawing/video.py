"""Writing videos that browsers and players open."""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol

import cv2
import numpy as np

from thriftseg.arrays import UInt8Array
from thriftseg.errors import ConfigError, ThriftsegError

Codec = Literal["auto", "h264", "mp4v"]

_EXACT: dict[str, str | None] = {"crf": "18", "preset": "veryfast"}
_SEEKABLE: dict[str, str | None] = {
    "crf": "26.5",
    "preset": "fast",
    "tune": "fastdecode",
    "forced-idr": "1",
    "x264-params": "keyint=8:bframes=3:b-pyramid=none",  # no frame refers to one of three in four: they are left out
}

_logger = logging.getLogger(__name__)


class VideoWriter:
    """Writes RGB frames to an MP4 file.

    The file appears under its name only when it is complete: frames go to a temporary file next to it, which is
    renamed at the end and removed when the `with` block fails. Odd sizes are padded by one repeated row or column,
    since 4:2:0 video needs even ones.

    Args:
        path: The file to write; its folder is made.
        fps: Frames per second.
        codec: `h264` needs the package `av`; `mp4v` is what OpenCV writes and plays in fewer places; `auto` takes
            the better one that is installed.
        seekable: Write H.264 that is quick to read in any order: smaller and a little less exact, at most 8 frames
            from key frame to key frame, and odd sizes stay (which not all players like).

    Raises:
        ConfigError: `fps` is not positive, the name does not end in .mp4, or H.264 is asked for without `av`.

    Example:
        >>> import numpy as np, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with VideoWriter(f"{folder}/grey.mp4", fps=10) as video:
        ...         for value in range(0, 250, 50):
        ...             video.write(np.full((33, 49, 3), value, dtype=np.uint8))
        ...     video.path.stat().st_size > 0
        True
    """

    def __init__(self, path: str | Path, fps: float = 15.0, codec: Codec = "auto", *, seekable: bool = False) -> None:
        self.path = Path(path)
        if fps <= 0:
            raise ConfigError("frames per second must be positive", found=fps)
        if self.path.suffix.lower() != ".mp4":
            raise ConfigError("videos are written as MP4", path=self.path, expected="a name that ends in .mp4")
        self.fps = fps
        self.codec = _choose_codec("h264" if seekable else codec)
        self.seekable = seekable
        self.count = 0
        self._temporary = self.path.with_name(f".{self.path.stem}.{os.getpid()}.part.mp4")
        self._encoder: _Encoder | None = None
        self._size: tuple[int, int] | None = None

    def __enter__(self) -> VideoWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._encoder is not None:
            try:
                self._encoder.close()
            except Exception:
                self._temporary.unlink(missing_ok=True)
                if kind is None:
                    raise
        if kind is not None:
            self._temporary.unlink(missing_ok=True)
        elif self.count == 0:
            raise ThriftsegError("no frames for this video", path=self.path)
        else:
            self._temporary.replace(self.path)

    def write(self, frame: UInt8Array, *, key: bool = False) -> None:
        """Append a frame.

        Args:
            frame: (H, W, 3) RGB.
            key: Make it a key frame, at which decoding can begin, where the codec is H.264.

        Raises:
            ConfigError: The frame is not an RGB picture or its size differs from the first one's.
        """
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
            raise ConfigError(
                "not a video frame", path=self.path, expected="(H, W, 3) uint8", found=f"{frame.shape} {frame.dtype}"
            )
        size = (frame.shape[0], frame.shape[1])
        if self._encoder is None:
            self._size, (height, width) = size, (size if self.seekable else (side + side % 2 for side in size))
            if self.codec == "h264":
                self._encoder = _H264Encoder(self._temporary, self.fps, height, width, self.seekable)
            else:
                self._encoder = _MP4VEncoder(self._temporary, self.fps, height, width)
        if size != self._size:
            raise ConfigError(
                f"frame {self.count} of the video has another size", path=self.path, expected=self._size, found=size
            )
        self._encoder.write(frame if self.seekable else _padded_to_even(frame), key)
        self.count += 1


class _Encoder(Protocol):
    def write(self, frame: UInt8Array, key: bool) -> None: ...

    def close(self) -> None: ...


class _H264Encoder:
    """H.264 by PyAV, playable while it downloads; visually lossless, or quick to read in any order."""

    def __init__(self, path: Path, fps: float, height: int, width: int, seekable: bool) -> None:
        import av
        from av.video.frame import PictureType

        self._frame_type: Any = av.VideoFrame
        self._container: Any = av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"})
        self._stream: Any = self._container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        self._stream.height, self._stream.width = height, width
        self._stream.pix_fmt = "yuv444p" if height % 2 or width % 2 else "yuv420p"
        self._stream.options = dict(_SEEKABLE if seekable else _EXACT)
        self._key_type = PictureType.I

    def write(self, frame: UInt8Array, key: bool) -> None:
        picture = self._frame_type.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        if key:
            picture.pict_type = self._key_type
        self._container.mux(self._stream.encode(picture))

    def close(self) -> None:
        try:
            self._container.mux(self._stream.encode())
        finally:
            self._container.close()


class _MP4VEncoder:
    """MPEG-4 part 2 by OpenCV."""

    def __init__(self, path: Path, fps: float, height: int, width: int) -> None:
        self._writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, (width, height))
        if not self._writer.isOpened():
            raise ThriftsegError("OpenCV cannot write this video", path=path, fix="pip install av")

    def write(self, frame: UInt8Array, key: bool) -> None:
        self._writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        self._writer.release()


def _choose_codec(codec: Codec) -> Codec:
    installed = importlib.util.find_spec("av") is not None
    if codec == "h264" and not installed:
        raise ConfigError("H.264 needs the package av", fix="pip install av")
    if codec == "auto" and not installed:
        _hint_at_h264()
    return "h264" if codec == "h264" or (codec == "auto" and installed) else "mp4v"


@functools.cache
def _hint_at_h264() -> None:
    _logger.warning("videos are written as mp4v, which browsers do not play; pip install av for H.264")


def _padded_to_even(frame: UInt8Array) -> UInt8Array:
    height, width = frame.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return frame
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
