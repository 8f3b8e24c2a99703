from __future__ import annotations

import pytest
import torch

from thriftseg.errors import ConfigError
from thriftseg.lightning_modules import PolyLR


def optimizer_with(*rates: float) -> torch.optim.SGD:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates]
    return torch.optim.SGD(groups, lr=1.0)


def rates_over(schedule: PolyLR, steps: int) -> list[float]:
    rates = [schedule.get_last_lr()[0]]
    for _ in range(steps):
        schedule.optimizer.step()
        schedule.step()
        rates.append(schedule.get_last_lr()[0])
    return rates


def test_follows_the_formula() -> None:
    rates = rates_over(PolyLR(optimizer_with(0.2), total_steps=10, power=0.9), 10)
    assert rates == pytest.approx([0.2 * (1 - t / 10) ** 0.9 for t in range(11)])


def test_ends_at_the_minimum_and_stays_there() -> None:
    rates = rates_over(PolyLR(optimizer_with(1.0), total_steps=4, power=0.9, min_factor=0.1), 6)
    assert rates[4:] == pytest.approx([0.1, 0.1, 0.1])
    assert min(rates[:4]) > 0.1


def test_warms_up_linearly() -> None:
    rates = rates_over(PolyLR(optimizer_with(1.0), total_steps=1000, power=1.0, warmup_steps=4), 6)
    ramp = [0.2, 0.4, 0.6, 0.8, 1.0, 1.0, 1.0]
    assert rates == pytest.approx([r * (1 - t / 1000) for t, r in enumerate(ramp)])


def test_scales_every_parameter_group() -> None:
    schedule = PolyLR(optimizer_with(1.0, 0.1), total_steps=2, power=1.0)
    schedule.optimizer.step()
    schedule.step()
    assert schedule.get_last_lr() == pytest.approx([0.5, 0.05])


def test_a_longer_run_that_resumes_decays_to_its_own_end() -> None:
    first = PolyLR(optimizer_with(1.0), total_steps=4, power=1.0)
    rates_over(first, 2)
    second = PolyLR(optimizer_with(1.0), total_steps=8, power=1.0)
    second.load_state_dict(first.state_dict())
    assert rates_over(second, 6)[-1] == 0.0
    assert second.factor(4) == 0.5


def test_needs_to_know_the_length_of_the_run() -> None:
    schedule = PolyLR(optimizer_with(1.0))
    schedule.optimizer.step()
    with pytest.raises(ConfigError, match="length of the run; fix: pass total_steps"):
        schedule.step()


@pytest.mark.parametrize(
    "settings", [{"total_steps": 0}, {"power": -1.0}, {"min_factor": 1.5}, {"warmup_steps": -1}], ids=str
)
def test_refuses_settings_out_of_range(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        PolyLR(optimizer_with(1.0), **settings)
