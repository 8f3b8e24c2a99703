from __future__ import annotations

import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch

from thriftseg.errors import ConfigError
from thriftseg.flow import (
    DIS,
    FlowEstimator,
    compose,
    consistency_mask,
    consistency_mask_np,
    create_estimator,
    warp,
    warp_labels,
    warp_settled,
)


def random_flow(seed: int, height: int, width: int, length: float = 6.0) -> np.ndarray:
    """Smooth random flow; its multiples of 1/16 plus 1/32 never lie half way between pixels."""
    noise = np.random.default_rng(seed).standard_normal((2, height, width)).astype(np.float32)
    smooth = np.stack([cv2.GaussianBlur(channel, (0, 0), 5) for channel in noise])
    smooth *= length / np.abs(smooth).max()
    return (np.floor(smooth * 16) / 16 + 1 / 32).astype(np.float32)


def noisy_return(flow: np.ndarray, seed: int) -> np.ndarray:
    return -flow + 0.4 * np.random.default_rng(seed).standard_normal(flow.shape).astype(np.float32)


def bilinear_by_hand(field: np.ndarray, x: float, y: float) -> np.ndarray:
    _, height, width = field.shape
    x, y = min(max(x, 0.0), width - 1.0), min(max(y, 0.0), height - 1.0)
    left, top = int(np.floor(x)), int(np.floor(y))
    right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
    wx, wy = x - left, y - top
    upper = field[:, top, left] * (1 - wx) + field[:, top, right] * wx
    lower = field[:, bottom, left] * (1 - wx) + field[:, bottom, right] * wx
    return upper * (1 - wy) + lower * wy


def check_by_hand(backward: np.ndarray, forward: np.ndarray, alpha: float = 0.01, beta: float = 0.5) -> np.ndarray:
    backward, forward = backward.astype(np.float64), forward.astype(np.float64)
    _, height, width = backward.shape
    mask = np.zeros((height, width), bool)
    for y in range(height):
        for x in range(width):
            there = backward[:, y, x]
            end_x, end_y = x + there[0], y + there[1]
            back = bilinear_by_hand(forward, end_x, end_y)
            inside = 0 <= np.floor(end_x + 0.5) < width and 0 <= np.floor(end_y + 0.5) < height
            small = ((there + back) ** 2).sum() <= alpha * ((there**2).sum() + (back**2).sum()) + beta
            mask[y, x] = inside and small
    return mask


