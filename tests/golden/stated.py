"""What a golden states in words."""

from __future__ import annotations

import re


def numbers(pattern: str, words: str) -> list[float]:
    """The numbers that a pattern finds in the words of a golden, one per group.

    Raises:
        ValueError: The golden words it in another way.
    """
    found = re.search(pattern, words)
    if found is None:
        raise ValueError(f"found no {pattern!r} in {words!r}")
    return [float(group) for group in found.groups()]
