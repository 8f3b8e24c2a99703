"""Reading frames and label maps from files, and encoding them.

Frames are read with OpenCV (fast) or from video files, label maps with Pillow, which keeps the indices of palette
files.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from PIL import Image

from thriftseg.arrays import Int32Array, UInt8Array, UInt16Array
from thriftseg.atomic import write_bytes
from thriftseg.datasets.video import lies_in_video, read_video_frame, video_size
from thriftseg.errors import DatasetError
from thriftseg.parsing import read_bytes
from thriftseg.pixels import decode_image, open_image

FRAME_SUFFIXES = (".png", ".jpg", ".jpeg")
"""File name endings of frames, best first where several exist."""

Label = TypeVar("Label", UInt8Array, UInt16Array)

_JPEG_QUALITY, _PNG_COMPRESSION = 95, 3

_INDEX_MODES = {"1", "L", "P", "I", "I;16", "I;16B", "I;16L"}


def read_frame(path: str | Path) -> UInt8Array:
    """Read a frame as (H, W, 3) uint8 RGB.

    Args:
        path: The file; `drive.mp4/000012.png` is frame 12 of the video `drive.mp4`.

    Raises:
        DatasetError: The file is missing, or no readable image; the video has no such frame, or cannot be decoded.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "000012.png")
        ...     size = path.write_bytes(encode_frame(np.full((2, 3, 3), (200, 100, 0), np.uint8), ".png"))
        ...     read_frame(path).shape, read_frame(path)[0, 0].tolist()
        ((2, 3, 3), [200, 100, 0])
    """
    if lies_in_video(path):
        return read_video_frame(path)
    return _decode(path, cv2.IMREAD_COLOR_RGB)


def read_grey(path: str | Path, at_least: int) -> UInt8Array:
    """Read the file of a frame as (H, W) uint8 brightness, reduced up to eightfold while decoding (fast for JPEG).

    Args:
        path: The file.
        at_least: Width that the result is not reduced below.

    Raises:
        DatasetError: The file is missing, or no readable image.
    """
    _, width = probe_size(path)
    reductions = [(8, cv2.IMREAD_REDUCED_GRAYSCALE_8), (4, cv2.IMREAD_REDUCED_GRAYSCALE_4)]
    fitting = [flag for factor, flag in reductions if width >= factor * at_least]
    return _decode(path, fitting[0] if fitting else cv2.IMREAD_GRAYSCALE)


def frame_bytes(path: str | Path) -> bytes:
    """Content of the image file of a frame; a frame of a video is encoded as its name says.

    Raises:
        DatasetError: The file is missing; the video has no such frame, or cannot be decoded.

    Example:
        >>> import tempfile
        >>> from thriftseg.drawing import VideoWriter
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with VideoWriter(Path(folder, "drive.mp4")) as video:
        ...         for grey in (0, 100, 200):
        ...             video.write(np.full((32, 48, 3), grey, np.uint8))
        ...     content = frame_bytes(Path(folder, "drive.mp4", "000001.png"))
        >>> content[1:4], decode_image(content, "000001.png", cv2.IMREAD_COLOR_RGB).shape
        (b'PNG', (32, 48, 3))
    """
    return encode_frame(read_frame(path), ".png") if lies_in_video(path) else read_bytes(path)


def read_label_png(path: str | Path) -> UInt8Array | Int32Array:
    """Read a map of raw ids, (H, W); uint8, or int32 for 16- and 32-bit files.

    Palette files give their indices.

    Raises:
        DatasetError: The file is missing, unreadable, not what was written, or holds colours instead of ids.

    Example:
        >>> import tempfile
        >>> from thriftseg.taxonomies import CAMVID
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_label_png(Path(folder, "7.png"), np.array([[0, 3, 255]], np.uint8), CAMVID.flat_palette())
        ...     read_label_png(Path(folder, "7.png")).tolist()
        [[0, 3, 255]]
    """
    with open_image(path, read_bytes(path)) as image:
        if image.mode not in _INDEX_MODES:
            raise DatasetError(
                "a label map with colours instead of ids",
                path=path,
                expected="one channel (PNG mode L, P or I;16)",
                found=f"mode {image.mode}",
                fix="point to the id files, or convert the colours by the class table first",
            )
        ids = np.array(image)
    if ids.dtype in (np.uint8, np.bool_):
        return ids.astype(np.uint8, copy=False)
    return ids.astype(np.int32, copy=False)


def write_label_png(path: str | Path, ids: UInt8Array, palette: bytes | None = None) -> None:
    """Write a map of ids so that a crash leaves either the whole file or none.

    Args:
        path: Target; its folder is made when absent.
        ids: (H, W) uint8.
        palette: 768 bytes RGB for a palette PNG (`Taxonomy.flat_palette`); greyscale when absent.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_label_png(Path(folder, "labels", "7.png"), np.array([[0, 300]]))
        Traceback (most recent call last):
        thriftseg.errors.DatasetError: ...7.png: not a label map; expected (H, W) uint8; found (1, 2) int64
    """
    if ids.ndim != 2 or ids.dtype != np.uint8:
        raise DatasetError("not a label map", path=path, expected="(H, W) uint8", found=f"{ids.shape} {ids.dtype}")
    write_bytes(Path(path), encode_label_png(ids, palette))


def encode_label_png(ids: UInt8Array | UInt16Array, palette: bytes | None = None) -> bytes:
    """Content of the file that `write_label_png` writes; also of a greyscale file of 16 bits.

    Example:
        >>> content = encode_label_png(np.array([[0, 300]], np.uint16))
        >>> np.array(Image.open(io.BytesIO(content))).tolist()
        [[0, 300]]
    """
    image = Image.fromarray(np.ascontiguousarray(ids))
    if palette is not None:
        image.putpalette(palette)  # turns mode L into P and keeps the values as indices
    stream = io.BytesIO()
    image.save(stream, format="PNG")
    return stream.getvalue()


def encode_frame(image: UInt8Array, suffix: str) -> bytes:
    """Content of an image file.

    Args:
        image: (H, W, 3) uint8 RGB.
        suffix: `.png`, `.jpg` or `.jpeg`.

    Example:
        >>> frame = np.zeros((48, 64, 3), np.uint8)
        >>> frame[:, 32:] = 255
        >>> content = encode_frame(frame, ".png")
        >>> bool((decode_image(content, "a.png", cv2.IMREAD_COLOR_RGB) == frame).all()), len(content) < frame.size / 20
        (True, True)
    """
    jpeg = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    options = [cv2.IMWRITE_PNG_COMPRESSION, _PNG_COMPRESSION] if suffix == ".png" else jpeg
    encoded, content = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    if not encoded:
        raise DatasetError("cannot encode the frame", found=f"{image.shape} as {suffix}")
    return content.tobytes()


def resize_frame(image: UInt8Array, size: tuple[int, int]) -> UInt8Array:
    """Resize a frame (H, W, 3) to `size` = (height, width).

    Bilinear reads at most two source pixels per axis, so reductions beyond a factor of two average areas instead.

    Example:
        >>> stripes = np.tile(np.array([[[0] * 3, [200] * 3]], np.uint8), (4, 6, 1))
        >>> resize_frame(stripes, (1, 2))[0, :, 0].tolist(), resize_frame(stripes, (2, 12)).shape
        ([100, 100], (2, 12, 3))
    """
    height, width = image.shape[:2]
    if (height, width) == size:
        return image
    shrink = max(height / size[0], width / size[1])
    interpolation = cv2.INTER_AREA if shrink > 2 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size[::-1], interpolation=interpolation), dtype=np.uint8)


def resize_label(label: Label, size: tuple[int, int]) -> Label:
    """Resize a label map (H, W), uint8 or uint16, to `size` = (height, width), nearest pixel centre.

    Example:
        >>> resize_label(np.array([[0, 7], [255, 3]], np.uint8), (2, 4)).tolist()
        [[0, 0, 7, 7], [255, 255, 3, 3]]
    """
    if label.shape == size:
        return label
    resized: Any = cv2.resize(label, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(resized, dtype=label.dtype)


def probe_size(path: str | Path) -> tuple[int, int]:
    """Height and width of an image or a frame of a video, from its header only.

    Raises:
        DatasetError: The file is missing, or no image.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_label_png(Path(folder, "7.png"), np.zeros((48, 80), np.uint8))
        ...     probe_size(Path(folder, "7.png"))
        (48, 80)
    """
    if lies_in_video(path):
        return video_size(path)
    with open_image(path) as image:
        return image.height, image.width


def _decode(path: str | Path, flag: int) -> UInt8Array:
    return np.asarray(decode_image(read_bytes(path), path, flag | cv2.IMREAD_IGNORE_ORIENTATION), np.uint8)
