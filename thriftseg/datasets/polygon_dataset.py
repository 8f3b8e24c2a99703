"""Readers of data sets whose labels are PNGs of raw ids, or polygon files where there are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from thriftseg.arrays import Int32Array, UInt8Array
from thriftseg.datasets.base import VideoDataset
from thriftseg.datasets.images import read_label_png
from thriftseg.datasets.polygons import Regions, draw_instances, draw_labels, draw_regions, read_polygons
from thriftseg.shards import is_file
from thriftseg.types import IGNORE_INDEX, INSTANCES_PER_CLASS, Clip


class PolygonDataset(VideoDataset):
    """A data set whose label and instance maps are PNGs of raw ids, or are drawn from polygons where there are none.

    Instance PNGs hold `raw id * 1000 + k` with k from 0 for single objects, and smaller numbers elsewhere.
    """

    def read_instances(self, clip: Clip, number: int) -> Int32Array | None:
        """Instance ids of a frame, (H, W) int32 as `train_id * 1000 + k` with k from 1, 0 = none.

        Groups and objects of ignored classes count as none.
        """
        return self._read_instance_file(clip, clip.instances.get(number))

    def read_coarse_regions(self, clip: Clip, number: int) -> Regions | None:
        """The polygons behind a coarse label, from its file or one beside it.

        Raises:
            DatasetError: The file is damaged or of another size than the frame.
        """
        path = _beside(clip.coarse.get(number), "_polygons.json")
        if path is None:
            return None
        regions = draw_regions(read_polygons(path), self.taxonomy)
        self._check_size(clip, regions.index, path)
        return regions

    def read_coarse_instances(self, clip: Clip, number: int) -> Int32Array | None:
        """Instance ids of a coarse label, from a PNG beside it."""
        return self._read_instance_file(clip, _beside(clip.coarse.get(number), "_instanceIds.png"))

    def files_beside(self, clip: Clip, number: int) -> dict[str, Path]:
        """What is read of a frame beside the files that its clip lists: shapes and instances of a coarse label."""
        coarse = clip.coarse.get(number)
        found = {"regions": _beside(coarse, "_polygons.json"), "instances": _beside(coarse, "_instanceIds.png")}
        return {f"coarse.{name}": path for name, path in found.items() if path is not None}

    def _decode_label(self, path: Path) -> UInt8Array:
        if path.suffix == ".json":
            return draw_labels(read_polygons(path), self.taxonomy)
        return super()._decode_label(path)

    def _read_instance_file(self, clip: Clip, path: Path | None) -> Int32Array | None:
        if path is None:
            return None
        if path.suffix == ".json":
            instances = draw_instances(read_polygons(path), self.taxonomy)
        else:
            raw_class, index = np.divmod(read_label_png(path).astype(np.int32), INSTANCES_PER_CLASS)
            single = (raw_class > 0) & (raw_class < IGNORE_INDEX)
            ignored = next(row.id for row in self.taxonomy.table if row.ignored)
            train_ids = self.taxonomy.to_train_ids(np.where(single, raw_class, ignored), path)
            ids = train_ids.astype(np.int32) * INSTANCES_PER_CLASS + index + 1
            instances = np.where(single & (train_ids != IGNORE_INDEX), ids, 0)
        self._check_size(clip, instances, path)
        return instances


def _beside(label: Path | None, ending: str) -> Path | None:
    """The file of another kind that belongs to a label file, if there is one."""
    if label is None:
        return None
    path = label.with_name(label.stem.rpartition("_")[0] + ending)
    return path if is_file(path) else None
