"""Named patterns of offsets: which frames around an annotated one are trained on.

The names follow a study of SAM 2 pseudo-labels for video semantic segmentation: P(ast), F(uture) or B(oth), the number
of frames per clip, `s` for neighbours at a short distance, `n` for no manual frame.
"""

from __future__ import annotations

from types import MappingProxyType

from thriftseg.errors import MixtureError

PATTERNS = MappingProxyType(
    {
        "N1": (0,),
        "P2": (-10, 0),
        "P2s": (-1, 0),
        "F2": (0, 10),
        "F2s": (0, 1),
        "B2n": (-10, 10),
        "B3": (-10, 0, 10),
        "B3s": (-1, 0, 1),
        "B5": (-10, -5, 0, 5, 10),
        "B5s": (-2, -1, 0, 1, 2),
        "B7": (-10, -7, -3, 0, 3, 7, 10),
        "B9": (-10, -7, -5, -3, 0, 3, 5, 7, 10),
        "B11": tuple(range(-10, 11, 2)),
        "P11": tuple(range(-10, 1)),
        "F11": tuple(range(11)),
    }
)
"""Offsets by name; offset 0 is labelled by hand, the others are propagated."""


def offsets_of(pattern: str) -> tuple[int, ...]:
    """Offsets of a named pattern.

    Raises:
        MixtureError: There is no such pattern.

    Example:
        >>> offsets_of("B3")
        (-10, 0, 10)
    """
    if pattern not in PATTERNS:
        raise MixtureError("no such pattern", expected=", ".join(PATTERNS), found=repr(pattern))
    return PATTERNS[pattern]
