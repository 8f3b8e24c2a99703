"""The labels that a name stands for: those a data set came with, or those of the label store.

"manual" names the labels that a data set came with, "coarse" its coarse ones in clips that have some. Any other name is
a source of the label store, of label maps or of clicks. What a name means is decided in this file alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

from thriftseg.arrays import Int32Array, UInt8Array
from thriftseg.costs import AnnotationCost, CostModel
from thriftseg.datasets import ClipReader, VOSClip, VOSDataset, ids_in
from thriftseg.errors import ConfigError, LabelStoreError
from thriftseg.stores.click_file import Click, draw_point_map
from thriftseg.stores.label_store import LabelStore
from thriftseg.stores.review_log import Verdict
from thriftseg.stores.rows import ActionRow, LabelRow, action_id
from thriftseg.taxonomies import OBJECT_IDS
from thriftseg.types import Clip, LabelKind, TrainingSample

MANUAL = "manual"
"""Name of the labels, or masks of objects, that a data set came with."""

COARSE = "coarse"
"""Name of the coarse labels that a data set came with; where it has none, of coarse labels in the store."""

GIVEN_SOURCES = (MANUAL, COARSE)
"""The names of labels that came with a data set, in the order of tables."""

_GIVEN_KINDS = {MANUAL: LabelKind.MANUAL, COARSE: LabelKind.COARSE}
_MEANING = {"train_id": "classes", "object_id": "object ids"}

Reader = TypeVar("Reader", bound=ClipReader[Any])


@dataclass(frozen=True)
class SourceLabel:
    """One label of a source.

    Attributes:
        clip: The clip.
        number: Native frame number.
        source: Name of the source.
        kind: Kind of the label.
        actions: Identifiers of the human actions it descends from.
        path: The file that holds it: a label map, or clicks of many frames.
        confidence: 0..1 as its generator defines it, `None` where it does not.
        ignored_share: Share of pixels without a label; `None` for labels of the data set, which are not opened.
        licences: Licences of the weights that had a part in making it.
        needs_review: Whether a person has yet to look at it, and nobody has decided about it.

    Example:
        >>> clip = Clip("drive", {7: Path("7.png")}, labels={7: Path("7_label.png")})
        >>> label = SourceLabel(clip, 7, MANUAL, LabelKind.MANUAL, ("manual:camvid/drive/000007",), clip.labels[7])
        >>> label.id, label.confidence
        ('drive/000007', None)
    """

    clip: Clip
    number: int
    source: str
    kind: LabelKind
    actions: tuple[str, ...]
    path: Path
    confidence: float | None = None
    ignored_share: float | None = None
    licences: tuple[str, ...] = ()
    needs_review: bool = False

    @property
    def id(self) -> str:
        """`video/number`."""
        return f"{self.clip.video}/{self.number:06d}"


def given_files(source: str, clip: Clip) -> Mapping[int, Path]:
    """Label files that came with a clip under a name, by frame number; none for sources of the label store.

    Example:
        >>> clip = Clip("drive", {7: Path("7.png")}, labels={7: Path("7_label.png")})
        >>> [len(given_files(source, clip)) for source in ("manual", "coarse", "flow")]
        [1, 0, 0]
    """
    if source == MANUAL:
        return clip.labels
    return clip.coarse if source == COARSE else {}


def is_given(source: str, clip: Clip) -> bool:
    """Whether the labels of a clip under this name came with the data set; otherwise they lie in the label store.

    Example:
        >>> clip = Clip("drive", {1: Path("1.png")})
        >>> is_given("manual", clip), is_given("coarse", clip), is_given("flow", clip)
        (True, False, False)
    """
    return source == MANUAL or bool(given_files(source, clip))


def given_kind(source: str) -> LabelKind | None:
    """Kind of the labels that a data set has under this name; `None` for sources of the label store.

    Example:
        >>> given_kind(MANUAL), given_kind(COARSE)
        (<LabelKind.MANUAL: 0>, <LabelKind.COARSE: 2>)
    """
    return _GIVEN_KINDS.get(source)


def given_label(dataset: ClipReader[Any], source: str, clip: Clip, number: int) -> SourceLabel | None:
    """Label that came with a frame under a name; `None` where there is none.

    Example:
        >>> from thriftseg.datasets import CamVid
        >>> clip = Clip("drive", {7: Path("7.png"), 8: Path("8.png")}, labels={7: Path("7_label.png")})
        >>> dataset = CamVid("data/camvid")
        >>> given_label(dataset, "manual", clip, 7).actions, given_label(dataset, "manual", clip, 8)
        (('manual:camvid/drive/000007',), None)
    """
    path = given_files(source, clip).get(number)
    if path is None:
        return None
    actions = (action_id(source, dataset.name, clip.video, number),)
    return SourceLabel(clip, number, source, _GIVEN_KINDS[source], actions, path)


def read_given(dataset: ClipReader[Any], label: SourceLabel | TrainingSample) -> UInt8Array:
    """Read a label that came with the data set: train ids, (H, W) uint8, 255 = no label.

    Raises:
        DatasetError: The file is missing or unreadable, or its size is not that of the frame.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from thriftseg.datasets import CamVid, write_label_png
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "7.png")
        ...     write_label_png(path, np.array([[0, 3, 11]], np.uint8))
        ...     clip = Clip("drive", {7: path}, labels={7: path})
        ...     read_given(CamVid(folder), given_label(CamVid(folder), "manual", clip, 7)).tolist()
        [[0, 3, 255]]
    """
    read = dataset.read_label if label.source == MANUAL else dataset.read_coarse
    return read(label.clip, label.number)


def price_given(dataset: ClipReader[Any], label: SourceLabel, model: CostModel) -> AnnotationCost:
    """What it cost to draw a label that came with the data set; that of objects costs a mask for each.

    Raises:
        ConfigError: The model knows no price for this data set.
        DatasetError: The label map, on which the model counts, cannot be read.
    """
    if dataset.taxonomy is OBJECT_IDS:
        return sum((model.mask() for _ in ids_in(read_given(dataset, label))), AnnotationCost())
    price = model.manual_frame if label.source == MANUAL else model.coarse_frame
    return price(dataset.name, read_given(dataset, label) if model.needs_label else None)


def source_order(source: str) -> tuple[int, str]:
    """What the rows of a table are sorted by: labels that came with the data set first, then names of the store.

    Example:
        >>> sorted(["flow", "coarse", "clicks", "manual"], key=source_order)
        ['manual', 'coarse', 'clicks', 'flow']
    """
    place = GIVEN_SOURCES.index(source) if source in GIVEN_SOURCES else len(GIVEN_SOURCES)
    return place, source


def check_free(source: str, dataset: ClipReader[Any], split: str) -> None:
    """Refuse a name for new labels in the store where it stands for labels of the data set.

    Raises:
        ConfigError: Clips of the split came with labels of this name; those in the store would never be read.

    Example:
        >>> from thriftseg.datasets import CamVid
        >>> class WithLabels(CamVid):
        ...     def _scan(self, split):
        ...         return [Clip("drive", {7: Path("7.png")}, coarse={7: Path("7.json")})]
        >>> check_free("flow", WithLabels("data"), "train")
        >>> check_free("coarse", WithLabels("data"), "train")
        Traceback (most recent call last):
        thriftseg.errors.ConfigError: split 'train' of camvid has coarse labels of its own, ...
    """
    if any(is_given(source, clip) for clip in dataset.clips(split)):
        raise ConfigError(
            f"split {split!r} of {dataset.name} has {source} labels of its own, which a mixture knows as {source!r}",
            fix=f"choose another source name, such as {source}_polygons",
        )


class _Source(Generic[Reader]):
    """What a name stands for in one data set.

    Args:
        dataset: Reader of the data set.
        root: Folder of the label store.
        source: "manual", "coarse", or a source of the label store.
    """

    def __init__(self, dataset: Reader, root: Path, source: str) -> None:
        self.dataset, self.root, self.source = dataset, root, source

    @cached_property
    def store(self) -> LabelStore:
        """The stored labels of this source."""
        return LabelStore(self.root, self.source, self.dataset.taxonomy)

    @property
    def folder(self) -> Path:
        """Where the labels lie, for messages."""
        return self.dataset.root if self.source == MANUAL else self.root / self.source

    def is_given(self, clip: Clip) -> bool:
        """Whether the labels of a clip came with the data set; otherwise they lie in the store."""
        return is_given(self.source, clip)

    def labels(self, split: str) -> list[SourceLabel]:
        """The labels of a split, see `of`.

        Raises:
            LabelStoreError: As for `of`; or there are none.
        """
        found = self.of(self.dataset.clips(split))
        if not found:
            raise LabelStoreError(
                f"source {self.source!r} has no labels for split {split!r} of {self.dataset.name}",
                path=self.folder,
                fix="make the labels first (thriftseg label --help), or give --store the folder that has them",
            )
        return found

    def drawn(self, split: str) -> list[SourceLabel]:
        """The labels of a split, all of which people made.

        Raises:
            ConfigError: Something else made one of them.
            LabelStoreError: As for `labels`.
        """
        if self.source == MANUAL and not any(clip.labels for clip in self.dataset.clips(split)):
            raise LabelStoreError(
                f"split {split!r} of {self.dataset.name} has no annotated frames", path=self.dataset.root
            )
        found = self.labels(split)
        other = next((label for label in found if label.kind != LabelKind.MANUAL), None)
        if other is not None:
            raise ConfigError(
                f"label {other.id} is not a label that a person made",
                path=self.root / self.source,
                expected=LabelKind.MANUAL.label,
                found=other.kind.label,
            )
        return found

    def of(self, clips: Sequence[Clip]) -> list[SourceLabel]:
        """The labels of the frames of some clips, clip by clip and by number, without those that people rejected.

        Where some clips came with labels of this name, they are all the labels there are.

        Raises:
            LabelStoreError: The store is damaged, of another class table, or its labels mean something else.
        """
        if any(map(self.is_given, clips)):
            numbered = [(clip, number) for clip in clips for number in sorted(given_files(self.source, clip))]
            return [label for frame in numbered if (label := given_label(self.dataset, self.source, *frame))]
        rows = self.store.usable_of(clip.video for clip in clips)
        return [
            self._stored(clip, row, self.store.file_of(row))
            for clip in clips
            for row in rows[clip.video]
            if row.frame in clip.frames
        ]

    def in_place_of_given(self, clips: Sequence[Clip]) -> list[Clip]:
        """Clips with the label maps of this source in the place of those they came with.

        Raises:
            ConfigError: The source has clicks in the place of label maps.
            LabelStoreError: As for `of`.
        """
        files: dict[str, dict[int, Path]] = defaultdict(dict)
        for label in self.of(clips):
            if label.kind == LabelKind.CLICKS:
                raise ConfigError("clicks are no label maps", path=label.path, fix="choose a source of label maps")
            files[label.clip.video][label.number] = label.path
        return [replace(clip, labels=files[clip.video]) for clip in clips]

    def find(self, clip: Clip, number: int) -> SourceLabel | None:
        """The label of a frame, rejected or not; `None` where there is none, or its file is missing from the store.

        Raises:
            LabelStoreError: As for `of`.
        """
        if self.is_given(clip):
            return given_label(self.dataset, self.source, clip, number)
        found = self.store.find(clip.video, number)
        return None if found is None else self._stored(clip, *found)

    def verdict(self, clip: Clip, number: int) -> Verdict | None:
        """What people decided about the label of a frame; nothing about labels that came with the data set."""
        if self.is_given(clip):
            return None
        decision = self.store.reviews.decisions.get((clip.video, number, None))
        return None if decision is None else decision.verdict

    def recorded_actions(self, label: SourceLabel) -> list[ActionRow]:
        """The human actions behind a label that stand in its store; those of given labels stand nowhere."""
        if self.is_given(label.clip):
            return []
        return [self.store.actions[action] for action in label.actions if action in self.store.actions]

    def _stored(self, clip: Clip, row: LabelRow, path: Path) -> SourceLabel:
        wanted = "object_id" if self.dataset.taxonomy is OBJECT_IDS else "train_id"
        if row.space != wanted:
            raise LabelStoreError(
                f"source {self.source!r} holds {_MEANING[row.space]}, not {_MEANING[wanted]}",
                path=self.store.manifest_path,
                expected=f"space {wanted}",
                found=f"space {row.space}",
                fix=f"take a source of {_MEANING[wanted]}",
            )
        return SourceLabel(
            clip,
            row.frame,
            self.source,
            row.label_kind,
            row.parents,
            path,
            row.confidence,
            row.ignored_share,
            row.licences,
            row.needs_review and (row.video, row.frame, None) not in self.store.reviews.decisions,
        )

    def _read_stored(self, clip: Clip, number: int, verify: bool) -> UInt8Array:
        stored = self.store.read(clip.video, number, verify=verify)
        height, width = self.dataset.clip_size(clip)
        if stored.shape != (height, width):
            raise LabelStoreError(
                "the stored label has another size than the frame",
                path=self.store.path_of(clip.video, number),
                expected=f"{width}x{height}",
                found=f"{stored.shape[1]}x{stored.shape[0]}",
                fix="make labels at the size of the frames",
            )
        return stored


class LabelSource(_Source[ClipReader[Any]]):
    """Lists and reads the label maps that a name stands for: of classes, or of object ids as a data set has them.

    Args:
        dataset: Reader of the data set.
        root: Folder of the label store.
        source: "manual", "coarse", or a source of the label store.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from thriftseg.datasets import Folder, write_label_png
        >>> with tempfile.TemporaryDirectory() as root:
        ...     size = Path(root, "classes.yaml").write_text("classes: [{name: road}, {name: car}]")
        ...     write_label_png(Path(root, "train/drive/frames/7.png"), np.zeros((2, 3), np.uint8))
        ...     dataset, label = Folder(root), np.array([[0, 1, 1], [0, 0, 255]], np.uint8)
        ...     store = LabelStore(Path(root, "labels"), "flow", dataset.taxonomy)
        ...     row = store.write("drive", 7, label, kind=LabelKind.PROPAGATED, generator="demo")
        ...     source = LabelSource(dataset, Path(root, "labels"), "flow")
        ...     [(label.id, source.read(label).tolist()) for label in source.labels("train")]
        [('drive/000007', [[0, 1, 1], [0, 0, 255]])]
    """

    def read(self, label: SourceLabel) -> UInt8Array:
        """Label map of a frame, (H, W) uint8 train ids; 255 = no label. Clicks are single pixels.

        Raises:
            DatasetError: The file is missing or unreadable, or its size is not that of the frame.
            LabelStoreError: The stored label is not the one that was written, or its size is not that of the frame.
        """
        if self.is_given(label.clip):
            return read_given(self.dataset, label)
        points = self.points(label)
        if points is not None:
            return draw_point_map(points, *self.dataset.clip_size(label.clip))
        return self._read_stored(label.clip, label.number, verify=True)

    def points(self, label: SourceLabel) -> tuple[Click, ...] | None:
        """Clicks of a label that is kept as points; `None` for label maps."""
        return self.store.points(label.clip.video, label.number) if label.kind == LabelKind.CLICKS else None

    def read_instances(self, label: SourceLabel) -> Int32Array | None:
        """Instance ids as from `VideoDataset.read_instances`; `None` where there are none.

        Of stored labels, those that people made have some, where their object ids are on disk.

        Raises:
            DatasetError: The file of the data set is missing or unreadable.
            LabelStoreError: The object ids and the object log contradict each other.
        """
        if not self.is_given(label.clip):
            drawn = label.kind == LabelKind.MANUAL
            return self.store.read_instances(label.clip.video, label.number) if drawn else None
        manual = self.source == MANUAL
        read = self.dataset.read_instances if manual else self.dataset.read_coarse_instances
        return read(label.clip, label.number)


class MaskSource(_Source[VOSDataset]):
    """Lists and reads the masks of objects that a name stands for.

    Args:
        dataset: Reader of the videos.
        root: Folder of the label store.
        source: "manual", or a source of the label store that holds object ids.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from thriftseg.datasets import DAVIS, write_label_png
        >>> with tempfile.TemporaryDirectory() as root:
        ...     Path(root, "ImageSets/2017").mkdir(parents=True)
        ...     size = Path(root, "ImageSets/2017/train.txt").write_text("bear")
        ...     for folder in ("JPEGImages", "Annotations"):
        ...         write_label_png(Path(root, folder, "480p/bear/00000.png"), np.array([[0, 1, 2]], np.uint8))
        ...     masks = MaskSource(DAVIS(root), Path(root, "labels"), "manual")
        ...     [(label.id, masks.read(label.clip, label.number).tolist()) for label in masks.labels("train")]
        [('bear/000000', [[0, 1, 2]])]
    """

    def read(self, clip: VOSClip, number: int, *, verify: bool = True) -> UInt8Array | Int32Array:
        """Ids of the objects of a frame, (H, W); 0 = background, 255 = ignore.

        Args:
            clip: The video.
            number: Native number of a frame that has a mask of this source.
            verify: Compare a stored mask with the digest in its row.

        Raises:
            DatasetError: The file is missing or unreadable, or its size is not that of the frame.
            LabelStoreError: The stored mask is not the one that was written, or its size is not that of the frame.
        """
        if self.is_given(clip):
            return self.dataset.read_mask(clip, number)
        return self._read_stored(clip, number, verify)
