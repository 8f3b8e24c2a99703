"""Reports of runs that label a video with a small budget."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rich.console import Console

from tests.fixtures.square_and_disc import FRAMES, HEIGHT, WIDTH, frame, truth, write_video
from thriftseg.annotation.hvsa import find_budget
from thriftseg.annotation.hvsa import folder as hvsa_folder
from thriftseg.costs import AnnotationCost
from thriftseg.datasets import Folder
from thriftseg.datasets.images import read_frame
from thriftseg.errors import DatasetError
from thriftseg.reports import (
    annotation_comparison,
    annotation_table,
    find_annotation_runs,
    group_runs,
    plot_annotation_groups,
    print_table,
    read_annotation_run,
    write_annotation_report,
)
from thriftseg.reports.annotation.runs import BOUGHT, BUDGETS, LABELS, find_ends
from thriftseg.stores.label_store import LabelStore
from thriftseg.stores.rows import ActionRow, action_id
from thriftseg.types import LabelKind

SETTINGS = {
    "dataset": "folder", "split": "val", "video": "street", "seed": 0, "granularity": "frame", "paste_manual": True,
    "tuning": {"network": {"class_path": "Net<work>"}, "consistency_weight": 1.0},
}  # fmt: skip


def row(number: int, miou: float | None = 0.5, clicks: float | None = 0.25) -> dict[str, Any]:
    scores = {"miou": miou, "pixel_accuracy": 0.9, "boundary_iou": 0.25, "tc": None if miou is None else 0.75}
    return {
        "round": number,
        "samples": number,
        "pixels": 3072 * number,
        "cost": {"seconds": 1800.0 * number, "clicks": 40 * number, "class_clicks": 7 * number} if number else {},
        "share": {"pixels": number / 6}
        | ({} if clicks is None else {"clicks": clicks * number, "boundary_clicks": clicks * number / 2}),
        "scores": scores,
        "pasted": scores | {"miou": None if miou is None else miou + 0.125},
    }


def write_run(folder: Path, rows: list[dict[str, Any]] | None = None, **settings: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(SETTINGS | settings))
    rows = [row(0, 0.125), row(1), row(2, 0.625)] if rows is None else rows
    (folder / "rounds.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in rows))
    return folder


def text_of(table: Any, width: int = 90) -> str:
    console = Console(width=width, record=True, quiet=False, file=None)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return write_video(tmp_path_factory.mktemp("report") / "data")


@pytest.fixture
def finished(video: Folder, tmp_path: Path) -> Path:
    """Frames 1 and 4 were bought; round 1 asked for 4 and had no money left for it."""
    folder = write_run(tmp_path / "run")
    bought = LabelStore(folder / "labels", "person", video.taxonomy)
    for number in (1, 4):
        name = action_id("person", "folder", "street", number, 0)
        action = ActionRow(name, "person", "street", number, AnnotationCost())
        bought.record_action(action)
        bought.write("street", number, truth(number), kind=LabelKind.MANUAL, generator="p", parents=[action.id])
    labels = LabelStore(folder / "labels", "hvsa", video.taxonomy)
    for number in range(FRAMES):
        labels.write("street", number, truth(number), kind=LabelKind.FILLED, generator="hvsa")
    for round, numbers in ((1, (1, 4)), (2, (4, 0))):
        (folder / f"round_{round}").mkdir()
        samples = [[number, 0, HEIGHT * WIDTH] for number in numbers]
        (folder / f"round_{round}" / "selection.json").write_text(json.dumps({"budget": {}, "samples": samples}))
    return folder


def test_names_are_those_of_the_loop_and_of_the_search() -> None:
    assert (BOUGHT, LABELS) == (hvsa_folder.PERSON, hvsa_folder.RESULT)
    assert BUDGETS == find_budget.SUMMARY


def test_the_page_is_one_file_with_all_numbers(finished: Path, video: Folder) -> None:
    report = write_annotation_report(finished, video)
    page = report.page.read_text()
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", line) for line in re.findall(r"<tr>(.*?)</tr>", page)]
    assert "2 2 80 14 1.00 33.3 50.0 25.0 62.5 25.0 75.0 75.0 25.0 75.0".split() in cells
    assert "0 0 0 0 0 0.0 0.0 0.0 12.5 25.0 75.0 25.0 25.0 75.0".split() in cells
    assert ["tuning.network.class_path", "Net&lt;work&gt;"] in cells
    assert re.findall(r"<figcaption>(.*?)</figcaption>", page) == ["frame 1: 1 in round 1", "frame 4: 1 in round 2"]
    assert len(re.findall('src="data:image/(?:png|jpeg);base64,', page)) == 3
    assert not re.search(r'(src|href)="(?!data:)|@import|url\(|<script|<b>', page)


def test_the_video_shows_all_frames(finished: Path, video: Folder) -> None:
    report = write_annotation_report(finished, video)
    capture = cv2.VideoCapture(str(report.video))
    pictures = []
    while (read := capture.read())[0]:
        pictures.append(read[1][..., ::-1].astype(int))
    assert len(pictures) == FRAMES
    inside = truth(5) == 1
    expected = (frame(5)[inside].astype(int) + video.taxonomy.palette[1]) / 2
    assert np.abs(pictures[5][inside] - expected).mean() < 20  # compressed


def test_an_unfinished_run_has_no_report(finished: Path, video: Folder) -> None:
    (finished / "labels" / "hvsa" / "street" / "000003.png").unlink()
    with pytest.raises(DatasetError, match="1 frames have no label yet"):
        write_annotation_report(finished, video)


def test_a_row_per_round(tmp_path: Path) -> None:
    lines = text_of(annotation_table(read_annotation_run(write_run(tmp_path / "run")))).splitlines()
    assert [line.split() for line in lines[-3:]] == [
        ["0", "0", "0", "+", "0", "0", "0.0", "0.0", "0.0", "25.0", "25.0", "75.0"],
        ["1", "1", "40", "+", "7", "0.500", "16.7", "25.0", "12.5", "62.5", "25.0", "75.0"],
        ["2", "2", "80", "+", "14", "1.00", "33.3", "50.0", "25.0", "75.0", "25.0", "75.0"],
    ]


def test_the_network_alone_where_nothing_is_pasted(tmp_path: Path) -> None:
    run = read_annotation_run(write_run(tmp_path / "run", paste_manual=False))
    assert [run.kept(each)["miou"] for each in run.rounds] == [0.125, 0.5, 0.625]


def test_runs_that_differ_by_seed_become_a_mean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, miou in ((0, 0.5), (1, 0.75)):
        write_run(tmp_path / "frames" / f"{seed}", [row(0, 0.1), row(1, miou)], seed=seed)
    write_run(tmp_path / "tiles", [row(0, 0.1), row(1, 0.25)], granularity="rec16")
    groups = group_runs(find_annotation_runs([tmp_path]))
    assert [(group.name, len(group.runs)) for group in groups] == [("granularity frame", 2), ("granularity rec16", 1)]
    text = text_of(annotation_comparison(groups), width=120)
    assert "75.0 ± 17.7" in text  # mean and deviation of 0.625 and 0.875
    assert "37.5" in text
    monkeypatch.setenv("COLUMNS", "40")
    print_table(annotation_comparison(groups))
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        line.rstrip() for line in text.splitlines()
    ]
    assert plot_annotation_groups(groups, tmp_path / "plot.png") == tmp_path / "plot.png"
    assert read_frame(tmp_path / "plot.png").std() > 10


def test_a_run_alone_is_called_like_its_folder(tmp_path: Path) -> None:
    assert [group.name for group in group_runs(find_annotation_runs([write_run(tmp_path / "mine")]))] == ["mine"]


def test_without_truth_there_are_costs_alone(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [row(0, None, None), row(1, None, None)])
    run = read_annotation_run(folder)
    text = text_of(annotation_table(run))
    assert text.splitlines()[-1].split()[-5:-1] == ["-", "-", "-", "25.0"]


@pytest.mark.parametrize(("target", "percent", "miou"), [(0.6, 50, 0.75), (0.8, 100, 0.875), (0.99, 100, 0.875)])
def test_of_a_search_the_least_budget_counts(tmp_path: Path, target: float, percent: int, miou: float) -> None:
    """The best one where none reached the target, and nothing while it goes on."""
    search = tmp_path / "search" / "street"
    for budget, reached in ((50, 0.625), (100, 0.75)):
        write_run(search / f"budget_{budget}", [row(0, 0.125), row(budget // 50, reached)])
    assert find_ends(tmp_path, searched=True) == []
    probes = [{"percent": 0, "miou": 0.25, "cost": {}, "run": "budget_100"}]
    probes += [{"percent": b, "miou": m, "cost": {}, "run": f"budget_{b}"} for b, m in ((50, 0.75), (100, 0.875))]
    (search / "budgets.json").write_text(json.dumps({"target_miou": target, "probes": probes}))
    (end,) = find_ends(tmp_path, searched=True)
    shares = {"pixels": percent / 300, "clicks": percent / 200, "boundary_clicks": percent / 400}
    assert end == ({"miou": miou, "boundary_iou": 0.25, "tc": 0.75} | shares, percent / 100, 0)
    assert len(find_ends(tmp_path)) == 2
    (search / "budgets.json").write_text(json.dumps({"target_miou": 0.2, "probes": probes}))
    assert find_ends(tmp_path, searched=True)[0].scores["miou"] == 0.25  # no label at all is enough
    (search / "budgets.json").write_text("{}")
    with pytest.raises(DatasetError, match=r"budgets\.json: malformed at \$; expected an entry target_miou"):
        find_ends(tmp_path, searched=True)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rounds.jsonl", None, "no run with a finished round"),
        ("rounds.jsonl", "", r"rounds\.jsonl: no run with a finished round; found an empty file"),
        ("rounds.jsonl", "{", r"rounds\.jsonl: line 1 is not JSON"),
        ("rounds.jsonl", '{"round": 0}\n', r"rounds\.jsonl: line 1 is malformed at \$; expected an entry samples"),
        ("run.json", "[]", r"run\.json: malformed at \$; expected object; found a list of 0"),
        ("run.json", "{}", r"run\.json: malformed at \$; expected an entry dataset"),
    ],
)
def test_a_damaged_run(tmp_path: Path, name: str, content: str | None, message: str) -> None:
    folder = write_run(tmp_path / "run")
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(content)
    with pytest.raises(DatasetError, match=message):
        read_annotation_run(folder)
