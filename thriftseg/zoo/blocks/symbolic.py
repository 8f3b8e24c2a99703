"""Sizes that an export leaves open."""

from __future__ import annotations

import torch


def is_symbolic(size: object) -> bool:
    """Whether a size, or a sum of sizes, is not known, as while an export for several sizes is traced.

    Code that asks whether a size has some value would bind the export to that value.

    Example:
        >>> is_symbolic(torch.zeros(2, 3).shape[0])
        False
    """
    return isinstance(size, torch.SymInt)
