from __future__ import annotations

import json
import math

import numpy as np
import pytest
from PIL import Image

from thriftseg.cli.main import main
from thriftseg.errors import ConfigError
from thriftseg.reports import CostQualityPoint, plot_cost_quality, read_cost_quality

POINTS = [
    CostQualityPoint("manual", 14.6, 0.51, clicks=23_000, boundary_iou=0.34, tc=0.80),
    CostQualityPoint("mixed", 4.9, 0.47, clicks=8_000, boundary_iou=0.29, tc=0.83),
    CostQualityPoint("clicks", 0.21, 0.31, clicks=300, boundary_iou=0.15),
]


def colors_of(path):
    return {tuple(color) for color in np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3).tolist()}


def test_every_source_has_its_own_colour_and_the_picture_is_alone_in_its_folder(tmp_path):
    path = plot_cost_quality(POINTS, tmp_path / "new" / "cost_quality.png")
    assert {(0, 114, 178), (213, 94, 0), (0, 158, 115)} <= colors_of(path)
    assert [file.name for file in path.parent.iterdir()] == ["cost_quality.png"]


def test_one_panel_per_metric(tmp_path):
    one = Image.open(plot_cost_quality(POINTS, tmp_path / "one.png")).size
    two = Image.open(plot_cost_quality(POINTS, tmp_path / "two.png", metrics=("miou", "tc"))).size
    assert two[0] == 2 * one[0]
    assert two[1] == one[1]


def test_free_labels_and_missing_values_can_be_drawn(tmp_path):
    free = CostQualityPoint("free", 0.0, 0.2)
    path = plot_cost_quality([free, *POINTS], tmp_path / "free.png")
    assert (0, 114, 178) in colors_of(path)
    nothing = CostQualityPoint("nothing", 1.0, math.nan)
    assert plot_cost_quality([nothing], tmp_path / "nothing.png").stat().st_size > 0


def test_quality_against_the_share_of_coarse_labels(tmp_path):
    points = [
        CostQualityPoint("net", 100, 0.7, coarse_percent=0, miou_std=0.01),
        CostQualityPoint("net", 10, 0.6, coarse_percent=100),
        CostQualityPoint("net", 100, 0.72, coarse_percent=0, published=True, label="N1"),
    ]
    path = plot_cost_quality(points, tmp_path / "share.png", x="coarse_percent")
    assert (0, 114, 178) in colors_of(path)
    assert Image.open(path).width > Image.open(plot_cost_quality(points[:2], tmp_path / "hours.png")).width  # a legend
    with pytest.raises(ConfigError, match=r"coarse labels \(%\) of 'manual' are not a share"):
        plot_cost_quality(POINTS, path, x="coarse_percent")
    with pytest.raises(ConfigError, match="unknown axis; expected hours, coarse_percent; found clicks"):
        plot_cost_quality(POINTS, path, x="clicks")


def test_runs_are_points_with_the_deviation_of_their_seeds(tmp_path, capsys):
    for name, seed, miou in (("clicks_4", 0, 0.25), ("clicks_4", 1, 0.5), ("clicks_8", 0, 0.75)):
        (run := tmp_path / f"{name}-seed{seed}").mkdir()
        metrics = {"val/miou": miou, "val/tc": miou / 2, "cost/hours": float(name[-1])}
        scores = {"command": "fit", "network_sha256": None, "training": {}, "metrics": metrics}
        (run / "fit.json").write_text(json.dumps(scores))
    students = [{"name": "manual 30", "hours": 7.5, "miou": 0.5}, {"name": "other", "hours": 1.0, "miou": 0.5}]
    (tmp_path / "kept.json").write_text(json.dumps({"students": students}))
    runs = {"clicks": f"{tmp_path}/clicks_*", "manual": f"{tmp_path}/kept.json#manual *"}
    four, eight, manual = read_cost_quality(runs)
    assert (four.name, four.label, four.hours, four.miou, four.tc) == ("clicks", "clicks_4", 4.0, 0.375, 0.1875)
    assert four.miou_std == pytest.approx(0.125 * math.sqrt(2))
    assert (eight.label, eight.miou_std) == ("clicks_8", None)
    assert (manual.label, manual.hours, math.isnan(manual.tc)) == ("", 7.5, True)
    patterns = [f"{name}={pattern}" for name, pattern in runs.items()]
    assert main(["report", "cost", "--runs", *patterns, "--out", f"{tmp_path}/cost.png"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[3:]]
    assert rows[0] == ["clicks,", "clicks_4", "4.00", "37.5", "±", "17.7", "-", "18.8"]
    assert rows[2] == ["manual", "7.50", "50.0", "-", "-"]
    assert {(0, 114, 178), (213, 94, 0)} <= colors_of(tmp_path / "cost.png")
    (run := tmp_path / "clicks-16-seed0").mkdir()
    (run / "fit.json").write_text(json.dumps(scores | {"metrics": {"val/miou": 0.75, "cost/hours": 16.0}}))
    assert [point.label for point in read_cost_quality({"clicks": f"{tmp_path}/clicks?*"})] == [
        *("clicks-16", "clicks_4", "clicks_8")
    ]
    [point] = read_cost_quality({"clicks": f"{tmp_path}/clicks*#*_8"})
    assert point.hours == 8.0
    (run / "fit.json").write_text(json.dumps(scores | {"metrics": {"val/miou": None, "cost/hours": 16.0}}))
    with pytest.raises(ConfigError, match="clicks-16-seed0: no hours or no mIoU of 'clicks-16'"):
        read_cost_quality({"clicks": f"{tmp_path}/clicks-*"})
    (tmp_path / "clicks_16-seed0").mkdir()
    with pytest.raises(ConfigError, match="clicks_16-seed0: no hours or no mIoU of 'clicks_16'"):
        read_cost_quality(runs)


def test_pixels_are_the_same_each_time(tmp_path):
    first = plot_cost_quality(POINTS, tmp_path / "a.png").read_bytes()
    assert plot_cost_quality(POINTS, tmp_path / "b.png").read_bytes() == first


def test_bad_points_are_refused_and_the_old_picture_stays(tmp_path):
    path = tmp_path / "plot.png"
    path.write_bytes(b"old")
    with pytest.raises(ConfigError, match="no points to plot"):
        plot_cost_quality([], path)
    with pytest.raises(ConfigError, match="unknown metric; expected miou, boundary_iou, tc; found dice"):
        plot_cost_quality(POINTS, path, metrics=("dice",))
    with pytest.raises(ConfigError, match="annotation hours of 'x' are not a duration; found nan"):
        plot_cost_quality([CostQualityPoint("x", math.nan, 0.5)], path)
    assert path.read_bytes() == b"old"
