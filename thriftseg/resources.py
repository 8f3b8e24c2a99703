"""Files that ship with the package, the folder that it keeps files in, and CPUs that it may use."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

from thriftseg.errors import ConfigError

_PACKAGE = Path(__file__).resolve().parent
_CONFIG_FOLDERS = (_PACKAGE / "configs", _PACKAGE.parent / "configs")  # installed; in a checkout
_CHECKPOINT_FOLDERS = (_PACKAGE / "checkpoints", _PACKAGE.parent / "checkpoints")


def cache_folder() -> Path:
    """Folder for what can be made again: `$XDG_CACHE_HOME/thriftseg`, by default `~/.cache/thriftseg`.

    Example:
        >>> from unittest.mock import patch
        >>> with patch.dict(os.environ, XDG_CACHE_HOME="/scratch"):
        ...     cache_folder().as_posix()
        '/scratch/thriftseg'
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "thriftseg"


def config_path(name: str) -> Path:
    """Find a shipped config, whether the package is installed or used from a checkout.

    Args:
        name: Path below `configs/`.

    Returns:
        The file.

    Raises:
        ConfigError: No such config ships with the package.

    Example:
        >>> config_path("quickstart.yaml").name
        'quickstart.yaml'
    """
    for folder in _CONFIG_FOLDERS:
        candidate = folder / name
        if candidate.is_file():
            return candidate
    raise ConfigError(f"no config named {name!r} ships with thriftseg", fix="pass the path of your own YAML file")


def list_configs(folder: str) -> list[str]:
    """Names of the shipped configs in a folder, sorted, as `config_path` takes them.

    Args:
        folder: Folder below `configs/`.

    Example:
        >>> "supervised/cityscapes_hrnet_w18.yaml" in list_configs("supervised")
        True
    """
    root = next((root for root in _CONFIG_FOLDERS if (root / folder).is_dir()), _CONFIG_FOLDERS[0])
    return sorted(str(path.relative_to(root)) for path in (root / folder).glob("*.yaml"))


def checkpoints_folder() -> Path:
    """Folder of the published checkpoints that ship with the package, with their index.

    Example:
        >>> sorted(path.name for path in checkpoints_folder().glob("*.json"))
        ['index.json']
    """
    return next((folder for folder in _CHECKPOINT_FOLDERS if folder.is_dir()), _CHECKPOINT_FOLDERS[0])


def available_cpus(system: Path = Path("/")) -> int:
    """Number of CPUs that this process may keep busy, at least 1.

    The cores that it may run on, and no more than the CPU quota of its control groups, rounded up: in a container with
    two CPUs on a machine of 64 cores this is 2, where `os.cpu_count()` is 64.

    Args:
        system: Folder that holds `proc` and `sys`.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as system:  # a container with half a CPU
        ...     for name, text in {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "50000 100000"}.items():
        ...         Path(system, name).parent.mkdir(parents=True)
        ...         written = Path(system, name).write_text(text)
        ...     available_cpus(Path(system))
        1
    """
    if sys.version_info >= (3, 13):
        cores = os.process_cpu_count() or 1
    elif hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = min(_cpu_quotas(system), default=math.inf)
    return max(1, math.ceil(min(cores, quota)))


def _cpu_quotas(system: Path) -> list[float]:
    """CPU limits of the control groups that the process is in, of version 1 and 2, and of the groups above them."""
    quotas = []
    try:
        for line in (system / "proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", maxsplit=2)
            if controllers and "cpu" not in controllers.split(","):
                continue
            mount = system / "sys/fs/cgroup" / ("cpu" if controllers else "")
            group = Path(path.lstrip("/"))
            for folder in (mount / group, *(mount / above for above in group.parents)):
                files = [folder / name for name in ("cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us")]
                words = " ".join(file.read_text(encoding="utf-8") for file in files if file.is_file()).split()
                if len(words) == 2 and words[0] not in ("max", "-1"):
                    quotas.append(int(words[0]) / int(words[1]))
    except OSError:
        pass  # a system without control groups, or one that hides them
    return quotas
