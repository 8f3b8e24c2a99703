from __future__ import annotations

import cv2
import numpy as np
import pytest

from thriftseg.datamodules.transforms import Geometry, RandomScaleCrop, write_planar
from thriftseg.datasets.images import resize_frame, resize_label
from thriftseg.errors import ConfigError

RNG = np.random.default_rng


def smooth_image(height: int, width: int, seed: int = 0) -> np.ndarray:
    noise = RNG(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 3)


def moved_frame(geometry: Geometry, image: np.ndarray) -> np.ndarray:
    out = np.zeros((3, *geometry.crop), np.uint8)
    geometry.frame(image, out)
    return out


def shown_mask(geometry: Geometry) -> np.ndarray:
    mask = np.zeros(geometry.crop, bool)
    mask[: geometry.shown[0], : geometry.shown[1]] = True
    return mask


def test_same_draw_moves_frame_label_points_and_valid_alike():
    # A frame that shows its own label and points: after any draw the two must still agree.
    label = np.zeros((60, 90), np.uint8)
    label[10:40, 20:70] = 7
    frame = np.repeat(label[..., None] * 30, 3, axis=2)
    transform = RandomScaleCrop((48, 64))
    for seed in range(40):
        geometry = transform.draw(RNG(seed), 60, 90)
        shown, moved, valid = moved_frame(geometry, frame), geometry.label(label), shown_mask(geometry)
        assert shown.shape == (3, 48, 64)
        assert (moved[~valid] == 255).all()
        assert not shown[:, ~valid].any()
        disagree = (moved[valid] == 7) != (shown[0][valid] > 105)
        assert disagree.mean() < 0.02


def test_points_land_where_scale_flip_and_crop_put_them():
    geometry = Geometry(top=10, left=20, height=40, width=60, shown=(20, 30), crop=(24, 32), flip=True)
    points = ((20, 10, 1), (79, 49, 2), (50, 30, 3), (19, 10, 4), (80, 20, 5), (30, 50, 6))
    assert geometry.points(points) == [(29, 0, 1), (0, 19, 2), (14, 10, 3)]
    drawn = geometry.point_map(points)
    assert (drawn != 255).sum() == 3
    assert [drawn[0, 29], drawn[19, 0], drawn[10, 14]] == [1, 2, 3]


@pytest.mark.parametrize("flip", [False, True])
def test_points_follow_the_label_map_under_integer_scale(flip: bool):
    label = RNG(1).integers(0, 19, (50, 80), dtype=np.uint8)
    geometry = Geometry(top=5, left=7, height=20, width=30, shown=(40, 60), crop=(48, 64), flip=flip)
    points = tuple((int(x), int(y), int(label[y, x])) for y, x in RNG(2).integers(0, 50, (200, 2)))
    moved = geometry.label(label)
    assert all(moved[row, column] == train_id for column, row, train_id in geometry.points(points))
    inside = [p for p in points if 7 <= p[0] < 37 and 5 <= p[1] < 25]
    assert len(geometry.points(points)) == len(inside) > 10


def test_crop_then_resize_equals_resize_then_crop():
    image = smooth_image(96, 128)
    geometry = Geometry(top=16, left=32, height=64, width=48, shown=(32, 24), crop=(32, 24))
    whole = resize_frame(image, (48, 64))[8:40, 16:40]
    assert np.abs(moved_frame(geometry, image).transpose(1, 2, 0).astype(int) - whole).max() <= 1


def test_scale_one_copies_pixels():
    image, label = smooth_image(40, 60), RNG(0).integers(0, 9, (40, 60), dtype=np.uint8)
    geometry = RandomScaleCrop((40, 60), scale=(1, 1), flip=False).draw(RNG(0), 40, 60)
    assert np.array_equal(moved_frame(geometry, image), image.transpose(2, 0, 1))
    assert np.array_equal(geometry.label(label), label)
    assert shown_mask(geometry).all()


