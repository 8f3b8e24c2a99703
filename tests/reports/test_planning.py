"""What the next hours buy: curves through pilots, and how far they can be trusted."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from thriftseg.cli.main import main
from thriftseg.errors import ConfigError
from thriftseg.reports import read_runs
from thriftseg.reports.planning import Pilot, best_at, plan_table, read_pilots

HOURS = np.array([1.0, 2.0, 4.0, 8.0, 16.0])


def test_a_law_without_noise_is_found_and_continued():
    pilot = Pilot("clicks", HOURS, 0.7 - 0.3 * HOURS**-0.5)
    assert pilot.quality(64.0).value == pytest.approx(0.7 - 0.3 / 8, abs=1e-3)
    assert pilot.hours_to(0.6).value == pytest.approx(9.0, rel=0.02)
    assert pilot.hours_to(0.95).value == math.inf
    assert pilot.quality(64.0).high - pilot.quality(64.0).low < 0.01


def test_quality_neither_falls_with_hours_nor_passes_one():
    falling = Pilot("noise", HOURS, np.array([0.5, 0.49, 0.48, 0.47, 0.46]))
    assert falling.quality(100.0).value == pytest.approx(0.48)
    steep = Pilot("steep", HOURS, np.array([0.5, 0.62, 0.75, 0.87, 0.99]))
    assert steep.quality(1e6).value <= 1


@pytest.mark.parametrize(("seeds", "noise"), [(1, 0.01), (3, 0.003)])
def test_nine_of_ten_intervals_hold_what_comes_with_twice_the_hours(seeds, noise):
    """Laws drawn at random; fewer than 49 of 60 fair intervals hold once in fifty times."""
    draws = np.random.default_rng(seeds)
    held, errors = [], []
    for _ in range(60):
        limit, factor, exponent = draws.uniform(0.4, 0.8), draws.uniform(0.1, 0.3), draws.uniform(0.2, 1)
        hours = np.repeat(HOURS, seeds)
        miou = limit - factor * hours**-exponent + draws.normal(0, noise, len(hours))
        truth = limit - factor * 32.0**-exponent
        found = Pilot("any", hours, miou).quality(32.0)
        held.append(found.low <= truth + draws.normal(0, noise) <= found.high)
        errors.append(abs(found.value - truth))
    assert np.mean(held) >= 49 / 60
    assert np.mean(errors) < 0.02


@pytest.mark.parametrize(
    ("file", "left_out"), [("camvid_coarse", 201.2), ("camvid_refined", 201.2), ("synthetic_mixtures", 13.9)]
)
def test_measured_curves_are_foretold_within_two_points(file, left_out):
    """The largest budget of runs that were measured, from the smaller ones."""
    path = Path(__file__).parents[2] / "docs" / "measurements" / f"{file}.json"
    points = [
        (student["hours"], student["miou"])
        for student in json.loads(path.read_text())["students"]
        if student["name"] not in ("B3s", "B5s")  # other mixtures at the same price
    ]
    hours, miou = np.array(points).T
    kept = hours < left_out - 1
    found, truth = Pilot(file, hours[kept], miou[kept]).quality(left_out), miou[~kept].mean()
    assert abs(found.value - truth) < 0.02
    assert found.low <= truth <= found.high


def test_kinds_of_labels_are_foretold_within_one_point_on_average():
    """The largest budget of each kind from the smaller ones; nine of ten intervals should hold."""
    path = Path(__file__).parents[2] / "docs" / "measurements" / "synthetic_hours.json"
    held, errors = [], []
    for kind in ("manual", "propagated", "coarse", "refined", "clicks"):
        runs = [run for each in read_runs(kind, f"{path}#{kind} *").values() for run in each]
        for seed in sorted({run.seed for run in runs}):
            *pilot, (spent, truth) = sorted((run.hours, run.scores["miou"]) for run in runs if run.seed == seed)
            found = Pilot(kind, *np.array(pilot).T).quality(spent)
            held.append(found.low <= truth <= found.high)
            errors.append(abs(found.value - truth))
    assert len(held) >= 5
    assert np.mean(held) >= 0.8
    assert np.mean(errors) < 0.01


def test_which_labels_are_best_depends_on_the_budget():
    clicks, masks = Pilot("clicks", HOURS, 0.5 - 0.1 / HOURS), Pilot("masks", HOURS, 0.7 - 0.5 / HOURS)
    assert best_at([clicks, masks], 1.0)["clicks"] > 0.99
    assert best_at([clicks, masks], 20.0)["masks"] > 0.99


def test_equal_kinds_of_labels_share_the_budget():
    """A thousandth is nothing beside the noise of a hundredth: each is the best about as often."""
    noise = 0.01 * np.array([1, -1, 1, -1, 1])
    lower, higher = (Pilot(f"kind {limit}", HOURS, limit - 0.3 / HOURS + noise) for limit in (0.6, 0.601))
    assert 0.4 < best_at([lower, higher], 32.0)["kind 0.6"] < 0.6


def test_curves_that_would_pass_one_keep_the_mean_of_the_runs():
    miou = 0.95 - 0.2 / HOURS + 0.03 * np.array([1, -1, -1, 1, 1])
    pilot = Pilot("good", HOURS, miou)
    assert pilot.drawn(1e9).max() <= 1
    drawn = np.mean([np.mean(pilot.drawn(hours)) for hours in HOURS.tolist()])
    assert drawn == pytest.approx(miou.mean(), abs=0.01)


def test_fewer_hours_than_tried_are_not_promised():
    flat = Pilot("flat", HOURS, np.array([0.5, 0.49, 0.48, 0.47, 0.46]))
    assert flat.hours_to(0.3) == (1.0, 1.0, 1.0)


def write_runs(folder):
    for number, hours in enumerate(HOURS.tolist()):
        run = folder / f"clicks_{number}"
        run.mkdir(parents=True)
        metrics = {"val/miou": 0.7 - 0.3 * hours**-0.5, "cost/hours": hours}
        content = {"command": "fit", "network_sha256": None, "training": {}, "metrics": metrics}
        (run / "fit.json").write_text(json.dumps(content))


def test_the_command_reads_folders_and_files(tmp_path, capsys):
    write_runs(tmp_path / "runs")
    students = [{"name": "masks", "hours": hours, "miou": 0.5} for hours in HOURS.tolist()]
    students += [{"name": "free", "hours": 1.0, "miou": 1.0}]
    (tmp_path / "results.json").write_text(json.dumps({"students": students}))
    pilots = [f"clicks={tmp_path}/runs/clicks_*", f"masks={tmp_path}/results.json#mask?"]
    assert main(["plan", "--pilot", *pilots, "--budget", "36", "--target", "0.6", "--out", f"{tmp_path}/plan.png"]) == 0
    table = capsys.readouterr().out
    clicks, masks = (line.split() for line in table.splitlines() if line.startswith((" clicks", " masks")))
    assert clicks[:4] == ["clicks", "5", "16.0", "62.5"]
    assert clicks[5] == "65.0"
    assert masks[5] == "50.0"
    assert masks[-3:] == ["(never", "to", "never)"]
    assert (tmp_path / "plan.png").stat().st_size > 1000


def test_what_cannot_be_a_pilot_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="too few runs of pilot 'a'; expected 4 runs or more with 3 budgets or more"):
        Pilot("a", HOURS[:3], HOURS[:3] / 20)
    with pytest.raises(ConfigError, match="expected hours above 0"):
        Pilot("a", np.array([0.0, 1, 2, 3]), np.full(4, 0.5))
    with pytest.raises(ConfigError, match="no runs of 'a'"):
        read_pilots({"a": f"{tmp_path}/nothing_*"})
    (tmp_path / "unfinished").mkdir()
    with pytest.raises(ConfigError, match="unfinished: no hours or no mIoU of 'unfinished'"):
        read_pilots({"a": f"{tmp_path}/unfin*"})


def test_what_was_not_tried_is_not_the_best() -> None:
    hours = np.array([1.0, 2.0, 4.0, 8.0])
    clicks, masks = Pilot("clicks", hours, 0.3 - 0.2 / hours), Pilot("masks", 4 * hours, 0.6 - 0.2 / hours)
    assert best_at([clicks, masks], 3.0) == {"clicks": 1.0, "masks": 0.0}
    assert best_at([clicks, masks], 4.0)["masks"] > 0.99
    assert best_at([clicks, masks], 0.5) == {"clicks": 0.0, "masks": 0.0}
    assert [*plan_table([clicks, masks], 3.0).columns[5].cells][1] == "not tried below 4.00 h"
