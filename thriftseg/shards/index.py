"""The index of a folder of shards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from thriftseg.errors import DatasetError
from thriftseg.limits import FILE_BYTES

SHARD_INDEX = "shards.json"
"""Name of the index in a folder of shards."""

FIX_OF_SHARDS = "copy the shards again, or make them again: thriftseg data shard"
"""What to do about damaged shards."""

_Whole = Annotated[int, Meta(ge=0, le=2**62)]
_Place = Annotated[str, Meta(pattern=r"\A(?!(?:.*/)?\.\.?(?:/|\Z))[^\0/]+(?:/[^\0/]+)*\Z", max_length=4096)]


class ShardRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One shard in the index.

    Attributes:
        name: File name of the tar.
        bytes: Its size.
        sha256: Its digest.
        plan: Digest of what it was made from.
        files: First byte, size and CRC-32 of its members by folder and name, as they lie below the root of the data
            set.

    Example:
        >>> row = ShardRow("0.tar", 2048, "0" * 64, "", {"train": {"a.png": (512, 90, 0), "b.png": (1024, 60, 0)}})
        >>> sum(size for members in row.files.values() for _, size, _ in members.values())
        150
    """

    name: Annotated[str, Meta(pattern=r"\A[0-9A-Za-z_-]+\.tar\Z")]
    bytes: _Whole
    sha256: Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
    plan: str
    files: dict[str, dict[str, tuple[_Whole, _Whole, _Whole]]]


class ShardIndex(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What lies in the shards of a folder.

    Attributes:
        schema: Version of the index.
        dataset: Name of the data set.
        shards: The shards.
        plain: Size and digest of the files that lie beside them, by path.

    Example:
        >>> index = ShardIndex(1, "camvid", [], {"classes.yaml": (120, "0" * 64)})
        >>> decode_shard_index(index.encode(), "shards.json") == index
        True
        >>> decode_shard_index(index.encode()[:-1], "shards.json")
        Traceback (most recent call last):
        thriftseg.errors.DatasetError: shards.json: is no index of shards; found ...; fix: copy the shards again, or ...
    """

    schema: Literal[1]
    dataset: str
    shards: list[ShardRow]
    plain: dict[_Place, tuple[_Whole, str]]

    def encode(self) -> bytes:
        """Content of the file."""
        return msgspec.json.encode(self, order="deterministic")


def read_shard_index(path: Path) -> ShardIndex:
    """Read an index.

    Raises:
        DatasetError: It is missing, damaged or of another version.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     size = Path(folder, SHARD_INDEX).write_bytes(ShardIndex(1, "camvid", [], {}).encode())
        ...     read_shard_index(Path(folder, SHARD_INDEX)).dataset
        'camvid'
    """
    try:
        FILE_BYTES.check(path.stat().st_size, path)
        return decode_shard_index(path.read_bytes(), path)
    except OSError as error:
        raise DatasetError("cannot be read", path=path, found=error.strerror) from error


def decode_shard_index(content: bytes, path: str | Path) -> ShardIndex:
    """Read an index that is no file; see `read_shard_index`."""
    try:
        index = msgspec.json.decode(content, type=ShardIndex)
        for row in index.shards:
            for folder, files in row.files.items():
                for name, (start, size, _) in files.items():
                    if start + size > row.bytes:
                        raise ValueError(f"{folder}/{name} ends behind {row.name}")
    except (ValueError, RecursionError) as error:  # those of msgspec are ValueErrors
        raise DatasetError("is no index of shards", path=path, found=str(error), fix=FIX_OF_SHARDS) from error
    return index
