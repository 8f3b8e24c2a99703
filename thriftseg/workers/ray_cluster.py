"""Tasks on the machines of a Ray cluster [0], which share the disk that holds the data and the results.

[0] https://docs.ray.io, Apache-2.0
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Literal

from thriftseg import __version__
from thriftseg.errors import ConfigError
from thriftseg.workers.job import Result, Task, Workplace, start_job
from thriftseg.workers.processes import WorkerDied, prepare_process

_TRIES = 3
"""Workers that a task may lose before it is held to be the reason."""

_PATIENCE = 10.0
"""Seconds in which a machine answers, and workers that were told to end do so."""


def work_on_ray(
    job: Callable[[Task], Result],
    tasks: Sequence[tuple[int, Task]],
    address: str,
    devices: int | None,
    accelerator: Literal["auto", "cpu", "gpu"],
    crew: str,
) -> Iterator[tuple[int, Result]]:
    """Do numbered tasks in actors, each of which holds the job and takes the next task as soon as it is free.

    A task whose worker is lost is done again by another one.

    Args:
        job: Called with each task; sent to each actor once.
        tasks: The work.
        address: Address of the cluster, as `ray.init` takes it.
        devices: Actors per node at most; `None` for one per GPU or CPU.
        accelerator: "auto" takes the GPUs of the cluster where it has some.
        crew: In front of the writers' names.

    Yields:
        Number and result of each task, as soon as it is there.

    Raises:
        ConfigError: Ray is not installed, there is no such cluster, or it has no such devices.
        WorkerDied: A task has lost several workers.
    """
    if not tasks:
        return
    with _connection(address) as ray:
        unit, per_node = _devices(ray, devices, accelerator)
        actor_class = ray.remote(num_cpus=1, num_gpus=int(unit == "GPU"), scheduling_strategy="SPREAD")(_Worker)
        sent = ray.put(ray.cloudpickle.dumps(job))
        names = count()

        def hire() -> tuple[Any, Any]:
            actor = actor_class.remote()
            place = Workplace("cuda:0" if unit == "GPU" else "cpu", f"{crew}{next(names)}")
            return actor.start.remote(sent, place, max(per_node), str(Path.cwd()), __version__), actor

        yield from _share_out(ray, tasks, hire, min(sum(per_node), len(tasks)))


def _share_out(
    ray: Any, tasks: Sequence[tuple[int, Task]], hire: Callable[[], tuple[Any, Any]], size: int
) -> Iterator[tuple[int, Any]]:
    """Do tasks in so many actors; each comes with the reference that is ready when it has started."""
    left, lost = deque(tasks), Counter[int | None]()
    idle: list[Any] = []
    starting = dict(hire() for _ in range(size))
    working: dict[Any, tuple[Any, int, Task]] = {}
    try:
        while left or working:
            while left and idle:
                actor, (number, task) = idle.pop(), left.popleft()
                working[actor.do.remote(task)] = actor, number, task
            (done,), _ = ray.wait([*working, *starting])
            at_hand = working.get(done)
            actor, key = (at_hand[0], at_hand[1]) if at_hand else (starting[done], None)
            try:
                result = ray.get(done)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from error
            except ray.exceptions.RayError as error:
                ray.kill(actor)  # it may be cut off only, and still at work
                lost[key] += 1
                if lost[key] == _TRIES:
                    raise WorkerDied(
                        f"{_TRIES} workers on Ray died one after the other",
                        found=str(error).partition("\n")[0],
                        fix="look into Ray's logs; use fewer of them if memory was short",
                    ) from error
                starting.update([hire()])
                left.extendleft([at_hand[1:]] if at_hand else [])
            else:
                del lost[key]
                idle.append(actor)
                if at_hand:
                    yield at_hand[1], result
            (working if at_hand else starting).pop(done)
    finally:
        for actor in [*idle, *starting.values(), *(actor for actor, *_ in working.values())]:
            ray.kill(actor)
        ray.wait([*starting, *working], num_returns=len(starting) + len(working), timeout=_PATIENCE)


class _Worker:
    """An actor."""

    def start(self, job: bytes, place: Workplace, count: int, folder: str, version: str) -> None:
        if version != __version__:
            raise ConfigError(
                "a machine of the cluster has another version of thriftseg",
                expected=version,
                found=__version__,
                fix="install the same on all of them",
            )
        if not Path(folder).is_dir():
            raise ConfigError(
                "a machine of the cluster has no such folder", path=folder, fix="work in one on a disk they all share"
            )
        os.chdir(folder)
        os.environ.pop("OMP_NUM_THREADS", None)  # set to 1 by Ray
        self._job = prepare_process(job, count)
        start_job(self._job, place)

    def do(self, task: Any) -> Any:
        return self._job(task)


def _devices(ray: Any, devices: int | None, accelerator: str) -> tuple[str, list[int]]:
    """What actors work on, and how many of them on each node."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    unit = "GPU" if accelerator != "cpu" and any(node.get("GPU") for node in nodes) else "CPU"
    here = [int(node.get(unit, 0)) for node in nodes]
    if (accelerator == "gpu" and unit == "CPU") or not any(here):
        wanted = "GPU" if accelerator == "gpu" else "CPU"
        raise ConfigError(f"no node of the Ray cluster has a {wanted}", fix="add nodes with `ray start --address`")
    return unit, [number if devices is None else min(devices, number) for number in here]


@contextmanager
def _connection(address: str) -> Iterator[Any]:
    """Ray, connected to a cluster; a program that has connected itself stays so."""
    try:
        import ray
        import ray.cloudpickle
    except ImportError as error:
        raise ConfigError("the engine ray needs Ray", found=error, fix='pip install "thriftseg[ray]"') from error
    if ray.is_initialized():
        yield ray
        return
    on_terminate = signal.getsignal(signal.SIGTERM)
    try:
        host, _, port = address.rpartition(":")
        if host and port.isdecimal():  # Ray tries for minutes
            socket.create_connection((host, port), _PATIENCE).close()
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(
            "no Ray cluster there",
            expected="an address, or auto on one of its machines",
            found=address,
            fix="start one with `ray start --head`, and `ray start --address` on the other machines",
        ) from error
    try:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_terminate)  # Ray has put its own there
        yield ray
    finally:
        ray.shutdown()