def moved_square() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A square that moves 3 px to the right; its frames and both exact flows (background stands still)."""
    previous, current = np.zeros((24, 32), np.uint8), np.zeros((24, 32), np.uint8)
    previous[8:16, 10:18], current[8:16, 13:21] = 1, 1
    backward, forward = np.zeros((2, 24, 32), np.float32), np.zeros((2, 24, 32), np.float32)
    backward[0, current == 1], forward[0, previous == 1] = -3, 3
    return previous, current, backward, forward


class TestDirection:
    def test_backward_flow_brings_the_previous_frame_onto_the_current_one(self) -> None:
        previous, current, backward, forward = moved_square()
        reliable = consistency_mask_np(backward, forward)
        np.testing.assert_array_equal(warp_labels(previous, backward)[reliable], current[reliable])
        assert (~reliable).sum() == 8 * 3  # the strip that the square uncovered
        assert not reliable[8:16, 10:13].any()

    def test_the_opposite_flow_is_wrong(self) -> None:
        previous, current, backward, forward = moved_square()
        object_pixels = current == 1
        assert (warp_labels(previous, -backward)[object_pixels] != 1).sum() == 8 * 6
        assert (warp_labels(previous, forward) != current).any()

    @pytest.mark.parametrize("mode", ["bilinear", "nearest"])
    def test_torch_agrees(self, mode: str) -> None:
        previous, current, backward, forward = moved_square()
        warped, inside = warp(torch.from_numpy(previous)[None, None].float(), torch.from_numpy(backward)[None], mode)
        reliable = consistency_mask(torch.from_numpy(backward)[None], torch.from_numpy(forward)[None])[0].numpy()
        np.testing.assert_allclose(warped[0, 0].numpy()[reliable], current[reliable], atol=1e-4)
        np.testing.assert_array_equal(reliable, consistency_mask_np(backward, forward))
        assert inside.all()

    @pytest.mark.parametrize("preset", ["ultrafast", "fast", "medium"])
    def test_dis_points_from_a_to_b(self, preset: str) -> None:
        noise = np.random.default_rng(0).random((96, 128, 3), np.float32)
        a = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
        b = np.roll(a, 3, axis=1)  # what is at x in a is at x + 3 in b
        flow = DIS(preset).estimate(a, b)
        assert flow.shape == (2, 96, 128)
        assert flow.dtype == np.float32
        assert np.median(flow[0]) == pytest.approx(3, abs=0.2)
        assert np.median(flow[1]) == pytest.approx(0, abs=0.2)


class TestWarp:
    def test_half_way_rounds_up(self) -> None:
        label = np.arange(8, dtype=np.uint8)[None]
        half = np.zeros((2, 1, 8), np.float32)
        half[0] = 0.5
        expected = [1, 2, 3, 4, 5, 6, 7, 255]
        np.testing.assert_array_equal(warp_labels(label, half)[0], expected)
        warped, _ = warp(torch.from_numpy(label)[None, None], torch.from_numpy(half)[None], "nearest", fill=255)
        assert warped.dtype == torch.uint8
        np.testing.assert_array_equal(warped[0, 0, 0], expected)
        half[0] = -0.5  # pixel 0 points to -0.5, which still belongs to it
        np.testing.assert_array_equal(warp_labels(label, half)[0], [0, 1, 2, 3, 4, 5, 6, 7])

    @pytest.mark.parametrize("length", [0.9, 7.0, 60.0])
    def test_nearest_agrees_with_a_plain_loop(self, length: float) -> None:
        label = np.random.default_rng(1).integers(0, 20, (20, 31)).astype(np.uint8)
        flow = random_flow(2, 20, 31, length)
        expected = np.full_like(label, 255)
        for y, x in np.ndindex(label.shape):
            column, row = int(np.floor(x + flow[0, y, x] + 0.5)), int(np.floor(y + flow[1, y, x] + 0.5))
            if 0 <= column < 31 and 0 <= row < 20:
                expected[y, x] = label[row, column]
        np.testing.assert_array_equal(warp_labels(label, flow), expected)
        warped, inside = warp(torch.from_numpy(label)[None, None], torch.from_numpy(flow)[None], "nearest", fill=255)
        np.testing.assert_array_equal(warped[0, 0], expected)
        np.testing.assert_array_equal(inside[0], expected != 255)

    def test_bilinear_agrees_with_a_plain_loop(self) -> None:
        x = np.random.default_rng(3).standard_normal((2, 14, 17))
        flow = random_flow(4, 14, 17).astype(np.float64)
        expected = np.zeros_like(x)
        for row, column in np.ndindex(14, 17):
            end = column + flow[0, row, column], row + flow[1, row, column]
            expected[:, row, column] = bilinear_by_hand(x, *end)
        warped, _ = warp(torch.from_numpy(x)[None], torch.from_numpy(flow)[None])
        np.testing.assert_allclose(warped[0], expected, atol=1e-12)

    def test_gradients_reach_both_inputs(self) -> None:
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(1, 2, 5, 6, dtype=torch.float64, generator=generator, requires_grad=True)
        flow = torch.rand(1, 2, 5, 6, dtype=torch.float64, generator=generator) * 0.4 + 0.3
        inner = flow.clone().requires_grad_()
        assert torch.autograd.gradcheck(lambda x, flow: warp(x, flow)[0][..., :-1, :-1], (x, inner))

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e9, -1e9, 65536.0, -65536.0])
    def test_wild_flow_is_outside(self, value: float) -> None:
        label = np.ones((4, 5), np.uint8)
        flow = np.zeros((2, 4, 5), np.float32)
        flow[0, 1, 2] = value
        assert warp_labels(label, flow)[1, 2] == 255
        assert (warp_labels(label, flow) == 255).sum() == 1
        assert not consistency_mask_np(flow, np.zeros_like(flow))[1, 2]
        tensor = torch.from_numpy(flow)[None]
        for mode in ("nearest", "bilinear"):
            warped, inside = warp(torch.ones(1, 1, 4, 5), tensor, mode, fill=9)
            assert not inside[0, 1, 2]
            assert (warped == 9).sum() == 1
        assert not consistency_mask(tensor, torch.zeros_like(tensor))[0, 1, 2]

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
    def test_wild_flow_has_finite_gradients(self, value: float) -> None:
        x = torch.randn(2, 3, 12, 16, generator=torch.Generator().manual_seed(0), requires_grad=True)
        flow = torch.zeros(2, 2, 12, 16)
        flow[:, :, 3:5] = value
        flow.requires_grad_()
        warped, inside = warp(x, flow)
        gradients = torch.autograd.grad((warped * inside[:, None]).sum(), (x, flow))
        assert all(gradient.isfinite().all() for gradient in gradients)
        torch.testing.assert_close(gradients[0][:, 0], inside.float())

    def test_half_precision_input_keeps_its_type_and_position(self) -> None:
        x = torch.arange(4096.0).remainder(64).half().view(1, 1, 1, -1)
        flow = torch.zeros(1, 2, 1, 4096, dtype=torch.float16)
        flow[:, 0] = 1
        warped, _ = warp(x, flow, "nearest")
        assert warped.dtype == torch.float16
        assert torch.equal(warped[..., :-1], x[..., 1:])

    def test_one_pixel_image(self) -> None:
        warped, inside = warp(torch.ones(1, 1, 1, 1), torch.zeros(1, 2, 1, 1))
        assert warped.item() == 1
        assert inside.item()

    def test_wrong_shapes(self) -> None:
        with pytest.raises(ValueError, match="expected x"):
            warp(torch.zeros(1, 1, 4, 5), torch.zeros(1, 2, 4, 6))
        with pytest.raises(ValueError, match="mode must be"):
            warp(torch.zeros(1, 1, 4, 5), torch.zeros(1, 2, 4, 5), "cubic")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="flow must have shape"):
            warp_labels(np.zeros((4, 5), np.uint8), np.zeros((4, 5, 2), np.float32))
        with pytest.raises(ValueError, match="flows must both be"):
            consistency_mask(torch.zeros(1, 2, 4, 5), torch.zeros(1, 2, 4, 6))


class TestConsistency:
    @pytest.mark.parametrize("seed", range(3))
    def test_agrees_with_a_plain_loop(self, seed: int) -> None:
        backward = random_flow(seed, 24, 30)
        forward = noisy_return(backward, seed)
        expected = check_by_hand(backward, forward)
        assert 0.1 < expected.mean() < 0.9
        np.testing.assert_array_equal(consistency_mask_np(backward, forward), expected)
        got = consistency_mask(torch.from_numpy(backward)[None], torch.from_numpy(forward)[None])[0]
        np.testing.assert_array_equal(got, expected)

    def test_the_threshold_itself_passes(self) -> None:
        backward, forward = np.zeros((2, 3, 3), np.float32), np.zeros((2, 3, 3), np.float32)
        forward[0] = 0.5  # a gap of 0.25 squared pixels
        assert consistency_mask_np(backward, forward, alpha=0, beta=0.25).all()
        assert not consistency_mask_np(backward, forward, alpha=0, beta=0.2499).any()
        tensors = torch.from_numpy(backward)[None], torch.from_numpy(forward)[None]
        assert consistency_mask(*tensors, alpha=0, beta=0.25).all()
        assert not consistency_mask(*tensors, alpha=0, beta=0.2499).any()


class TestCompose:
    def test_translations_add_up(self) -> None:
        first, second = np.zeros((2, 8, 9), np.float32), np.zeros((2, 8, 9), np.float32)
        first[0], second[1] = 2, -1.5
        chained = compose(first, second)
        assert (chained[0] == 2).all()
        assert (chained[1] == -1.5).all()

    def test_the_second_flow_is_read_where_the_first_one_leads(self) -> None:
        first, second = np.zeros((2, 1, 6), np.float32), np.zeros((2, 1, 6), np.float32)
        first[0], second[0] = 2.25, np.arange(6)
        np.testing.assert_allclose(compose(first, second)[0, 0], 2.25 + np.minimum(np.arange(6) + 2.25, 5))


class TestDIS:
    def test_unknown_preset(self) -> None:
        with pytest.raises(ConfigError, match="no such DIS preset; expected ultrafast, fast, medium; found slow"):
            DIS("slow")

    def test_wrong_frames(self) -> None:
        with pytest.raises(ValueError, match="same shape"):
            DIS().estimate(np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8))
        with pytest.raises(ValueError, match="frames must be uint8 from 0 to 255, found float32 and uint8"):
            DIS().estimate(np.zeros((16, 16, 3), np.float32), np.zeros((16, 16, 3), np.uint8))

    def test_threads_and_pickled_copies_agree(self) -> None:
        frames = [np.random.default_rng(seed).integers(0, 256, (48, 64, 3)).astype(np.uint8) for seed in range(5)]
        estimator = DIS("fast")
        pairs = list(pairwise(frames)) * 4
        alone = [pickle.loads(pickle.dumps(estimator)).estimate(a, b) for a, b in pairs]  # noqa: S301
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(lambda pair: estimator.estimate(*pair), pairs))
        for one, other in zip(alone, together, strict=True):
            np.testing.assert_array_equal(one, other)


class TestCreateEstimator:
    def test_by_name(self) -> None:
        estimator = create_estimator("dis", preset="fast")
        assert isinstance(estimator, DIS)
        assert isinstance(estimator, FlowEstimator)
        assert estimator.preset == "fast"
        assert not isinstance(object(), FlowEstimator)

    def test_unknown_name(self) -> None:
        with pytest.raises(ConfigError, match="no such flow estimator; expected dis or raft; found 'flownet2'"):
            create_estimator("flownet2")


def test_array_functions_need_no_torch() -> None:
    program = "import sys, thriftseg.flow as f; f.FlowStore(None, f.DIS()).root; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


class TestSettled:
    def test_equals_warping_by_three_flows(self):
        label = np.random.default_rng(0).integers(0, 3, (40, 50)).astype(np.uint8).repeat(4, 0).repeat(4, 1)
        flow = random_flow(3, *label.shape)
        warped, settled = warp_settled(label, flow, fill=7)
        np.testing.assert_array_equal(warped, warp_labels(label, flow, fill=7))
        inside = warped != 7
        padded = np.pad(label, 1, mode="edge")
        beside = [
            warp_labels(padded, np.pad(flow + way, ((0, 0), (1, 1), (1, 1))))[1:-1, 1:-1] for way in (-0.25, 0.25)
        ]
        expected = (beside[0] == warped) & (beside[1] == warped)
        np.testing.assert_array_equal(settled[inside], expected[inside])
        assert 0.5 < settled.mean() < 0.95
