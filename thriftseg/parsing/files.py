"""Reading a regular file of bounded size, and text."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from thriftseg.errors import DatasetError
from thriftseg.limits import FILE_BYTES
from thriftseg.parsing.schemas import Fault
from thriftseg.shards import read_packed

MARK = b"\xef\xbb\xbf"


def read_bytes(path: str | Path, *, fault: Fault = DatasetError) -> bytes:
    """Content of a file, on the disk or in a shard (see `thriftseg.shards`).

    Args:
        path: A regular file; pipes and devices are not opened.
        fault: Kind of error.

    Raises:
        ThriftsegError: It is missing, unreadable, too large or no regular file.

    Example:
        >>> from thriftseg.errors import ConfigError
        >>> try:
        ...     read_bytes("nowhere/frames.txt", fault=ConfigError)
        ... except ConfigError as error:
        ...     print(error)
        nowhere/frames.txt: no such file
    """
    try:
        status = os.stat(path)  # noqa: PTH116 - `Path` would normalise the path that the error names
        if not stat.S_ISREG(status.st_mode):
            found = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or device"
            raise fault("cannot be read", path=path, expected="a file", found=found)
        FILE_BYTES.check(status.st_size, path, fault=fault)
        return Path(path).read_bytes()
    except FileNotFoundError:
        packed = read_packed(path)
        if packed is None:
            raise fault("no such file", path=path) from None
        return packed
    except (OSError, ValueError) as error:  # a ValueError is about NUL in the path
        raise fault("cannot be read", path=path, found=getattr(error, "strerror", None) or error) from error


def read_text(path: str | Path, *, fault: Fault = DatasetError) -> str:
    """Text of a file in UTF-8, with or without a byte order mark.

    Args:
        path: A regular file.
        fault: Kind of error.

    Raises:
        ThriftsegError: It cannot be read (see `read_bytes`), or is not UTF-8.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "classes.txt")
        ...     _ = path.write_text("road", encoding="utf-8-sig")  # with a byte order mark, as some editors write it
        ...     read_text(path)
        'road'
    """
    content = read_bytes(path, fault=fault).removeprefix(MARK)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise fault("is not UTF-8", path=path, found=not_utf8(error)) from error


def read_lines(path: str | Path, *, fault: Fault = DatasetError) -> list[str]:
    r"""Lines of a text, without white space around them and without those that are empty then.

    Args:
        path: A regular file.
        fault: Kind of error.

    Raises:
        ThriftsegError: It cannot be read (see `read_text`), or has NUL in it.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "train.txt")
        ...     _ = path.write_text("clip_1 \n\n clip_2")
        ...     read_lines(path)
        ['clip_1', 'clip_2']
    """
    lines = [line.strip() for line in read_text(path, fault=fault).splitlines()]
    for number, line in enumerate(lines, start=1):
        if "\0" in line:
            raise fault("is no text", path=path, found=f"a character NUL in line {number}")
    return [line for line in lines if line]


def not_utf8(error: UnicodeDecodeError) -> str:
    """What to say of bytes that are no text."""
    return f"byte {error.object[error.start]:#04x} at position {error.start}, which is not UTF-8"
