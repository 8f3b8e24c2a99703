"""Images that are damaged, far too large, or no files at all: one line of error that names them, and at once."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from thriftseg.datasets.images import encode_label_png, probe_size, read_frame, read_grey, read_label_png
from thriftseg.errors import DatasetError
from thriftseg.flow.stored import read_flow, write_flow
from thriftseg.pixels import PNG_START, open_image

Reader = Callable[[Path], object]


def grey(path: Path) -> object:
    return read_grey(path, at_least=40)


READERS: list[Reader] = [read_frame, grey, read_label_png, probe_size, read_flow]
DECODERS: list[Reader] = [read_frame, read_label_png]


def png(width: int, height: int, *, depth: int = 8, colours: int = 0, pixels: bytes = b"") -> bytes:
    """A PNG with right checksums, whatever it says."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0))]
    chunks += [(b"IDAT", pixels), (b"IEND", b"")]
    parts = [struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks]
    return PNG_START + b"".join(parts)


def jpeg(width: int, height: int) -> bytes:
    """A JPEG whose header states another size than its pixels have."""
    content = bytearray(cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes())
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(content)


@pytest.fixture
def label() -> bytes:
    return encode_label_png(np.arange(64, dtype=np.uint8).reshape(8, 8) % 11)


def read_bytes_as(content: bytes, read: Reader, tmp_path: Path) -> object:
    path = tmp_path / "file.png"
    path.write_bytes(content)
    return read(path)


@pytest.mark.parametrize("content", [png(50_000, 50_000), png(2**31 - 1, 2**31 - 1, colours=2), jpeg(65_000, 65_000)])
@pytest.mark.parametrize("read", READERS[:4])
def test_too_many_pixels(tmp_path: Path, content: bytes, read: Reader) -> None:
    with pytest.raises(DatasetError, match=r"file\.png: too many pixels; expected at most 268435456; found \d{10}"):
        read_bytes_as(content, read, tmp_path)


@pytest.mark.parametrize("read", READERS[:4])
def test_the_limit_of_the_library_for_other_formats(tmp_path: Path, read: Reader) -> None:
    header = struct.pack("<2sIIIIIIHHIIIIII", b"BM", 54, 0, 54, 40, 65_000, 65_000, 1, 24, 0, 0, 0, 0, 0, 0)
    with pytest.raises(DatasetError, match=r"file\.png: cannot decode the image; .*4225000000 pixels"):
        read_bytes_as(header, read, tmp_path)


@pytest.mark.parametrize("depth", [1, 8, 16])
@pytest.mark.parametrize("read", DECODERS)
def test_more_pixels_than_so_few_bytes_can_hold(tmp_path: Path, depth: int, read: Reader) -> None:
    """16384 x 16384 pixels are allowed, but would be allocated before the lack of data shows."""
    with pytest.raises(DatasetError, match=r"file\.png: cannot decode the image; .* 70 bytes for 16384x16384 pixels"):
        read_bytes_as(png(16_384, 16_384, depth=depth, pixels=b"x" * 13), read, tmp_path)


def test_a_jpeg_of_more_pixels_than_so_few_bytes_can_hold(tmp_path: Path) -> None:
    """OpenCV alone would fill what is missing with grey."""
    with pytest.raises(DatasetError, match=r"file\.png: cannot decode the image; .* bytes for 16384x16000 pixels"):
        read_bytes_as(jpeg(16_384, 16_000), read_frame, tmp_path)


