from __future__ import annotations

import pytest

from thriftseg.errors import ConfigError
from thriftseg.metrics import annotation_reward

STEP = {"before": 0.5, "after": 0.6, "initial": 0.2, "seconds": 1.5, "spent": 4.0}


@pytest.mark.parametrize(
    ("rule", "final", "reward"),
    [("paper", False, 0.1 / 4), ("paper", True, 0.1 / 4), ("code", False, 0.1 / 1.5), ("code", True, 0.4 / 4)],
)
def test_rules(rule, final, reward):
    assert annotation_reward(rule, final=final, **STEP) == pytest.approx(reward)


def test_net_of_the_time():
    reward = annotation_reward("net", final=False, overhead=1.0, second_price=0.01, **STEP)
    assert reward == pytest.approx(0.1 - 0.025)


@pytest.mark.parametrize("times", [{"seconds": 0.0}, {"spent": 1.0}])
def test_actions_take_time(times):
    with pytest.raises(ValueError, match="an action takes time"):
        annotation_reward("paper", final=False, **STEP | times)


def test_a_rule_that_there_is_not():
    with pytest.raises(ConfigError, match="no such rule of rewards; expected paper or code or net; found 'papre'"):
        annotation_reward("papre", final=True, **STEP)  # type: ignore[arg-type]
