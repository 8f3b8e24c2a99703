from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from tests.distributed import GlooPool
from thriftseg.errors import ConfigError, DatasetError
from thriftseg.labels.jobs.engine import LabelJob, run_job


class Doubling(LabelJob[int, int]):
    """Doubles numbers and notes its calls in a folder that several processes share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.writer: str | None = "not started"

    def start(self, device: str, writer: str | None) -> None:
        assert device == "cpu"
        self.writer = writer

    def __call__(self, task: int) -> int:
        with (self.folder / f"writer.{self.writer}").open("a") as stream:
            stream.write(f"{task}\n")
        return 2 * task

    def finish(self) -> None:
        done = sorted(int(line) for path in self.folder.glob("writer.*") for line in path.read_text().split())
        (self.folder / f"finish.{self.writer}").write_text(f"{done} {cv2.getNumThreads()}")


def run(job, tasks, **settings):
    return run_job(job, tasks, description="test", progress=False, **{"accelerator": "cpu"} | settings)


class TestOneProcess:
    def test_results_keep_the_order(self, tmp_path):
        assert run(Doubling(tmp_path), [3, 1, 2]) == [6, 2, 4]
        assert (tmp_path / "finish.None").read_text() == "[1, 2, 3] 1"

    def test_results_are_told_at_once(self, tmp_path):
        seen = []
        run(lambda task: task + len(seen), [0, 0, 0], on_result=seen.append)
        assert seen == [0, 1, 2]

    def test_nothing_to_do(self, tmp_path):
        assert run(Doubling(tmp_path), []) == []
        assert [path.name for path in tmp_path.iterdir()] == ["finish.not started"]

    def test_tasks_and_results_of_any_kind(self):
        tasks = [None, {"a": (1, 2)}, Path("x"), DatasetError("bad", path="y")]
        assert run(lambda task: task, tasks) == tasks

    def test_errors_of_the_job_come_through(self):
        def fail(task: int) -> None:
            raise DatasetError("cannot decode", path=f"{task}.png")

        with pytest.raises(DatasetError, match=r"7\.png: cannot decode"):
            run(fail, [7])

    def test_leaves_nothing_behind(self, tmp_path, monkeypatch, capfd, recwarn):
        monkeypatch.chdir(tmp_path)
        before, threads = dict(os.environ), cv2.getNumThreads()
        run(abs, range(5))
        assert list(tmp_path.iterdir()) == []
        assert dict(os.environ) == before
        assert cv2.getNumThreads() == threads
        assert capfd.readouterr() == ("", "")
        assert not recwarn.list

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"devices": 0}, "number of devices; expected at least 1; found 0"),
            ({"num_nodes": -1}, "number of nodes; expected at least 1; found -1"),
        ],
    )
    def test_bad_settings(self, settings, message):
        with pytest.raises(ConfigError, match=message):
            run(abs, [1], **settings)


def in_a_cluster(rank: int, world: int, folder: str, count: int) -> list[int]:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="1")  # the group is there already
    return run(Doubling(Path(folder)), list(range(count)), devices=world)


class TestCluster:
    """Processes that somebody else has started, as torchrun does."""

    def test_every_process_gets_all_results(self, gloo_pool: GlooPool, tmp_path):
        assert gloo_pool.run(in_a_cluster, str(tmp_path), 5) == [[0, 2, 4, 6, 8]] * 2
        assert (tmp_path / "writer.0").read_text().split() == ["0", "2", "4"]
        assert (tmp_path / "writer.1").read_text().split() == ["1", "3"]
        assert [path.read_text() for path in tmp_path.glob("finish.*")] == ["[0, 1, 2, 3, 4] 1"]

    def test_fewer_tasks_than_processes(self, gloo_pool: GlooPool, tmp_path):
        assert gloo_pool.run(in_a_cluster, str(tmp_path), 1) == [[0]] * 2
        assert (tmp_path / "finish.0").read_text() == "[0] 1"


SCRIPT = """
import sys
from pathlib import Path
from tests.labels.test_engine import Doubling, run
from thriftseg.errors import DatasetError

class Failing(Doubling):
    def __call__(self, task):
        if task == 3:
            raise DatasetError("cannot decode", path="3.png")
        return super().__call__(task)

if __name__ == "__main__":
    seen = []
    print(run(Doubling(Path(sys.argv[1])), range(5), devices=2, on_result=seen.append), sorted(seen))
    try:
        run(Failing(Path(sys.argv[1])), range(5), devices=2)
    except DatasetError as error:
        print(error)
"""


@pytest.mark.slow
def test_processes_of_our_own(tmp_path):
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
    assert (done / "finish.0").read_text() == "[0, 1, 2, 3, 4] 1"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["done", "run.py"]
