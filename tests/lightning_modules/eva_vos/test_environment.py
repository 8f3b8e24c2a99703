from __future__ import annotations

import pytest
import torch

from thriftseg.errors import ConfigError
from thriftseg.lightning_modules import VectorEnvironment
from thriftseg.types import AnnotationState


class Countdown:
    """Ends after a number of steps; the reward is the action plus ten times the seed."""

    num_actions = 3

    def __init__(self, steps: int, cut: bool = False) -> None:
        self.steps, self.cut = steps, cut

    def reset(self, seed=None):
        self.left, self.seed = self.steps, seed
        return self._state(), {"quality": 0.0}

    def step(self, action):
        assert self.left > 0
        self.left -= 1
        over = self.left == 0
        return self._state(), action + 10.0 * self.seed, over and not self.cut, over and self.cut, {"quality": 0.5}

    def _state(self) -> AnnotationState:
        return AnnotationState(str(self.steps), torch.zeros(256, 1, 1), torch.zeros(1, 1), float(self.left))


def test_finished_environments_wait():
    environment = VectorEnvironment([Countdown(1), Countdown(3), Countdown(2, cut=True)])
    assert environment.running == []
    states, infos = environment.reset([1, 2, 3])
    assert [state.seconds for state in states] == [1, 3, 2]
    assert infos == [{"quality": 0.0}] * 3
    first = environment.step([0, 1, 2])
    assert first.rewards == [10, 21, 32]
    assert first.terminated == [True, False, False]
    assert environment.running == [1, 2]
    second = environment.step([1, 2])
    assert second.rewards == [0, 21, 32]
    assert (second.terminated, second.truncated) == ([True, False, False], [False, False, True])
    assert [state.seconds for state in second.states] == [0, 1, 0]
    third = environment.step([0])
    assert third.rewards == [0, 20, 0]
    assert environment.running == []
    with pytest.raises(ConfigError, match="wrong number of actions"):
        environment.step([])
    environment.reset([0, 0, 0])
    assert environment.running == [0, 1, 2]


def test_what_does_not_fit():
    with pytest.raises(ConfigError, match="environments do not fit together"):
        VectorEnvironment([])
    other = Countdown(1)
    other.num_actions = 2
    with pytest.raises(ConfigError, match=r"found \[2, 3\]"):
        VectorEnvironment([Countdown(1), other])
    environment = VectorEnvironment([Countdown(1)])
    with pytest.raises(ConfigError, match="wrong number of seeds"):
        environment.reset([0, 1])
    environment.reset([0])
    with pytest.raises(ConfigError, match="expected 1 actions"):
        environment.step([0, 0])
