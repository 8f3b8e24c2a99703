from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from thriftseg.errors import CheckpointError, ConfigError
from thriftseg.reports import (
    PublishedRow,
    PublishedTable,
    compare_table,
    comparison_csv,
    comparison_markdown,
    comparison_table,
    load_table,
    plot_comparison,
    remaining_commands,
)
from thriftseg.reports.tables.formats import print_comparison

STEPS = 100
TABLE = PublishedTable(
    "demo",
    "Two labels",
    "A paper [1]",
    "camvid",
    ("miou", "macc"),
    "coarse_percent",
    (
        PublishedRow("0 %", "net_n1", "plain", {"miou": 75.0, "macc": 85.0}, 300, 450.0, STEPS, 0),
        PublishedRow("50 %", "net_coarse50", "plain", {"miou": 70.5}, 300, 242.5, STEPS, 50),
        PublishedRow("0 % refined", "net_n1", "refined", {"miou": 75.0, "macc": 85.0}, 300, 450.0, STEPS, 0),
        PublishedRow("50 % refined", "net_refined50", "refined", {}, 300, None, STEPS, 50),
    ),
)


def write(
    run: Path,
    kind: str = "fit",
    *,
    steps: int | None = STEPS,
    scored: int | None = None,
    seed: int = 0,
    **metrics: float,
) -> None:
    run.mkdir(parents=True, exist_ok=True)
    split = "test" if kind == "test" else "val"
    known = {name: None if math.isnan(value) else value for name, value in metrics.items()}
    named = {f"{split}/{name}" if name != "hours" else "cost/hours": value for name, value in known.items()}
    training = {"steps": steps, "scored_step": steps if scored is None else scored, "seed": seed}
    content = {"command": "thriftseg fit", "network_sha256": None, "training": training, "metrics": named}
    (run / f"{kind}.json").write_text(json.dumps(content))


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    for seed, miou in enumerate((0.74, 0.76, 0.78)):
        write(folder / f"net_n1-seed{seed}", seed=seed, miou=miou, macc=miou + 0.1, hours=450.0)
    write(folder / "net_refined50", miou=0.715, macc=0.8, hours=241.25)
    return folder


