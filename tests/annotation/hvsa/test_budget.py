from __future__ import annotations

import json
import math

import numpy as np
import pytest

from thriftseg.annotation.hvsa.budget import Budget, parse_amount
from thriftseg.annotation.hvsa.folder import HVSAFolder, RoundSelection
from thriftseg.annotation.ranking.selection import Sample
from thriftseg.errors import ConfigError, DatasetError


def label(budget: Budget, costs: list[float]) -> list[list[int]]:
    """Label through all rounds by plan; the samples of every round."""
    rounds, left = [], list(range(len(costs)))
    while True:
        planned = budget.plan(left, [costs[sample] for sample in left])
        for sample in planned:
            budget.charge(costs[sample])
        rounds.append(planned)
        left = [sample for sample in left if sample not in planned]
        if budget.round == budget.rounds:
            return rounds
        budget.next_round()


def test_rounds_by_hand():
    """30 a round: 20 + 5 + 3 + 2 use up the first, 20 leave 10 for the third, 20 + 20 use up the third."""
    budget = Budget(90, 3, "pixels")
    assert label(budget, [20, 20, 20, 20, 5, 3, 2]) == [[0, 4, 5, 6], [1], [2, 3]]
    assert budget.spent == 90


def test_leftover_by_hand():
    """30 a round: 25 leave 5, so that 35 fit into the second, and nothing of the third is lost."""
    budget = Budget(90, 3, "pixels")
    assert budget.plan([0, 1], [25, 10]) == [0]
    budget.charge(25)
    assert budget.left == 5
    budget.next_round()
    assert budget.left == 35
    budget.charge(35)
    assert budget.left == 0
    budget.next_round()
    assert budget.left == 30


def test_samples_that_do_not_fit_are_passed_over():
    assert Budget(90, 3, "pixels").plan([4, 2, 9, 7], [31, 20, 11, 10]) == [2, 7]


def test_the_first_round_may_borrow_one_sample():
    budget = Budget(90, 3, "pixels")
    assert budget.plan([4, 2], [70, 65]) == [4]
    budget.charge(70)
    assert (budget.left, budget.plan([2], [1]), budget.needed(1)) == (0, [], 0)
    budget.next_round()
    assert budget.plan([2], [1]) == []
    budget.next_round()
    assert budget.left == 20


def test_the_first_round_does_not_borrow_where_something_fits():
    assert Budget(90, 3, "pixels").plan([4, 2, 3], [70, 20, 65]) == [2]


def test_later_rounds_do_not_borrow():
    budget = Budget(90, 3, "pixels", round=2)
    assert budget.plan([1], [61]) == []
    assert budget.plan([1], [60]) == [1]


@pytest.mark.parametrize("unit", ["clicks", "seconds"])
def test_clicks_and_seconds_end_with_the_sample_that_uses_them_up(unit):
    budget = Budget(90, 3, unit)
    assert budget.plan([5, 6, 7], [29, 50, 1]) == [5, 6]
    budget.charge(29)
    assert budget.left == 1
    budget.charge(50)
    assert budget.left == 0
    budget.next_round()
    assert budget.left == 0
    budget.next_round()
    assert budget.left == 11


@pytest.mark.parametrize("unit", ["pixels", "clicks", "seconds", "samples"])
@pytest.mark.parametrize("seed", range(20))
def test_never_more_than_the_total_and_one_sample(unit, seed):
    rng = np.random.default_rng(seed)
    costs = [1.0] * 60 if unit == "samples" else rng.integers(0, 40, 60).astype(float).tolist()
    total, rounds = float(rng.integers(1, 300)), int(rng.integers(1, 6))
    budget = Budget(total, rounds, unit)
    chosen = label(budget, costs)
    flat = [sample for planned in chosen for sample in planned]
    assert len(flat) == len(set(flat)) == budget.samples
    assert budget.spent == pytest.approx(sum(costs[sample] for sample in flat))
    assert budget.spent <= total + max(costs[sample] for sample in flat)
    if budget.known_before and not (len(chosen[0]) == 1 and costs[chosen[0][0]] > total / rounds):
        spent = np.cumsum([sum(costs[sample] for sample in planned) for planned in chosen])
        assert all(spent[k] <= total * (k + 1) / rounds + 1e-6 for k in range(rounds))
    if sum(costs) >= total and not budget.known_before:
        assert budget.spent >= total - 1e-6


def test_samples_of_a_round():
    budget = Budget(10, 3, "samples")
    assert [len(planned) for planned in label(budget, [1] * 30)] == [3, 3, 4]


def test_fewer_samples_than_rounds():
    assert [len(planned) for planned in label(Budget(1, 3, "samples"), [1] * 30)] == [1, 0, 0]
    assert [len(planned) for planned in label(Budget(2, 4, "samples"), [1] * 30)] == [1, 0, 0, 1]


def test_a_video_of_one_frame():
    """10 % of its pixels do not pay for it, but the first round may borrow it; then there is nothing left to label."""
    assert label(Budget(parse_amount("10%", full=3072), 3, "pixels"), [3072]) == [[0], [], []]


