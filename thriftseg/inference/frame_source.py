"""Frames of a folder or a video file, read one at a time."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from thriftseg.arrays import UInt8Array
from thriftseg.datasets import FRAME_SUFFIXES, list_files, natural_key, read_frame
from thriftseg.errors import DatasetError

_logger = logging.getLogger(__name__)


class NamedFrame(NamedTuple):
    """A frame and the name its results get.

    Attributes:
        name: File name without ending, or the position in the video.
        image: (H, W, 3) RGB.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     written = cv2.imwrite(f"{folder}/7.png", np.full((2, 3, 3), (0, 0, 255), np.uint8))  # red, as BGR
        ...     [(name, image)] = FrameSource(folder)
        >>> name, image.shape, image[0, 0].tolist()
        ('7', (2, 3, 3), [255, 0, 0])
    """

    name: str
    image: UInt8Array


class FrameSource:
    """Frames in playing order, all of one size; at most one is in memory.

    A folder is read in natural order (`2.png` before `10.png`), whatever its files are called. Frames of a video are
    named by position, from `000000`. A single picture is a video of one frame.

    Args:
        path: Folder of PNG or JPEG frames, one picture, or a video file.

    Attributes:
        fps: Frame rate of a video file, `None` for pictures.
        count: Number of frames; for video files what the file declares, `None` if it does not.

    Raises:
        DatasetError: The path does not exist, holds no frames, cannot be read, or two frames share a name. While
            iterating: a picture cannot be decoded, or sizes differ.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     written = [cv2.imwrite(f"{folder}/{name}.png", np.zeros((2, 3, 3), np.uint8)) for name in (10, 2)]
        ...     source = FrameSource(folder)
        ...     source.count, [name for name, _ in source]
        (2, ['2', '10'])
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.fps: float | None = None
        self.count: int | None
        self._files: list[Path] | None = _pictures(self.path)
        if self._files is not None:
            self.count = len(self._files)
        else:
            self.fps, self.count = _probe_video(self.path)

    def __iter__(self) -> Iterator[NamedFrame]:
        """Yield the frames."""
        first: tuple[int, ...] | None = None
        files = self._files
        pictures = self._read_video() if files is None else (NamedFrame(path.stem, read_frame(path)) for path in files)
        for name, image in pictures:
            first = first or image.shape
            if image.shape != first:
                raise DatasetError(
                    f"frame {name!r} differs in size from the first frame",
                    path=self.path,
                    expected=f"{first[1]}x{first[0]}",
                    found=f"{image.shape[1]}x{image.shape[0]}",
                    fix="put frames of one size into a folder",
                )
            yield NamedFrame(name, image)

    def _read_video(self) -> Iterator[NamedFrame]:
        capture = cv2.VideoCapture(str(self.path))
        index = 0
        try:
            while (picture := capture.read())[0]:
                yield NamedFrame(f"{index:06d}", np.asarray(cv2.cvtColor(picture[1], cv2.COLOR_BGR2RGB), np.uint8))
                index += 1
        finally:
            capture.release()
        if index == 0:
            raise _unreadable(self.path)
        if self.count and index < self.count:
            _logger.warning("%s: declares %d frames, only %d could be read", self.path, self.count, index)


def _pictures(path: Path) -> list[Path] | None:
    """The files of a folder of frames, or `None` for anything to be opened as a video."""
    if path.is_dir():
        files = sorted(list_files(path), key=lambda file: natural_key(file.stem.lower()))
        if not files:
            raise DatasetError("no frames in this folder", path=path, expected=" or ".join(FRAME_SUFFIXES))
        named: dict[str, Path] = {}
        for file in files:
            if (before := named.setdefault(file.stem, file)) is not file:
                raise DatasetError(
                    "two frames share a name", path=file, found=before.name, fix="keep one of the two formats"
                )
        return files
    if not path.is_file():
        raise DatasetError("no such file or folder", path=path, expected="a video file or a folder of frames")
    return [path] if path.suffix.lower() in FRAME_SUFFIXES else None


def _probe_video(path: Path) -> tuple[float | None, int | None]:
    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            raise _unreadable(path)
        fps, count = capture.get(cv2.CAP_PROP_FPS), int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    finally:
        capture.release()
    return fps if 0 < fps < 1000 else None, count if count > 0 else None


def _unreadable(path: Path) -> DatasetError:
    return DatasetError(
        "cannot read this video",
        path=path,
        expected="a video file that OpenCV decodes",
        fix="convert it to H.264 MP4, or extract its frames into a folder",
    )
