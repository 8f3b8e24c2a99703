from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from thriftseg.errors import ConfigError
from thriftseg.reports import CostQualityPoint, plot_cost_quality

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
