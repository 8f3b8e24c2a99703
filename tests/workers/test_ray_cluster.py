"""Actors on the nodes of a Ray cluster on this machine, one of which is killed in the middle."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.fixtures.ray_nodes import START, CaughtShift
from tests.labels.jobs.shift_generator import label_shift
from tests.workers.doubling import Doubling, run
from tests.workers.test_processes import Failing, hold_up
from thriftseg.datasets import CamVid
from thriftseg.errors import ConfigError, DatasetError, Stopped
from thriftseg.folders import LOCK
from thriftseg.labels import UnfinishedError, annotated_frames, generate
from thriftseg.reports import SWEEP_LOG, sweep
from thriftseg.stores import LabelStore
from thriftseg.workers import WorkerDied, Workers
from thriftseg.workers.ray_cluster import _devices

FRAMES = 24


def test_without_ray(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r'the engine ray needs Ray; .*; fix: pip install "thriftseg\[ray\]"'):
        run(abs, [-1], engine="ray")
    assert run(abs, [], engine="ray") == []


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense"])
def test_no_cluster(address: str):
    pytest.importorskip("ray", reason="needs the extra ray")
    with pytest.raises(ConfigError, match=rf"no Ray cluster there; .*; found {address}; fix: start one"):
        run(abs, [1], engine="ray", address=address)


@pytest.mark.parametrize(
    ("devices", "accelerator", "expected"),
    [(1, "auto", ("GPU", [0, 1])), (None, "gpu", ("GPU", [0, 4])), (3, "cpu", ("CPU", [2, 3]))],
)
def test_devices_of_nodes(devices: int | None, accelerator: str, expected: tuple[str, list[int]]):
    """The first node has no GPU, and the last one is dead."""
    nodes = [
        {"Alive": True, "Resources": {"CPU": 2.0}},
        {"Alive": True, "Resources": {"CPU": 8.0, "GPU": 4.0}},
        {"Alive": False, "Resources": {"CPU": 8.0, "GPU": 8.0}},
    ]
    assert _devices(SimpleNamespace(nodes=lambda: nodes), devices, accelerator) == expected


@pytest.fixture(scope="module")
def cluster() -> Iterator:
    pytest.importorskip("ray", reason="needs the extra ray")
    from ray.cluster_utils import Cluster

    cluster = Cluster(True, head_node_args={"num_cpus": 1, **START})
    cluster.add_node(num_cpus=1, **START)
    yield cluster
    cluster.shutdown()


def on_ray(cluster, job, tasks, on_result=None, **settings):
    return run(job, tasks, on_result, **{"engine": "ray", "address": cluster.address, **settings})


@pytest.fixture
def dataset(camvid_root: Path) -> CamVid:
    return CamVid(camvid_root)


@pytest.fixture(scope="module")
def uninterrupted(camvid_root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("shifted")
    label_shift(CamVid(camvid_root), "train", 5, store=folder)
    return contents(folder)


def contents(folder: Path) -> dict[str, bytes]:
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: content for name, content in found.items() if not name.startswith("costs.")}


@pytest.mark.slow
@pytest.mark.timeout(120)
class TestTwoNodes:
    def test_share_the_tasks(self, cluster, tmp_path: Path):
        seen: list[int] = []
        before = signal.getsignal(signal.SIGTERM)
        assert on_ray(cluster, Doubling(tmp_path), range(9), seen.append) == list(range(0, 18, 2))
        assert sorted(seen) == list(range(0, 18, 2))
        assert {path.name for path in tmp_path.glob("writer.*")} <= {"writer.0-0", "writer.0-1"}
        assert [path.read_text() for path in tmp_path.glob("finish.*")] == ["[0, 1, 2, 3, 4, 5, 6, 7, 8] 1"]
        assert signal.getsignal(signal.SIGTERM) is before

    def test_a_long_task_holds_up_nobody(self, cluster, tmp_path: Path):
        first, *others = on_ray(cluster, partial(hold_up, tmp_path), range(6), devices=None, address="auto")
        assert first not in others
        assert len(set(others)) == 1

    def test_faults_come_through(self, cluster, tmp_path: Path):
        with pytest.raises(DatasetError, match=r"^3\.png: cannot decode$"):
            on_ray(cluster, Failing(tmp_path), range(4))
        with pytest.raises(IndexError, match="a mistake of ours") as caught:
            on_ray(cluster, Failing(tmp_path), [0, 5])
        assert "in __call__" in str(caught.value.__cause__)

    def test_a_task_that_kills_its_workers(self, cluster, tmp_path: Path):
        with pytest.raises(WorkerDied, match="3 workers on Ray died one after the other; found"):
            on_ray(cluster, Failing(tmp_path), [0, 4, 1])
        assert not list(tmp_path.glob("finish.*"))

    def test_no_gpu(self, cluster):
        with pytest.raises(ConfigError, match="no node of the Ray cluster has a GPU"):
            on_ray(cluster, abs, [1], accelerator="gpu")

    def test_failures(self, cluster, camvid_copy: Path, tmp_path: Path, uninterrupted: dict[str, bytes]):
        dataset = CamVid(camvid_copy)
        clip = dataset.clips("train")[0]
        broken = clip.labels[clip.annotated[1]]
        whole = broken.read_bytes()
        broken.write_bytes(b"no image")
        workers = Workers(engine="ray", address=cluster.address)
        with pytest.raises(UnfinishedError, match=rf"1 of {FRAMES} labels could not be made") as caught:
            label_shift(dataset, "train", 5, store=tmp_path / "ray", workers=workers)
        assert caught.value.summary.failures == (caught.value.detail,)
        broken.write_bytes(whole)
        again = label_shift(dataset, "train", 5, store=tmp_path / "ray", workers=workers)
        assert (again.written, again.kept) == (1, FRAMES - 1)
        assert contents(tmp_path / "ray") == uninterrupted

    def test_a_node_that_is_killed(self, cluster, dataset: CamVid, tmp_path: Path, uninterrupted: dict[str, bytes]):
        """Its task is done again on another node, and the labels are the same files."""
        node = cluster.add_node(num_cpus=1, **START)
        job = caught_on(node, dataset, tmp_path)
        killer = job.when_caught(lambda: cluster.remove_node(node, allow_graceful=False))
        workers = Workers(None, engine="ray", address=cluster.address)
        summary = generate(job, annotated_frames(dataset, "train"), workers)
        killer.join()
        assert (summary.written, summary.kept) == (FRAMES, 0)
        assert contents(tmp_path / "labels") == uninterrupted

    def test_sigterm(self, cluster, dataset: CamVid, tmp_path: Path, uninterrupted: dict[str, bytes]):
        """Nobody works on, and the same call without Ray goes on."""
        job = caught_on(cluster.head_node, dataset, tmp_path)
        job.when_caught(lambda: os.kill(os.getpid(), signal.SIGTERM))
        before = signal.signal(signal.SIGTERM, stop)
        try:
            with pytest.raises(Stopped):
                generate(
                    job, annotated_frames(dataset, "train"), Workers(engine="ray", address=cluster.address, devices=1)
                )
        finally:
            signal.signal(signal.SIGTERM, before)
        assert not (job.store.folder / LOCK).exists()
        while Path(f"/proc/{job.caught.read_text()}").exists():
            time.sleep(0.01)
        summary = label_shift(dataset, "train", 5, store=tmp_path / "labels")
        assert 0 < summary.kept < FRAMES
        assert contents(tmp_path / "labels") == uninterrupted

    def test_a_sweep(self, cluster, tmp_path: Path, monkeypatch):
        """Runs go to the folder of whoever asked, at the same time; each waits for the other here."""
        monkeypatch.chdir(tmp_path)
        waiting = """import os, pathlib, sys, time
print(*sys.argv[1:])
pathlib.Path(f"{os.getpid()}.pid").touch()
while len(list(pathlib.Path().glob("*.pid"))) < 2: time.sleep(0.01)
sys.exit("0 %" not in sys.argv)"""
        launcher = shlex.join([sys.executable, "-c", waiting])
        rows = ["0 %", "20 %"]
        done = sweep("samsam2_camvid", rows=rows, launcher=launcher, engine="ray", address=cluster.address)
        assert [task.state for task in done] == ["finished", "failed"]
        for row, task in zip(rows, done, strict=True):
            assert f"-m thriftseg fit --table samsam2_camvid --row {row}" in (task.folder / SWEEP_LOG).read_text()


def caught_on(node, dataset: CamVid, folder: Path) -> CaughtShift:
    job = CaughtShift(dataset, LabelStore(folder / "labels", "shifted", dataset.taxonomy), 5, "polygon")
    job.doomed, job.caught = node.node_id, folder / "caught"
    return job


def stop(signum: int, frame: object) -> None:
    raise Stopped(signum)
