"""Folders that say what they were made with, so that nothing goes on in them in another way."""

from __future__ import annotations

import functools
import inspect
import json
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from filelock import SoftFileLock, Timeout

from thriftseg.atomic import write_bytes
from thriftseg.errors import ConfigError
from thriftseg.parsing import read_json

RUNS = "runs"
"""Where runs go by default, below the current folder."""

LOCK = ".lock"
"""File in a folder while a process writes to it; it names the process and its machine."""

Parameters = ParamSpec("Parameters")
Returned = TypeVar("Returned")


@contextmanager
def sole_writer(folder: str | Path, wait: float = 0.5) -> Iterator[None]:
    """Keep other processes from writing to a folder until the block ends.

    A process that has died without tidying up holds nothing; blocks of the same process may lie within each other.

    Args:
        folder: The folder; made when absent, and taken away again if it stays empty.
        wait: Seconds to wait for another process; to break the lock of a dead one takes a little.

    Raises:
        ConfigError: Another process is at work there, or it is no folder.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     with sole_writer(Path(root, "labels")):
        ...         [path.name for path in Path(root, "labels").iterdir()]
        ...     list(Path(root).iterdir())
        ['.lock']
        []
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ConfigError("is a file, not a folder", path=folder, fix="choose another folder")
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    lock = SoftFileLock(folder / LOCK, is_singleton=True)
    try:
        try:
            lock.acquire(timeout=wait)
        except Timeout:
            if not _is_left_unsigned(folder / LOCK):
                raise
            _take_away_unsigned(folder / LOCK)
            lock.acquire(timeout=wait)
    except Timeout:
        note = (folder / LOCK).read_text(errors="replace") if (folder / LOCK).is_file() else ""
        process, machine, *_ = [*note.split(), "?", "?"]
        raise ConfigError(
            "another process is writing here",
            path=folder,
            found=f"process {process} on {machine}",
            fix=f"wait for it, or choose another folder; delete {LOCK} if that machine is gone",
        ) from None
    try:
        yield
    finally:
        lock.release()
        for path in made:
            if any(path.iterdir()):
                break
            path.rmdir()


def _is_left_unsigned(lock: Path) -> bool:
    """Whether a process died between making its lock and signing it, which takes a moment and never seconds."""
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        if not lock.is_file() or lock.stat().st_size:
            return False
        time.sleep(0.1)
    return True


def _take_away_unsigned(lock: Path) -> None:
    """Remove an empty lock, and never one that another process has made in its place."""
    aside = lock.with_name(f"{lock.name}.{os.getpid()}")
    with suppress(FileNotFoundError, FileExistsError):
        lock.rename(aside)
        if aside.stat().st_size:
            lock.hardlink_to(aside)
    aside.unlink(missing_ok=True)


def writes_alone(
    argument: str,
) -> Callable[[Callable[Parameters, Returned]], Callable[Parameters, Returned]]:
    """Decorate a function that writes to a folder as its `sole_writer`.

    Args:
        argument: The argument that names the folder.

    Example:
        >>> import tempfile
        >>> @writes_alone("folder")
        ... def names(folder): return [path.name for path in folder.iterdir()]
        >>> with tempfile.TemporaryDirectory() as root:
        ...     names(Path(root, "labels"))
        ['.lock']
    """

    def decorate(function: Callable[Parameters, Returned]) -> Callable[Parameters, Returned]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def alone(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Returned:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            with sole_writer(bound.arguments[argument]):
                return function(*args, **kwargs)

        return alone

    return decorate


def claim_folder(
    folder: Path,
    settings: Mapping[str, Any],
    *,
    record: str = "run.json",
    notes: Collection[str] = (),
    problem: str = "holds a run with other settings",
    fix: str = "choose another folder, or the settings of that run",
    fix_of_foreign: str | None = None,
) -> None:
    """Write down what a folder is made with, or refuse one that was made with something else.

    Args:
        folder: The folder; made when absent.
        settings: What it is made with, JSON values only.
        record: Name of the file in the folder that says so.
        notes: Settings that are written down but may differ.
        problem: What is wrong with a folder made with something else.
        fix: What to do about it.
        fix_of_foreign: What to do about other files in a folder without a record; they are no fault when absent.

    Raises:
        ConfigError: The folder was made with something else, or holds other files where it may not.
        DatasetError: The record is damaged.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> claim_folder(folder, {"seed": 0, "budget": {"clicks": 9}})
        >>> claim_folder(folder, {"seed": 0, "budget": {"clicks": 5}})
        Traceback (most recent call last):
        thriftseg.errors.ConfigError: ...: holds a run with other settings; expected budget.clicks 5; ...
    """
    path, wanted = folder / record, json.loads(json.dumps(settings))
    if not path.exists():
        if (
            fix_of_foreign is not None
            and folder.exists()
            and (not folder.is_dir() or any(path.name != LOCK for path in folder.iterdir()))
        ):
            raise ConfigError(f"is not empty and has no {record}", path=folder, fix=fix_of_foreign)
        write_bytes(path, (json.dumps(wanted, indent=1, sort_keys=True) + "\n").encode())
        return
    found = read_json(path, dict[str, Any])
    flat_wanted, flat_found = (
        dict(flat_settings({name: value for name, value in each.items() if name not in notes}))
        for each in (wanted, found)
    )
    names = sorted(flat_wanted.keys() | flat_found.keys())
    differing = [name for name in names if flat_wanted.get(name) != flat_found.get(name)]
    if differing:
        expected, instead = (
            ", ".join(f"{name} {each.get(name)}" for name in differing) for each in (flat_wanted, flat_found)
        )
        raise ConfigError(problem, path=folder, expected=expected, found=instead, fix=fix)


def flat_settings(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Settings without nesting, named by their path.

    Args:
        settings: May hold mappings at any depth.
        prefix: Put in front of the names.

    Example:
        >>> dict(flat_settings({"seed": 0, "budget": {"clicks": 9}}))
        {'seed': 0, 'budget.clicks': 9}
    """
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from flat_settings(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
