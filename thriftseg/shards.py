"""Data sets in tar shards, on a disk or in a bucket, read as if their files still lay in folders.

A folder of shards has an index, `shards.json`: for every file of a data set, by its path below the root, the tar that
it lies in and the bytes that it takes there. What lists and opens files (`thriftseg.parsing.read_bytes`, `list_files` of
the data sets, `LabelStore`) asks here for what the disk does not have. So there is no reader of shards: each reader of a
data set works on them with all its settings, and what training draws, by seed, rank and epoch, stays the same. What
lies on the disk comes first; short texts (class table, lists, manifests of labels) lie in plain beside the shards.

Shards in a bucket are read by ranges instead of being fetched whole: the order of training is random over all shards,
so with a cache smaller than the data a whole shard would be fetched for the sake of one frame. What was read is kept,
in a file with holes for each shard. A checksum for each member tells it from a hole, and from what another process has
written only in part, so processes neither wait for each other nor see anything but whole members. Once these files take
more than `THRIFTSEG_LIMIT_SHARD_CACHE` bytes, those unused for longest are deleted.
"""

from __future__ import annotations

import hashlib
import os
import time
import zlib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path
from typing import Annotated, Literal, NamedTuple
from urllib.parse import quote, unquote

import msgspec
from msgspec import Meta

from thriftseg.atomic import named_in_errors, write_bytes
from thriftseg.errors import ConfigError, DatasetError
from thriftseg.limits import FILE_BYTES, SHARD_CACHE
from thriftseg.resources import cache_folder

SHARD_INDEX = "shards.json"
"""Name of the index in a folder of shards."""

_PIECE = 2**24  # bytes read at once of what is larger
_PAUSES = (1.0, 4.0)  # seconds before a range is asked for again
_FIX = "copy the shards again, or make them again: thriftseg data shard"

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
    """

    schema: Literal[1]
    dataset: str
    shards: list[ShardRow]
    plain: dict[_Place, tuple[_Whole, str]]

    def encode(self) -> bytes:
        """Content of the file."""
        return msgspec.json.encode(self, order="deterministic")


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
    """
    found = _find(path)
    member = found[0].member(found[1]) if found else None
    if found is None or member is None:
        return None
    shards, place = found
    for _ in shards.intact(member, place, keep=False):
        pass
    return shards.path_of(member), member.start, member.start + member.size


def stamp_of(path: str | Path) -> tuple[int, int] | None:
    """What tells that a file is still the same; `None` where there is none.

    It is the size with the time of the last change or, in a shard, with the checksum.
    """
    with suppress(FileNotFoundError, NotADirectoryError):
        status = os.stat(path)  # noqa: PTH116 - as fast as can be
        return status.st_size, status.st_mtime_ns
    found = _find(path)
    member = found[0].member(found[1]) if found else None
    return None if member is None else (member.size, member.crc)


def packed_names(folder: str | Path) -> tuple[list[str], list[str]]:
    """Names of the files and of the sub-folders that shards have in a folder."""
    found = _find(folder)
    if found is None:
        return [], []
    shards, place = found
    return list(shards.files.get(place, ())), list(shards.folders.get(place, ()))


def is_file(path: str | Path) -> bool:
    """Whether a file lies on the disk or in a shard."""
    if os.path.isfile(path):  # noqa: PTH113 - `Path.is_file` raises on names that are too long
        return True
    found = _find(path)
    return found is not None and found[0].member(found[1]) is not None


def read_shard_index(path: Path) -> ShardIndex:
    """Read an index.

    Raises:
        DatasetError: It is missing, damaged or of another version.
    """
    try:
        FILE_BYTES.check(path.stat().st_size, path)
        return _decoded(path.read_bytes(), path)
    except OSError as error:
        raise DatasetError("cannot be read", path=path, found=error.strerror) from error


def local_folder(root: str | Path) -> Path:
    """The folder that a data set or a label store is read from.

    Args:
        root: A folder, or the address of shards, such as `s3://bucket/cityscapes` or `https://host/cityscapes`, or of a
            folder in them. Their index and plain files are fetched then, and nothing else until it is read.

    Raises:
        DatasetError: There are no shards at the address, or they cannot be fetched.
        ConfigError: The package for addresses of this kind is not installed.
    """
    return _mirror(root.rstrip("/")) if isinstance(root, str) and "://" in root else Path(root).expanduser()


def is_mirror(folder: Path) -> bool:
    """Whether a folder only keeps what lies in a bucket."""
    return _mirrors() in folder.parents


def _mirrors() -> Path:
    return cache_folder() / "shards"