def test_everything_is_affordable_with_the_whole_amount():
    for count in range(1, 40):
        budget = Budget(parse_amount("100%", full=count * 3072), 3, "pixels")
        assert sum(map(len, label(budget, [3072] * count))) == count


@pytest.mark.parametrize("unit", ["pixels", "clicks", "seconds", "samples"])
def test_without_a_budget_nothing_is_labelled(unit):
    budget = Budget(0, 3, unit)
    assert label(budget, [1, 2, 3]) == [[], [], []]
    assert (budget.left, budget.needed(5)) == (0, 0)


def test_nothing_to_label():
    assert Budget(90, 3, "pixels").plan([], []) == []


def test_needed():
    assert Budget(90, 3, "pixels").needed(7) == 4
    assert Budget(90, 3, "samples").needed(1) == 30
    assert Budget(90, 3, "pixels").needed(31) == 1  # the borrowed one
    assert Budget(90, 3, "clicks").needed(7) == 5  # the fifth uses them up
    assert Budget(0.3 * 10, 1, "samples").needed(0.3) == 10  # rounding does not lose one


def test_needed_goes_by_what_clicks_have_cost_so_far():
    budget = Budget(90, 3, "clicks")
    budget.charge(4)
    budget.charge(6)
    assert budget.needed(100) == 4  # 20 left at 5 each
    pixels = Budget(90, 3, "pixels", spent=10, samples=2)
    assert pixels.needed(10) == 2  # is told the true cost
    free = Budget(90, 3, "clicks")
    free.charge(0)  # a sample without anything to label
    assert free.needed(15) == 2


@pytest.mark.parametrize("cost", [0, -1, math.inf, math.nan])
def test_needed_refuses_impossible_costs(cost):
    with pytest.raises(ConfigError, match="expected cost of a sample"):
        Budget(90, 3, "clicks").needed(cost)


def test_a_stored_budget_goes_on(tmp_path):
    budget = Budget(90, 3, "clicks")
    budget.charge(29)
    budget.charge(5)
    budget.next_round()
    assert budget.to_dict() == {"total": 90, "rounds": 3, "unit": "clicks", "round": 2, "spent": 34.0, "samples": 2}
    folder = HVSAFolder(tmp_path, {})
    folder.keep_selection(2, RoundSelection(budget.to_dict(), [Sample(7, 3)], [12]))
    selection = folder.selection(2)
    assert (selection.samples, selection.pixels) == ([Sample(7, 3)], [12])
    again = Budget(**selection.budget)
    assert again == budget
    assert again.left == 26


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"budget": {"total": 90, "rounds": 3}},
            r"\$\.budget; expected an entry unit; found a mapping of total",
        ),
        ({"samples": [[7, 3]]}, r"\$\.samples\[0\]; expected array of length 3"),
        ({"samples": None}, r"\$\.samples; expected array"),
    ],
)
def test_a_foreign_state_is_refused(tmp_path, change, message):
    folder = HVSAFolder(tmp_path, {})
    folder.keep_selection(1, RoundSelection(Budget(90, 3, "clicks").to_dict(), [], []))
    path = tmp_path / "round_1/selection.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DatasetError, match=rf"selection\.json: malformed at {message}.*; fix: delete it"):
        folder.selection(1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"total": -1}, "amounts of a budget"),
        ({"total": math.nan}, "amounts of a budget"),
        ({"total": math.inf}, "amounts of a budget"),
        ({"spent": -1}, "amounts of a budget"),
        ({"rounds": 0}, "rounds of a budget"),
        ({"round": 4}, "round 4 of 3"),
        ({"unit": "frames"}, "expected pixels, clicks, seconds, samples; found frames"),
    ],
)
def test_values_out_of_range_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Budget(**{"total": 90, "rounds": 3, "unit": "pixels", **settings})


def test_misuse_is_refused():
    budget = Budget(90, 1, "pixels")
    with pytest.raises(ValueError, match="round 1 is the last"):
        budget.next_round()
    with pytest.raises(ValueError, match="cost of at least 0"):
        budget.charge(-1)
    with pytest.raises(ValueError, match="zip"):
        budget.plan([1, 2], [3])


@pytest.mark.parametrize(
    ("text", "amount"),
    [("12000", 12000), (12000, 12000), ("1.5e3", 1500), ("0", 0), ("10%", 5000), (" 4.3 % ", 2150), ("100%", 50000)],
)
def test_amounts(text, amount):
    assert parse_amount(text, full=50000) == pytest.approx(amount)


@pytest.mark.parametrize("text", ["", "%", "ten", "-5", "-5%", "101%", "10%%", "10% of all", "inf", "nan", "nan%"])
def test_no_amounts(text):
    with pytest.raises(ConfigError, match="not an amount; expected a number such as 12000, or 0% to 100%"):
        parse_amount(text, full=50000)


def test_percent_of_what():
    with pytest.raises(ConfigError, match="percent of an unknown amount; found '10%'"):
        parse_amount("10%")
