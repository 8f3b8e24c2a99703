"""GrabCut of boxes on scenes whose truth is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from thriftseg.arrays import BoolArray, UInt8Array
from thriftseg.datasets import DAVIS, PALETTE, PixelBox, write_label_png
from thriftseg.errors import ConfigError
from thriftseg.labels import UnfinishedError, label_boxes
from thriftseg.labels.boxes.grabcut import BoxGrabCut
from thriftseg.labels.boxes.masks import compose_masks
from thriftseg.stores import LabelStore
from thriftseg.taxonomies import OBJECT_IDS

HEIGHT, WIDTH = 96, 160
ROWS, COLUMNS = np.mgrid[:HEIGHT, :WIDTH]


def grain(seed: int, middle: tuple[int, int, int]) -> UInt8Array:
    """A texture around a colour."""
    noise = np.random.default_rng(seed).normal(0, 14, (HEIGHT, WIDTH, 3))
    return (np.array(middle) + noise).clip(0, 255).astype(np.uint8)


def ellipse(x: float, y: float, width: float, height: float) -> BoolArray:
    return ((COLUMNS - x) / width) ** 2 + ((ROWS - y) / height) ** 2 < 1


def box_of(mask: BoolArray) -> PixelBox:
    rows, columns = np.nonzero(mask)
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def iou(first: BoolArray, second: BoolArray) -> float:
    return float((first & second).sum() / (first | second).sum())


def filled(box: PixelBox) -> BoolArray:
    x0, y0, x1, y1 = box
    return (COLUMNS >= x0) & (COLUMNS < x1) & (ROWS >= y0) & (ROWS < y1)


@pytest.fixture
def crowd() -> tuple[UInt8Array, dict[int, BoolArray]]:
    """Six small people in a row, each of whom hides a part of the one before."""
    frame, ids = grain(0, (120, 130, 110)), np.zeros((HEIGHT, WIDTH), np.uint8)
    colours = [(200, 40, 40), (40, 60, 190), (210, 200, 60), (30, 30, 35), (230, 230, 235), (160, 60, 170)]
    for number, colour in enumerate(colours, start=1):
        x = 25 + 14 * number
        person = ellipse(x, 45, 5, 6) | ellipse(x, 62, 10 - number % 3, 14)
        frame[person] = grain(number, colour)[person]
        ids[person] = number
    return frame, {number: ids == number for number in range(1, 7)}


def test_a_crowd_of_overlapping_boxes(crowd):
    frame, truth = crowd
    boxes = {number: box_of(mask) for number, mask in truth.items()}
    ids = compose_masks(BoxGrabCut().segment(frame, boxes), (HEIGHT, WIDTH))
    ious = [iou(ids == number, mask) for number, mask in truth.items()]
    assert np.mean(ious) > 0.85
    assert min(ious) > 0.6
    assert np.mean([iou(filled(boxes[number]), mask) for number, mask in truth.items()]) < 0.75


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_shape_stands_in_where_colours_tell_nothing(seed):
    box = (50, 20, 110, 70)
    (found,) = BoxGrabCut().segment(grain(seed, (90, 90, 90)), {1: box})
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[found.pixels] = found.mask
    shape = ellipse(79.5, 44.5, 0.95 * 30, 0.95 * 25)
    assert iou(mask, shape) > 0.75
    assert found.score < 0.75


def test_even_a_box_of_one_pixel_has_a_mask():
    masks = BoxGrabCut().segment(grain(0, (90, 90, 90)), {1: (5, 5, 6, 6), 2: (0, 0, WIDTH, HEIGHT), 3: (8, 0, 9, 96)})
    assert all(mask.area > 0 for mask in masks)
    assert all(0 < mask.score <= 1 for mask in masks)
    assert BoxGrabCut().segment(grain(0, (90, 90, 90)), {}) == []


def moving() -> tuple[UInt8Array, UInt8Array, BoolArray]:
    """Two frames in which a triangle of the background's own texture moves; the camera moves, too."""
    background, thing = grain(7, (110, 110, 110)), grain(8, (110, 110, 110))
    truth = (ROWS >= 20) & (ROWS < 76) & (abs(COLUMNS - 80) * 2 < ROWS - 18)
    beside = np.roll(background, 1, axis=1)
    moved = np.roll(truth, -5, axis=1)
    beside[moved] = np.roll(thing, -5, axis=1)[moved]
    return np.where(truth[..., None], thing, background), beside, truth


