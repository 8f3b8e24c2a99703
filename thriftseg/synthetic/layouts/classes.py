"""Folder layouts that synthetic clips are written in: those of Cityscapes, CamVid, IDD, VEIS and SceneNet RGB-D.

A layout names the frames of a clip and writes each into a folder that mirrors the root of the data set.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import cv2
import numpy as np
import numpy.typing as npt

from thriftseg.arrays import Int32Array, UInt8Array
from thriftseg.atomic import named_in_errors
from thriftseg.datasets import SCENENET_FRAME_STEP, encode_frame
from thriftseg.synthetic.layouts.tracing import fill_regions, polygon_json, trace_coarse_regions, trace_regions
from thriftseg.synthetic.motion import Drawing
from thriftseg.taxonomies import CAMVID, CITYSCAPES, IDD_TABLE, NYU13
from thriftseg.types import IGNORE_INDEX, INSTANCES_PER_CLASS

ImageFormat = Literal["png", "jpg"]

_CAMVID_OF_CITYSCAPES = {
    "road": "road",
    "sidewalk": "pavement",
    "building": "building",
    "wall": "building",
    "fence": "fence",
    "pole": "pole",
    "traffic light": "sign",
    "traffic sign": "sign",
    "vegetation": "tree",
    "terrain": "tree",
    "sky": "sky",
    "person": "pedestrian",
    "rider": "bicyclist",
    "car": "car",
    "truck": "car",
    "bus": "car",
    "train": "car",
    "motorcycle": "bicyclist",
    "bicycle": "bicyclist",
}

_NYU13_OF_CITYSCAPES = {  # streets hold no furniture: every class of rooms has a stand-in
    "road": "floor",
    "sidewalk": "bed",
    "building": "wall",
    "wall": "window",
    "fence": "furniture",
    "pole": "objects",
    "traffic light": "tv",
    "traffic sign": "picture",
    "vegetation": "books",
    "terrain": "bed",
    "sky": "ceiling",
    "person": "chair",
    "rider": "chair",
    "car": "sofa",
    "truck": "table",
    "bus": "table",
    "train": "furniture",
    "motorcycle": "objects",
    "bicycle": "objects",
}


@dataclass(frozen=True)
class ClipName:
    """Where a clip belongs in a data set.

    Attributes:
        split: `train`, `val` or `test`.
        video: Name of the clip, unique in the data set.
        folder: City, drive, recording or sequence.
        numbers: Native frame numbers, increasing.
        annotated: Position of the annotated frame in layouts that label one frame per clip.
    """

    split: str
    video: str
    folder: str
    numbers: Sequence[int]
    annotated: int


def annotated_position(frames: int) -> int:
    """Position of the annotated frame: the 20th of 30, two thirds through shorter clips.

    Example:
        >>> annotated_position(30), annotated_position(9)
        (19, 6)
    """
    return min(19, 2 * frames // 3)


class Layout(ABC):
    """Names and writes the files of one data set.

    Attributes:
        name: Name on the command line.
        test_clips: Default number of clips in the split `test`.
    """

    name: ClassVar[str]
    test_clips: ClassVar[int] = 0

    def __init__(self, image_format: ImageFormat = "png") -> None:
        self.image_format = image_format

    @abstractmethod
    def name_clip(self, split: str, index: int, frames: int) -> ClipName:
        """Name the clip at position `index` of a split."""

    @abstractmethod
    def write_frame(self, root: Path, clip: ClipName, position: int, drawing: Drawing) -> None:
        """Write the files of one frame below `root`."""

    def frame_interval(self, split: str) -> float:
        """Seconds between frames."""
        return 1 / 17

    def write_lists(self, root: Path, clips: Sequence[ClipName]) -> None:
        """Write the files that list the clips of the whole data set; most layouts have none."""
        return

    def _write_image(self, stem: Path, image: UInt8Array) -> None:
        write_image(stem.with_name(f"{stem.name}.{self.image_format}"), image)


class CityscapesLayout(Layout):
    """Cityscapes, with one labelled frame per clip, coarse labels for it and the whole sequence.

    Beyond the original there is `gtFine_sequence/{split}/{city}/{name}_gtFine_labelIds.png` with a label for EVERY
    frame, for studies that need dense truth; readers of the layout do not see it. As in the original, `test` has no
    labels.
    """

    name = "cityscapes"
    _CITIES: ClassVar[dict[str, tuple[str, ...]]] = {
        "train": ("ashford", "birkenau", "corvale"),
        "val": ("dunmere", "eichtal"),
        "test": ("falkenstett",),
    }

    def name_clip(self, split: str, index: int, frames: int) -> ClipName:
        """One city after the other; every second recording does not start at number 0."""
        cities = self._CITIES[split]
        city, sequence = cities[index % len(cities)], index // len(cities)
        first = 275 if sequence % 2 else 0
        annotated = annotated_position(frames)
        video = f"{city}_{sequence:06d}_{first + annotated:06d}"
        return ClipName(split, video, city, range(first, first + frames), annotated)

    def write_frame(self, root: Path, clip: ClipName, position: int, drawing: Drawing) -> None:
        """Write the frame and its dense label, and for the annotated one everything else."""
        name = f"{clip.video.rsplit('_', 1)[0]}_{clip.numbers[position]:06d}"
        place = Path(clip.split) / clip.folder
        self._write_image(root / "leftImg8bit_sequence" / place / f"{name}_leftImg8bit", drawing.image)
        ids = _TO_LABEL_IDS[drawing.label]
        write_map(root / "gtFine_sequence" / place / f"{name}_gtFine_labelIds.png", ids)
        if position != clip.annotated:
            return
        self._write_image(root / "leftImg8bit" / place / f"{name}_leftImg8bit", drawing.image)
        if clip.split != "test":
            self._write_fine(root / "gtFine" / place / f"{name}_gtFine", drawing)
            self._write_coarse(root / "gtCoarse" / place / f"{name}_gtCoarse", drawing)

    def _write_fine(self, stem: Path, drawing: Drawing) -> None:
        ids = _TO_LABEL_IDS[drawing.label]
        write_map(_suffixed(stem, "_labelIds.png"), ids)
        write_map(_suffixed(stem, "_instanceIds.png"), _raw_instances(ids, drawing.instances))
        regions = trace_regions(drawing.label, drawing.instances)
        write_json(_suffixed(stem, "_polygons.json"), polygon_json(regions, _CITYSCAPES_NAMES, *drawing.label.shape))

    def _write_coarse(self, stem: Path, drawing: Drawing) -> None:
        height, width = drawing.label.shape
        margin, min_area = max(1, round(0.016 * height)), max(12, round(4e-4 * height * width))
        regions = trace_coarse_regions(drawing.label, drawing.instances, margin, 0.05 * height, min_area)
        names = {**_CITYSCAPES_NAMES, IGNORE_INDEX: "unlabeled"}
        write_json(_suffixed(stem, "_polygons.json"), polygon_json(regions, names, height, width))
        drawn = fill_regions(regions, height, width)
        write_map(_suffixed(stem, "_labelIds.png"), np.where(drawn == IGNORE_INDEX, 0, _TO_LABEL_IDS[drawn]))


class CamVidLayout(Layout):
    """CamVid in the SegNet packaging: every frame labelled, 1 Hz (`train`, `test`) or 15 Hz (`val`), 11 classes.

    A clip is a recording of its own; the names count up from those of the four original recordings.
    """

    name = "camvid"
    test_clips = 2
    _RECORDINGS: ClassVar[dict[str, tuple[tuple[str, int, int], ...]]] = {  # name, first number, step
        "train": (("{:04d}TP_{:06d}", 6690, 30), ("{:04d}R0_f{:05d}", 930, 30)),
        "val": (("{:04d}E5_{:05d}", 7959, 2),),
        "test": (("Seq{:02d}VD_f{:05d}", 30, 30),),
    }
    _FIRST: ClassVar[dict[str, tuple[int, ...]]] = {"train": (1, 6), "val": (16,), "test": (5,)}

    def frame_interval(self, split: str) -> float:
        """One second, or a fifteenth in `val`."""
        return 1 / 15 if split == "val" else 1.0

    def _frame_name(self, split: str, index: int, number: int) -> str:
        kinds = self._RECORDINGS[split]
        step = 10 if split == "test" else 100
        recording = self._FIRST[split][index % len(kinds)] + step * (index // len(kinds))
        return kinds[index % len(kinds)][0].format(recording, number)

    def name_clip(self, split: str, index: int, frames: int) -> ClipName:
        """Recordings in turn, numbered as the originals are."""
        _, first, step = self._RECORDINGS[split][index % len(self._RECORDINGS[split])]
        numbers = range(first, first + step * frames, step)
        recording = self._frame_name(split, index, first).rsplit("_", 1)[0]
        return ClipName(split, recording, str(index), numbers, annotated_position(frames))

    def write_frame(self, root: Path, clip: ClipName, position: int, drawing: Drawing) -> None:
        """Write a frame and its label."""
        name = self._frame_name(clip.split, int(clip.folder), clip.numbers[position])
        self._write_image(root / clip.split / name, drawing.image)
        write_map(root / f"{clip.split}annot" / f"{name}.png", _TO_CAMVID[drawing.label])

    def write_lists(self, root: Path, clips: Sequence[ClipName]) -> None:
        """Write `{split}.txt` with absolute container paths, as the original has them."""
        for split in ("train", "val", "test"):
            lines = []
            for clip in (clip for clip in clips if clip.split == split):
                for number in clip.numbers:
                    name = self._frame_name(split, int(clip.folder), number)
                    image = f"/SegNet/CamVid/{split}/{name}.{self.image_format}"
                    lines.append(f"{image} /SegNet/CamVid/{split}annot/{name}.png\n")
            if lines:
                (root / f"{split}.txt").write_text("".join(sorted(lines)), encoding="utf-8")


class IDDLayout(Layout):
    """IDD with one labelled image per drive and its video neighbours as `idd_temporal_{split}_1` (JPEG).

    As in the original, `test` has no labels.
    """

    name = "idd"
    _FIRST_DRIVE: ClassVar[dict[str, int]] = {"train": 1, "val": 501, "test": 801}

    def frame_interval(self, split: str) -> float:
        """A fifteenth of a second."""
        return 1 / 15

    def name_clip(self, split: str, index: int, frames: int) -> ClipName:
        """One drive per clip; image names have nothing to do with the numbers of the video frames."""
        drive = self._FIRST_DRIVE[split] + index
        image = f"{(drive * 7919) % 900000 + 100000}"
        first = 200 + 37 * index
        return ClipName(split, image, str(drive), range(first, first + frames), annotated_position(frames))

    def write_frame(self, root: Path, clip: ClipName, position: int, drawing: Drawing) -> None:
        """Write the video frame, and for the annotated one the image, polygons and label maps."""
        temporal = root / f"idd_temporal_{clip.split}_1" / f"{int(clip.folder):05d}" / f"{clip.video}_leftImg8bit"
        write_image(temporal / f"{clip.numbers[position]:07d}.jpeg", drawing.image)
        if position != clip.annotated:
            return
        place = Path(clip.split) / clip.folder
        self._write_image(root / "leftImg8bit" / place / f"{clip.video}_leftImg8bit", drawing.image)
        if clip.split == "test":
            return
        stem = root / "gtFine" / place / f"{clip.video}_gtFine"
        regions = trace_regions(drawing.label, drawing.instances)
        write_json(_suffixed(stem, "_polygons.json"), polygon_json(regions, _IDD_NAMES, *drawing.label.shape))
        level3 = _TO_LEVEL3[drawing.label]
        write_map(_suffixed(stem, "_labellevel3Ids.png"), level3)
        write_map(_suffixed(stem, "_labelcsTrainIds.png"), drawing.label)
        write_map(_suffixed(stem, "_instancelevel3Ids.png"), _raw_instances(level3, drawing.instances))


class VEISLayout(Layout):
    """VEIS: `images/{sequence}/{number:06d}` and `labels/{sequence}/{number:06d}.png`, every frame labelled."""

    name = "veis"

    def name_clip(self, split: str, index: int, frames: int) -> ClipName:
        """One sequence folder per clip."""
        sequence = f"{split}_{index:04d}"
        return ClipName(split, sequence, sequence, range(frames), annotated_position(frames))

    def write_frame(self, root: Path, clip: ClipName, position: int, drawing: Drawing) -> None:
        """Write a frame and its map of Cityscapes train ids."""
        name = f"{clip.numbers[position]:06d}"
        self._write_image(root / "images" / clip.folder / name, drawing.image)
        write_map(root / "labels" / clip.folder / f"{name}.png", drawing.label)

    def write_lists(self, root: Path, clips: Sequence[ClipName]) -> None:
        """Write `{split}.txt` with one sequence per line."""
        write_split_lists(root, {split: split for split in ("train", "val", "test")}, clips)


class SceneNetLayout(Layout):
    """SceneNet RGB-D with ready class maps, every frame labelled, and numbered objects; no depth.

    Classes of the street stand in for those of rooms. The camera moves as far between two frames as in the other
    layouts, although their numbers say that a second passes: the original moves through rooms, and slowly.
    """

    name = "scenenet"

    def name_clip(self, split: str, index: int, frames: int) -> ClipName:
        """A thousand trajectories to a group, as in the original."""
        group, trajectory = divmod(index, 1000)
        video = f"{split}_{group}_{trajectory}"
        numbers = range(0, SCENENET_FRAME_STEP * frames, SCENENET_FRAME_STEP)
        return ClipName(split, video, f"{group}/{trajectory}", numbers, annotated_position(frames))

    def write_frame(self, root: Path, clip: ClipName, position: int, drawing: Drawing) -> None:
        """Write a photo, its map of NYU-13 ids and its map of objects."""
        folder, number = root / clip.split / clip.folder, clip.numbers[position]
        self._write_image(folder / "photo" / str(number), drawing.image)
        write_map(folder / "class" / f"{number}.png", _TO_NYU13[drawing.label])
        # One number per object of a clip, and one per class of what has no objects, as for ceilings in the original.
        things = CITYSCAPES.thing_ids
        train_ids, counted = np.divmod(drawing.instances, INSTANCES_PER_CLASS)
        numbered = CITYSCAPES.num_classes + len(things) * (counted - 1) + np.searchsorted(things, train_ids) + 1
        rest = np.where(drawing.label == IGNORE_INDEX, 0, drawing.label.astype(np.int32) + 1)
        objects = np.where(counted > 0, numbered, rest).astype(np.uint16)
        write_map(folder / "instance" / f"{number}.png", objects)


LAYOUTS: dict[str, type[Layout]] = {
    layout.name: layout for layout in (CityscapesLayout, CamVidLayout, IDDLayout, VEISLayout, SceneNetLayout)
}
"""Layouts by name."""


def write_image(path: Path, image: UInt8Array) -> None:
    """Write an (H, W, 3) RGB image as PNG or JPEG, by the ending of the path."""
    write_file(path, encode_frame(image, path.suffix))


def write_map(path: Path, ids: npt.NDArray[Any]) -> None:
    """Write an (H, W) map of ids as an 8- or 16-bit PNG with one channel."""
    _, content = cv2.imencode(".png", ids, [cv2.IMWRITE_PNG_COMPRESSION, 6])
    write_file(path, content.tobytes())


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file."""
    write_file(path, json.dumps(content).encode())


