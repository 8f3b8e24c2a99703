from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from thriftseg.datasets.files import frame_number, list_files, usual_step
from thriftseg.datasets.images import probe_size, read_frame, read_grey, read_label_png, write_label_png
from thriftseg.errors import DatasetError
from thriftseg.taxonomies import CITYSCAPES


@pytest.fixture
def ids() -> np.ndarray:
    return np.arange(256, dtype=np.uint8).reshape(8, 32)


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def test_palette_round_trip_keeps_all_indices(tmp_path, ids):
    path = tmp_path / "new" / "label.png"
    write_label_png(path, ids, CITYSCAPES.flat_palette())
    np.testing.assert_array_equal(read_label_png(path), ids)
    with Image.open(path) as image:
        assert image.mode == "P"
        assert image.convert("RGB").getpixel((13, 0)) == (0, 0, 142)  # train id 13 is drawn as a car
    assert [entry.name for entry in path.parent.iterdir()] == ["label.png"]


def test_greyscale_round_trip(tmp_path, ids):
    write_label_png(tmp_path / "label.png", ids)
    np.testing.assert_array_equal(read_label_png(tmp_path / "label.png"), ids)


def test_palette_with_few_colours_keeps_indices(tmp_path):
    path, few = tmp_path / "few.png", np.array([[0, 1], [2, 1]], dtype=np.uint8)
    image = Image.fromarray(few)
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.save(path, bits=2)
    np.testing.assert_array_equal(read_label_png(path), few)


def test_sixteen_bit_ids_are_kept(tmp_path):
    raw = np.array([[0, 26001], [65535, 7]], dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "ids.png"), raw)
    read = read_label_png(tmp_path / "ids.png")
    assert read.dtype == np.int32
    np.testing.assert_array_equal(read, raw)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_colours_are_no_labels(tmp_path, mode: str):
    Image.new(mode, (4, 4)).save(tmp_path / "color.png")
    with pytest.raises(DatasetError, match=rf"color\.png: a label map with colours.*found mode {mode}"):
        read_label_png(tmp_path / "color.png")


def test_only_label_maps_are_written(tmp_path, picture):
    for wrong in (picture, picture[..., 0].astype(np.int64)):
        with pytest.raises(DatasetError, match="not a label map"):
            write_label_png(tmp_path / "label.png", wrong)


def test_failed_write_leaves_nothing(tmp_path, ids):
    (tmp_path / "label.png").mkdir()  # cannot be replaced by a file
    with pytest.raises(OSError, match="label"):
        write_label_png(tmp_path / "label.png", ids)
    assert [entry.name for entry in tmp_path.iterdir()] == ["label.png"]


def test_frames_are_rgb(tmp_path):
    red = np.zeros((4, 6, 3), dtype=np.uint8)
    red[..., 0] = 255
    Image.fromarray(red).save(tmp_path / "red.png")
    Image.fromarray(red[..., 0]).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_frame(tmp_path / "red.png"), red)
    assert read_frame(tmp_path / "grey.png").shape == (4, 6, 3)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("kept", [0.0, 0.2, 0.6, 0.95])
def test_cut_frames_are_named(tmp_path, picture, suffix: str, kept: float):
    path = tmp_path / f"frame{suffix}"
    content = cv2.imencode(suffix, picture)[1].tobytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(DatasetError, match=rf"frame\{suffix}: cannot decode the image"):
        read_frame(path)


def test_cut_labels_are_named(tmp_path, picture):
    path = tmp_path / "label.png"
    write_label_png(path, picture[..., 0])
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DatasetError, match=r"label\.png: cannot decode the image"):
        read_label_png(path)
    path.write_bytes(b"no picture at all")
    with pytest.raises(DatasetError, match=r"label\.png: cannot decode the image"):
        read_label_png(path)


def test_missing_files_are_named(tmp_path):
    for read in (read_frame, read_label_png, probe_size):
        with pytest.raises(DatasetError, match=r"none\.png: no such file"):
            read(tmp_path / "none.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_size_comes_from_the_header(tmp_path, picture, suffix: str):
    path = tmp_path / f"frame{suffix}"
    path.write_bytes(cv2.imencode(suffix, picture)[1].tobytes()[:-200])
    assert probe_size(path) == (48, 64)


@pytest.mark.parametrize(("width", "reduced"), [(100, 100), (159, 159), (160, 40), (320, 40)])
def test_reduced_reading_keeps_the_asked_width(tmp_path, width: int, reduced: int):
    cv2.imwrite(str(tmp_path / "frame.jpg"), np.full((64, width, 3), 77, dtype=np.uint8))
    grey = read_grey(tmp_path / "frame.jpg", at_least=40)
    assert grey.shape[1] == reduced
    assert np.abs(grey.astype(int) - 77).max() <= 1


def test_listing_is_sorted_and_skips_hidden_files(tmp_path):
    for name in ("b.png", "a.JPG", ".c.png.partial", ".hidden.png", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in list_files(tmp_path)] == ["a.JPG", "b.png"]
    assert list_files(tmp_path / "none") == []


def test_numbers_and_steps():
    assert frame_number("clip_2_frame007b") == 7
    assert usual_step([5]) == 1
    assert usual_step([0, 2, 4, 7]) == 2
    assert usual_step([0, 3, 5]) == 2  # tie: the smaller distance
