"""Running one job over many tasks."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import cv2

from thriftseg.errors import ConfigError
from thriftseg.progress import progress_bar
from thriftseg.resources import available_cpus
from thriftseg.workers.cluster import Member, find_member
from thriftseg.workers.job import Job, Result, Task, Workplace, work_at
from thriftseg.workers.processes import work_in_processes
from thriftseg.workers.ray_cluster import work_on_ray

Accelerator = Literal["auto", "cpu", "gpu"]

_ALONE = 1.0
"""Seconds of work before anything is spread: they show how much there is to do."""

_WORTH_SPREADING = 10.0
"""Seconds of remaining work from which processes pay, which take some seconds to start."""


@dataclass(frozen=True)
class Workers:
    """Who does the work. Results are the same whoever does it.

    With one device the work is done in this process. With several, a process is started for each, unless a cluster
    (torchrun, Slurm) has started this program once per device already. Several nodes find each other by the environment
    that these set, or by `MASTER_ADDR`, `MASTER_PORT` and `NODE_RANK` where the program was started by hand on each.
    With the engine "ray" the program is started once, and actors on the nodes of a Ray cluster do the work.

    Attributes:
        devices: Number of GPUs or CPU processes per node. `None` begins in this process and goes on with one per core
            once there turns out to be enough work to pay for starting them; with Ray it takes all that the nodes have.
        accelerator: "auto" takes GPUs where there are some.
        num_nodes: Number of machines, each of which makes the same call.
        shared: Whether the processes of a cluster, all of which then make the same call, share the tasks. Otherwise
            each that makes the call does all of them.
        engine: What hands the tasks out: processes, or ray (the extra `ray`).
        progress: Whether to show a progress bar on stderr.
        address: Address of the Ray cluster; auto finds the one that this machine belongs to.

    Raises:
        ConfigError: A number is below 1, or there is no such accelerator or engine.

    Example:
        >>> Workers(devices=4, accelerator="cpu").member.is_first
        True
        >>> Workers(devices=0)
        Traceback (most recent call last):
        thriftseg.errors.ConfigError: number of devices; expected at least 1; found 0
    """

    devices: int | None = 1
    accelerator: Accelerator = "auto"
    num_nodes: int = 1
    shared: bool = True
    engine: str = "processes"
    progress: bool = True
    address: str = "auto"

    def __post_init__(self) -> None:
        for name, number in (("devices", self.devices), ("nodes", self.num_nodes)):
            if number is not None and number < 1:
                raise ConfigError(f"number of {name}", expected="at least 1", found=number)
        for name, known in (("accelerator", get_args(Accelerator)), ("engine", tuple(ENGINES))):
            if getattr(self, name) not in known:
                raise ConfigError(f"no such {name}", expected=", ".join(known), found=repr(getattr(self, name)))

    @property
    def member(self) -> Member:
        """This process among those that make the same call."""
        return find_member(self.num_nodes) if self.shared else Member()


def run_tasks(
    job: Callable[[Task], Result],
    tasks: Sequence[Task],
    workers: Workers | None = None,
    *,
    description: str = "",
    on_result: Callable[[Result], None] | None = None,
) -> list[Result]:
    """Do all tasks and return their results in the order of the tasks, in every process of a cluster.

    OpenCV runs on one thread meanwhile: its DIS flow depends on the number of threads, and results must not.

    Args:
        job: Called with each task, a `Job` or a function.
        tasks: The work, equal in all processes of a cluster.
        workers: Who does it; this process when absent.
        description: Shown in front of the progress bar.
        on_result: Called in this process, of a cluster in the first one, with each result: with those of this machine
            as soon as they are there, with the others at the end.

    Raises:
        ConfigError: There are not as many devices.
        WorkerDied: A process died.

    Example:
        >>> run_tasks(abs, [-3, 2], Workers(accelerator="cpu", progress=False))
        [3, 2]
    """
    workers = workers or Workers()
    member = workers.member
    receive = on_result if on_result is not None and member.is_first else lambda result: None
    member.wait()  # until all know what is left to do
    share = range(member.rank, len(tasks), member.world)
    results: dict[int, Result] = {}
    with _one_opencv_thread(), progress_bar(workers.progress and member.is_first and bool(tasks)) as bar:
        line = bar.add_task(description, total=len(share))
        for number, result in ENGINES[workers.engine](job, [(number, tasks[number]) for number in share], workers):
            results[number] = result
            bar.advance(line)
            receive(result)
        own = set(results)
        for made in member.gather(results):
            results |= made
        for number in sorted(set(results) - own):
            receive(results[number])
        if isinstance(job, Job) and member.is_first:
            job.finish()
    member.wait()
    return [results[number] for number in range(len(tasks))]


def _on_this_machine(
    job: Callable[[Task], Result], tasks: Sequence[tuple[int, Task]], workers: Workers
) -> Iterator[tuple[int, Result]]:
    """Do the share of this member in this process, or in several of its own."""
    if not tasks:
        return
    member, gpus = workers.member, _gpus(workers.accelerator)
    if member.local_rank is not None:
        device = gpus[member.local_rank % len(gpus)] if gpus else "cpu"
        yield from work_at(Workplace(device, str(member.rank)), job, tasks)
        return
    count = workers.devices or len(gpus) or available_cpus()
    devices = gpus or ["cpu"] * count
    alone = Workplace(devices[0], None if member.world == 1 else str(member.rank * count))
    if workers.devices is None and count > 1:
        remaining = iter(tasks)
        yield from _while_short(len(tasks), work_at(alone, job, remaining))
        tasks = list(remaining)
    count = min(count, len(tasks))
    if count > len(devices):
        raise ConfigError("number of devices", expected=f"at most {len(devices)}, the GPUs that are here", found=count)
    if count <= 1:
        yield from work_at(alone, job, tasks)
        return
    first = member.rank * (workers.devices or count)
    places = [Workplace(device, str(first + index)) for index, device in enumerate(devices[:count])]
    yield from work_in_processes(places, job, tasks)


def _on_ray(
    job: Callable[[Task], Result], tasks: Sequence[tuple[int, Task]], workers: Workers
) -> Iterator[tuple[int, Result]]:
    """Do the share of this member in the actors of a Ray cluster."""
    crew = f"{workers.member.rank}-"
    return work_on_ray(job, tasks, workers.address, workers.devices, workers.accelerator, crew)


def _while_short(total: int, results: Iterator[tuple[int, Result]]) -> Iterator[tuple[int, Result]]:
    """Results up to the moment from which processes pay."""
    start = time.monotonic()
    for done, result in enumerate(results, start=1):
        yield result
        elapsed, left = time.monotonic() - start, total - done
        if left > 1 and elapsed > _ALONE and left * elapsed / done > _WORTH_SPREADING:
            return


def _gpus(accelerator: Accelerator) -> list[str]:
    """The GPUs to compute on, as torch names them; none for the CPU."""
    if accelerator == "cpu":
        return []
    if "torch" in sys.modules or _driver_is_there():
        import torch

        if torch.cuda.is_available():
            return [f"cuda:{index}" for index in range(torch.cuda.device_count())]
        if torch.backends.mps.is_available():
            return ["mps:0"]
    if accelerator == "gpu":
        raise ConfigError("there is no GPU", fix="set accelerator to auto or cpu")
    return []


def _driver_is_there(devices: Path = Path("/dev")) -> bool:
    """Whether it is worth the seconds that importing torch takes to ask it for GPUs."""
    files = ("nvidia*", "nvhost*", "nvmap", "kfd", "dxg")  # NVIDIA, its small boards, AMD, Windows' subsystem for Linux
    return sys.platform != "linux" or any(any(devices.glob(pattern)) for pattern in files)


@contextmanager
def _one_opencv_thread() -> Iterator[None]:
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


Engine = Callable[[Callable[[Any], Any], Sequence[tuple[int, Any]], Workers], Iterator[tuple[int, Any]]]

ENGINES: dict[str, Engine] = {"processes": _on_this_machine, "ray": _on_ray}
"""What hands tasks out, by name: each does the numbered tasks of this member and yields their numbered results."""