@cache  # once in a process: what lies at an address does not change while it is read
def _mirror(address: str) -> Path:
    above = address.rpartition("/")[0]
    for base in [address] if above.endswith(":/") else [address, above]:
        content = _fetch(f"{base}/{SHARD_INDEX}")
        if content is None:
            continue
        folder = _mirrors() / quote(base, safe="")
        for place, (size, digest) in _decoded(content, f"{base}/{SHARD_INDEX}").plain.items():
            path = folder / place
            if path.is_file() and path.stat().st_size == size and _digest(path.read_bytes()) == digest:
                continue
            plain = _fetch(f"{base}/{place}")
            if plain is None or _digest(plain) != digest:
                found = "no such file" if plain is None else f"{len(plain)} bytes of another digest"
                raise DatasetError("not as the index has it", path=f"{base}/{place}", found=found, fix=_FIX)
            write_bytes(path, plain)
        index = folder / SHARD_INDEX
        if not index.is_file() or index.read_bytes() != content:
            write_bytes(index, content)
        return folder / address[len(base) :].strip("/")
    raise DatasetError(
        "no shards at this address",
        path=f"{address}/{SHARD_INDEX}",
        fix="make them (thriftseg data shard) and copy the whole folder there",
    )


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _decoded(content: bytes, path: str | Path) -> ShardIndex:
    try:
        index = msgspec.json.decode(content, type=ShardIndex)
        for row in index.shards:
            for folder, files in row.files.items():
                for name, (start, size, _) in files.items():
                    if start + size > row.bytes:
                        raise ValueError(f"{folder}/{name} ends behind {row.name}")
    except (ValueError, RecursionError) as error:  # those of msgspec are ValueErrors
        raise DatasetError("is no index of shards", path=path, found=str(error), fix=_FIX) from error
    return index


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
        self._address = unquote(folder.name) if folder.parent == _mirrors() else None
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

    def intact(self, member: _Member, place: str, keep: bool = True) -> list[bytes]:
        """Content of a member in pieces, once its checksum was compared; none where it is not to be kept.

        Raises:
            DatasetError: It is damaged or cannot be fetched.
        """
        found = 0
        for pieces in [self._stored] if self._address is None else [self._stored, self._fetched]:
            content, crc, found = list[bytes](), 0, 0
            for piece in pieces(member):
                crc, found = zlib.crc32(piece, crc), found + len(piece)
                if keep:
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
            fix=_FIX,
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
            piece = _fetch(address, start, start + wanted)
            if piece is None or len(piece) != wanted:
                raise DatasetError(
                    "a range of the shard cannot be fetched",
                    path=address,
                    expected=f"{wanted} bytes from byte {start}",
                    found="no such file" if piece is None else f"{len(piece)} bytes",
                    fix=f"{_FIX}; a web server has to answer requests for ranges",
                )
            _keep(path, start, piece)
            yield piece


_unswept = 0  # bytes that this process has put into the cache since it last looked how full that is


def _keep(path: Path, start: int, piece: bytes) -> None:
    """Put a part of a shard into the cache; of too many shards, the longest unused go."""
    global _unswept
    with named_in_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            os.pwrite(file, piece, start)
        finally:
            os.close(file)
    limit = SHARD_CACHE.value
    _unswept += len(piece)
    if _unswept <= limit // 64:
        return
    _unswept, kept = 0, list[tuple[int, int, Path]]()
    for each in _mirrors().glob("*/*.tar"):
        with suppress(FileNotFoundError):  # deleted by another process
            status = each.stat()
            kept.append((status.st_mtime_ns, status.st_blocks * 512, each))
    excess = sum(size for _, size, _ in kept) - limit
    for _, size, each in sorted(kept)[:-1]:
        if excess <= 0:
            break
        each.unlink(missing_ok=True)
        excess -= size


def _fetch(address: str, start: int | None = None, end: int | None = None) -> bytes | None:
    """A file of a bucket, or a range of it, which is asked for again after a failure; `None` where there is no file."""
    for pause in (None,) if start is None else (*_PAUSES, None):
        try:
            from fsspec.core import url_to_fs  # a process that was forked gets connections of its own from it

            files, path = url_to_fs(address)
            return bytes(files.cat_file(path, start=start, end=end))
        except FileNotFoundError:
            return None
        except ImportError as error:
            raise ConfigError("addresses of this kind need a package", path=address, found=str(error)) from error
        except Exception as error:  # each kind of bucket has errors of its own
            if pause is None:
                found = f"{type(error).__name__}: {error}"
                raise DatasetError("cannot be fetched", path=address, found=found) from error
        time.sleep(pause)
    return None
