"""The two ways of docs/sweeps.md to launch a table, on data that are small enough."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from thriftseg.cli.main import main
from thriftseg.reports import configs_of

DOCS = Path(__file__).resolve().parents[2] / "docs"
TABLE = "samsam2_camvid"
CONFIGS = configs_of(TABLE)
ROW = CONFIGS.index("samsam2/camvid_small_r18_n1.yaml")
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


def bash(script: str, *arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a script where `thriftseg` is the command of this installation."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    environment = {**inherited, "PATH": path, "OMP_NUM_THREADS": "1", **variables}
    command = ["bash", "-c", script, "bash", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def commands_of(script: str, *arguments: str, cwd: Path, **variables: str) -> list[list[str]]:
    """The trainer commands that a script would start; `thriftseg report` is truly run."""
    listed = 'thriftseg() { if [[ $1 == report ]]; then command thriftseg "$@"; else printf "%q " "$@"; echo; fi; }\n'
    done = bash(listed + script, *arguments, cwd=cwd, **variables)
    assert done.returncode == 0, done.stderr
    return [shlex.split(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def sweep() -> str:
    return (DOCS / "sweep.sbatch").read_text()


@pytest.fixture
def arguments(tmp_path: Path, camvid_root: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What to call the array script with, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    return [TABLE, "--config", "tiny.yaml", f"--data.dataset.root={camvid_root}"]


SECOND_SEED = {"SLURM_ARRAY_TASK_ID": str(ROW + len(CONFIGS)), "SEEDS": "3 5"}


def test_a_task_trains_its_row_or_goes_on_with_it_and_the_report_finds_it(
    sweep: str, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = "runs/camvid_small_r18_n1-seed5/checkpoints/last.ckpt"
    fit, validate = commands_of(sweep, *arguments, cwd=tmp_path, **SECOND_SEED)
    assert (fit[0], fit[-1], validate[0], validate[-1]) == ("fit", arguments[-1], "validate", checkpoint)
    assert [main(fit), main(validate)] == [0, 0]
    assert_reported(tmp_path / "runs", capsys)
    again = commands_of(sweep, *arguments, cwd=tmp_path, **SECOND_SEED)
    assert again == [[*fit, "--ckpt_path", checkpoint], validate]


@pytest.mark.slow
def test_a_task_as_a_script(
    sweep: str, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = bash(sweep, *arguments, cwd=tmp_path, **SECOND_SEED)
    assert done.returncode == 0, done.stderr
    assert_reported(tmp_path / "runs", capsys)


def assert_reported(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The run of the task is in the table with its scores."""
    run = runs / "camvid_small_r18_n1-seed5"
    trained, scored = (json.loads((run / f"{kind}.json").read_text()) for kind in ("fit", "validate"))
    assert trained["training"] == {"steps": 2, "scored_step": 2, "seed": 5}
    assert scored["training"]["steps"] == 2
    assert scored["network_sha256"] == trained["network_sha256"]
    capsys.readouterr()
    assert main(["report", "table", TABLE, "--runs", str(runs), "--format=csv", "--unfinished"]) == 0
    printed = capsys.readouterr()
    rows = {(row["row"], row["metric"]): row for row in csv.DictReader(io.StringIO(printed.out))}
    assert float(rows["0 %", "miou"]["ours"]) == pytest.approx(100 * scored["metrics"]["val/miou"], abs=1e-4)
    assert float(rows["0 %", "miou"]["hours"]) == pytest.approx(trained["metrics"]["cost/hours"], abs=1e-4)
    assert rows["20 %", "miou"]["runs"] == "0"
    assert "camvid_small_r18_n1-seed5: counted after 2 of " in printed.err


def test_a_task_without_a_row_is_refused(sweep: str, tmp_path: Path) -> None:
    last = 3 * len(CONFIGS) - 1
    done = bash(sweep, TABLE, cwd=tmp_path, SLURM_ARRAY_TASK_ID=str(last + 1))
    assert (done.returncode, done.stderr) == (2, f"task {last + 1}: {TABLE} with 3 seeds has tasks 0 to {last}\n")
    unknown = bash(sweep, "nothing", cwd=tmp_path, SLURM_ARRAY_TASK_ID="0")
    assert unknown.returncode == 2
    assert "thriftseg: error: no such table" in unknown.stderr
    assert "number of the task" in bash(sweep, TABLE, cwd=tmp_path).stderr
    assert list(tmp_path.iterdir()) == []


def test_the_loop_trains_and_scores_every_config_with_every_seed(tmp_path: Path) -> None:
    loop = re.search(r"```bash\n(for seed .*?)```", (DOCS / "sweeps.md").read_text(), re.DOTALL)
    assert loop is not None
    lines = commands_of(loop[1], cwd=tmp_path)
    runs = [(words[0], words[2], words[words.index("--name") + 1]) for words in lines]
    expected = [
        (command, config, f"{Path(config).stem}-seed{seed}")
        for seed in range(3)
        for config in configs_of("samsam2_t1")
        for command in ("fit", "validate")
    ]
    assert runs == expected
    assert lines[1][-1] == "runs/cityscapes_tmanet_n1-seed0/checkpoints/last.ckpt"
