"""Data sets in tar shards, on a disk or in a bucket, read as if their files still lay in folders.

A folder of shards has an index, `shards.json`: for every file of a data set, by its path below the root, the tar that
it lies in and the bytes that it takes there. What lists and opens files (`thriftseg.parsing.read_bytes`, `list_files`
of the data sets, `LabelStore`) asks here for what the disk does not have. So there is no reader of shards: each reader
of a data set works on them with all its settings, and what training draws, by seed, rank and epoch, stays the same.
What lies on the disk comes first; short texts (class table, lists, manifests) lie in plain beside the shards.

Shards in a bucket are read by ranges instead of being fetched whole: the order of training is random over all shards,
so with a cache smaller than the data a whole shard would be fetched for the sake of one frame. What was read is kept,
in a file with holes for each shard. A checksum for each member tells it from a hole, and from what another process has
written only in part, so processes neither wait for each other nor see anything but whole members. Once these files take
more than `THRIFTSEG_LIMIT_SHARD_CACHE` bytes, those unused for longest are deleted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from thriftseg.lazy import face

if TYPE_CHECKING:
    from thriftseg.shards.bucket import is_mirror, local_folder
    from thriftseg.shards.index import SHARD_INDEX, ShardIndex, ShardRow, read_shard_index
    from thriftseg.shards.members import is_file, packed_names, packed_span, read_packed, stamp_of

__getattr__, __dir__, __all__ = face(__name__)
