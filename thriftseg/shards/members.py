"""Files in shards, found by the path that they would have in folders."""

from __future__ import annotations

import os
import zlib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from thriftseg.errors import DatasetError
from thriftseg.limits import FILE_BYTES
from thriftseg.shards.bucket import address_of, fetch, keep
from thriftseg.shards.index import FIX_OF_SHARDS, SHARD_INDEX, read_shard_index

_PIECE = 2**24  # bytes read at once of what is larger


class _Member(NamedTuple):
    shard: int
    start: int
    size: int
    crc: int


def read_packed(path: str | Path) -> bytes | None:
    """Content of a file that lies in a shard; `None` where none has it.

    Raises:
        DatasetError: The index or the shard is damaged, the file is too large to be read at once, or it cannot be
            fetched.

    Example:
        >>> import tempfile
        >>> from thriftseg.shards import ShardIndex, ShardRow
        >>> row = ShardRow("0.tar", 5, "0" * 64, "", {"train": {"a.png": (0, 5, zlib.crc32(b"frame"))}})
        >>> with tempfile.TemporaryDirectory() as root:
        ...     written = Path(root, "0.tar").write_bytes(b"frame")
        ...     written = Path(root, SHARD_INDEX).write_bytes(ShardIndex(1, "camvid", [row], {}).encode())
        ...     read_packed(f"{root}/train/a.png"), read_packed(f"{root}/train/b.png")
        (b'frame', None)
    """
    found = _find(path)
    member = found[0].member(found[1]) if found else None
    if found is None or member is None:
        return None
    FILE_BYTES.check(member.size, path)
    return b"".join(found[0].intact(member, found[1]))


def packed_span(path: str | Path) -> tuple[Path, int, int] | None:
    """Where a file in a shard lies on this disk, to which it is fetched: the tar, first byte and end.

    Raises:
        DatasetError: As for `read_packed`, whatever the size.

    Example:
        >>> import tempfile
        >>> from thriftseg.shards import ShardIndex, ShardRow
        >>> row = ShardRow("0.tar", 8, "0" * 64, "", {"train": {"a.png": (3, 5, zlib.crc32(b"frame"))}})
        >>> with tempfile.TemporaryDirectory() as root:
        ...     written = Path(root, "0.tar").write_bytes(b"...frame")
        ...     written = Path(root, SHARD_INDEX).write_bytes(ShardIndex(1, "camvid", [row], {}).encode())
        ...     path, start, end = packed_span(f"{root}/train/a.png")
        >>> path.name, start, end
        ('0.tar', 3, 8)
    """
    found = _find(path)
    member = found[0].member(found[1]) if found else None
    if found is None or member is None:
        return None
    shards, place = found
    for _ in shards.intact(member, place, held=False):
        pass
    return shards.path_of(member), member.start, member.start + member.size


def stamp_of(path: str | Path) -> tuple[int, int] | None:
    """What tells that a file is still the same; `None` where there is none.

    It is the size with the time of the last change or, in a shard, with the checksum.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     written = Path(folder, "a.png").write_bytes(b"frame")
        ...     stamp_of(f"{folder}/a.png")[0], stamp_of(f"{folder}/b.png")
        (5, None)
    """
    with suppress(FileNotFoundError, NotADirectoryError):
        status = os.stat(path)  # noqa: PTH116 - as fast as can be
        return status.st_size, status.st_mtime_ns
    found = _find(path)
    member = found[0].member(found[1]) if found else None
    return None if member is None else (member.size, member.crc)


def packed_names(folder: str | Path) -> tuple[list[str], list[str]]:
    """Names of the files and of the sub-folders that shards have in a folder.

    Example:
        >>> import tempfile
        >>> from thriftseg.shards import ShardIndex, ShardRow
        >>> row = ShardRow("0.tar", 5, "0" * 64, "", {"train": {"a.png": (0, 5, 0)}, "train/clip": {}})
        >>> with tempfile.TemporaryDirectory() as root:
        ...     written = Path(root, SHARD_INDEX).write_bytes(ShardIndex(1, "camvid", [row], {}).encode())
        ...     packed_names(root), packed_names(f"{root}/train")
        (([], ['train']), (['a.png'], ['clip']))
    """
    found = _find(folder)
    if found is None:
        return [], []
    shards, place = found
    return list(shards.files.get(place, ())), list(shards.folders.get(place, ()))


def is_file(path: str | Path) -> bool:
    """Whether a file lies on the disk or in a shard.

    Example:
        >>> import tempfile
        >>> from thriftseg.shards import ShardIndex, ShardRow
        >>> row = ShardRow("0.tar", 5, "0" * 64, "", {"train": {"a.png": (0, 5, 0)}})
        >>> with tempfile.TemporaryDirectory() as root:
        ...     written = Path(root, SHARD_INDEX).write_bytes(ShardIndex(1, "camvid", [row], {}).encode())
        ...     is_file(f"{root}/train/a.png"), is_file(f"{root}/train/b.png")
        (True, False)
    """
    if os.path.isfile(path):  # noqa: PTH113 - `Path.is_file` raises on names that are too long
        return True
    found = _find(path)
    return found is not None and found[0].member(found[1]) is not None


