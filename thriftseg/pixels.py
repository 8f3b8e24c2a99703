"""Images from the bytes of files: their size is known before memory is taken, and what goes wrong names the file."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from thriftseg.arrays import AnyArray
from thriftseg.errors import DatasetError, ThriftsegError
from thriftseg.limits import IMAGE_PIXELS
from thriftseg.parsing import read_bytes

PNG_START = b"\x89PNG\r\n\x1a\n"
PNG_HEADER_END = len(PNG_START) + 25
"""The header chunk of a PNG comes first and always has the same length."""

_JPEG_START = b"\xff\xd8\xff"
_WITHOUT_LIMIT = [(PNG_START, PngImageFile), (_JPEG_START, JpegImageFile)]
"""What Pillow opens files with once it has compared their size with a limit of its own."""
_CHANNELS = {2: 3, 4: 2, 6: 4}  # of the colour types of a PNG; of all others 1
_MOST_INFLATED = 1032  # bytes that one byte of a PNG can stand for
_FRAME_MARKERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # of a JPEG; its size follows
_ARITHMETIC = 0xC8  # from here on they announce arithmetic coding
_BARE_MARKERS = {0x00, 0x01, 0xFF, *range(0xD0, 0xDA)}  # which nothing belongs to
_MOST_CODED = 512  # pixels that one byte of a JPEG can stand for: each of its blocks of 8 x 8 has a bit at least


def decode_image(content: bytes, path: str | Path, flags: int) -> AnyArray:
    """Decode the content of a file with OpenCV.

    Args:
        content: What the file holds.
        path: The file, for messages.
        flags: As `cv2.imdecode` takes them.

    Returns:
        (H, W) or (H, W, channels), as OpenCV gives it.

    Raises:
        DatasetError: It is no readable image, or one of too many pixels.

    Example:
        >>> content = cv2.imencode(".png", np.array([[7, 255]], np.uint8))[1].tobytes()
        >>> decode_image(content, "a.png", cv2.IMREAD_UNCHANGED).tolist()
        [[7, 255]]
        >>> decode_image(content[:30], "a.png", cv2.IMREAD_UNCHANGED)
        Traceback (most recent call last):
        thriftseg.errors.DatasetError: a.png: cannot decode the image; ...; found cut short, 30 bytes; ...
    """
    if content.startswith(PNG_START):
        _check_png_header(content, path)
    elif content.startswith(_JPEG_START):
        _check_jpeg_header(content, path)
    else:
        with open_image(path, content):
            pass
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error as error:
        raise _unreadable(path, error.err) from error
    if image is None:
        raise _unreadable(path)
    return np.asarray(image)


@contextmanager
def open_image(path: str | Path, content: bytes | None = None) -> Iterator[Image.Image]:
    """Open an image with Pillow, which decodes it when its pixels are asked for.

    Args:
        path: The file.
        content: What it holds, if it has been read already; the checksums of a PNG are compared then.

    Raises:
        DatasetError: Here or in the block: it is missing, no readable image, or one of too many pixels.

    Example:
        >>> content = cv2.imencode(".png", np.zeros((2, 3), np.uint8))[1].tobytes()
        >>> with open_image("a.png", content) as image:
        ...     image.size, image.mode
        ((3, 2), 'L')
    """
    if content is not None:
        stream: BinaryIO = BytesIO(content)
        if content.startswith(PNG_START):
            _check_png_header(content, path)
            _check_chunks(content, path)
    elif os.path.isfile(path):  # noqa: PTH113 - `Path.is_file` raises on names that are too long
        stream = Path(path).open("rb")
    else:
        stream = BytesIO(read_bytes(path))  # which says what there is instead
    with stream:
        start = stream.read(len(PNG_START))
        stream.seek(0)
        opener = next((kind for first, kind in _WITHOUT_LIMIT if start.startswith(first)), Image.open)
        try:
            with opener(stream) as image:
                IMAGE_PIXELS.check(image.width * image.height, path)
                yield image
        except ThriftsegError:
            raise
        except UnidentifiedImageError as error:
            raise _unreadable(path) from error
        except Exception as error:  # damaged files make decoders fail in any way
            raise _unreadable(path, str(error) or type(error).__name__) from error


def png_chunks(content: bytes) -> Iterator[memoryview]:
    """Kind and data of every chunk of a PNG, once its checksum was compared; decoders pass over some of them.

    Args:
        content: What the file holds.

    Raises:
        ValueError: It is no PNG, cut short, or not what was written.

    Example:
        >>> content = cv2.imencode(".png", np.zeros((2, 3), np.uint8))[1].tobytes()
        >>> first, *_, last = png_chunks(content)
        >>> bytes(first[:4]), int.from_bytes(first[4:8], "big"), bytes(last)
        (b'IHDR', 3, b'IEND')
    """
    if not content.startswith(PNG_START):
        raise ValueError("no PNG")
    view, start, kind = memoryview(content), len(PNG_START), b""
    while kind != b"IEND":
        end = start + 8 + int.from_bytes(view[start : start + 4], "big")
        body, stored = view[start + 4 : end], view[end : end + 4]
        if len(stored) < 4:
            raise ValueError(f"cut short, {len(content)} bytes")
        if zlib.crc32(body) != int.from_bytes(stored, "big"):
            raise ValueError(f"wrong check sum at byte {start}")
        kind, start = bytes(body[:4]), end + 4
        yield body


def _check_chunks(content: bytes, path: str | Path) -> None:
    try:
        for _ in png_chunks(content):
            pass
    except ValueError as error:
        raise _unreadable(path, error) from error


def _check_png_header(content: bytes, path: str | Path) -> None:
    """Refuse a PNG of too many pixels, or of more than its bytes can hold."""
    if len(content) < PNG_HEADER_END:
        raise _unreadable(path, f"cut short, {len(content)} bytes")
    width, height, depth, colours = struct.unpack_from(">IIBB", content, len(PNG_START) + 8)
    most = 8 * _MOST_INFLATED // (depth or 1) // _CHANNELS.get(colours, 1)
    _check_size(height, width, most * len(content), content, path)


def _check_jpeg_header(content: bytes, path: str | Path) -> None:
    """The same of a JPEG, whose markers are looked for as libjpeg does, which is faster than Pillow."""
    place = 2
    while (place := content.find(b"\xff", place)) >= 0 and place + 9 <= len(content):
        marker = content[place + 1]
        if marker in _FRAME_MARKERS:
            height, width = struct.unpack_from(">HH", content, place + 5)
            most = _MOST_CODED * len(content) if marker < _ARITHMETIC else height * width
            return _check_size(height, width, most, content, path)
        if marker in _BARE_MARKERS:
            place += 1
        else:
            place += 2 + int.from_bytes(content[place + 2 : place + 4], "big")
    raise _unreadable(path, f"cut short, {len(content)} bytes")


def _check_size(height: int, width: int, most: int, content: bytes, path: str | Path) -> None:
    IMAGE_PIXELS.check(width * height, path)
    # a JPEG without its end mark was cut; OpenCV 4 fills what is missing with grey instead of failing
    if width * height > most or (content.startswith(_JPEG_START) and content.rfind(b"\xff\xd9", -65536) < 0):
        raise _unreadable(path, f"cut short, {len(content)} bytes for {width}x{height} pixels")


def _unreadable(path: str | Path, found: object = None) -> DatasetError:
    return DatasetError(
        "cannot decode the image", path=path, expected="a PNG or JPEG", found=found, fix="copy the file again"
    )
