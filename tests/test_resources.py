"""CPUs that a process may use: its cores, and the limit of its container."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from thriftseg.resources import available_cpus

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def system(root: Path, groups: str, files: dict[str, str]) -> Path:
    """A file system with these control groups of the process and these files below `/sys/fs/cgroup`."""
    for name, content in {"proc/self/cgroup": groups, **{f"sys/fs/cgroup/{k}": v for k, v in files.items()}}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


V1 = "11:memory:/docker/f00\n4:cpu,cpuacct:/docker/f00\n0::/docker/f00\n"


@pytest.mark.parametrize(
    ("groups", "files", "limit"),
    [
        ("0::/\n", {"cpu.max": "100000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "5000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/\n", {}, None),
        ("0::/user/job\n", {"user/cpu.max": "90000 100000\n", "user/job/cpu.max": "max 100000\n"}, 1),
        (V1, {"cpu/docker/f00/cpu.cfs_quota_us": "50000\n", "cpu/docker/f00/cpu.cfs_period_us": "100000\n"}, 1),
        (V1, {"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        (V1, {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        (V1, {"memory/docker/f00/cpu.cfs_quota_us": "1000\n", "memory/docker/f00/cpu.cfs_period_us": "1000\n"}, None),
    ],
)
def test_limit_of_the_container(tmp_path: Path, groups: str, files: dict[str, str], limit: int | None):
    expected = CORES if limit is None else min(CORES, limit)
    assert available_cpus(system(tmp_path, groups, files)) == expected


def test_system_without_control_groups(tmp_path: Path):
    assert available_cpus(tmp_path) == CORES


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot bind a process to cores")
def test_bound_to_one_core():
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
        "from thriftseg.resources import available_cpus; print(available_cpus())"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "1"
