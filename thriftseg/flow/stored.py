"""Flow on disk: single files that other programs read too, and a store of estimated flow.

A file is a 16-bit PNG in the encoding of the KITTI benchmark (https://www.cvlibs.net/datasets/kitti): red and green
hold `64 * flow + 32768` of x and y, blue is 1 where the flow is known. So flow up to 511.98 px is kept to 1/128 px, in
0.45 to 0.6 MB for 480x854 frames, a sixth to a seventh of its size in memory, and read in a quarter of the time that
DIS takes (`python -m benchmarks --only flow_stored`).
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from thriftseg.arrays import BoolArray, Float32Array, UInt8Array, UInt16Array
from thriftseg.atomic import write_bytes
from thriftseg.errors import ConfigError, DatasetError
from thriftseg.flow.estimators import FlowEstimator
from thriftseg.folders import claim_folder
from thriftseg.parsing import read_bytes, read_json
from thriftseg.pixels import PNG_HEADER_END, decode_image, png_chunks

MANIFEST = "flow.json"
_FORMAT = {"format": "thriftseg-flow", "format_version": 1}
_STEPS, _ZERO = 64, 32768  # steps per pixel, code of no motion
_LARGEST = _ZERO - 1  # in steps
_NOTE = b"tEXtthriftseg\0"  # kind and keyword of the chunk that says what a stored file was estimated from
_QUICK = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]  # to write and to read
_FLO_START = np.float32(202021.25).tobytes()
_FLO_UNKNOWN = 1e9


def write_flow(path: str | Path, flow: Float32Array, valid: BoolArray | None = None) -> None:
    """Write a flow, in full or not at all.

    Args:
        path: File to write, `*.png`; its folder is made when absent.
        flow: Flow, (2, H, W). What is not finite or exceeds 511.98 px in x or y is marked as unknown.
        valid: Where the flow is known, (H, W); everywhere when absent.

    Raises:
        ConfigError: The path has another ending.
        ValueError: The shapes disagree.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "000000_000001.png"
        >>> write_flow(path, np.full((2, 4, 6), 0.25, np.float32))
        >>> flow, valid = read_flow(path)
        >>> flow.shape, float(flow.max()), bool(valid.all())
        ((2, 4, 6), 0.25, True)
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ConfigError("flow is written as PNG", path=path, fix="end the name in .png")
    write_bytes(path, _to_png(_encode(flow, valid)))


def read_flow(path: str | Path) -> tuple[Float32Array, BoolArray]:
    """Read a flow.

    Args:
        path: A `.png` as `write_flow` and KITTI write it, or a `.flo` of Middlebury.

    Returns:
        Flow (2, H, W), 0 where it is not known, and where it is known, (H, W).

    Raises:
        DatasetError: The file is missing, damaged, or holds no flow.

    Example:
        >>> import struct, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "pair.flo")
        ...     _ = path.write_bytes(b"PIEH" + struct.pack("<ii4f", 2, 1, 0.5, -1, 2, 0))  # x, y of each of two pixels
        ...     flow, valid = read_flow(path)
        >>> flow.tolist(), valid.tolist()
        ([[[0.5, 2.0]], [[-1.0, 0.0]]], [[True, True]])
    """
    path = Path(path)
    if path.suffix.lower() == ".flo":
        return _read_flo(path)
    return _decode(_read_png(path)[0])