def test_scale_range_is_reached_and_relative_to_working_size():
    scales = []
    for seed in range(300):
        geometry = RandomScaleCrop((32, 32), resize=(100, 200)).draw(RNG(seed), 400, 800)
        scales.append(4 * geometry.shown[0] / geometry.height)
        assert geometry.shown == (32, 32)
    assert 0.45 < min(scales) < 0.55
    assert 1.9 < max(scales) < 2.1
    assert 1.15 < np.mean(scales) < 1.35


def test_flip_mirrors_half_of_the_samples_and_leaves_padding_right():
    transform = RandomScaleCrop((64, 64), scale=(0.9, 1.1))
    drawn = [transform.draw(RNG(seed), 60, 60) for seed in range(200)]
    assert 70 < sum(geometry.flip for geometry in drawn) < 130
    padded = next(g for g in drawn if g.flip and g.shown[1] < 60)
    grey = moved_frame(padded, np.full((60, 60, 3), 9, np.uint8))
    assert np.array_equal(grey[0] == 9, shown_mask(padded))


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("shown", [(24, 36), (48, 72), (60, 90)])
def test_flow_is_that_between_the_augmented_frames(flip: bool, shown: tuple[int, int]):
    # Frame b shows frame a moved by (4, 2): f_{a->b} = (4, 2) everywhere.
    wide = smooth_image(120, 160, seed=3) // 4 * 8
    a, b = wide[20:100, 20:140], wide[18:98, 16:136]
    flow = np.broadcast_to(np.array([4, 2], np.float32)[:, None, None], (2, 80, 120)).copy()
    geometry = Geometry(top=12, left=20, height=48, width=72, shown=shown, crop=(64, 96), flip=flip)
    moved, valid = geometry.flow(flow)
    rows, columns = np.mgrid[:64, :96].astype(np.float32)
    seen = cv2.remap(
        moved_frame(geometry, b).transpose(1, 2, 0), columns + moved[0], rows + moved[1], interpolation=cv2.INTER_LINEAR
    )
    wanted = moved_frame(geometry, a).transpose(1, 2, 0)
    error = np.abs(seen.astype(int) - wanted)[valid].mean()
    wrong = np.abs(moved_frame(geometry, b).transpose(1, 2, 0).astype(int) - wanted)[valid].mean()
    assert error < 0.1 * wrong
    assert wrong > 5
    assert not valid[shown[0] :].any()
    assert not valid[:, shown[1] :].any()
    assert 0.8 < valid.sum() / (shown[0] * shown[1]) < 1


def test_labels_keep_their_ids_when_resized():
    label = RNG(0).choice(np.array([0, 7, 255], np.uint8), (45, 77))
    for size in ((20, 31), (90, 200), (45, 77)):
        assert set(np.unique(resize_label(label, size))) <= {0, 7, 255}


def test_strong_reduction_averages():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::4] = 200
    assert np.ptp(resize_frame(stripes, (16, 16))) == 0
    assert resize_frame(stripes, (16, 16))[0, 0, 0] == 50


def test_writing_channels_leaves_the_padding():
    image, out = smooth_image(5, 6), np.zeros((2, 3, 8, 9), np.uint8)
    write_planar(image, out[1])
    assert np.array_equal(out[1, :, :5, :6], image.transpose(2, 0, 1))
    assert out.sum() == image.sum()


def test_crop_that_no_scale_can_fill():
    transform = RandomScaleCrop((97, 64), scale=(0.5, 2.0))
    transform.check(49, 32)
    with pytest.raises(ConfigError, match=r"crop 97x64 is larger than the padded image; .*at most 96x128.*48x64"):
        transform.check(48, 64)
    with pytest.raises(ConfigError, match="working size 40x40"):
        RandomScaleCrop((97, 64), resize=(40, 40)).draw(RNG(0), 480, 640)


@pytest.mark.parametrize("scale", [(0.0, 1.0), (2.0, 0.5)])
def test_bad_scale_range(scale: tuple[float, float]):
    with pytest.raises(ConfigError, match="scale range"):
        RandomScaleCrop((8, 8), scale=scale)
