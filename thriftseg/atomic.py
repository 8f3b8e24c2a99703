"""Files that are either there in full or not at all, whatever happens while they are written."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

PARTIAL_SUFFIX = ".partial"
"""Ending of files that are still being written; left over only by a killed process."""

_SPACE = Path("/proc/self/ns/pid")  # containers of one machine have process numbers of their own
_MACHINE = re.sub(r"\W", "-", socket.gethostname())[:40] + (f"-{_SPACE.stat().st_ino}" if _SPACE.exists() else "")
_swept: set[Path] = set()


@contextmanager
def named_in_errors(path: Path) -> Iterator[None]:
    """Let the system's errors in writing, such as that of a full disk, name the file.

    Args:
        path: The file that is written to.

    Example:
        >>> with named_in_errors(Path("a.png")):
        ...     raise OSError(28, "No space left on device")
        Traceback (most recent call last):
        OSError: [Errno 28] No space left on device: 'a.png'
    """
    try:
        yield
    except OSError as error:
        if error.filename is None or str(error.filename).endswith(PARTIAL_SUFFIX):
            error.filename = str(path)
        raise


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A temporary file in the same folder that is flushed to disk and takes the name when the block ends without error.

    Args:
        path: Target; its folder is made when absent.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "a.txt"
        >>> with whole_file(path) as file: size = file.write(b"whole")
        >>> path.read_text()
        'whole'
    """
    temporary = partial_path(path)
    try:
        with named_in_errors(path), temporary.open("w+b") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file by way of a temporary one, see `whole_file`.

    Args:
        path: Target; its folder is made when absent.
        content: The whole content.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "a.bin"
        >>> write_bytes(path, b"whole")
        >>> path.read_bytes()
        b'whole'
    """
    with whole_file(path) as stream:
        stream.write(content)


def sweep_partial(folder: Path) -> int:
    """Delete what killed processes left half-written under a folder; returns the number of files.

    Call it only while nobody writes there.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     whole, half = Path(folder, "a.png"), partial_path(Path(folder, "b.png"))
        ...     written = whole.write_bytes(b"whole"), half.write_bytes(b"ha")
        ...     sweep_partial(Path(folder)), whole.exists(), half.exists()
        (1, True, False)
    """
    left = list(folder.rglob(f".*{PARTIAL_SUFFIX}"))
    for path in left:
        path.unlink(missing_ok=True)
    return len(left)


def partial_path(path: Path) -> Path:
    """Where this process writes what shall become a file; what killed processes left in that folder is deleted first.

    What another process is writing right now stays, and so does what processes of other machines have left.

    Args:
        path: The file; its folder is made when absent.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     partial = partial_path(Path(folder, "labels", "a.png"))
        ...     partial.parent.is_dir(), partial.name.startswith(".a.png."), partial.suffix
        (True, True, '.partial')
    """
    folder = path.parent
    folder.mkdir(parents=True, exist_ok=True)
    if folder not in _swept:  # once, as folders of labels hold thousands of files
        _swept.add(folder)
        for left in folder.glob(f".?*.*@{_MACHINE}{PARTIAL_SUFFIX}"):
            if not _is_at_work(left.name.rsplit(".", 2)[1].partition("@")[0]):
                left.unlink(missing_ok=True)
    return path.with_name(f".{path.name}.{os.getpid()}@{_MACHINE}{PARTIAL_SUFFIX}")


def _is_at_work(process: str) -> bool:
    """Whether a process of this number is alive."""
    if not process.isdecimal():
        return True
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # it is alive, and of another user
    return True
