"""Training the rows of a table, as a command, from Python, and as the array of jobs of docs/guides/sweeps.md."""

from __future__ import annotations

import csv
import io
import json
import os
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from thriftseg.cli.main import main
from thriftseg.datasets.registry import create
from thriftseg.errors import ConfigError
from thriftseg.reports import SWEEP_LOG, SweepTask, sweep, sweep_table

DOCS = Path(__file__).resolve().parents[2] / "docs"
TABLE = "samsam2_camvid"
RUN = "camvid_small_r18_n1"
STEPS = 540
TINY = {
    "trainer": {
        "accelerator": "cpu",
        "precision": "32-true",
        "max_epochs": 1,
        "limit_train_batches": 2,
        "check_val_every_n_epoch": 1,
        "limit_val_batches": 1,
        "num_sanity_val_steps": 0,
        "log_every_n_steps": 1,
        "enable_progress_bar": False,
    },
    "model": {"init_args": {"network": {"init_args": {"decoder_channels": 8}}}},
    "data": {"init_args": {"crop": [32, 64], "resize": None, "batch_size": 2, "num_workers": 0, "cache": "none"}},
}


@pytest.fixture
def options(tmp_path: Path, camvid_root: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Options of the trainer that make it short, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    return ["--config", "tiny.yaml", f"--data.dataset.root={camvid_root}"]


@pytest.fixture
def starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Instead of training, commands are noted in a file; the launcher `noting` does so."""
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "noting"
    script.write_text(
        f"#!{sys.executable}\nimport sys, json\nprint(json.dumps(sys.argv[1:]), file=open('starts', 'a'))\n"
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return tmp_path / "starts"


def commands(starts: Path) -> list[list[str]]:
    return [json.loads(line) for line in starts.read_text().splitlines()]


def leave(run: str, steps: int, *, command: str = "thriftseg fit", scored: bool = True) -> None:
    """What a training leaves behind."""
    folder = Path("runs") / run
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    (folder / "checkpoints" / "last.ckpt").touch()
    content = {
        "command": command,
        "network_sha256": None,
        "training": {"steps": steps, "scored_step": steps if scored else 1, "seed": 0},
        "metrics": {"val/miou": 0.5},
    }
    (folder / "fit.json").write_text(json.dumps(content))


def states(tasks: list[SweepTask]) -> dict[str, str]:
    return {task.folder.name: task.state for task in tasks}


@pytest.mark.slow
def test_a_row_is_trained_scored_found_by_the_report_and_not_trained_again(
    options: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    command = ["sweep", "--table", TABLE, "--rows", "0 %", "--seeds=5", *options]
    assert main(command) == 0
    assert "finished" in capfd.readouterr().out
    folder = Path("runs") / f"{RUN}-seed5"
    trained = json.loads((folder / "fit.json").read_text())
    assert trained["training"] == {"steps": 2, "scored_step": 2, "seed": 5}
    assert not (folder / "validate.json").exists()  # the training ended with a validation
    assert trained["command"].startswith(f"thriftseg fit --table {TABLE} --row '0 %' --config tiny.yaml")
    assert "max_epochs" in (folder / SWEEP_LOG).read_text()
    assert main(["report", "table", TABLE, "--format=csv", "--unfinished"]) == 0
    printed = capfd.readouterr()
    rows = {(row["row"], row["metric"]): row for row in csv.DictReader(io.StringIO(printed.out))}
    assert float(rows["0 %", "miou"]["ours"]) == pytest.approx(100 * trained["metrics"]["val/miou"], abs=1e-4)
    assert float(rows["0 %", "miou"]["hours"]) == pytest.approx(trained["metrics"]["cost/hours"], abs=1e-4)
    assert rows["20 %", "miou"]["runs"] == "0"
    assert f"{RUN}-seed5: counted after 2 of " in printed.err
    before = (folder / "fit.json").stat().st_mtime_ns
    assert main(command) == 0
    assert f"2 of {STEPS}" in capfd.readouterr().out
    assert (folder / "fit.json").stat().st_mtime_ns == before


def test_finished_runs_are_skipped_and_stopped_ones_go_on(starts: Path) -> None:
    leave(f"{RUN}-seed0", STEPS)
    leave("camvid_small_r18_coarse20-seed0", 20)
    leave("camvid_small_r18_coarse50-seed0", STEPS, scored=False)
    rows = "0 %,20 %,50 %,camvid_small_r18_coarse80"
    tasks = sweep(TABLE, rows=rows, launcher=str(starts.parent / "noting"), options=["--data.batch_size=2"])
    assert set(states(tasks).values()) == {"finished"}
    found = commands(starts)
    fit, validate = ["-m", "thriftseg", "fit"], ["-m", "thriftseg", "validate"]
    assert [words[:3] for words in found] == [fit, fit, validate, fit, validate]  # the first ends with a validation
    assert found[0][3:] == [
        *("--table", TABLE, "--row", "20 %", "--data.batch_size=2"),
        *("--name", "camvid_small_r18_coarse20-seed0", "--seed_everything", "0"),
        *("--ckpt_path", "runs/camvid_small_r18_coarse20-seed0/checkpoints/last.ckpt"),
    ]
    assert found[1][6] == "50 %"
    assert "--ckpt_path" in found[1]
    assert found[3][6] == "80 %"
    assert "--ckpt_path" not in found[3]
    assert found[4][-1] == "runs/camvid_small_r18_coarse80-seed0/checkpoints/last.ckpt"


def test_a_run_that_asked_for_fewer_steps_is_finished_for_the_same_command_only(starts: Path) -> None:
    (task,) = sweep(TABLE, rows="0 %", dry_run=True, options=["--trainer.max_steps=5"])
    leave(task.folder.name, 5, command=shlex.join(["thriftseg", *task.command("fit"), "--ckpt_path", "x"]))
    assert states(sweep(TABLE, rows=["0 %"], dry_run=True, options=["--trainer.max_steps=5"])) == {
        f"{RUN}-seed0": "finished"
    }
    assert states(sweep(TABLE, rows=["0 %"], dry_run=True)) == {f"{RUN}-seed0": "stopped"}
    assert not starts.exists()


def test_all_rows_with_the_first_seed_come_first_and_a_task_is_one_of_them(starts: Path) -> None:
    tasks = sweep(TABLE, seeds=[3, 5], dry_run=True)
    runs = list(states(tasks))
    assert len(runs) == 58  # two rows of thirty are the same run
    assert (runs[0], runs[29]) == (f"{RUN}-seed3", f"{RUN}-seed5")
    (task,) = sweep(TABLE, seeds="3,5", task=30, launcher=str(starts.parent / "noting"))
    assert task.folder.name == runs[30]
    assert commands(starts)[0][-1] == "5"
    assert not (task.folder / SWEEP_LOG).exists()
    assert task.number == 30


def test_a_failure_is_told_and_the_next_run_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", "--table", TABLE, "--rows", "0 %,20 %", "--launcher", "false"]) == 2
    err = capsys.readouterr().err.splitlines()
    assert err == [
        f"thriftseg: error: runs/{run}-seed0 failed; see runs/{run}-seed0/{SWEEP_LOG}"
        for run in (RUN, "camvid_small_r18_coarse20")
    ]


def test_options_that_no_run_takes_are_refused_before_the_first(starts: Path) -> None:
    with pytest.raises(ConfigError, match=r"options that `thriftseg fit` refuses; found .*--no_such"):
        sweep(TABLE, seeds="0,1", rows="0 %", options=["--no_such", "1"], launcher=f"{starts.parent}/noting")
    assert not starts.exists()
    assert not Path("runs").exists()


def test_the_table_shows_how_far_a_run_is(starts: Path) -> None:
    (task,) = sweep(TABLE, rows="20 %", dry_run=True)
    log = task.folder / "version_1" / "metrics.csv"
    log.parent.mkdir(parents=True)
    log.write_text("epoch,step,train/loss\n0,9,0.5\n0,19,0.4\n0,,\n")
    task.state = "running"
    console = Console(width=100)
    with console.capture() as captured:
        console.print(sweep_table([task]))
    assert captured.get().splitlines()[1].split() == ["0", "20", "%", "0", "running", "20", "of", "540"]


def test_hours_are_shown_as_they_are(starts: Path) -> None:
    (folder := Path("runs/fig3a_random-seed0")).mkdir(parents=True)
    (folder / "curve.json").write_text('{"hours": [2.0, 4.0], "jf": [0.8, 0.9]}')
    console = Console(width=100)
    with console.capture() as captured:
        console.print(sweep_table(sweep("eva_vos_fig3a", rows="random", dry_run=True)))
    # Stopped, as no sweep has run it.
    assert captured.get().splitlines()[1].split() == ["0", "random", "0", "stopped", "90.00", "3.00"]


def test_what_cannot_be_validated_is_not_but_tested(starts: Path) -> None:
    launcher = str(starts.parent / "noting")
    (task,) = sweep(
        "taovos_youtube_vos", rows="true masks", seeds=2, launcher=launcher, options=["--trainer.devices=2"]
    )
    found = commands(starts)
    assert [words[2] for words in found] == ["fit", "test", "test"]
    assert task.state == "failed"  # the submission starts once, without the launcher, and finds no predictions
    assert [words[-1] for words in found[1:]] == ["--trainer.devices=2"] * 2
    assert found[1][3:9] == [
        *("--table", "taovos_youtube_vos", "--row", "youtube_vos_stm_gt", "--ckpt_path"),
        "runs/youtube_vos_stm_gt-seed2/checkpoints/last.ckpt",
    ]
    assert found[1][-2] == "youtube_vos_stm_gt-seed2/davis"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"table": "hvsa_veis", "options": ["--out=here"]}, "a sweep sets --out for each of its runs; found --out=h"),
        ({"table": "hvsa_veis", "options": ["--budgt=5"]}, "`thriftseg annotate hvsa` refuses; found .*budgt"),
        ({"table": TABLE, "rows": "0 %,1 %"}, "no such row of table samsam2_camvid; .*found '1 %'"),
        ({"table": TABLE, "seeds": "0,b"}, "--seeds; expected numbers from 0 on, with commas between; found 0,b"),
        ({"table": "taovos_t5", "rows": "STM,CFBI"}, "row 'CFBI' of table taovos_t5 is not shipped: its published"),
        ({"table": TABLE, "task": 29}, "sweep of samsam2_camvid; expected a task from 0 to 28; found 29"),
    ],
)
def test_what_can_go_wrong(arguments: dict, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        sweep(**arguments)


def test_rows_of_annotation_are_run_scored_and_not_run_again(
    veis_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    video = create("veis", veis_root).clips("val")[0].video
    tiny = ["--network=deeplabv3plus_mobilenetv2", '--network_options={"decoder_channels": 8}', "--epochs=1"]
    tiny += ["--rounds=1", "--flow=dis", "--flow_weights=null", "--resize", "32", "64", "--accelerator=cpu"]
    command = ["sweep", "--table=hvsa_veis", "--rows=at random", "--seeds=3", f"--root={veis_root}", f"--video={video}"]
    assert main([*command, *tiny]) == 0
    folder = Path("runs/veis_random-seed3")
    assert json.loads((folder / "run.json").read_text())["seed"] == 3
    last = json.loads((folder / "rounds.jsonl").read_text().splitlines()[-1])
    printed = capfd.readouterr().out
    assert "finished" in printed
    assert f"{100 * last['pasted']['miou']:.2f}" in printed
    written = (folder / "report.html").stat().st_mtime_ns
    assert main([*command, *tiny]) == 0
    assert (folder / "report.html").stat().st_mtime_ns == written
    [other] = sweep("hvsa_veis", rows="at random", seeds=3, dry_run=True, options=["--budget=5%"])
    assert other.state == "stopped"  # its settings are not those of the run that has ended
    assert main([*command, *tiny, "--budget=5%"]) == 2
    assert "expected budget 5%; found budget 10%" in (folder / "sweep.log").read_text().splitlines()[-1]
    assert main(["report", "table", "hvsa_veis", "--keep=kept.json"]) == 0
    [kept] = json.loads(Path("kept.json").read_text())["students"]
    assert (kept["name"], kept["seed"]) == ("at random", 3)
    assert kept["miou"] == pytest.approx(last["pasted"]["miou"], abs=1e-4)
    assert kept["hours"] == pytest.approx(last["cost"]["seconds"] / 3600, abs=1e-4)


def test_a_stopped_annotation_goes_on(starts: Path) -> None:
    (Path("runs") / "veis_k1-seed0").mkdir(parents=True)
    assert states(sweep("hvsa_veis", rows="one round,at random", dry_run=True)) == {
        "veis_k1-seed0": "stopped",
        "veis_random-seed0": "waiting",
    }


def test_rows_that_are_not_shipped_are_no_tasks(starts: Path) -> None:
    tasks = sweep("taovos_t5", seeds="0,1", dry_run=True)
    assert [(task.row.row.key, task.seed) for task in tasks[:3]] == [("STM", 0), ("STM, fine-tuned", 0), ("STM", 1)]
    assert len(tasks) == 4
    for rate, jf in (("annotated_frames", 0.6), ("all_frames", 0.5)):
        path = tasks[0].folder / rate / "test.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"command": "", "network_sha256": None, "metrics": {"test/jf": jf}}))
    assert tasks[0].scores().scores["tao_vos/jf"] == 0.6


def bash(*arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the script of the array where `thriftseg` is the command of this installation."""
    path = f"{cwd}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    command = ["bash", str(DOCS / "sweep.sbatch"), *arguments]
    environment = {**inherited, "PATH": path, **variables}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_the_array_script_runs_its_task(starts: Path) -> None:
    starts.with_name("thriftseg").write_text(starts.with_name("noting").read_text())
    starts.with_name("thriftseg").chmod(0o755)
    for variables in ({}, {"SLURM_JOB_ID": "7"}):
        done = bash("--table", TABLE, cwd=starts.parent, SLURM_ARRAY_TASK_ID="4", **variables)
        assert done.returncode == 0, done.stderr
    launchers = ("python", "srun python")
    assert commands(starts) == [["sweep", "--task", "4", "--launcher", each, "--table", TABLE] for each in launchers]
    assert "number of the task" in bash("--table", TABLE, cwd=starts.parent).stderr


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--row=B3", "a sweep sets --row for each of its runs; found --row=B3; fix: name rows by --rows"),
        ("--dry-run", "fix: write --dry_run"),
        ("--name=mine", "fix: leave it out"),
    ],
)
def test_what_a_sweep_sets_itself_is_refused(
    option: str, message: str, starts: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", "--table", "samsam2_t1", option]) == 2
    assert message in capfd.readouterr().err
    assert not starts.exists()


def test_scores_of_an_earlier_training_do_not_count(starts: Path) -> None:
    folder = Path("runs") / f"{RUN}-seed0"
    folder.mkdir(parents=True)
    for name, training in (("fit", {"steps": STEPS, "scored_step": 100}), ("validate", {"scored_step": 100})):
        record = {"command": "thriftseg fit", "metrics": {"val/miou": 0.5}, "network_sha256": None}
        (folder / f"{name}.json").write_text(json.dumps(record | {"training": training}))
    (task,) = sweep(TABLE, rows="0 %", dry_run=True)
    assert task.state == "waiting"
    text = (folder / "validate.json").read_text().replace("100", str(STEPS))
    (folder / "validate.json").write_text(text)
    (task,) = sweep(TABLE, rows="0 %", dry_run=True)
    assert task.state == "finished"
