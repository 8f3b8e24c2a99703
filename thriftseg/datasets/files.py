"""Listing folders, on the disk or in shards, and making sense of frame numbers, without opening a file."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

from thriftseg.datasets.images import FRAME_SUFFIXES
from thriftseg.errors import DatasetError
from thriftseg.shards import packed_names

Key = TypeVar("Key", int, str)

_RANKS = {suffix: rank for rank, suffix in enumerate(FRAME_SUFFIXES)}
_SURROGATE = re.compile("[\ud800-\udfff]")  # what Python makes of bytes that are not UTF-8
_LAST_NUMBER = re.compile(r"(\d+)\D*$")
_DIGITS = re.compile(r"(\d+)")


def list_files(folder: Path, suffixes: tuple[str, ...] = FRAME_SUFFIXES) -> list[Path]:
    """Files of a folder with one of the endings, sorted by name; empty when the folder is absent.

    Raises:
        DatasetError: A name is not UTF-8.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("b.png", "a.JPG", "notes.txt", ".c.png"):
        ...         Path(folder, name).touch()
        ...     [path.name for path in list_files(Path(folder))], list_files(Path(folder, "absent"))
        (['a.JPG', 'b.png'], [])
    """
    names, _ = packed_names(folder)
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        names += [entry.name for entry in entries]
    return _paths(folder, {name for name in names if name.lower().endswith(suffixes)})


def list_folders(folder: Path) -> list[Path]:
    """Sub-folders of a folder, sorted by name; empty when the folder is absent.

    Raises:
        DatasetError: A name is not UTF-8.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("val", "train", ".cache"):
        ...         Path(folder, name).mkdir()
        ...     [path.name for path in list_folders(Path(folder))]
        ['train', 'val']
    """
    _, names = packed_names(folder)
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        names += [entry.name for entry in entries if entry.is_dir()]
    return _paths(folder, set(names))


def glob_files(folder: Path, pattern: str) -> list[Path]:
    """Files below a folder that fit a pattern as of `Path.glob`, which finds those in shards too, sorted.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("b/2.png", "a/1.png", "a/1.json", "3.png"):
        ...         Path(folder, name).parent.mkdir(exist_ok=True)
        ...         Path(folder, name).touch()
        ...     [path.relative_to(folder).as_posix() for path in glob_files(Path(folder), "*/*.png")]
        ['a/1.png', 'b/2.png']
    """
    packed = [path for path in _packed_below(folder) if _fits(path.relative_to(folder).parts, Path(pattern).parts)]
    return sorted({*folder.glob(pattern), *packed})


def _packed_below(folder: Path) -> Iterator[Path]:
    files, folders = packed_names(folder)
    yield from (folder / name for name in files)
    for name in folders:
        yield from _packed_below(folder / name)


def _fits(names: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    if not names or not pattern:
        return not names and not pattern
    if pattern[0] == "**":
        return _fits(names, pattern[1:]) or _fits(names[1:], pattern)
    return fnmatchcase(names[0], pattern[0]) and _fits(names[1:], pattern[1:])


def _paths(folder: Path, names: Iterable[str]) -> list[Path]:
    shown = sorted(name for name in names if not name.startswith("."))
    for name in shown:
        if not name.isascii() and _SURROGATE.search(name):
            raise DatasetError("a name that is not UTF-8", path=folder / name, fix="rename the file or folder")
    return [folder / name for name in shown]


def keep_preferred(files: dict[Key, Path], key: Key, path: Path) -> None:
    """List a file under its number or name unless one of a better format is there already (PNG before JPEG)."""
    there = files.setdefault(key, path)
    if there is not path:
        files[key] = min(there, path, key=lambda file: _RANKS.get(file.suffix.lower(), len(_RANKS)))


def frame_number(stem: str) -> int | None:
    """The last number in a file name.

    Example:
        >>> frame_number("frame0014"), frame_number("Seq05VD_f00030"), frame_number("cover")
        (14, 30, None)
    """
    match = _LAST_NUMBER.search(stem)
    return int(match[1]) if match else None


def natural_key(name: str) -> tuple[tuple[int, int | str], ...]:
    """Sorts names so that the numbers in them count, not their digits.

    Example:
        >>> sorted(["frame10", "frame9", "frame009b"], key=natural_key)
        ['frame9', 'frame009b', 'frame10']
    """
    parts = _DIGITS.split(name)
    return tuple((0, int(part)) if position % 2 else (1, part) for position, part in enumerate(parts))


def usual_step(numbers: Iterable[int], default: int = 1) -> int:
    """The most frequent distance of neighbouring numbers, the smaller one on a tie.

    Example:
        >>> usual_step([0, 30, 60, 91, 120, 400]), usual_step([7])
        (30, 1)
    """
    distances = Counter(after - before for before, after in pairwise(sorted(numbers)))
    return min(distances, key=lambda step: (-distances[step], step)) if distances else default