@pytest.mark.parametrize("option", [None, cv2.IMWRITE_JPEG_PROGRESSIVE, cv2.IMWRITE_JPEG_OPTIMIZE])
def test_the_size_of_a_jpeg_is_found_behind_whatever_comes_first(
    tmp_path: Path, option: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = np.zeros((1200, 1600), np.uint8)
    plain = cv2.imencode(".jpg", picture, [] if option is None else [option, 1])[1].tobytes()
    comment = b"\xff\xfe" + struct.pack(">H", 11) + b"\xff\xc0\0\x11\x08\0\x01\0\x01"  # which looks like a header
    content = plain[:2] + comment + b"\xff" * 7 + comment + plain[2:]
    monkeypatch.setenv("THRIFTSEG_LIMIT_IMAGE_PIXELS", str(picture.size))
    np.testing.assert_array_equal(read_bytes_as(content, read_frame, tmp_path), 0)
    monkeypatch.setenv("THRIFTSEG_LIMIT_IMAGE_PIXELS", str(picture.size - 1))
    with pytest.raises(DatasetError, match="found 1920000"):
        read_bytes_as(content, read_frame, tmp_path)


def test_a_picture_of_one_colour_is_no_bomb(tmp_path: Path) -> None:
    image = np.zeros((3000, 4000), np.uint8)
    content = encode_label_png(image)
    assert image.size / len(content) > 800
    np.testing.assert_array_equal(read_bytes_as(content, read_label_png, tmp_path), image)


def test_the_limit_is_ours_alone(tmp_path: Path, label: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 8)
    for read in (read_label_png, read_frame, probe_size):
        read_bytes_as(label, read, tmp_path)
    monkeypatch.setenv("THRIFTSEG_LIMIT_IMAGE_PIXELS", "63")
    for read in (read_label_png, read_frame, probe_size):
        with pytest.raises(DatasetError, match="too many pixels; expected at most 63; found 64"):
            read_bytes_as(label, read, tmp_path)


def test_no_flipped_bit_of_a_label_passes(tmp_path: Path, label: bytes) -> None:
    """Each of them, not a sample: Pillow alone reads other labels from a part of these files."""
    path = tmp_path / "label.png"
    for place in range(8 * len(label)):
        damaged = bytearray(label)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(DatasetError, match=r"label\.png: (cannot decode the image|too many pixels)"):
            read_label_png(path)


def test_pillow_alone_reads_other_labels(label: bytes) -> None:
    """Why checksums are compared here."""
    truth, other = np.array(Image.open(BytesIO(label))), 0
    for place in range(8 * len(label)):
        damaged = bytearray(label)
        damaged[place // 8] ^= 1 << place % 8
        try:
            other += not np.array_equal(np.array(Image.open(BytesIO(damaged))), truth)
        except Exception:  # noqa: S112
            continue
    assert other >= 5


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tiff", ".webp", ".gif"])
def test_damage_anywhere_is_an_error_with_the_name_or_an_image(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(0)
    picture, path = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8), tmp_path / f"frame{suffix}"
    Image.fromarray(picture[..., 0]).save(path)
    whole, refused = path.read_bytes(), 0
    for _ in range(60):
        damaged = bytearray(whole[: rng.integers(1, len(whole) + 1)])
        for place in rng.integers(0, len(damaged), rng.integers(0, 6)):
            damaged[place] = rng.choice([0, 255, rng.integers(256)])
        path.write_bytes(damaged)
        for read in READERS:
            try:
                read(path)
            except DatasetError as error:
                assert str(path) in error.headline  # noqa: PT017
                refused += 1
    assert refused > 60


@pytest.mark.parametrize("read", READERS)
def test_what_is_no_file_is_not_opened(tmp_path: Path, read: Reader) -> None:
    pipe, folder = tmp_path / "pipe.png", tmp_path / "folder.png"
    os.mkfifo(pipe)
    folder.mkdir()
    for path in (pipe, folder, Path("/dev/zero"), tmp_path / "none.png", tmp_path / f"{'x' * 300}.png", Path("a\0b")):
        with pytest.raises(DatasetError) as caught:
            read(path)
        assert str(path) in caught.value.headline
    link = tmp_path / "link.png"
    link.symlink_to(link)
    with pytest.raises(DatasetError, match=r"link\.png"):
        read(link)


def test_an_error_of_the_block_names_the_file(tmp_path: Path, label: bytes) -> None:
    path = tmp_path / "file.png"
    path.write_bytes(label)
    with pytest.raises(DatasetError, match=r"file\.png: cannot decode the image; .*found broken"), open_image(path):
        raise ValueError("broken")


def test_flow_that_was_cut(tmp_path: Path) -> None:
    path = tmp_path / "000000_000001.png"
    write_flow(path, np.ones((2, 6, 8), np.float32))
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DatasetError, match=r"000001\.png: damaged flow file"):
            read_flow(path)
