"""Processes that a cluster (torchrun, Slurm) has started, or one process on each of several machines."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from thriftseg.errors import ConfigError

Value = TypeVar("Value")

_PATIENCE = timedelta(days=30)
"""How long a process that has finished waits for the others."""


@dataclass(frozen=True)
class Member:
    """One of the processes that share the tasks of a call which each of them makes.

    Attributes:
        rank: Its number, from 0.
        world: Number of members.
        local_rank: Its number among those of this machine where a cluster has started one process per device; `None`
            where it may start processes of its own.
    """

    rank: int = 0
    world: int = 1
    local_rank: int | None = None

    @property
    def is_first(self) -> bool:
        """Whether this is the member that speaks and tidies up for all."""
        return self.rank == 0

    def wait(self) -> None:
        """Go on when all members have come this far."""
        self.gather(None)

    def gather(self, value: Value) -> list[Value]:
        """What each member hands over, in order of rank; they wait for each other."""
        if self.world == 1:
            return [value]
        from torch import distributed

        if not distributed.is_initialized():
            self._join()
        values = [value] * self.world
        distributed.all_gather_object(values, value)
        return values

    def _join(self) -> None:
        """Meet the others. The group stays for later calls, since the address can be used only once."""
        from torch import distributed

        if not {"MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
            if "SLURM_JOB_ID" not in os.environ:
                raise ConfigError(
                    "several nodes do not know where to meet",
                    expected="MASTER_ADDR, MASTER_PORT and NODE_RANK in the environment",
                    fix="set them, or start the program with torchrun or srun",
                )
            from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

            slurm = SLURMEnvironment(auto_requeue=False)
            os.environ.update(MASTER_ADDR=slurm.main_address, MASTER_PORT=str(slurm.main_port))
        # Only Python objects are exchanged, so gloo serves GPUs too.
        distributed.init_process_group("gloo", rank=self.rank, world_size=self.world, timeout=_PATIENCE)


def find_member(num_nodes: int = 1) -> Member:
    """Which of the processes that were started for this program this one is.

    Args:
        num_nodes: Number of machines on which the program was started, where no cluster has done so.
    """
    known = os.environ
    world = int(known.get("WORLD_SIZE") or known.get("SLURM_NTASKS") or 1)
    local_rank = known.get("LOCAL_RANK") or known.get("SLURM_LOCALID")
    if world > 1 and local_rank is not None:
        return Member(int(known.get("RANK") or known.get("SLURM_PROCID") or 0), world, int(local_rank))
    return Member(int(known.get("NODE_RANK") or known.get("GROUP_RANK") or 0), num_nodes) if num_nodes > 1 else Member()


def is_first_process() -> bool:
    """Whether this is the process of a cluster that may print, or the only one.

    Example:
        >>> from unittest.mock import patch
        >>> with patch.dict(os.environ, WORLD_SIZE="2", RANK="1", LOCAL_RANK="1"):
        ...     is_first_process()
        False
    """
    return find_member().is_first
