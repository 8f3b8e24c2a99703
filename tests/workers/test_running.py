from __future__ import annotations

import os
from pathlib import Path

import cv2
import pytest

from tests.workers.doubling import Doubling, run
from thriftseg.errors import ConfigError, DatasetError
from thriftseg.resources import available_cpus
from thriftseg.workers import running


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
            ({"accelerator": "abacus"}, "no such accelerator; expected auto, cpu, gpu; found 'abacus'"),
            ({"engine": "steam"}, "no such engine; expected processes, ray; found 'steam'"),
        ],
    )
    def test_bad_settings(self, settings, message):
        with pytest.raises(ConfigError, match=message):
            run(abs, [1], **settings)


class TestAsManyAsPay:
    """`devices=None`."""

    def test_short_work_starts_no_process(self):
        assert run(report_process, range(3), devices=None) == [os.getpid()] * 3

    @pytest.mark.skipif(available_cpus() < 2, reason="there is one CPU only")
    def test_long_work_goes_on_in_processes(self, monkeypatch):
        monkeypatch.setattr(running, "_ALONE", 0)
        monkeypatch.setattr(running, "_WORTH_SPREADING", 0)
        first, *others = run(report_process, range(5), devices=None)
        assert first == os.getpid()
        assert os.getpid() not in others
        assert len(set(others)) == min(4, available_cpus())


def report_process(task: int) -> int:
    return os.getpid()
