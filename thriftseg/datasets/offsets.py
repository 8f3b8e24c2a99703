"""Offsets from the annotated frame, in steps of the clip, and the frames they stand for."""

from __future__ import annotations

import re
from collections.abc import Iterable

from thriftseg.errors import ConfigError
from thriftseg.limits import FRAMES
from thriftseg.types import Clip

_NUMBER_OR_RANGE = re.compile(r"\s*([+-]?\d{1,18})\s*(?:\.\.\s*([+-]?\d{1,18})\s*)?")


def parse_offsets(offsets: str | int | Iterable[int]) -> tuple[int, ...]:
    """Read a set of offsets.

    Args:
        offsets: Whole numbers, or a text such as `-10..10` or `-10,-5,0`, in which ranges include both ends.

    Returns:
        The offsets, increasing.

    Raises:
        ConfigError: The text is no list of offsets, is empty, names too many, or an offset twice.

    Example:
        >>> parse_offsets("-2..1"), parse_offsets("5, -5"), parse_offsets([0])
        ((-2, -1, 0, 1), (-5, 5), (0,))
    """
    if isinstance(offsets, str):
        numbers: list[int] = []
        for part in offsets.split(","):
            match = _NUMBER_OR_RANGE.fullmatch(part)
            between = range(int(match[1]), int(match[2] or match[1]) + 1) if match else None
            if not between:
                raise ConfigError("cannot read the offsets", expected="such as -10..10 or -5,0,5", found=repr(offsets))
            FRAMES.check(len(numbers) + between[-1] - between[0], fault=ConfigError)
            numbers += between
    else:
        numbers = [offsets] if isinstance(offsets, int) else [int(number) for number in offsets]
    if not numbers or len(set(numbers)) != len(numbers):
        raise ConfigError("offsets must be given, each once", expected="such as -10..10 or -5,0,5", found=offsets)
    return tuple(sorted(numbers))


def target_number(clip: Clip, annotated: int, offset: int) -> int | None:
    """Native number of the frame at an offset, or `None` when the clip has no such frame.

    Example:
        >>> from pathlib import Path
        >>> clip = Clip("drive", {10: Path("10.png"), 12: Path("12.png")}, frame_step=2)
        >>> target_number(clip, 10, 1), target_number(clip, 10, 2)
        (12, None)
    """
    number = clip.number_at(annotated, offset)
    return number if number in clip.frames else None


def describe_reach(clip: Clip, annotated: int) -> str:
    """The offsets that exist around an annotated frame, for messages.

    Example:
        >>> from pathlib import Path
        >>> describe_reach(Clip("drive", {n: Path(f"{n}.png") for n in range(30)}), 19)
        '-19..10'
    """
    steps = [number - annotated for number in clip.frames if (number - annotated) % clip.frame_step == 0]
    return f"{min(steps, default=0) // clip.frame_step}..{max(steps, default=0) // clip.frame_step}"
