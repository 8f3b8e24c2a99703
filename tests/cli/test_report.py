from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from thriftseg.cli.main import main
from thriftseg.reports import list_tables, load_table


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two seeds of the second row of samsam2_t4, finished, and one that is not."""
    for seed, (miou, steps) in enumerate([(0.70, 40_000), (0.71, 40_000), (0.1, 39_999)]):
        folder = tmp_path / "runs" / f"cityscapes_td2fanet_coarse50-seed{seed}"
        folder.mkdir(parents=True)
        metrics = {"val/miou": miou, "val/macc": miou + 0.08, "cost/hours": 2404.1}
        training = {"steps": steps, "scored_step": steps, "seed": seed}
        content = {"command": "thriftseg fit", "network_sha256": None, "training": training, "metrics": metrics}
        (folder / "fit.json").write_text(json.dumps(content))
    return tmp_path / "runs"


def test_the_table_as_text(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "table", "samsam2_t4", "--runs", str(runs)]) == 0
    printed = capsys.readouterr()
    rows = [line.split() for line in printed.out.splitlines()]
    assert "50 % 2404.1 2 70.35 70.50 ± 0.71 +0.15 78.56 78.50 ± 0.71 -0.06".split() in rows
    assert "100 % 347.1 - 62.96 - - 73.86 - -".split() in rows
    short = runs / "cityscapes_td2fanet_coarse50-seed2"
    assert printed.err == (
        f"note: {short}: left out after 39999 of 40000 steps; resume it, or pass --unfinished to count it\n"
    )


def test_the_runs_folder_of_the_trainer_is_the_default(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(runs.parent)
    assert main(["report", "table", "samsam2_t4", "--format=markdown", "--unfinished", "--scores=fit"]) == 0
    printed = capsys.readouterr()
    assert "| 50 % | 2975 | 2404.1 | 40000 | 3 | 70.35 | 50.33 ± 34.93 | -20.02 |" in printed.out
    assert printed.err == "note: runs/cityscapes_td2fanet_coarse50-seed2: counted after 39999 of 40000 steps\n"


def test_only_the_table_is_on_stdout_and_pictures_are_named(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = runs.parent / "figures"
    arguments = ["--runs", str(runs), "--format=csv", "--out", str(pictures)]
    assert main(["report", "table", "samsam2_t4", *arguments]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0].startswith("row,series,run,samples,")
    assert len(lines) == 1 + 2 * len(load_table("samsam2_t4").rows)
    assert "2404.1,2404.1,miou,70.35,70.5,0.7071,2,0.15" in printed.out
    names = ["samsam2_t4_hours.png", "samsam2_t4_coarse_percent.png"]
    assert printed.err.splitlines()[1:] == [str(pictures / name) for name in names]
    assert sorted(path.name for path in pictures.iterdir()) == sorted(names)


def test_a_table_without_hours_has_no_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "runs" / "camvid_dl_r18_weak"
    folder.mkdir(parents=True)
    metrics = {"val/miou": 0.4, "cost/hours": None}
    content = {"command": "thriftseg fit", "network_sha256": None, "training": {"steps": 9000}, "metrics": metrics}
    (folder / "fit.json").write_text(json.dumps(content))
    arguments = ["--runs", str(folder.parent), "--out", str(tmp_path / "figures"), "--format=csv"]
    assert main(["report", "table", "weclick_t5", *arguments]) == 0
    printed = capsys.readouterr()
    assert "camvid_dl_r18_weak,367,9000,,,,miou,46.2,40.0,,1,-6.2" in printed.out
    assert printed.err == "note: no picture, as no row has both mIoU and annotation hours\n"
    assert main(["report", "table", "weclick_t5", *arguments[:2]]) == 0


def rows_of(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def write_scores(path: Path, metrics: dict[str, float], steps: int | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"command": "thriftseg test", "network_sha256": None, "training": {"steps": steps}, "metrics": metrics}
    path.write_text(json.dumps(content))


def test_one_training_scored_on_two_data_sets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed, jf in enumerate((0.75, 0.77)):
        run = tmp_path / f"youtube_vos_stm_box2seg-seed{seed}"
        write_scores(run / "fit.json", {"train/loss": 0.1, "cost/hours": 311.1}, 200_000)
        write_scores(run / "davis" / "test.json", {"test/jf": jf}, 200_000)
    write_scores(tmp_path / "youtube_vos_stm_box2seg-seed1" / "youtube_vos" / "test.json", {"test/overall": 0.745})
    write_scores(tmp_path / "davis_stm_gt" / "fit.json", {"val/jf": 0.7}, 200_000)
    assert main(["report", "table", "taovos_t3", "--runs", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    rows = rows_of(printed.out)
    assert "Box2Seg 0 311.1 2 74.90 76.00 ± 1.41 +1.10 74.30 74.50 +0.20".split() in rows
    assert "Box2Seg, middle mask 6459 454.6 - 77.70 - - 77.30 - -".split() in rows
    assert "static images only, original 0 - - 60.00 - - 69.10 - -".split() in rows
    assert "DAVIS" in printed.out
    assert "YouTube-VOS" in printed.out
    assert printed.err == (
        f"note: {tmp_path / 'davis_stm_gt'}: left out, there is no test.json or validate.json or fit.json in davis/ or "
        "youtube_vos/: not finished, or not scored yet\n"
    )


def test_labels_beside_published_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Labels are looked up in the label store of their data set."""
    monkeypatch.chdir(tmp_path)
    for name, drawn, j in [("boxes_box2seg", 0, 0.83), ("boxes_box2seg_ft_middle", 6460, 0.87)]:
        quality = {"j_mean": j, "recall_50": 0.95, "recall_70": 0.85}
        content = {"manual": drawn, "quality": quality, "cost": {"seconds": 311.1 * 3600 + 80 * drawn}}
        folder = tmp_path / "labels" / "youtube_vos" / name
        folder.mkdir(parents=True)
        (folder / "quality.json").write_text(json.dumps(content))
    assert main(["report", "table", "taovos_t2"]) == 0
    printed = capsys.readouterr()
    rows = rows_of(printed.out)
    assert "Box2Seg 0 311.1 1 J 82.10 83.00 +0.90".split() in rows
    assert "recall@50 94.30 95.00 +0.70".split() in rows
    assert "Box2Seg, middle mask 6460 (paper 6459) 454.7 (paper 454.6) 1 J 87.60 87.00 -0.60".split() in rows
    assert "Box2Seg, first mask 6459 454.6 - J 86.70 - -".split() in rows
    assert "true masks 159976 3555.0 - J 100.00 - -".split() in rows
    assert printed.err == ""
    assert "thriftseg fit --table taovos_t2 --row coco_box2seg --data.dataset.root DIR" in printed.out
    assert (
        "--weights runs/coco_box2seg/checkpoints/last.ckpt --finetune first  # for 'Box2Seg, first mask'" in printed.out
    )


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["nothing"], "no such table; expected camvid_street, "),
        (["samsam2_t2", "--rows=N1,B5"], "no such row of table samsam2_t2; expected 'N1', 'F2', 'B3'; found 'B5'"),
        (["samsam2_t4", "--scores=test"], None),
        (["samsam2_t4", "--scores=best"], "scores"),
    ],
)
def test_what_can_go_wrong_is_told_in_one_line(
    runs: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], problem: str | None
) -> None:
    code = main(["report", "table", *arguments, "--runs", str(runs)])
    err = capsys.readouterr().err
    if problem is None:
        assert code == 0
        assert err.count("left out, there is no test.json: not finished, or not scored yet") == 3
    else:
        assert code == 2
        assert problem in err
        assert len(err.splitlines()) == 1


