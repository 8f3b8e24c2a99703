"""A job that leaves a trace of its calls. Processes import this file, so it imports nothing heavy."""

from __future__ import annotations

from pathlib import Path

import cv2

from thriftseg.workers import Job, Workers, run_tasks


class Doubling(Job[int, int]):
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


def run(job, tasks, on_result=None, **settings):
    workers = Workers(**{"accelerator": "cpu", "progress": False} | settings)
    return run_tasks(job, tasks, workers, description="test", on_result=on_result)
