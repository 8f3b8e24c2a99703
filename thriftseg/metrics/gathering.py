"""State that grows: rows that every process collects and all of them share at the end."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


class RowMetric(Metric):
    """A metric whose states are lists of tensors that are joined along their first dimension.

    A process that has seen nothing takes part with empty tensors of the right type and shape. (torchmetrics alone
    sends a float32 vector then, which does not go with rows of another type.)
    """

    is_differentiable = False
    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self._empty: dict[str, Tensor] = {}

    def add_row_state(self, name: str, *row_shape: int, dtype: torch.dtype) -> None:
        """Add a state of rows of this shape."""
        self.add_state(name, [], dist_reduce_fx="cat")
        self._empty[name] = torch.zeros(0, *row_shape, dtype=dtype)

    def append_rows(self, name: str, rows: Tensor) -> None:
        """Append rows, (n, *row_shape), to a state."""
        getattr(self, name).append(rows.to(self.device))

    def rows(self, name: str) -> Tensor:
        """All rows of a state, (N, *row_shape), on the CPU."""
        state = getattr(self, name)
        return dim_zero_cat(state).cpu() if len(state) else self._empty[name]

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Gather the rows of all processes."""
        for name, empty in self._empty.items():
            if isinstance(state := getattr(self, name), list) and not state:
                state.append(empty.to(self.device))
        super().sync(*args, **kwargs)