class FlowStore:
    """Flow between frames of videos, estimated once and kept.

        <root>/flow.json                                   what estimated the flow
        <root>/<width>x<height>/<video>/<a:06d>_<b:06d>.png   flow a -> b, see `write_flow`

    A file notes what it was estimated from, so when frames have changed their flow is estimated again; files without
    such a note, made by other programs, are taken as they are. Any number of processes may use a store at the same
    time; each file is there in full or not at all, and a killed run goes on where it stopped.

    Args:
        root: The folder; `None` keeps nothing. Flow is rounded to 1/64 px either way, so that results are the same.
        estimator: Estimates what is not there; `None` only reads.

    Raises:
        ConfigError: The folder holds flow of another estimator.

    Example:
        >>> import tempfile
        >>> from thriftseg.flow import DIS
        >>> frame = np.zeros((16, 24, 3), np.uint8)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store = FlowStore(folder, DIS())
        ...     flow = store.flow("clip", 0, 1, frame, frame)
        ...     print(flow.shape, store.has("clip", 0, 1, (16, 24)), store.has("clip", 1, 0, (16, 24)))
        (2, 16, 24) True False
    """

    def __init__(self, root: str | Path | None, estimator: FlowEstimator | None = None) -> None:
        self.root = Path(root) if root is not None else None
        self.estimator = estimator
        self._identity: dict[str, str] | None = None
        if estimator is not None:
            self._identity = {"estimator": repr(estimator), "software": str(getattr(estimator, "software", ""))}
        if self.root is not None and (self.root / MANIFEST).is_file():
            self._claim()

    def path_of(self, video: str, a: int, b: int, size: tuple[int, int]) -> Path:
        """Where the flow between two frames of a video lies or would lie.

        Args:
            video: Identifier of the clip.
            a: Native number of the frame that the flow starts in.
            b: Native number of the frame it leads to.
            size: Height and width of the frames.
        """
        root = self.root if self.root is not None else Path()
        return root / f"{size[1]}x{size[0]}" / video / f"{a:06d}_{b:06d}.png"

    def has(self, video: str, a: int, b: int, size: tuple[int, int]) -> bool:
        """Whether the flow is stored; see `path_of`."""
        return self.root is not None and self.path_of(video, a, b, size).is_file()

    def read(self, video: str, a: int, b: int, size: tuple[int, int]) -> tuple[Float32Array, BoolArray]:
        """Stored flow and where it is known; see `path_of` and `read_flow`.

        Raises:
            DatasetError: It is not stored, or damaged.
        """
        return read_flow(self.path_of(video, a, b, size))

    def flow(self, video: str, a: int, b: int, frame_a: UInt8Array, frame_b: UInt8Array) -> Float32Array:
        """Flow between two frames, from the store or estimated and stored.

        Args:
            video: Identifier of the clip.
            a: Native number of frame a.
            b: Native number of frame b.
            frame_a: Frame a, (H, W, 3) uint8 RGB.
            frame_b: Frame b, of the same shape.

        Returns:
            Flow a -> b, (2, H, W); NaN where it is not known.

        Raises:
            DatasetError: The stored file is damaged, or there is none and no estimator.
            ConfigError: The folder has come to hold flow of another estimator.
        """
        if self.root is None:
            return _with_gaps(self._estimate(frame_a, frame_b))
        path, note = self.path_of(video, a, b, frame_a.shape[:2]), _note_of(self._identity, frame_a, frame_b)
        if path.is_file():
            codes, found = _read_png(path)
            if self.estimator is None or found in (note, None):
                return _with_gaps(codes)
        codes = self._estimate(frame_a, frame_b, path)
        self._claim()
        write_bytes(path, _to_png(codes, note))
        return _with_gaps(codes)

    def both(
        self, video: str, previous: int, current: int, previous_frame: UInt8Array, current_frame: UInt8Array
    ) -> Float32Array:
        """Flow between two frames in both directions; see `flow`.

        Args:
            video: Identifier of the clip.
            previous: Native number of the earlier frame.
            current: Native number of the later frame.
            previous_frame: The earlier frame, (H, W, 3) uint8 RGB.
            current_frame: The later frame, of the same shape.

        Returns:
            Backward flow current -> previous and forward flow previous -> current, (2, 2, H, W).
        """
        backward = self.flow(video, current, previous, current_frame, previous_frame)
        forward = self.flow(video, previous, current, previous_frame, current_frame)
        return np.stack([backward, forward])

    def _estimate(self, frame_a: UInt8Array, frame_b: UInt8Array, path: Path | None = None) -> UInt16Array:
        """Codes of the flow between two frames."""
        if self.estimator is None:
            raise DatasetError("this flow is not stored", path=path, fix="name an estimator")
        return _encode(self.estimator.estimate(frame_a, frame_b))

    def _claim(self) -> None:
        """Note the estimator in the folder, unless another one is noted there."""
        if self.root is not None and (self.root / MANIFEST).is_file():
            _check_format(self.root / MANIFEST)
        if self.root is not None and self._identity is not None:
            claim_folder(
                self.root,
                {**_FORMAT, **self._identity},
                record=MANIFEST,
                problem="holds flow of another estimator",
                fix="choose another folder, or delete this one",
            )


