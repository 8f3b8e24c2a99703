"""Limits on what a file may ask for, checked before memory or time is spent on it.

Each can be raised by an environment variable, `THRIFTSEG_LIMIT_` and its name, for files that are known to be good.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from thriftseg.errors import ConfigError, DatasetError, ThriftsegError

_VARIABLE = "THRIFTSEG_LIMIT_"


class LimitError(DatasetError, ValueError):
    """A file asks for more than it may; a reader that says where in a file a value is wrong says so of this one.

    Example:
        >>> try:
        ...     IMAGE_PIXELS.check(10**10, "huge.png")
        ... except LimitError as error:
        ...     error.path, error.expected
        ('huge.png', 'at most 268435456')
    """


@dataclass(frozen=True)
class Limit:
    """The most that a file may have of something.

    Attributes:
        name: In capitals, as it stands in the environment variable.
        default: The limit where that variable is not set.
        unit: What is counted, in the plural.

    Example:
        >>> objects = Limit("OBJECTS", 3, "objects")
        >>> objects.check(3)
        >>> objects.check(4)
        Traceback (most recent call last):
        thriftseg.limits.LimitError: too many objects; expected at most 3; found 4; ...set THRIFTSEG_LIMIT_OBJECTS to...
    """

    name: str
    default: int
    unit: str

    @property
    def value(self) -> int:
        """The limit that holds now.

        Raises:
            ConfigError: The environment variable is no whole number.
        """
        chosen = os.environ.get(_VARIABLE + self.name)
        if chosen is None:
            return self.default
        try:
            return int(chosen)
        except ValueError:
            raise ConfigError(f"{_VARIABLE}{self.name} is no limit", expected="a whole number", found=chosen) from None

    def check(self, found: float, path: str | Path | None = None, *, fault: type[ThriftsegError] = LimitError) -> None:
        """Refuse what is above the limit.

        Args:
            found: How many there are.
            path: File that asks for them.
            fault: Kind of error.

        Raises:
            ThriftsegError: There are more than the limit, or their number is not a number.

        Example:
            >>> IMAGE_PIXELS.check(10**10, "huge.png")
            Traceback (most recent call last):
            thriftseg.limits.LimitError: huge.png: too many pixels; expected at most 268435456; found 10000000000; ...
        """
        if found <= self.value:
            return
        fix = f"if the file is right, set {_VARIABLE}{self.name} to what it needs"
        raise fault(f"too many {self.unit}", path=path, expected=f"at most {self.value}", found=found, fix=fix)


IMAGE_PIXELS = Limit("IMAGE_PIXELS", 2**28, "pixels")
"""Of one image or mask, whether stored or described (16384 x 16384)."""
COORDINATE = Limit("COORDINATE", 2**20, "pixels from the corner of the image")
"""Of a corner of a polygon or a box, in each direction."""
POLYGON_STEPS = Limit("POLYGON_STEPS", 2**34, "steps to fill a polygon")
"""Of a polygon whose many edges lie in the same rows; some seven in a nanosecond."""
FRAMES = Limit("FRAMES", 2**18, "frames")
"""Of a video, where a short text tells how many there are: tracks, ranges of offsets."""
SHAPES = Limit("SHAPES", 2**21, "shapes in the frames of tracks")
"""Of a file whose tracks stand for a shape in each of their frames."""
FILE_BYTES = Limit("FILE_BYTES", 2**30, "bytes")
"""Of a file that is read at once: JSON, YAML, CSV, XML, text, images."""
SHARD_CACHE = Limit("SHARD_CACHE", 2**36, "bytes of shards")
"""Of what is kept on the disk of shards in a bucket; more is deleted, and no error."""
DEPTH = Limit("DEPTH", 100, "levels of nesting")
"""Of JSON and YAML."""
ENTRIES = Limit("ENTRIES", 10**7, "entries")
"""Of a list that a short text describes: copies by YAML aliases, rows that the edges of a polygon cross."""