def test_a_damaged_file_of_scores_is_named(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = runs / "cityscapes_td2fanet_coarse50-seed1" / "validate.json"
    damaged.write_text('{"command": "thriftseg va')
    assert main(["report", "table", "samsam2_t4", "--runs", str(runs)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"thriftseg: error: {damaged}: is not JSON; found Unterminated string")


def test_tables_and_rows_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    def lines(*arguments: str) -> list[str]:
        assert main(["report", "list", *arguments]) == 0
        return capsys.readouterr().out.splitlines()

    assert [line.split()[0] for line in lines()] == list_tables()
    assert lines("samsam2_t2")[1].split() == ["F2", "idd_tmanet_f2"]


def test_a_table_says_what_its_rows_need(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "table", "samsam2_t4", "--runs", str(runs)]) == 0
    lines = capsys.readouterr().out.splitlines()
    at = lines.index("nothing was run of 5 of 6 rows; what they take, in order:")
    fit = "  thriftseg fit --table samsam2_t4 --row"
    assert lines[at + 2] == f"{fit} cityscapes_td2fanet_n1 --data.dataset.root DIR  # for '0 %', '0 % refined'"
    refine = (
        "  thriftseg label refine --dataset cityscapes --source refined --method sam --weights facebook/sam-vit-huge"
    )
    assert f"{refine} --gate false  # for '50 % refined', '100 % refined'" in lines
    assert main(["report", "table", "samsam2_t4", "--runs", str(runs), "--rows", "50 %"]) == 0
    assert "what they take" not in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["table", "--help"], ["list"], ["table", "samsam2_t4"]], ids=" ".join)
def test_neither_help_nor_table_imports_torch(runs: Path, arguments: list[str]) -> None:
    code = (
        f"import sys; from thriftseg.cli.main import main; code = main({['report', *arguments]!r});"
        "sys.exit(code or len({'torch', 'lightning', 'matplotlib'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=runs.parent)