_ROOTS: dict[str, str] = {}
"""The folders of shards that folders were found to lie in."""


def _find(path: str | Path) -> tuple[_Shards, str] | None:
    """The shards that a path leads into, and the way from there."""
    text = os.fspath(path)
    root = _ROOTS.get(os.path.dirname(text))  # noqa: PTH120 - asked for every file that is read
    if root is None:
        root = text
        while not os.path.isfile(os.path.join(root, SHARD_INDEX)):  # noqa: PTH113, PTH118
            above = os.path.dirname(root)  # noqa: PTH120
            if above == root:
                return None
            root = above
        if root != text:
            _ROOTS[os.path.dirname(text)] = root  # noqa: PTH120
    try:
        status = os.stat(os.path.join(root, SHARD_INDEX))  # noqa: PTH116, PTH118
    except OSError:  # they were deleted
        return None if _ROOTS.pop(os.path.dirname(text), None) is None else _find(path)  # noqa: PTH120
    return _opened(root, status.st_size, status.st_mtime_ns), text[len(root) :].strip("/")


@lru_cache(maxsize=16)
def _opened(root: str, size: int, changed: int) -> _Shards:
    return _Shards(Path(root))


class _Shards:
    """A folder of shards.

    Args:
        folder: The folder.

    Attributes:
        files: Members by folder and name.
        folders: Names of sub-folders by folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._rows = folder, read_shard_index(folder / SHARD_INDEX).shards
        self._address = address_of(folder)
        self.files: dict[str, dict[str, _Member]] = defaultdict(dict)
        self.folders: dict[str, dict[str, None]] = defaultdict(dict)
        for number, row in enumerate(self._rows):
            for place, members in row.files.items():
                self.files[place].update((name, _Member(number, *where)) for name, where in members.items())
                members.clear()
        for place in list(self.files):
            while place:
                above, _, name = place.rpartition("/")
                self.folders[above][name] = None
                place = above

    def member(self, place: str) -> _Member | None:
        """What the index says of a file."""
        folder, _, name = place.rpartition("/")
        return self.files[folder].get(name) if folder in self.files else None

    def path_of(self, member: _Member) -> Path:
        """The shard on this disk, or what is kept of it."""
        row = self._rows[member.shard]
        return self._folder / (row.name if self._address is None else f"{row.sha256[:16]}-{row.name}")

    def intact(self, member: _Member, place: str, held: bool = True) -> list[bytes]:
        """Content of a member in pieces, once its checksum was compared; none where it is not to be held.

        Raises:
            DatasetError: It is damaged or cannot be fetched.
        """
        found = 0
        for pieces in [self._stored] if self._address is None else [self._stored, self._fetched]:
            content, crc, found = list[bytes](), 0, 0
            for piece in pieces(member):
                crc, found = zlib.crc32(piece, crc), found + len(piece)
                if held:
                    content.append(piece)
            if found == member.size and crc == member.crc:
                return content
        row = self._rows[member.shard]
        shard = self._folder / row.name if self._address is None else f"{self._address}/{row.name}"
        known = self._address is None and not self.path_of(member).is_file()
        raise DatasetError(
            f"this shard is missing, which has {place}" if known else f"this shard is damaged or cut short at {place}",
            path=shard,
            expected=f"{member.size} bytes from byte {member.start} with checksum {member.crc:08x}",
            found=f"{found} bytes" if found < member.size else "other bytes",
            fix=FIX_OF_SHARDS,
        )

    def _stored(self, member: _Member) -> Iterator[bytes]:
        left, path = member.size, self.path_of(member)
        with suppress(FileNotFoundError), path.open("rb") as stream:
            if self._address is not None:
                os.utime(path)  # the cache loses first what was unused for longest
            stream.seek(member.start)
            while left and (piece := stream.read(min(left, _PIECE))):
                left -= len(piece)
                yield piece

    def _fetched(self, member: _Member) -> Iterator[bytes]:
        path, address = self.path_of(member), f"{self._address}/{self._rows[member.shard].name}"
        end = member.start + member.size
        for start in range(member.start, end, _PIECE):
            wanted = min(_PIECE, end - start)
            piece = fetch(address, start, start + wanted)
            if piece is None or len(piece) != wanted:
                raise DatasetError(
                    "a range of the shard cannot be fetched",
                    path=address,
                    expected=f"{wanted} bytes from byte {start}",
                    found="no such file" if piece is None else f"{len(piece)} bytes",
                    fix=f"{FIX_OF_SHARDS}; a web server has to answer requests for ranges",
                )
            keep(path, start, piece)
            yield piece
