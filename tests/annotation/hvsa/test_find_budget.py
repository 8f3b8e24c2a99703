"""The least budget that reaches a quality."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from thriftseg.annotation import HVSAResult, search_budget
from thriftseg.annotation.hvsa.find_budget import SUMMARY
from thriftseg.costs import AnnotationCost
from thriftseg.errors import ConfigError


class Labelling:
    """Runs whose mIoU is a known function of the budget."""

    def __init__(self, quality: Callable[[float], float | None]) -> None:
        self.quality, self.budgets = quality, list[float]()

    def __call__(self, percent: float, folder: Path) -> HVSAResult:
        self.budgets.append(percent)
        rows = [{"pasted": {"miou": self.quality(each)}, "scores": {"miou": 0.0}} for each in (0.0, percent)]
        cost = AnnotationCost(seconds=36 * percent, clicks=round(10 * percent))
        return HVSAResult(folder, tuple(rows), cost, folder / "labels")


def linear(percent: float) -> float:
    return 0.1 + 0.008 * percent  # 0.5 at 50 %, 0.9 at 100 %


@pytest.mark.parametrize("target", [0.11, 0.333, 0.5, 0.77, 0.89])
@pytest.mark.parametrize("tolerance", [0.05, 1.0, 7.0])
def test_comes_as_near_as_the_tolerance(tmp_path: Path, target: float, tolerance: float) -> None:
    run = Labelling(linear)
    found = search_budget(run, tmp_path, target_miou=target, tolerance=tolerance)
    least = (target - 0.1) / 0.008
    assert least <= found.cheapest.percent <= least + tolerance + 1e-3
    assert len(run.budgets) == 1 + math.ceil(math.log2(100 / tolerance))


def test_each_budget_has_a_folder_of_its_own(tmp_path: Path) -> None:
    found = search_budget(Labelling(linear), tmp_path, target_miou=0.5, tolerance=20)
    assert [probe.percent for probe in found.probes] == [0, 25, 37.5, 50, 100]
    assert found.probes[2].folder == tmp_path / "budget_37.5"
    content = json.loads((tmp_path / SUMMARY).read_text())
    assert [row["percent"] for row in content["probes"]] == [0, 25, 37.5, 50, 100]
    assert content["probes"][3] == {
        "percent": 50, "miou": 0.5, "cost": {"seconds": 1800, "clicks": 500}, "run": "budget_50"
    }  # fmt: skip
    assert str(found) == "mIoU 50 takes a budget of 50 %: 50.0, 500 clicks, 0.50 h"


def test_says_when_nothing_reaches_the_target(tmp_path: Path) -> None:
    run = Labelling(linear)
    found = search_budget(run, tmp_path, target_miou=0.95)
    assert found.cheapest is None
    assert run.budgets == [100]
    assert str(found) == "no budget reached mIoU 95; 100 % led to 90.0"


def test_a_network_that_is_good_enough_needs_no_budget(tmp_path: Path) -> None:
    run = Labelling(linear)
    found = search_budget(run, tmp_path, target_miou=0.1, max_budget=40)
    assert run.budgets == [40]
    assert (found.cheapest.percent, found.cheapest.cost) == (0, AnnotationCost())


def test_the_network_alone_may_be_what_counts(tmp_path: Path) -> None:
    assert search_budget(Labelling(linear), tmp_path, target_miou=0.2, paste_manual=False).cheapest is None


def test_says_how_far_it_is(tmp_path: Path) -> None:
    lines: list[str] = []
    search_budget(Labelling(linear), tmp_path, target_miou=0.5, tolerance=50, say=lines.append)
    assert lines == ["budget 100 %: mIoU 90.0", "budget 50 %: mIoU 50.0"]


def test_a_video_without_truth_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a search for a budget needs a truth"):
        search_budget(Labelling(lambda percent: None), tmp_path, target_miou=0.5)


@pytest.mark.parametrize("wrong", [{"target_miou": 0.0}, {"target_miou": 1.1}, {"max_budget": 101}, {"tolerance": 0.0}])
def test_settings_out_of_range(tmp_path: Path, wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        search_budget(Labelling(linear), tmp_path, **({"target_miou": 0.5} | wrong))
