from __future__ import annotations

import cv2
import numpy as np
import pytest

from thriftseg.exchange.cityscapes_polygons import outlines
from thriftseg.exchange.label_studio import decode_brush, encode_brush
from thriftseg.regions import (
    DrawnPolygon,
    MaskRegion,
    PointRegion,
    PolygonRegion,
    box_region,
    decode_counts,
    encode_counts,
    run_lengths,
)

DISC = "3, 5, 7, 7, 5, 9, 3, 11, 2, 11, 2, 12, 1, 12, 1, 26, 1, 12, 1, 12, 2, 11, 3, 9, 5, 7, 7, 5, 3"
"""The mask of the format description of CVAT, 13 columns and 15 rows."""


def painted(region, height=6, width=8):
    canvas = np.zeros((height, width), np.uint8)
    region.paint(canvas, 1)
    return canvas.astype(bool)


def random_mask(seed, height=40, width=50):
    rng = np.random.default_rng(seed)
    return cv2.blur(rng.random((height, width)), (1 + 2 * (seed % 3),) * 2) > 0.5


class TestRunLengths:
    def test_column_major_by_hand(self):
        mask = np.array([[0, 0, 1], [0, 1, 1]], bool)
        assert run_lengths(mask.ravel(order="F")).tolist() == [3, 3]
        region = MaskRegion([3, 3], width=3, height=2, column_major=True)
        np.testing.assert_array_equal(region.mask, mask)

    def test_row_major_by_hand(self):
        mask = np.array([[1, 0, 0], [0, 1, 1]], bool)
        assert run_lengths(mask.ravel()).tolist() == [0, 1, 3, 2]
        np.testing.assert_array_equal(MaskRegion([0, 1, 3, 2], width=3, height=2).mask, mask)

    def test_disc_of_cvat_goes_along_the_rows(self):
        mask = MaskRegion([int(count) for count in DISC.split(",")], width=13, height=15).mask
        assert mask.sum(axis=1).tolist() == [5, 7, 9, 11, 11, 12, 12, 13, 13, 12, 12, 11, 9, 7, 5]
        assert (np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(int), axis=1) == 1).sum(axis=1).tolist() == [1] * 15

    @pytest.mark.parametrize("seed", range(6))
    def test_round_trip(self, seed):
        mask = random_mask(seed)
        for order, column_major in (("C", False), ("F", True)):
            region = MaskRegion(run_lengths(mask.ravel(order=order)), 50, 40, column_major=column_major)
            np.testing.assert_array_equal(region.mask, mask)

    def test_what_lies_outside_the_image_is_left_out(self):
        region = MaskRegion([0, 16], width=4, height=4, left=-2, top=4)
        assert np.argwhere(painted(region)).tolist() == [[4, 0], [4, 1], [5, 0], [5, 1]]
        assert not painted(MaskRegion([0, 4], width=2, height=2, left=-9, top=0)).any()
        assert not painted(MaskRegion([0, 4], width=2, height=2, left=9, top=9)).any()

    @pytest.mark.parametrize("counts", [[1, 2], [1, 2, 3, 4], [5, -1], [[1, 3]]])
    def test_refused(self, counts):
        with pytest.raises(ValueError, match="run lengths"):
            MaskRegion(counts, width=2, height=2)


class TestCocoText:
    @pytest.mark.parametrize(
        ("counts", "text"),
        [
            ([6, 1, 40, 4, 5, 4, 5, 4, 21], "61X13mN000`0"),
            ([0, 15], "0?"),  # one character holds -16..15
            ([16], "`0"),  # 16 = 0b10000 would read as negative, so a zero follows
            ([0, 1, 1, 1, 1], "01100"),  # from the fourth run on, differences
            ([3, 7, 2, 5], "372N"),  # 5 - 7 = -2 = 0b11110 -> 30 + 48
        ],
    )
    def test_by_hand(self, counts, text):
        assert encode_counts(counts) == text
        assert decode_counts(text) == counts

    def test_round_trip(self):
        rng = np.random.default_rng(0)
        for scale in (3, 40, 2**20):
            counts = rng.integers(0, scale, 200).tolist()
            assert decode_counts(encode_counts(counts)) == counts

    def test_ends_within_a_number(self):
        with pytest.raises(ValueError, match="end within a number"):
            decode_counts("61X")

    def test_other_characters(self):
        with pytest.raises(ValueError, match="character '~'"):
            decode_counts("6~1")


