"""Where the surroundings of boxes are cut, and what comes back from the crop."""

from __future__ import annotations

import numpy as np
import pytest

from thriftseg.datasets.boxes.samples import BoxAugmentation
from thriftseg.datasets.boxes.windows import BoxWindow, box_of, jitter_box, pixel_box
from thriftseg.errors import ConfigError

SIZE = (120, 160)


class TestPixelBox:
    @pytest.mark.parametrize(
        "box",
        [
            (5, 5, 5, 9),  # empty
            (9, 5, 5, 9),  # inverted
            (5, 9, 9, 5),
            (-20, 5, -3, 9),  # left of the frame
            (160, 5, 170, 9),  # right of it
            (5, 130, 9, 140),  # below
            (5.1, 5, 5.4, 9),  # less than half a pixel
            (float("nan"), 5, 9, 9),
            (5, 5, float("inf"), 9),
        ],
    )
    def test_what_is_no_box(self, box):
        assert pixel_box(box, SIZE) is None

    def test_rounds_and_clips(self):
        assert pixel_box((-4.2, 2.5, 200, 6.49), SIZE) == (0, 3, 160, 6)

    def test_box_of_a_mask_encloses_it(self):
        mask = np.zeros(SIZE, bool)
        mask[7, 11], mask[20, 30] = True, True
        assert box_of(mask) == (11, 7, 31, 21)
        assert box_of(np.zeros(SIZE, bool)) is None


class TestWindow:
    @pytest.mark.parametrize(
        ("box", "window"),
        [
            ((70, 55, 80, 60), (20, 5, 130, 110)),  # free on all sides
            ((3, 2, 20, 30), (0, 0, 70, 80)),  # upper left corner
            ((150, 100, 160, 120), (100, 50, 160, 120)),  # lower right corner
        ],
    )
    def test_margin_ends_at_the_border(self, box, window):
        found = BoxWindow.around(box, SIZE)
        assert (found.left, found.top, found.right, found.bottom) == window

    @pytest.mark.parametrize("crop", [(385, 385), (65, 97)])
    @pytest.mark.parametrize("box", [(70, 55, 80, 60), (0, 0, 160, 120), (3, 2, 4, 110), (150, 100, 160, 120)])
    def test_a_full_window_comes_back_as_the_window(self, box, crop):
        window = BoxWindow.around(box, SIZE, margin=10)
        pasted = window.paste(window.restore(np.ones(crop, np.float32)), SIZE)
        expected = np.zeros(SIZE, np.float32)
        expected[window.top : window.bottom, window.left : window.right] = 1
        assert np.array_equal(pasted, expected)

    @pytest.mark.parametrize("box", [(30, 40, 60, 70), (10, 100, 400, 112), (600, 20, 609, 330), (0, 0, 640, 360)])
    def test_the_box_itself_comes_back_within_a_pixel(self, box):
        """A network that answers with its fourth channel, on boxes of any shape, also reduced ones."""
        size = (360, 640)
        window = BoxWindow.around(box, size)
        _, plane = window.show(np.zeros((*size, 3), np.uint8))
        answer = window.paste(window.restore(np.where(plane, 8, -8).astype(np.float32)), size) > 0
        found = box_of(answer)
        assert found is not None
        assert np.abs(np.subtract(found, box)).max() <= 1
        x0, y0, x1, y1 = found
        assert answer[y0:y1, x0:x1].all()

    def test_aspect_ratio_is_not_kept(self):
        frame = np.zeros((*SIZE, 3), np.uint8)
        shown, plane = BoxWindow.around((10, 50, 150, 60), SIZE, margin=5).show(frame, (64, 64))
        assert shown.shape == (64, 64, 3)
        assert plane.any(axis=1).sum() == 32  # 10 of 20 rows
        assert plane.any(axis=0).sum() == pytest.approx(64 * 140 / 150, abs=1)


class TestSamples:
    frame = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    mask = np.zeros(SIZE, np.uint8)
    mask[40:80, 60:90] = 1
    mask[0:10, 0:10] = 255

    def test_without_variation_a_sample_is_the_window(self):
        plain = BoxAugmentation(crop=(140, 130), jitter=0, flip=0, gamma=0)
        sample = plain.draw(self.frame, self.mask, np.random.default_rng(0))
        window = BoxWindow.around((60, 40, 90, 80), SIZE)
        shown, plane = window.show(self.frame, (140, 130))
        assert np.array_equal(sample.frame, shown)
        assert np.array_equal(sample.box, plane)
        assert np.array_equal(sample.target == 1, plane == 1)  # the object is a rectangle
        whole = BoxAugmentation(crop=SIZE, margin=200, jitter=0, flip=0, gamma=0)
        assert np.array_equal(whole.draw(self.frame, self.mask, np.random.default_rng(0)).target, self.mask)

    def test_mirrors_frame_box_and_target_together(self):
        settings = {"crop": (70, 80), "jitter": 0.05, "gamma": 0}
        straight, mirrored = (
            BoxAugmentation(flip=flip, **settings).draw(self.frame, self.mask, np.random.default_rng(3))
            for flip in (0, 1)
        )
        for one, other in zip(straight, mirrored, strict=True):
            assert np.array_equal(one[:, ::-1], other)

    def test_jitter_is_a_share_of_the_sides(self):
        rng = np.random.default_rng(0)
        boxes = np.array([jitter_box((100, 100, 300, 140), rng) for _ in range(2000)])
        shifts = (boxes - (100, 100, 300, 140)) / (200, 40, 200, 40)
        assert shifts.std(axis=0) == pytest.approx([0.05] * 4, rel=0.1)
        assert np.abs(shifts).max() <= 0.05 * 2.5 + 1e-9

    def test_empty_masks_are_refused(self):
        with pytest.raises(ConfigError, match="an empty mask has no box"):
            BoxAugmentation().draw(self.frame, np.zeros(SIZE, np.uint8), np.random.default_rng(0))

    @pytest.mark.parametrize("setting", [{"jitter": 0.5}, {"margin": -1}, {"gamma": -0.1}, {"crop": (0, 5)}])
    def test_wrong_settings_are_refused(self, setting):
        with pytest.raises(ConfigError, match="setting of box augmentation"):
            BoxAugmentation(**setting)