def write_split_lists(folder: Path, names: Mapping[str, str], clips: Sequence[ClipName]) -> None:
    """Write a file per split that lists its clips, one per line; none for a split without clips.

    Args:
        folder: Folder of the files.
        names: Name of the file of each split, without its ending.
        clips: All clips.
    """
    for split, name in names.items():
        lines = [f"{clip.video}\n" for clip in clips if clip.split == split]
        if lines:
            write_file(folder / f"{name}.txt", "".join(lines).encode())


def write_file(path: Path, content: bytes) -> None:
    """Write a file and make its folder."""
    # Not by way of a temporary name: a clip is written into a folder that is moved into place when it is complete.
    path.parent.mkdir(parents=True, exist_ok=True)
    with named_in_errors(path):
        path.write_bytes(content)


def _suffixed(stem: Path, ending: str) -> Path:
    return stem.with_name(stem.name + ending)


def _raw_instances(ids: UInt8Array, instances: Int32Array) -> npt.NDArray[np.uint16]:
    """`raw id * 1000 + k` with k from 0 where there is an object, the raw id elsewhere."""
    numbered = ids.astype(np.int64) * INSTANCES_PER_CLASS + instances % INSTANCES_PER_CLASS - 1
    return np.where(instances > 0, numbered, ids).astype(np.uint16)


