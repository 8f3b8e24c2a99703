"""Processes of our own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from tests.workers.doubling import Doubling, run
from thriftseg.errors import DatasetError
from thriftseg.workers import WorkerDied


class Failing(Doubling):
    def __call__(self, task: int) -> int:
        if task == 3:
            raise DatasetError("cannot decode", path="3.png")
        if task == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        if task == 5:
            raise IndexError("a mistake of ours")
        return super().__call__(task)


def hold_up(folder: Path, task: int) -> int:
    """The first task ends when all others are done."""
    path = folder / str(task)
    path.touch()
    while task == 0 and len(list(folder.iterdir())) < 6:
        time.sleep(0.001)
    return os.getpid()


class TestProcesses:
    def test_share_the_tasks(self, tmp_path):
        seen: list[int] = []
        assert run(Doubling(tmp_path), range(5), seen.append, devices=2) == [0, 2, 4, 6, 8]
        assert sorted(seen) == [0, 2, 4, 6, 8]
        assert sorted(path.name for path in tmp_path.glob("writer.*")) == ["writer.0", "writer.1"]
        assert [path.read_text() for path in tmp_path.glob("finish.*")] == ["[0, 1, 2, 3, 4] 1"]

    def test_a_long_task_holds_up_nobody(self, tmp_path):
        first, *others = run(partial(hold_up, tmp_path), range(6), devices=2)
        assert first not in others
        assert len(set(others)) == 1

    def test_one_task_needs_no_process(self, tmp_path):
        assert run(partial(hold_up, tmp_path), [1], devices=2) == [os.getpid()]

    def test_faults_of_the_data_come_through(self, tmp_path):
        with pytest.raises(DatasetError, match=r"^3\.png: cannot decode$"):
            run(Failing(tmp_path), range(4), devices=2)

    def test_faults_of_ours_come_with_their_place(self, tmp_path):
        with pytest.raises(IndexError, match="a mistake of ours") as caught:
            run(Failing(tmp_path), [0, 5], devices=2)
        assert "in __call__" in caught.value.__notes__[0]

    def test_who_died_is_named(self, tmp_path):
        with pytest.raises(WorkerDied, match="process 1 terminated with signal SIGKILL; fix: use fewer processes"):
            run(Failing(tmp_path), [0, 4, 1], devices=2)
        assert not list(tmp_path.glob("finish.*"))

    def test_a_job_that_cannot_start(self, tmp_path):
        with pytest.raises(AssertionError):
            run(NeedsGPU(tmp_path), [1, 2], devices=2)


class NeedsGPU(Doubling):
    def start(self, device: str, writer: str | None) -> None:
        assert device != "cpu"


@pytest.mark.slow
def test_processes_of_a_script(tmp_path):
    """A program of a user's own: nothing is said, nothing is left behind."""
    script = tmp_path / "run.py"
    script.write_text(SCRIPT)
    done = tmp_path / "done"
    done.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    result = subprocess.run(
        [sys.executable, str(script), str(done)], capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert result.stdout.splitlines() == ["[0, 2, 4, 6, 8] [0, 2, 4, 6, 8]", "3.png: cannot decode"]
    assert result.stderr == ""
    assert [path.read_text() for path in done.glob("finish.*")] == ["[0, 1, 2, 3, 4] 1"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["done", "run.py"]


SCRIPT = """
import sys
from pathlib import Path
from tests.workers.doubling import Doubling, run
from tests.workers.test_processes import Failing
from thriftseg.errors import DatasetError

class OwnDoubling(Doubling):  # a job of the script itself
    def __call__(self, task):
        return super().__call__(task)

if __name__ == "__main__":
    seen = []
    print(run(OwnDoubling(Path(sys.argv[1])), range(5), seen.append, devices=2), sorted(seen))
    try:
        run(Failing(Path(sys.argv[1])), range(4), devices=2)
    except DatasetError as error:
        print(error)
"""
