"""What is fetched from a bucket, and kept on the disk."""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from urllib.parse import quote, unquote

from thriftseg.atomic import named_in_errors, write_bytes
from thriftseg.errors import ConfigError, DatasetError
from thriftseg.limits import SHARD_CACHE
from thriftseg.resources import cache_folder
from thriftseg.shards.index import FIX_OF_SHARDS, SHARD_INDEX, decode_shard_index

_PAUSES = (1.0, 4.0)  # seconds before a range is asked for again


def local_folder(root: str | Path) -> Path:
    """The folder that a data set or a label store is read from.

    Args:
        root: A folder, or the address of shards, such as `s3://bucket/cityscapes` or `https://host/cityscapes`, or of a
            folder in them. Their index and plain files are fetched then, and nothing else until it is read.

    Raises:
        DatasetError: There are no shards at the address, or they cannot be fetched.
        ConfigError: The package for addresses of this kind is not installed.

    Example:
        >>> local_folder("data/camvid").as_posix()
        'data/camvid'
        >>> local_folder("memory://bucket/camvid")
        Traceback (most recent call last):
        thriftseg.errors.DatasetError: memory://bucket/camvid/shards.json: no shards at this address; fix: make them ...
    """
    return _mirror(root.rstrip("/")) if isinstance(root, str) and "://" in root else Path(root).expanduser()


def is_mirror(folder: Path) -> bool:
    """Whether a folder only keeps what lies in a bucket.

    Example:
        >>> kept = cache_folder() / "shards" / "s3%3A%2F%2Fbucket%2Fcamvid"
        >>> is_mirror(kept / "train"), is_mirror(Path("data/camvid/train"))
        (True, False)
    """
    return _mirrors() in folder.parents


def address_of(folder: Path) -> str | None:
    """The address whose files a folder keeps; `None` for any other folder."""
    return unquote(folder.name) if folder.parent == _mirrors() else None


def _mirrors() -> Path:
    return cache_folder() / "shards"


@cache  # once in a process: what lies at an address does not change while it is read
def _mirror(address: str) -> Path:
    above = address.rpartition("/")[0]
    for base in [address] if above.endswith(":/") else [address, above]:
        content = fetch(f"{base}/{SHARD_INDEX}")
        if content is None:
            continue
        folder = _mirrors() / quote(base, safe="")
        for place, (size, digest) in decode_shard_index(content, f"{base}/{SHARD_INDEX}").plain.items():
            path = folder / place
            if path.is_file() and path.stat().st_size == size and _digest(path.read_bytes()) == digest:
                continue
            plain = fetch(f"{base}/{place}")
            if plain is None or _digest(plain) != digest:
                found = "no such file" if plain is None else f"{len(plain)} bytes of another digest"
                raise DatasetError("not as the index has it", path=f"{base}/{place}", found=found, fix=FIX_OF_SHARDS)
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


_unswept = 0  # bytes that this process has put into the cache since it last looked how full that is


def keep(path: Path, start: int, piece: bytes) -> None:
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


def fetch(address: str, start: int | None = None, end: int | None = None) -> bytes | None:
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
