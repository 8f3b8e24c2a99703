"""Curves of runs that annotate objects, with numbers worked out by hand."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from thriftseg.errors import ConfigError, DatasetError
from thriftseg.metrics import AnnotationCurve
from thriftseg.reports import (
    CurveGroup,
    curve_table,
    plot_annotation_curves,
    read_curve,
    read_curve_groups,
    write_curve,
)
from thriftseg.reports.annotation.curves import Span

BLUE, ORANGE = (0, 114, 178), (213, 94, 0)


def curve(hours: list[float], jf: list[float]) -> AnnotationCurve:
    return AnnotationCurve(np.array(hours), np.array(jf))


FAST = curve([1, 2, 4], [0.5, 0.75, 1.0])
SLOW = curve([2, 3, 6], [0.5, 0.5, 0.875])


def printed(groups: list[CurveGroup], target: float) -> str:
    stream = io.StringIO()
    Console(width=100, file=stream).print(curve_table(groups, target))
    return stream.getvalue()


def pixels(path: Path, color: tuple[int, ...]) -> int:
    """Number of pixels of a colour."""
    image = np.asarray(Image.open(path).convert("RGB"), np.int16)
    return int((np.abs(image - color).max(axis=2) <= 1).sum())


class TestFiles:
    def test_a_curve_is_read_as_it_was_written(self, tmp_path: Path) -> None:
        path = write_curve(tmp_path / "run", FAST, target=0.875)
        assert json.loads(path.read_text()) == {
            "target": 0.875,
            "hours_at_target": 3.0,
            "area": (0.625 + 2 * 0.875) / 3,
            "hours": [1, 2, 4],
            "jf": [0.5, 0.75, 1],
        }
        assert [each.name for each in path.parent.iterdir()] == ["curve.json"]
        for place in (path, path.parent):
            assert [each.tolist() for each in read_curve(place)] == [[1, 2, 4], [0.5, 0.75, 1]]

    def test_a_target_out_of_reach_is_null(self, tmp_path: Path) -> None:
        assert json.loads(write_curve(tmp_path, SLOW, target=0.9).read_text())["hours_at_target"] is None

    @pytest.mark.parametrize(
        ("content", "problem"),
        [
            ("{", "is not JSON"),
            ('{"hours": [1]}', r"malformed at \$; expected an entry jf"),
            ('{"hours": [1], "jf": [0.5, 0.5]}', "as many numbers of both"),
            ('{"hours": [], "jf": []}', "one at least"),
            ('{"hours": [2, 1], "jf": [0.5, 0.5]}', "hours that increase"),
            ('{"hours": [1], "jf": [NaN]}', "is not JSON; found NaN"),
        ],
    )
    def test_damaged(self, tmp_path: Path, content: str, problem: str) -> None:
        (tmp_path / "curve.json").write_text(content)
        with pytest.raises(DatasetError, match=problem):
            read_curve(tmp_path)

    def test_groups_are_found_by_patterns(self, tmp_path: Path) -> None:
        for name, each in (("fast", FAST), ("slow_0", SLOW), ("slow_1", SLOW)):
            write_curve(tmp_path / name, each, 0.85)
        groups = read_curve_groups({"a": f"{tmp_path}/fast", "b": f"{tmp_path}/slow_*"})
        assert [(group.name, len(group.curves)) for group in groups] == [("a", 1), ("b", 2)]
        with pytest.raises(ConfigError, match=r"no runs of 'c'; .*nothing like .*/none\*"):
            read_curve_groups({"c": f"{tmp_path}/none*"})

    def test_an_unfinished_run_is_not_left_out(self, tmp_path: Path) -> None:
        write_curve(tmp_path / "run_0", FAST, 0.85)
        (tmp_path / "run_1").mkdir()
        with pytest.raises(DatasetError, match=r"run_1/curve\.json"):
            read_curve_groups({"a": f"{tmp_path}/run_*"})


class TestGroup:
    def test_mean_and_range_where_all_runs_have_values(self) -> None:
        group = CurveGroup("both", (FAST, SLOW))
        assert group.span == (2, 4)
        hours, mean, low, high = group.mean_curve()
        assert hours.tolist() == [2, 3, 4]
        assert low.tolist() == [0.5, 0.5, 0.625]
        assert high.tolist() == [0.75, 0.875, 1]
        assert mean.tolist() == [0.625, 0.6875, 0.8125]

    def test_hours_of_each_run(self) -> None:
        assert CurveGroup("both", (FAST, SLOW)).hours_at(0.75) == [2, 5]
        assert CurveGroup("both", (FAST, SLOW)).hours_at(0.9) == [pytest.approx(3.2), math.inf]

    def test_area_within_some_hours(self) -> None:
        group = CurveGroup("both", (FAST, SLOW))
        fast = (0.75 + 1) / 2
        slow = ((0.5 + 0.5) / 2 + (0.5 + 0.625) / 2) / 2
        assert group.area(Span(2, 4)) == pytest.approx((fast + slow) / 2)
        assert group.area(Span(2.5, 2.5)) == pytest.approx((0.8125 + 0.5) / 2)
        assert math.isnan(group.area(Span(4, 2)))

    def test_runs_without_hours_in_common(self, tmp_path: Path) -> None:
        group = CurveGroup("apart", (curve([1, 2], [0.1, 0.2]), curve([3, 4], [0.1, 0.2])))
        assert len(group.mean_curve().hours) == 0
        assert "no hours that all runs cover" in " ".join(printed([group], 0.85).split())
        with pytest.raises(ConfigError, match="the runs of 'apart' have no hours in common"):
            plot_annotation_curves([group], tmp_path / "none.png", 0.85)


class TestTable:
    def test_hours_and_areas_over_what_all_groups_cover(self) -> None:
        text = printed([CurveGroup("fast", (FAST,)), CurveGroup("both", (FAST, SLOW))], 0.75)
        cells = [line.split() for line in text.splitlines()]
        assert ["fast", "1", "2.00", "87.5"] in cells
        assert ["both", "2", "3.50", "±", "2.12", "70.3"] in cells
        assert "area: mean J&F from 2.00 to 4.00 h" in " ".join(text.split())

    def test_what_was_not_reached(self) -> None:
        text = printed([CurveGroup("slow", (SLOW,)), CurveGroup("both", (FAST, SLOW))], 0.9)
        assert "not reached" in text
        assert "not by 1 of 2" in text


class TestFigure:
    def test_a_colour_for_each_group(self, tmp_path: Path) -> None:
        groups = [CurveGroup("fast", (FAST,)), CurveGroup("slow", (SLOW,))]
        path = plot_annotation_curves(groups, tmp_path / "new" / "curves.png", 0.85)
        assert min(pixels(path, BLUE), pixels(path, ORANGE)) > 100
        assert [each.name for each in path.parent.iterdir()] == ["curves.png"]

    def test_a_band_where_there_are_several_runs(self, tmp_path: Path) -> None:
        band = tuple(round(0.18 * value + 0.82 * 255) for value in BLUE)
        several = plot_annotation_curves([CurveGroup("both", (FAST, SLOW))], tmp_path / "both.png", 0.85)
        single = plot_annotation_curves([CurveGroup("fast", (FAST,))], tmp_path / "one.png", 0.85)
        assert pixels(several, band) > 1000 > pixels(single, band)

    def test_long_logs(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        hours = np.arange(1, 20_001) / 100
        runs = tuple(AnnotationCurve(hours, rng.random(hours.size)) for _ in range(3))
        assert plot_annotation_curves([CurveGroup("long", runs)], tmp_path / "long.png", 0.85).stat().st_size > 0