def records(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def shown(comparison) -> list[str]:
    console = Console(width=120)
    with console.capture() as captured:
        console.print(comparison_table(comparison))
    return captured.get().splitlines()


def test_mean_and_deviation_over_seeds_in_per_cent(runs: Path) -> None:
    comparison = compare_table(TABLE, runs)
    first, second, shared, last = comparison.rows
    score = first.measured("miou")
    assert score is not None
    assert (score.mean, score.std, score.runs) == (pytest.approx(76), pytest.approx(2), 3)
    assert first.difference("miou") == pytest.approx(1.0)
    assert [run.seed for run in first.runs] == [0, 1, 2]
    assert second.measured("miou") is second.difference("miou") is second.hours is None
    assert shared.runs == first.runs
    single = last.measured("miou")
    assert single is not None
    assert (single.mean, single.runs, last.hours) == (pytest.approx(71.5), 1, 241.25)
    assert math.isnan(single.std)
    assert last.difference("miou") is None
    assert comparison.notes == ()


def test_the_table_on_a_terminal(runs: Path) -> None:
    lines = shown(compare_table(TABLE, runs))
    assert lines[0].strip() == "Two labels"
    rows = [line.split() for line in lines[4:]]
    assert rows[0] == "0 % 450.0 3 75.00 76.00 ± 2.00 +1.00 85.00 86.00 ± 2.00 +1.00".split()
    assert rows[1] == "50 % 242.5 - 70.50 - - - - -".split()
    assert rows[2] == []
    assert rows[3] == "0 % refined 450.0 3 75.00 76.00 ± 2.00 +1.00 85.00 86.00 ± 2.00 +1.00".split()
    assert rows[4] == "50 % refined 241.2 1 - 71.50 - - 80.00 -".split()
    assert lines[-1].strip() == "300 samples; 100 iterations; A paper [1]"


def test_hours_of_the_runs_stand_beside_published_ones_that_differ(runs: Path) -> None:
    write(runs / "net_coarse50", miou=0.7, hours=240.0)
    lines = shown(compare_table(TABLE, runs))
    assert any("240.0 (paper 242.5)" in line for line in lines)


def test_no_number_is_cut_in_a_narrow_terminal(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    print_comparison(compare_table(TABLE, runs))
    out = capsys.readouterr().out
    assert out.count("76.00 ± 2.00") == 2
    assert "…" not in out


def test_the_table_in_markdown(runs: Path) -> None:
    lines = comparison_markdown(compare_table(TABLE, runs)).splitlines()
    assert lines[0] == "**Two labels** (A paper [1])"
    assert lines[2] == (
        "| row | samples | hours | iterations | runs | mIoU paper | mIoU ours | mIoU diff. "
        "| mAcc paper | mAcc ours | mAcc diff. |"
    )
    assert lines[4] == ("| 0 % | 300 | 450.0 | 100 | 3 | 75.00 | 76.00 ± 2.00 | +1.00 | 85.00 | 86.00 ± 2.00 | +1.00 |")
    assert lines[5] == "| 50 % | 300 | 242.5 | 100 | - | 70.50 | - | - | - | - | - |"
    assert len(lines) == 8


def test_the_table_as_csv(runs: Path) -> None:
    rows = records(comparison_csv(compare_table(TABLE, runs)))
    assert [(row["row"], row["metric"]) for row in rows[:3]] == [("0 %", "miou"), ("0 %", "macc"), ("50 %", "miou")]
    assert rows[0] == {
        "row": "0 %",
        "series": "plain",
        "run": "net_n1",
        "samples": "300",
        "iterations": "100",
        "coarse_percent": "0",
        "published_hours": "450.0",
        "hours": "450.0",
        "metric": "miou",
        "published": "75.0",
        "ours": "76.0",
        "std": "2.0",
        "runs": "3",
        "difference": "1.0",
        "published_masks": "",
        "masks": "",
    }
    assert [rows[2][name] for name in ("published", "ours", "std", "runs", "difference")] == ["70.5", "", "", "0", ""]
    assert [rows[6][name] for name in ("hours", "published", "ours", "std")] == ["241.25", "", "71.5", ""]


def test_many_scores_take_a_line_each(tmp_path: Path) -> None:
    for index, stem in enumerate(("cityscapes_tmanet_n1", "cityscapes_tmanet_refined100")):
        scores = {"iou/pole": 0.6 + index / 10, "iou/traffic light": 0.7, "iou/bicycle": math.nan}
        write(tmp_path / stem, steps=40_000, hours=347.1, **scores)
    comparison = compare_table("samsam2_t5", tmp_path)
    lines = [line.split() for line in shown(comparison)]
    assert "0 % 347.1 (paper 4462.5) 1 IoU pole 63.25 60.00 -3.25".split() in lines
    assert ["IoU", "traffic", "light", "70.02", "70.00", "-0.02"] in lines
    assert ["IoU", "bicycle", "59.97", "-", "-"] in lines
    markdown = comparison_markdown(comparison).splitlines()
    assert len(markdown) == 4 + 3 * 8 + 8  # scores that nobody knows have no line, rows without any have one
    assert "10 % 4050.3 - nothing published, nothing run - - -".split() in lines
    assert sum("nothing" in line for line in lines) == 8
    assert markdown[4].startswith("| 0 % | 2975 | 347.1 (paper 4462.5) | 40000 | 1 | IoU pole | 63.25 | 60.00 |")
    assert len(records(comparison_csv(comparison))) == 11 * 20
    assert plot_comparison(comparison, tmp_path / "pictures") == []


def test_a_method_that_is_not_shipped_has_published_figures_alone(tmp_path: Path) -> None:
    comparison = compare_table("taovos_t5", tmp_path)
    lines = [line.split() for line in shown(comparison)]
    assert "CFBI, fine-tuned - not shipped TAO-VOS J&F 66.30 - -".split() in lines
    assert {"CFBI", "LWL"}.isdisjoint(key for keys in remaining_commands(comparison).values() for key in keys)
    found = [row for row in records(comparison_csv(comparison)) if row["row"] == "LWL"]
    assert (found[0]["run"], found[0]["published"], found[0]["runs"]) == ("", "55.9", "0")


def test_the_better_of_two_frame_rates_counts_once_both_are_known(tmp_path: Path) -> None:
    run = tmp_path / "youtube_vos_stm_gt"
    write(run, steps=200_000)
    write(run / "annotated_frames", "test", steps=200_000, jf=0.61, j=0.6, f=0.62)
    (row, *_) = compare_table("taovos_t5", tmp_path).rows
    assert row.measured("annotated_frames/jf").mean == pytest.approx(61)
    assert row.measured("tao_vos/jf") is None
    write(run / "all_frames", "test", steps=200_000, jf=0.625, j=0.59, f=0.66)
    comparison = compare_table("taovos_t5", tmp_path)
    scores = [comparison.rows[0].measured(f"tao_vos/{name}").mean for name in ("jf", "j", "f")]
    assert scores == pytest.approx([62.5, 59, 66])
    lines = [line.split() for line in shown(comparison)]
    assert "STM 200000 1 TAO-VOS J&F 62.30 62.50 +0.20".split() in lines
    assert "annotated frames, J&F - 61.00 -".split() in lines


def test_size_and_speed_of_networks(tmp_path: Path) -> None:
    (tmp_path / "pspnet_resnet18").mkdir()
    profile = {"parameters": 13_900_000, "gflops": 512.5, "milliseconds": 500, "fps": 2.0}
    profile |= {"size": [256, 512], "device": "a processor"}
    (tmp_path / "pspnet_resnet18" / "profile.json").write_text(json.dumps(profile))
    table = load_table("weclick_t4").with_rows(["PSP-R18 weak", "PSP-R18 WeClick", "PSP-Mob weak"])
    comparison = compare_table(table, tmp_path)
    for row in comparison.rows[:2]:
        assert row.measured("params_m").mean == pytest.approx(13.9)
        assert row.difference("fps") == pytest.approx(2 - 15.63)
    assert comparison.rows[2].measured("fps") is None
    lines = [line.split() for line in shown(comparison)]
    assert lines.count("M parameters 13.80 13.90 +0.10".split()) == lines.count("GFLOPs - 512.50 -".split()) == 2
    assert comparison.notes == (
        "size and speed of pspnet_resnet18: at 256x512 on a processor",
        "size and speed were not measured: `thriftseg zoo profile NAME --out runs/NAME/profile.json` for "
        "pspnet_mobilenetv2",
    )
    (tmp_path / "pspnet_resnet18" / "profile.json").write_text('{"parameters": 1}')
    with pytest.raises(CheckpointError, match=r"profile\.json: malformed at \$; expected an entry gflops"):
        compare_table(table, tmp_path)


def test_hours_to_a_quality(tmp_path: Path) -> None:
    for seed, jf in enumerate(([0.5, 0.9], [0.5, 0.8], [0.75, 0.95])):
        (tmp_path / f"fig3a_random-seed{seed}").mkdir()
        content = json.dumps({"hours": [80.0, 160.0], "jf": jf})
        (tmp_path / f"fig3a_random-seed{seed}" / "curve.json").write_text(content)
    table = load_table("eva_vos_fig3a").with_rows(["random", "IVOS-W"])
    never = compare_table(table, tmp_path).rows[0].measured("hours_at_85")
    assert (never.mean, never.runs) == (math.inf, 3)
    (tmp_path / "fig3a_random-seed1" / "curve.json").unlink()
    (row, shipped_by_others) = compare_table(table, tmp_path).rows
    assert row.measured("hours_at_85").mean == pytest.approx((150 + 120) / 2)
    assert row.difference("hours_at_85") == pytest.approx(135 - 107.4)
    assert shipped_by_others.runs == ()


def test_runs_that_took_too_few_steps_are_left_out_and_named(runs: Path) -> None:
    write(runs / "net_n1-seed2", steps=60, miou=0.1)
    comparison = compare_table(TABLE, runs)
    score = comparison.rows[0].measured("miou")
    assert score is not None
    assert (score.mean, score.runs) == (pytest.approx(75), 2)
    assert comparison.notes == (
        f"{runs / 'net_n1-seed2'}: left out after 60 of 100 steps; resume it, or pass --unfinished to count it",
    )
    counted = compare_table(TABLE, runs, unfinished=True)
    assert len(counted.rows[0].runs) == 3
    assert counted.notes == (f"{runs / 'net_n1-seed2'}: counted after 60 of 100 steps",)

    write(runs / "net_n1-seed2", miou=0.78, macc=0.88, hours=450.0)  # resumed
    assert compare_table(TABLE, runs).rows[0].measured("miou").mean == pytest.approx(76)


def test_what_the_reader_of_scores_should_know(runs: Path) -> None:
    (runs / "net_coarse50" / "checkpoints").mkdir(parents=True)
    write(runs / "net_n1-seed0", "validate", scored=40, miou=0.74)
    write(runs / "net_n1-seed1", "test", steps=None, miou=0.76)
    (runs / "net_n1-seed1" / "fit.json").unlink()
    comparison = compare_table(TABLE, runs)
    assert comparison.notes == (
        f"{runs / 'net_n1-seed0'}: validate.json has the scores after 40 of 100 steps",
        f"{runs / 'net_n1-seed1'}: counted, but test.json does not tell the number of steps",
        f"{runs / 'net_coarse50'}: left out, there is no test.json or validate.json or fit.json: "
        "not finished, or not scored yet",
        "the scores come from different files (test.json, validate.json, fit.json); choose one with --scores",
    )
    only = compare_table(TABLE, runs, scores="fit")
    assert [run.folder.name for run in only.rows[0].runs] == ["net_n1-seed0", "net_n1-seed2"]
    assert f"{runs / 'net_n1-seed1'}: left out, there is no fit.json: not finished, or not scored yet" in only.notes


def test_a_table_that_nothing_was_run_of_has_no_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert all(row.runs == () for row in compare_table(TABLE).rows)
    (tmp_path / "net_n1s").mkdir()
    assert all(row.runs == () for row in compare_table(TABLE, tmp_path).rows)
    with pytest.raises(ConfigError, match="no such folder of runs"):
        compare_table(TABLE, tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="unknown file of scores; expected test, validate, fit; found best"):
        compare_table(TABLE, tmp_path, scores="best")


def test_what_is_left_to_run(tmp_path: Path) -> None:
    for name in ("cityscapes_tmanet_b3", "cityscapes_tmanet_b3_moving"):
        write(tmp_path / name, steps=40_000, miou=0.7)
    remaining = remaining_commands(compare_table("samsam2_options", tmp_path))
    assert [(command.split(" --")[0], keys) for command, keys in remaining.items()] == [
        ("thriftseg fit", ["only coarse"]),
        ("thriftseg fit", ["only coarse of 20 000"]),
        ("thriftseg fit", ["all coarse and fine"]),
        ("thriftseg label propagate", ["B3 with gaps filled"]),
        ("thriftseg fit", ["B3 with gaps filled"]),
        ("thriftseg label fill", ["B3 with gaps filled"]),
        ("thriftseg fit", ["B3 with gaps filled"]),
        ("thriftseg label refine", ["50 % refined in all classes"]),
        ("thriftseg fit", ["50 % refined in all classes"]),
    ]
    assert remaining_commands(compare_table(TABLE, tmp_path)) == {}  # nothing says how to run its rows
    youtube = load_table("taovos_youtube_vos").with_rows("true masks")
    short, whole = (remaining_commands(compare_table(youtube, tmp_path), whole=whole) for whole in (False, True))
    assert [*whole][: len(short)] == [*short]
    assert len(whole) == len(short) + 3


def test_pictures_show_published_values_hollow_and_runs_filled(runs: Path, tmp_path: Path) -> None:
    pictures = plot_comparison(compare_table(TABLE, runs), tmp_path / "out")
    assert [path.name for path in pictures] == ["demo_hours.png", "demo_coarse_percent.png"]
    for path in pictures:
        pixels = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3)
        blue, orange = ((pixels == color).all(1).sum() for color in ((0, 114, 178), (213, 94, 0)))
        assert min(blue, orange) > 100
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["demo_coarse_percent.png", "demo_hours.png"]
