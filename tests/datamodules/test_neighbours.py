from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from thriftseg.datamodules.neighbours import NeighbourPolicy
from thriftseg.errors import ConfigError
from thriftseg.types import Clip, LabelKind, TrainingSample

RNG = np.random.default_rng


def sample(number: int = 20, frames: range = range(1, 31), step: int = 1) -> TrainingSample:
    clip = Clip("ulm", {n: Path(f"{n}.png") for n in frames}, frame_step=step)
    return TrainingSample(clip, number, number, "manual", LabelKind.MANUAL)


@pytest.mark.parametrize(
    ("direction", "distance", "expected"),
    [
        ("forward", 1, [19, 18]),
        ("forward", 4, [16, 12]),
        ("forward", 7, [13, 6]),
        ("two_sided", 1, [19, 21]),
        ("two_sided", 4, [16, 24]),
        ("two_sided", 7, [13, 27]),
        ("backward", 1, [21, 22]),
        ("backward", 4, [24, 28]),
    ],
)
def test_fixed_distance(direction, distance, expected):
    policy = NeighbourPolicy(direction, n=3, distance=distance)
    assert [20 + offset for offset in policy.offsets(RNG(0))] == expected
    assert sorted(20 + offset for offset in policy.possible_offsets()) == sorted(expected)


def test_longer_windows():
    assert NeighbourPolicy("forward", n=5, distance=2).offsets(RNG(0)) == [-2, -4, -6, -8]
    assert NeighbourPolicy("two_sided", n=5, distance=2).offsets(RNG(0)) == [-2, 2, -4, 4]
    assert NeighbourPolicy("two_sided", n=4, distance=1).offsets(RNG(0)) == [-1, 1, -2]
    assert NeighbourPolicy("forward", n=1).offsets(RNG(0)) == []


def test_random_forward_draws_two_of_the_four_past_frames():
    drawn = [tuple(NeighbourPolicy().offsets(RNG(seed))) for seed in range(200)]
    assert set(drawn) == {(-a, -b) for a in range(1, 5) for b in range(a + 1, 5)}
    assert NeighbourPolicy().possible_offsets() == [-4, -3, -2, -1]


def test_random_two_sided_draws_one_of_each_side():
    drawn = [sorted(NeighbourPolicy("two_sided").offsets(RNG(seed))) for seed in range(200)]
    assert {past for past, _ in drawn} == {-1, -2, -3, -4}
    assert {future for _, future in drawn} == {1, 2, 3, 4}
    assert NeighbourPolicy("two_sided").possible_offsets() == [-4, -3, -2, -1, 1, 2, 3, 4]


def test_offsets_beyond_the_clip():
    NeighbourPolicy("forward", n=3, distance=9).check([sample()])
    with pytest.raises(ConfigError, match=r"offset -20 of frame ulm/000020 does not exist; expected frame 0 of ulm"):
        NeighbourPolicy("forward", n=3, distance=10).check([sample()])
    with pytest.raises(ConfigError, match="offset -4 of frame ulm/000003"):
        NeighbourPolicy().check([sample(), sample(3)])
    NeighbourPolicy("backward", n=3, distance=5).check([sample()])
    with pytest.raises(ConfigError, match=r"offset 14 of frame ulm/000020 does not exist; expected frame 34 of ulm"):
        NeighbourPolicy("backward", n=3, distance=7).check([sample()])


def test_offsets_count_steps_of_the_clip():
    at_15_hz = sample(20, range(0, 40, 2), step=2)
    NeighbourPolicy("forward", n=3, distance=5).check([at_15_hz])
    with pytest.raises(ConfigError, match="expected frame -2"):
        NeighbourPolicy("forward", n=2, distance=11).check([at_15_hz])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"direction": "sideways"}, "unknown direction"),
        ({"n": 0}, "start at 1"),
        ({"distance": 0}, "start at 1"),
        ({"n": 6}, "cannot draw 5 distinct neighbours within 4 frames"),
    ],
)
def test_bad_policies(arguments, message):
    with pytest.raises(ConfigError, match=message):
        NeighbourPolicy(**arguments)


@pytest.mark.parametrize("n", [1, 3, 5, 7])
def test_the_next_frames_on_one_side_or_on_both(n: int) -> None:
    """The protocol of figure 5 of WeClick."""
    rng = np.random.default_rng(0)
    forward = NeighbourPolicy("forward", n=n, distance=1)
    both = NeighbourPolicy("two_sided", n=n, distance=1)
    assert forward.offsets(rng) == [-1, -2, -3, -4, -5, -6][: n - 1]
    assert both.offsets(rng) == [-1, 1, -2, 2, -3, 3][: n - 1]
