from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.flow.test_flow import random_flow
from thriftseg.flow import DIS, crop_flow, flip_flow, read_flow, scale_flow, write_flow


def constant(x: float, y: float, height: int, width: int) -> np.ndarray:
    return np.broadcast_to(np.array([x, y], np.float32)[:, None, None], (2, height, width)).copy()


def translated(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two windows of a smooth picture: what is at p in the first is at p + (6, -4) in the second."""
    noise = np.random.default_rng(seed).random((200, 260, 3), np.float32)
    picture = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    return picture[20:180, 20:240].copy(), picture[24:184, 14:234].copy()


class TestAgainstRecomputedFlow:
    """The flow that was stored and changed is the flow between the changed frames."""

    @pytest.fixture
    def stored(self, tmp_path: Path) -> tuple[np.ndarray, np.ndarray]:
        flow = DIS().estimate(*translated())
        assert np.median(flow[0]) == pytest.approx(6, abs=0.05)
        assert np.median(flow[1]) == pytest.approx(-4, abs=0.05)
        write_flow(tmp_path / "flow.png", flow)
        return read_flow(tmp_path / "flow.png")

    def check(self, flow: np.ndarray, valid: np.ndarray, a: np.ndarray, b: np.ndarray) -> None:
        recomputed = DIS().estimate(np.ascontiguousarray(a), np.ascontiguousarray(b))
        assert flow.shape == recomputed.shape
        assert valid.shape == flow.shape[1:]
        inner = np.zeros_like(valid)
        inner[16:-16, 16:-16] = True
        assert 0.8 < valid.mean() < 1
        assert valid[inner].all()
        distance = np.hypot(*(flow - recomputed))[inner]
        assert np.median(distance) < 0.05
        assert np.quantile(distance, 0.95) < 0.25
        wrong = np.hypot(*(flow * np.array([-1, 1], np.float32)[:, None, None] - recomputed))[inner]
        assert np.median(wrong) > 1

    @pytest.mark.parametrize("size", [(80, 110), (240, 330), (160, 330)])
    def test_scale(self, stored: tuple[np.ndarray, np.ndarray], size: tuple[int, int]) -> None:
        self.check(*scale_flow(stored[0], size, stored[1]), *(cv2.resize(frame, size[::-1]) for frame in translated()))

    def test_crop(self, stored: tuple[np.ndarray, np.ndarray]) -> None:
        flow, valid = stored
        self.check(*crop_flow(flow, 10, 30, 120, 150, valid), *(frame[10:130, 30:180] for frame in translated()))

    def test_flip(self, stored: tuple[np.ndarray, np.ndarray]) -> None:
        self.check(*flip_flow(stored[0]), *(frame[:, ::-1] for frame in translated()))

    def test_all_of_them(self, stored: tuple[np.ndarray, np.ndarray]) -> None:
        cut, known = crop_flow(stored[0], 10, 30, 120, 150, stored[1])
        scaled, known = scale_flow(cut, (180, 225), known)
        frames = (cv2.resize(frame[10:130, 30:180], (225, 180))[:, ::-1] for frame in translated())
        self.check(*flip_flow(scaled, known), *frames)


class TestByHand:
    def test_scale(self) -> None:
        flow, valid = scale_flow(constant(2, 1, 4, 6), (8, 3))
        np.testing.assert_array_equal(flow, constant(1, 2, 8, 3))
        np.testing.assert_array_equal(valid, [[True, True, False]] * 6 + [[False] * 3] * 2)

    def test_scale_leaves_out_what_is_mixed_from_the_unknown(self) -> None:
        known = np.ones((4, 4), bool)
        known[0, 0] = False
        _, valid = scale_flow(constant(0, 0, 4, 4), (2, 2), known)
        np.testing.assert_array_equal(valid, [[False, True], [True, True]])
        _, valid = scale_flow(constant(0, 0, 4, 4), (8, 8), known)
        assert (~valid).sum() == 9  # up to where its weight ends, a pixel and a half in the larger picture

    def test_crop(self) -> None:
        flow = np.arange(48, dtype=np.float32).reshape(2, 4, 6) * 0
        flow[0, 1] = [0, 0, 1, 2, 0, -1]
        cut, valid = crop_flow(flow, 1, 2, 2, 4)
        np.testing.assert_array_equal(cut[0], [[1, 2, 0, -1], [0, 0, 0, 0]])
        assert valid.all()
        _, valid = crop_flow(flow, 1, 2, 2, 2)
        np.testing.assert_array_equal(valid, [[True, False], [True, True]])  # 2 px from the last column leave it
        known = np.ones((4, 6), bool)
        known[2, 2] = False
        _, valid = crop_flow(flow, 1, 2, 2, 2, known)
        np.testing.assert_array_equal(valid, [[True, False], [False, True]])

    @pytest.mark.parametrize("window", [(-1, 0, 2, 2), (0, 5, 2, 2), (3, 0, 2, 2), (0, 0, 0, 2)])
    def test_window_outside(self, window: tuple[int, int, int, int]) -> None:
        with pytest.raises(ValueError, match=r"is not inside a frame of \(4, 6\)"):
            crop_flow(constant(0, 0, 4, 6), *window)

    def test_flip(self) -> None:
        flow = np.zeros((2, 1, 3), np.float32)
        flow[0, 0], flow[1, 0] = [1, 2, 3], [4, 5, 6]
        flipped, valid = flip_flow(flow, np.array([[True, False, False]]))
        np.testing.assert_array_equal(flipped, [[[-3, -2, -1]], [[6, 5, 4]]])
        np.testing.assert_array_equal(valid, [[False, False, True]])

    def test_flipping_twice_and_scaling_to_the_same_size_change_nothing(self) -> None:
        flow = random_flow(0, 20, 30)
        again, valid = flip_flow(*flip_flow(flow))
        same, valid_too = scale_flow(flow, (20, 30))
        np.testing.assert_array_equal(again, flow)
        np.testing.assert_array_equal(same, flow)
        np.testing.assert_array_equal(valid, valid_too)
        assert 0.5 < valid.mean() < 1
