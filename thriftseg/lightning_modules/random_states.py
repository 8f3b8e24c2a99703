"""States of the random generators of all processes, so that a resumed run draws what an undisturbed one would."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import distributed

from thriftseg.errors import CheckpointError


def collect_random_states() -> list[dict[str, Any]]:
    """States of torch, its CUDA devices, numpy and Python in each process, in order of rank, as plain values.

    Every process has to call it.
    """
    name, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002 - libraries still use this one
    state = {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": (str(name), torch.from_numpy(keys.astype(np.int64)), *rest),  # type: ignore[union-attr]
        "python": random.getstate(),
    }
    states = [state]
    if distributed.is_available() and distributed.is_initialized():
        states *= distributed.get_world_size()
        distributed.all_gather_object(states, state)
    return states


def restore_random_states(states: list[dict[str, Any]], rank: int) -> None:
    """Bring the generators of this process to where they were.

    Args:
        states: Of all processes, from `collect_random_states`. Those of another number of processes serve as far as
            they go.
        rank: Rank of this process.

    Raises:
        CheckpointError: They are damaged.
    """
    if rank >= len(states):
        return
    state = states[rank]
    try:
        name, keys, *rest = state["numpy"]
        np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
        version, words, gauss = state["python"]
        random.setstate((version, tuple(words), gauss))
        torch.set_rng_state(state["torch"].cpu())
        if len(state["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all([each.cpu() for each in state["cuda"]])
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CheckpointError("damaged states of random generators", found=error) from error