def test_motion_alone_tells_an_object_from_the_background():
    frame, beside, truth = moving()
    ious = []
    for next_frame in (None, beside):
        (found,) = BoxGrabCut().segment_moving(frame, {1: box_of(truth)}, next_frame)
        mask = np.zeros_like(truth)
        mask[found.pixels] = found.mask
        ious.append(iou(mask, truth))
    assert ious[1] > ious[0] + 0.05
    assert ious[1] > 0.58


def test_frames_of_any_size():
    """A frame four times as large is looked at in small, but cut in full."""
    frame = grain(1, (60, 120, 60))
    disc = ellipse(80, 48, 25, 25)
    frame[disc] = (220, 180, 60)
    large, truth = frame.repeat(8, axis=0).repeat(8, axis=1), disc.repeat(8, axis=0).repeat(8, axis=1)
    (found,) = BoxGrabCut().segment(large, {1: tuple(8 * side for side in box_of(disc))})
    mask = np.zeros_like(truth)
    mask[found.pixels] = found.mask
    assert iou(mask, truth) > 0.97
    assert found.score > 0.85


@pytest.mark.parametrize(
    "settings", [{"colour": -1.0}, {"motion": -0.1}, {"unsure": 0.0}, {"unsure": 1.5}, {"iterations": 0}]
)
def test_settings_out_of_range(settings):
    with pytest.raises(ConfigError, match="setting of GrabCut"):
        BoxGrabCut(**settings)


@pytest.fixture
def davis(tmp_path) -> DAVIS:
    """The moving triangle in four frames."""
    root = tmp_path / "davis"
    _, _, truth = moving()
    background, thing = grain(7, (110, 110, 110)), grain(8, (110, 110, 110))
    for number in range(4):
        mask = np.roll(truth, -5 * number, axis=1)
        frame = np.where(mask[..., None], np.roll(thing, -5 * number, axis=1), np.roll(background, number, axis=1))
        path = root / f"JPEGImages/480p/film/{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(frame).save(path, quality=95)
        write_label_png(root / f"Annotations/480p/film/{number:05d}.png", mask.astype(np.uint8), PALETTE)
    (root / "ImageSets/2017").mkdir(parents=True)
    (root / "ImageSets/2017/train.txt").write_text("film\n")
    return DAVIS(root)


def run(davis: DAVIS, folder: Path, source: str = "made") -> LabelStore:
    label_boxes(davis, "train", BoxGrabCut(), store=folder, source=source, accelerator="cpu", progress=False)
    return LabelStore(folder, source, OBJECT_IDS)


def test_labels_say_nothing_where_nothing_is_known(davis, tmp_path):
    """Pixels of the box that may be the object have no label; outside of the box is background."""
    store = run(davis, tmp_path)
    for number in range(4):
        label, truth = store.read("film", number), davis.read_mask(davis.clips("train")[0], number) == 1
        unknown, inside = label == 255, filled(box_of(truth))
        assert not unknown[~inside].any()
        assert 0 < unknown[inside].mean() < 0.5
        assert iou((label == 1)[~unknown], truth[~unknown]) > 0.6
    (arguments,) = {str(row.arguments) for row in store.labels.values()}
    assert "'unsure': 0.35" in arguments
    assert "'motion': 0.8" in arguments


def test_the_order_of_the_frames_changes_nothing(davis, tmp_path):
    whole = run(davis, tmp_path)
    part = run(davis, tmp_path, source="part")
    rows = part.manifest_path.read_text().splitlines()
    part.manifest_path.write_text("".join(f"{row}\n" for row in rows if '"frame":1,' not in row))
    part.path_of("film", 1).unlink()
    run(davis, tmp_path, source="part")
    for number in range(4):
        assert part.path_of("film", number).read_bytes() == whole.path_of("film", number).read_bytes()


def test_a_neighbour_that_cannot_be_read(davis, tmp_path):
    """Frame 1 then sees frame 0 instead of frame 2, and only frame 2 has no label."""
    (davis.root / "JPEGImages/480p/film/00002.jpg").write_bytes(b"no picture")
    with pytest.raises(UnfinishedError, match="1 of 4 labels could not be made"):
        run(davis, tmp_path)
    store, clip = LabelStore(tmp_path, "made", OBJECT_IDS), davis.clips("train")[0]
    assert sorted(store.labels) == [("film", 0), ("film", 1), ("film", 3)]
    truth = davis.read_mask(clip, 1) == 1
    backwards = BoxGrabCut().segment_moving(davis.read_frame(clip, 1), {1: box_of(truth)}, davis.read_frame(clip, 0))
    expected = compose_masks(backwards, truth.shape)
    assert np.array_equal(store.read("film", 1) == 1, expected == 1)
