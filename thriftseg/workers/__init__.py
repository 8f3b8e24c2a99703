"""Who does the work: this process, several on this machine, or those that a cluster has started."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thriftseg.lazy import face

if TYPE_CHECKING:
    from thriftseg.workers.cluster import is_first_process
    from thriftseg.workers.job import Job
    from thriftseg.workers.processes import WorkerDied, exit_with_parent, keep_freed_memory
    from thriftseg.workers.running import Accelerator, Workers, run_tasks

__getattr__, __dir__, __all__ = face(__name__)
