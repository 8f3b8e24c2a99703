"""Files that are either there in full or not at all, whatever happens while they are written."""

from __future__ import annotations

import os
from pathlib import Path

PARTIAL_SUFFIX = ".partial"
"""Ending of files that are still being written; left over only by a killed process."""


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file by way of a temporary one in the same folder, flushed to disk before it takes the name.

    Args:
        path: Target; its folder is made when absent.
        content: The whole content.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL_SUFFIX}")
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sweep_partial(folder: Path) -> int:
    """Delete what killed processes left half-written under a folder; returns the number of files.

    Call it only while nobody writes there.
    """
    left = list(folder.rglob(f".*{PARTIAL_SUFFIX}"))
    for path in left:
        path.unlink(missing_ok=True)
    return len(left)