def _note_of(identity: Mapping[str, str] | None, frame_a: UInt8Array, frame_b: UInt8Array) -> bytes:
    """Tells flow apart that other frames, or another estimator, would give."""
    digest = zlib.crc32(json.dumps(identity).encode())
    for frame in (frame_a, frame_b):
        digest = zlib.crc32(np.ascontiguousarray(frame).data, digest)
    return f"{digest:08x}".encode()


def _check_format(path: Path) -> None:
    """Refuse the manifest of a store that this version cannot read."""
    content = read_json(path, dict[str, Any], fix="delete the folder")
    found = {key: content.get(key) for key in _FORMAT}
    if found != _FORMAT:
        raise DatasetError("stored flow of another version", path=path, expected=_FORMAT, found=found)


def _encode(flow: Float32Array, valid: BoolArray | None = None) -> UInt16Array:
    """Codes (H, W, 3) in the order of OpenCV, blue first."""
    if flow.ndim != 3 or len(flow) != 2 or (valid is not None and valid.shape != flow.shape[1:]):
        found = f"{flow.shape} and {valid.shape}" if valid is not None else f"{flow.shape}"
        raise ValueError(f"expected flow (2, H, W) and validity (H, W), found {found}")
    steps = np.rint(flow * np.float32(_STEPS))
    known = (np.abs(steps) <= _LARGEST).all(axis=0)  # not where it is NaN
    if valid is not None:
        known &= valid
    codes = np.empty((*known.shape, 3), np.uint16)
    codes[..., 0] = known
    codes[..., 2], codes[..., 1] = np.where(known, steps + _ZERO, 0)
    return codes


def _decode(codes: UInt16Array) -> tuple[Float32Array, BoolArray]:
    valid = codes[..., 0] > 0
    flow = np.empty((2, *valid.shape), np.float32)
    for channel, coded in zip(flow, (codes[..., 2], codes[..., 1]), strict=True):
        np.subtract(coded, np.float32(_ZERO), out=channel)
    flow /= _STEPS
    flow[:, ~valid] = 0
    return flow, valid


def _with_gaps(codes: UInt16Array) -> Float32Array:
    flow, valid = _decode(codes)
    flow[:, ~valid] = np.nan
    return flow


def _to_png(codes: UInt16Array, note: bytes | None = None) -> bytes:
    content = cv2.imencode(".png", codes, _QUICK)[1].tobytes()
    if note is None:
        return content
    body = _NOTE + note
    chunk = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    return content[:PNG_HEADER_END] + chunk + content[PNG_HEADER_END:]


def _read_png(path: Path) -> tuple[UInt16Array, bytes | None]:
    """Codes (H, W, 3) and the note, if there is one."""
    content = read_bytes(path)
    try:
        notes = [bytes(chunk[len(_NOTE) :]) for chunk in png_chunks(content) if chunk[: len(_NOTE)] == _NOTE]
    except ValueError as error:
        raise DatasetError(
            "damaged flow file", path=path, found=str(error), fix="delete it, and estimate it again"
        ) from error
    codes = decode_image(content, path, cv2.IMREAD_UNCHANGED)
    if codes.dtype != np.uint16 or codes.ndim != 3 or codes.shape[2] != 3:
        raise DatasetError("holds no flow", path=path, expected="a 16-bit PNG with three channels, or a .flo")
    return np.asarray(codes, np.uint16), notes[0] if notes else None


def _read_flo(path: Path) -> tuple[Float32Array, BoolArray]:
    """A Middlebury file: a magic number, width and height, then x and y of every pixel in float32."""
    content = read_bytes(path)
    width, height = np.frombuffer(content[4:12].ljust(8, b"\0"), "<i4").tolist()
    size = 12 + 8 * width * height
    if content[:4] != _FLO_START or min(width, height) < 1 or len(content) != size:
        raise DatasetError(
            "damaged flow file", path=path, expected="a .flo of Middlebury", found=f"{len(content)} bytes"
        )
    values = np.frombuffer(content, "<f4", offset=12).reshape(height, width, 2)
    flow = np.ascontiguousarray(values.transpose(2, 0, 1), np.float32)
    valid = np.abs(flow).max(axis=0) < _FLO_UNKNOWN  # not where it is NaN
    flow[:, ~valid] = 0
    return flow, valid
