"""Annotations as palette PNGs of object ids in the folders of DAVIS.

    Annotations/480p/<video>/<number:05d>.png     0 = no object
    Annotations/objects.json                      class name of each id: {"<video> or *": {"<id>": "<class>"}}

DAVIS itself has no classes, hence the second file.

[0] Pont-Tuset et al., "The 2017 DAVIS Challenge on Video Object Segmentation", 2017; https://davischallenge.org.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

import numpy as np

from thriftseg.arrays import UInt8Array, UInt16Array
from thriftseg.atomic import write_bytes
from thriftseg.datasets import encode_label_png, read_label_png
from thriftseg.errors import DatasetError
from thriftseg.exchange.records import AnnotatedImage, ExportedFrame, ExportedObject, Shape
from thriftseg.parsing import Digits, read_json
from thriftseg.regions import MaskRegion, run_lengths
from thriftseg.taxonomies import Taxonomy, distinct_color
from thriftseg.types import IGNORE_INDEX

ANNOTATIONS, TABLE_FILE = "Annotations", "objects.json"
_RESOLUTIONS = ("480p", "Full-Resolution")
_Table = dict[str, dict[int, str]]


def read_davis(path: Path) -> list[AnnotatedImage]:
    """Read all PNGs of `480p`, else of `Full-Resolution`, else of `Annotations` itself (as in YouTube-VOS).

    Args:
        path: The folder of `Annotations`, or that folder.

    Raises:
        DatasetError: There are no PNGs or no class table, or an object has no class.
    """
    annotations = path if path.name == ANNOTATIONS else path / ANNOTATIONS
    table_file = annotations / TABLE_FILE
    if not table_file.is_file():
        raise DatasetError(
            "no class table of the objects", path=table_file, expected='{"*": {"1": "car"}} or one entry per video'
        )
    listed = read_json(table_file, dict[str, dict[Digits, str]])
    table = {video: {int(key): name for key, name in ids.items()} for video, ids in listed.items()}
    folder = next((found for name in _RESOLUTIONS if (found := annotations / name).is_dir()), annotations)
    files = sorted(folder.rglob("*.png"))
    if not files:
        raise DatasetError("no annotations", path=folder, expected="<video>/<number>.png")
    return [_image(file, file.relative_to(folder).as_posix(), table, table_file) for file in files]


def write_davis(folder: Path, frames: Iterable[ExportedFrame], taxonomy: Taxonomy) -> list[Path]:
    """Write a PNG per frame, of 16 bits when ids go beyond 254, and the class table.

    The id of a class is its train id plus 1, the same in every video. Instances are numbered after the classes, in
    the order in which they appear in the video.

    Args:
        folder: Target folder.
        frames: The frames, those of a clip after each other.
        taxonomy: Gives names and colours.
    """
    written: list[Path] = []
    table = {"*": {str(row.train_id + 1): row.name for row in taxonomy.classes}}
    for video, group in groupby(frames, key=lambda frame: frame.clip.video):
        ids: dict[ExportedObject, int] = {}
        for frame in group:
            written.append(folder / ANNOTATIONS / _RESOLUTIONS[0] / video / f"{frame.number:05d}.png")
            write_bytes(written[-1], _encode(_ids_of(frame, ids, taxonomy), taxonomy))
        if ids:
            table[video] = {str(number): taxonomy.class_names[item.train_id] for item, number in ids.items()}
    path = folder / ANNOTATIONS / TABLE_FILE
    write_bytes(path, json.dumps(table, indent=1).encode())
    return [*written, path]


def _image(path: Path, name: str, table: _Table, table_file: Path) -> AnnotatedImage:
    ids = read_label_png(path)
    names = {**table.get("*", {}), **table.get(name.rpartition("/")[0], {})}
    shapes: list[Shape] = []
    for object_id in np.unique(ids).tolist():
        if object_id and (object_id != IGNORE_INDEX or object_id in names):
            if object_id not in names:
                raise DatasetError(f"object {object_id} has no class", path=path, fix=f"add its id to {table_file}")
            region = MaskRegion(run_lengths((ids == object_id).ravel()), ids.shape[1], ids.shape[0])
            shapes.append(Shape(names[object_id], (region,)))
    return AnnotatedImage(path, name, tuple(shapes), (ids.shape[0], ids.shape[1]))


def _ids_of(frame: ExportedFrame, known: dict[ExportedObject, int], taxonomy: Taxonomy) -> UInt16Array:
    """Object ids that stay the same throughout a video; `known` grows by the instances that are new."""
    numbers = np.zeros(len(frame.objects) + 1, np.uint16)
    for position, item in enumerate(frame.objects, start=1):
        if item.instance is None:
            numbers[position] = item.train_id + 1
            continue
        if item not in known:
            free = taxonomy.num_classes + 1 + len(known)
            known[item] = free + (taxonomy.num_classes < IGNORE_INDEX <= free)
        numbers[position] = known[item]
    return numbers[frame.ids]


def _encode(ids: UInt16Array, taxonomy: Taxonomy) -> bytes:
    if ids.size and ids.max() > IGNORE_INDEX - 1:
        return encode_label_png(ids)
    return encode_label_png(ids.astype(np.uint8), _palette(taxonomy))


def _palette(taxonomy: Taxonomy) -> bytes:
    """768 bytes RGB: black, the colours of the classes, and distinct ones for the rest."""
    colors: UInt8Array = np.array([distinct_color(index) for index in range(-1, 255)], np.uint8)
    colors[1 : taxonomy.num_classes + 1] = taxonomy.palette
    return colors.tobytes()
