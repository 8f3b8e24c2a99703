from __future__ import annotations

import numpy as np
import pytest

from thriftseg.drawing import (
    CORRECT_COLOR,
    IGNORED_COLOR,
    WRONG_COLOR,
    blend,
    colorize,
    contact_sheet,
    error_map,
    legend,
    side_by_side,
)
from thriftseg.errors import ConfigError

PALETTE = [(128, 64, 128), (0, 0, 142), (70, 70, 70)]


def test_colorize_paints_known_ids_and_leaves_the_rest_to_the_ignore_colour():
    label = np.array([[0, 1, 2], [255, 3, 200]], dtype=np.uint8)
    painted = colorize(label, PALETTE, ignore_color=(9, 8, 7))
    assert painted.shape == (2, 3, 3)
    assert painted.dtype == np.uint8
    assert painted[0].tolist() == [list(color) for color in PALETTE]
    assert painted[1].tolist() == [[9, 8, 7]] * 3


def test_colorize_takes_wide_integers_and_a_full_palette():
    palette = [(i, i, i) for i in range(256)]
    label = np.array([[0, 254, 255]], dtype=np.int64)
    assert colorize(label, palette)[0, :, 0].tolist() == [0, 254, 0]


def test_blend_mixes_by_alpha_and_keeps_ignored_pixels():
    image = np.full((1, 3, 3), 200, dtype=np.uint8)
    label = np.array([[1, 255, 7]], dtype=np.uint8)
    mixed = blend(image, label, PALETTE, alpha=0.25)
    assert mixed[0, 0].tolist() == [150, 150, round(0.75 * 200 + 0.25 * 142)]
    assert mixed[0, 1:].tolist() == [[200, 200, 200]] * 2
    assert image.min() == 200


@pytest.mark.parametrize("alpha", [-0.1, 1.5])
def test_blend_refuses_alpha_out_of_range(alpha):
    with pytest.raises(ConfigError, match="alpha of an overlay is out of range; expected 0 to 1"):
        blend(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), np.uint8), PALETTE, alpha)


def test_blend_refuses_sizes_that_differ():
    with pytest.raises(ConfigError, match=r"sizes of frame and label differ; expected \(2, 4\); found \(4, 2\)"):
        blend(np.zeros((2, 4, 3), np.uint8), np.zeros((4, 2), np.uint8), PALETTE)


def test_error_map_has_three_states_and_ignores_win():
    pred = np.array([[0, 1, 2, 255]], dtype=np.uint8)
    target = np.array([[0, 2, 255, 255]], dtype=np.uint8)
    expected = [list(color) for color in (CORRECT_COLOR, WRONG_COLOR, IGNORED_COLOR, IGNORED_COLOR)]
    assert error_map(pred, target)[0].tolist() == expected


def test_side_by_side_scales_to_the_first_height_and_keeps_pixels():
    first = np.full((20, 30, 3), 10, dtype=np.uint8)
    second = np.full((40, 80, 3), 90, dtype=np.uint8)
    sheet = side_by_side([first, second], gap=4)
    assert sheet.shape == (20, 30 + 4 + 40, 3)
    assert (sheet[:, :30] == 10).all()
    assert (sheet[:, 34:] == 90).all()


def test_captions_stand_above_the_pictures_and_leave_ink():
    picture = np.full((20, 90, 3), 128, dtype=np.uint8)
    sheet = side_by_side([picture, picture], ["truth", "prediction"])
    caption_height = sheet.shape[0] - 20
    assert caption_height >= 12
    assert (sheet[caption_height:, :90] == 128).all()
    assert sheet[:caption_height, :90].max() > 200
    assert not np.array_equal(sheet[:caption_height, :90], sheet[:caption_height, 94:])


def test_contact_sheet_wraps_rows_and_fills_the_last_one():
    pictures = [np.full((8, 10, 3), 50 * (i + 1), dtype=np.uint8) for i in range(3)]
    sheet = contact_sheet(pictures, columns=2, gap=2)
    assert sheet.shape == (8 + 2 + 8, 10 + 2 + 10, 3)
    assert (sheet[10:, :10] == 150).all()
    assert (sheet[10:, 12:] < 50).all()


def test_contact_sheet_refuses_missing_pictures_and_captions():
    with pytest.raises(ConfigError, match="no pictures to arrange"):
        contact_sheet([])
    with pytest.raises(ConfigError, match="captions and pictures do not match; expected 1; found 2"):
        contact_sheet([np.zeros((4, 4, 3), np.uint8)], ["a", "b"])


def test_legend_wraps_and_shows_every_colour():
    palette = [(200, 10 * i, 30) for i in range(12)]
    names = [f"class number {i}" for i in range(12)]
    narrow, wide = legend(names, palette, width=200), legend(names, palette, width=2000)
    assert narrow.shape[1] == 200
    assert wide.shape[1] == 2000
    assert narrow.shape[0] > wide.shape[0]
    for strip in (narrow, wide):
        seen = {tuple(color) for color in strip.reshape(-1, 3).tolist()}
        assert set(palette) <= seen
