from __future__ import annotations

from functools import cache

import cv2
import numpy as np
import pytest

from thriftseg.annotation.ranking.cold_start import cold_start_sample, frame_descriptor, frame_motion
from thriftseg.annotation.ranking.selection import SampleSelection, SampleTable
from thriftseg.synthetic import SceneConfig, render_clip

HEIGHT, WIDTH = 96, 128


def texture(seed: int = 0, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC))


@cache
def scene(seed: int) -> list[np.ndarray]:
    return [frame.image for frame in render_clip(SceneConfig(height=64, width=128, num_frames=3, seed=seed))]


def flat(red: int, green: int, blue: int) -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), (red, green, blue), np.uint8)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(frame_descriptor(a) - frame_descriptor(b)))


def test_black_and_white_are_a_hundred_units_of_colour_apart():
    assert distance(flat(0, 0, 0), flat(255, 255, 255)) == pytest.approx(1, abs=1e-3)
    assert distance(flat(0, 0, 0), flat(0, 0, 0)) == 0


def test_edges_of_other_directions_are_as_far_apart_as_they_can_be():
    """Faint stripes of two greys, so that colours hardly differ."""
    stripes = np.indices((64, 64)) // 4 % 2 * 10 + 100
    across, down = (np.repeat(stripe[..., None], 3, axis=2).astype(np.uint8) for stripe in stripes)
    assert distance(across, down) == pytest.approx(np.sqrt(2), abs=0.05)
    assert distance(across, 210 - across) < 0.2  # an edge from dark to bright is one from bright to dark


def test_descriptors_are_finite_and_bounded():
    for image in (flat(7, 7, 7), texture(), texture()[:8, :8], np.zeros((1, 1, 3), np.uint8)):
        descriptor = frame_descriptor(image)
        assert (descriptor.shape, descriptor.dtype) == ((320,), np.float32)
        assert np.isfinite(descriptor).all()
        assert np.linalg.norm(descriptor) < 2.5


def test_frames_of_a_video_are_nearer_than_those_of_others():
    scenes = [scene(seed) for seed in range(3)]
    within = max(distance(frames[0], frames[-1]) for frames in scenes)
    between = min(distance(scenes[a][0], scenes[b][0]) for a in range(3) for b in range(a))
    assert within < between


@pytest.mark.parametrize("width", [128, 512])
def test_motion_is_a_share_of_the_width(width):
    image = texture(0, 3 * width // 4, width)
    shift = width // 32
    assert frame_motion(image, image) == pytest.approx(0, abs=1e-4)
    assert frame_motion(image, np.roll(image, shift, axis=1)) == pytest.approx(1 / 32, rel=0.2)


def test_motion_goes_by_the_given_estimator():
    class Uniform:
        def estimate(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
            assert a.shape == b.shape == (192, 256, 3)
            return np.stack([np.full(a.shape[:2], 3.0), np.full(a.shape[:2], -4.0)]).astype(np.float32)

    image = texture(0, 768, 1024)
    assert frame_motion(image, image, Uniform()) == pytest.approx(5 / 256)


def test_frames_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match="frames of the same shape"):
        frame_motion(texture(), texture()[:-1])


def test_a_frame_is_a_sample():
    table = cold_start_sample(30, texture(), np.roll(texture(), 4, axis=1), video=2)
    assert (len(table), table.sample(0), table.video[0], table.pixels[0]) == (1, (30, 0), 2, HEIGHT * WIDTH)
    assert table.uncertainty[0] == frame_motion(texture(), np.roll(texture(), 4, axis=1))
    assert (table.features[0] == frame_descriptor(texture())).all()
    labelled = cold_start_sample(30, texture(), labelled=True)
    assert (labelled.candidates.size, labelled.labelled.tolist()) == (0, [0])


def test_a_data_set_is_covered_before_a_video_is_seen_twice():
    tables = [
        cold_start_sample(number, image, labelled=seed == 1 and number == 2, video=seed)
        for seed in range(4)
        for number, image in enumerate(scene(seed))
    ]
    table = SampleTable.concatenate(tables)
    order = SampleSelection("diversity").rank(table, 3, np.random.default_rng(0))
    assert sorted(table.video[order[:3]].tolist()) == [0, 2, 3]


def test_the_frame_with_the_most_motion_comes_first():
    image = texture()
    tables = [cold_start_sample(shift, image, np.roll(image, shift, axis=1)) for shift in (1, 5, 3)]
    order = SampleSelection("diversity").rank(SampleTable.concatenate(tables), 1, np.random.default_rng(0))
    assert order[0] == 1
