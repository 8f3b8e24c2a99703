"""NumPy archives."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np

from thriftseg.arrays import AnyArray
from thriftseg.errors import DatasetError, ThriftsegError
from thriftseg.limits import FILE_BYTES
from thriftseg.parsing.schemas import Fault, Origin


def decode_arrays(
    content: bytes, path: str | Path, *names: str, fault: Fault = DatasetError, fix: str | None = None
) -> list[AnyArray]:
    """Arrays in the content of an `.npz` file or, without names, the one of an `.npy` file; pickles are refused.

    Args:
        content: What the file holds.
        path: The file.
        names: Names of the arrays.
        fault: Kind of error.
        fix: What to do about a damaged file.

    Raises:
        ThriftsegError: It holds no such arrays, or too large ones.

    Example:
        >>> file = io.BytesIO()
        >>> np.savez(file, hours=np.array([1.0, 2.5]), clicks=np.array([3, 4]))
        >>> [clicks] = decode_arrays(file.getvalue(), "curve.npz", "clicks")
        >>> clicks.tolist()
        [3, 4]
    """
    origin = Origin(path, fault, fix)
    try:
        if not names:
            return [np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)]
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [archive.getinfo(f"{name}.npy") for name in names]
            FILE_BYTES.check(sum(member.file_size for member in members), path, fault=fault)
            return [
                np.lib.format.read_array(io.BytesIO(archive.read(member)), allow_pickle=False) for member in members
            ]
    except ThriftsegError:
        raise
    except Exception as error:  # a parser fed with arbitrary bytes can fail in any way
        raise origin.error("holds no such arrays", ", ".join(names) or None, error) from error
