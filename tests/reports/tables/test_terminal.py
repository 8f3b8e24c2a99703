from __future__ import annotations

import math

import pytest
from rich.console import Console

from thriftseg.reports import CostQualityPoint, class_table, cost_quality_table
from thriftseg.reports.tables.terminal import format_hours


def lines_of(table, width=80):
    console = Console(width=width, record=True, file=None)
    with console.capture() as captured:
        console.print(table)
    return [line.split() for line in captured.get().splitlines() if line.strip()]


def test_cost_quality_table_fits_a_terminal_and_shows_percent():
    points = [
        CostQualityPoint("manual 1/3 + flow 2/3", 14.63, 0.5126, clicks=23_412, boundary_iou=0.34, tc=0.8),
        CostQualityPoint("clicks", 0.2137, 0.3, clicks=307),
    ]
    rows = lines_of(cost_quality_table(points))
    assert rows[-2] == ["manual", "1/3", "+", "flow", "2/3", "14.6", "23", "412", "51.3", "34.0", "80.0"]
    assert rows[-1] == ["clicks", "0.214", "307", "30.0", "-", "-"]


def test_best_value_of_a_column_is_bold():
    points = [CostQualityPoint("a", 1, 0.2, tc=0.9), CostQualityPoint("b", 1, 0.3, tc=0.8)]
    table = cost_quality_table(points)
    styles = {column.header: [str(cell.style) for cell in column._cells] for column in table.columns[2:]}
    assert styles == {"mIoU\n%": ["", "bold"], "Boundary-\nIoU %": ["", ""], "TC\n%": ["bold", ""]}


def test_class_table_has_a_dash_for_absent_classes():
    rows = lines_of(class_table(["road", "car"], {"IoU": [0.5, math.nan], "share": [0.75, 0.0]}))
    assert rows[-2:] == [["road", "50.0", "75.0"], ["car", "-", "0.0"]]


@pytest.mark.parametrize(("hours", "text"), [(0, "0"), (0.00012345, "0.000123"), (1, "1.00"), (999.6, "1000")])
def test_format_hours(hours, text):
    assert format_hours(hours) == text