class TestBrush:
    def test_packets_by_hand(self):
        # 18 words: four times 1, then 2 3 5 6 7 8 as they are, then eight times 4
        packed = [0, 0, 0, 18, 57, 27, 252, 96, 32, 1, 0, 6, 0, 40, 0, 192, 3, 128, 17, 56, 32]
        expected = [1, 1, 1, 1, 2, 3, 5, 6, 7, 8, *[4] * 8]
        with pytest.raises(ValueError, match="end early"):
            decode_brush(packed[:-2])
        assert decode_brush(packed).tolist() == expected

    @pytest.mark.parametrize("seed", range(6))
    def test_round_trip(self, seed):
        mask = random_mask(seed)
        words = decode_brush(encode_brush(mask))
        np.testing.assert_array_equal(words.reshape(*mask.shape, 4) == 255, np.repeat(mask[..., None], 4, axis=2))

    @pytest.mark.parametrize("pixels", [1, 2, 3, 4, 64, 65, 2**14, 2**14 + 1, 3 * 2**14])
    def test_runs_at_the_limits_of_a_packet(self, pixels):
        mask = np.zeros((1, pixels + 2), bool)
        mask[0, 1:-1] = True
        assert (decode_brush(encode_brush(mask))[3::4] > 0).tolist() == mask[0].tolist()

    @pytest.mark.parametrize("packed", [[0, 0, 0, 300], ["0"], [0.5], [-1], 3])
    def test_no_bytes(self, packed):
        with pytest.raises(ValueError, match="list of bytes"):
            decode_brush(packed)


class TestPolygons:
    def test_pixels_whose_centre_is_inside(self):
        square = PolygonRegion([(2, 1), (5, 1), (5, 4), (2, 4)])
        expected = np.zeros((6, 8), bool)
        expected[1:4, 2:5] = True
        np.testing.assert_array_equal(painted(square), expected)
        np.testing.assert_array_equal(
            painted(PolygonRegion([(1.6, 0.6), (5.4, 0.6), (5.4, 4.4), (1.6, 4.4)])), expected
        )

    def test_triangle_by_hand(self):
        triangle = painted(PolygonRegion([(0, 0), (4, 0), (0, 4)]))
        assert triangle[:4, :4].astype(int).tolist() == [[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
        assert triangle.sum() == 6

    def test_a_shared_border_belongs_to_one_side(self):
        corners = [(0, 0), (8, 0), (8, 6), (0, 6)]
        first, second = (painted(PolygonRegion([corners[k], corners[k + 1], corners[(k + 2) % 4]])) for k in (0, 2))
        np.testing.assert_array_equal(first, ~second)

    def test_area_of_a_disc(self):
        angle = np.linspace(0, 2 * np.pi, 200, endpoint=False)
        disc = PolygonRegion(np.stack([50 + 30 * np.cos(angle), 50 + 30 * np.sin(angle)], axis=1))
        assert abs(painted(disc, 100, 100).sum() - np.pi * 900) < 8

    def test_clipped_at_the_image(self):
        assert painted(PolygonRegion([(-5, -5), (30, -5), (30, 30), (-5, 30)])).all()
        assert not painted(PolygonRegion([(20, 20), (30, 20), (30, 30)])).any()

    def test_self_crossing_is_even_odd(self):
        star = painted(PolygonRegion([(0, 0), (8, 0), (8, 6), (0, 6), (0, 0), (2, 2), (6, 2), (6, 4), (2, 4), (2, 2)]))
        assert not star[2:4, 2:6].any()
        assert star.sum() == 48 - 8

    @pytest.mark.parametrize("points", [[(0, 0), (1, 1)], [(0, 0), (1, 1), (2, float("nan"))], [(0, 0, 0)] * 3])
    def test_refused(self, points):
        with pytest.raises(ValueError, match="corners of shape"):
            PolygonRegion(points)

    def test_turned_box(self):
        upright, turned = box_region(2, 1, 6, 3), box_region(2, 1, 6, 3, 90)
        assert np.argwhere(painted(upright)).tolist() == [[r, c] for r in (1, 2) for c in (2, 3, 4, 5)]
        assert np.argwhere(painted(turned)).tolist() == [[r, c] for r in (0, 1, 2, 3) for c in (3, 4)]

    def test_points(self):
        assert np.argwhere(painted(PointRegion([(1.9, 2.1), (7.5, 5.99), (8, 0), (-0.1, 0)]))).tolist() == [
            [2, 1],
            [5, 7],
        ]


class TestOutlines:
    @staticmethod
    def redrawn(ids):
        canvas = np.full(ids.shape, 99, np.uint8)
        for value, corners in outlines(ids):
            assert len(corners) >= 3
            DrawnPolygon(corners).paint(canvas, value)
        return canvas

    def test_ring_around_a_ring(self):
        ids = np.zeros((11, 11), np.uint16)
        ids[1:10, 1:10], ids[2:9, 2:9], ids[3:8, 3:8], ids[5, 5] = 1, 2, 1, 3
        np.testing.assert_array_equal(self.redrawn(ids), ids)

    def test_regions_that_cross_diagonally(self):
        ids = np.eye(9, dtype=np.uint16) + 2 * np.eye(9, dtype=np.uint16)[::-1]
        np.testing.assert_array_equal(self.redrawn(ids), ids)

    @pytest.mark.parametrize("seed", range(12))
    def test_noise(self, seed):
        rng = np.random.default_rng(seed)
        ids = np.kron(rng.integers(0, 2 + seed % 4, (17, 23)), np.ones((1 + seed % 3,) * 2)).astype(np.uint16)
        np.testing.assert_array_equal(self.redrawn(ids), ids)
