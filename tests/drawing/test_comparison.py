from __future__ import annotations

import numpy as np
import pytest

from thriftseg.drawing import CORRECT_COLOR, WRONG_COLOR, compare
from thriftseg.errors import ConfigError

PALETTE = [(128, 64, 128), (0, 0, 142)]


def test_four_panels_above_a_legend_with_errors_where_they_are():
    image = np.full((40, 80, 3), 120, dtype=np.uint8)
    truth = np.zeros((40, 80), dtype=np.uint8)
    prediction = truth.copy()
    prediction[:, 60:] = 1
    picture = compare(image, truth, prediction, ["road", "car"], PALETTE, width=160)
    assert picture.shape[1] == 2 * 160 + 4
    caption = (picture.shape[0] - 2 * 80 - 4) // 3
    errors = picture[caption : caption + 80, 164:]
    assert (errors[:, :118] == CORRECT_COLOR).all()
    assert (errors[:, 122:] == WRONG_COLOR).all()


def test_sizes_must_agree():
    image, label = np.zeros((40, 80, 3), np.uint8), np.zeros((40, 80), np.uint8)
    with pytest.raises(ConfigError, match="sizes of prediction and target differ"):
        compare(image, label, label[:20], ["road"], PALETTE)