def _table(values: dict[int, int], default: int) -> UInt8Array:
    """Value of every train id, (256,)."""
    table = np.full(256, default, dtype=np.uint8)
    for train_id, value in values.items():
        table[train_id] = value
    return table


_STATIC = next(row.id for row in CITYSCAPES.table if row.name == "static")
_CITYSCAPES_NAMES = {**dict(enumerate(CITYSCAPES.class_names)), IGNORE_INDEX: "static"}
_TO_LABEL_IDS = _table({row.train_id: row.id for row in CITYSCAPES.classes}, _STATIC)
_TO_CAMVID = _table(
    {
        train_id: CAMVID.class_names.index(_CAMVID_OF_CITYSCAPES[name])
        for train_id, name in enumerate(CITYSCAPES.class_names)
    },
    next(row.id for row in CAMVID.table if row.ignored),
)
_TO_NYU13 = _table(
    {
        train_id: NYU13.train_id_of_name[_NYU13_OF_CITYSCAPES[name]] + 1
        for train_id, name in enumerate(CITYSCAPES.class_names)
    },
    next(row.id for row in NYU13.table if row.ignored),
)
_IDD_ROWS = {row.cs_train_id: row for row in IDD_TABLE if row.cs_train_id != IGNORE_INDEX}
_IDD_NAMES = {**{train_id: row.name for train_id, row in _IDD_ROWS.items()}, IGNORE_INDEX: "unlabeled"}
_TO_LEVEL3 = _table({train_id: row.level3_id for train_id, row in _IDD_ROWS.items()}, IGNORE_INDEX)
