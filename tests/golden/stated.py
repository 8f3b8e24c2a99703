"""What a golden states in words, and the files it names, which lie beside it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np


class MissingFile(Exception):
    """A picture, mask or array that a golden needs does not lie beside it.

    Attributes:
        path: The file.
        array: Name of the array that the file should hold, if the file is there.
    """

    def __init__(self, path: Path, array: str | None = None) -> None:
        self.path, self.array = path, array
        super().__init__(path, array)

    def told_from(self, folder: Path) -> str:
        """What is missing, as seen from the folder of the golden."""
        path = self.path.relative_to(folder) if self.path.is_relative_to(folder) else self.path
        return f"array {self.array} is missing in {path}" if self.array else f"{path} is missing beside it"


def beside(path: Path) -> Path:
    """The path of a file that belongs to a golden.

    Raises:
        MissingFile: It is not there.
    """
    if not path.is_file():
        raise MissingFile(path)
    return path


def stored_arrays(path: Path, *names: str) -> list[np.ndarray]:
    """Arrays of an npz file that belongs to a golden.

    Raises:
        MissingFile: The file or an array is not there.
    """
    with np.load(beside(path)) as arrays:
        for name in names:
            if name not in arrays:
                raise MissingFile(path, name)
        return [arrays[name] for name in names]


def numbers(pattern: str, words: str) -> list[float]:
    """The numbers that a pattern finds in the words of a golden, one per group.

    Raises:
        ValueError: The golden words it in another way.
    """
    found = re.search(pattern, words)
    if found is None:
        raise ValueError(f"found no {pattern!r} in {words!r}")
    return [float(group) for group in found.groups()]
