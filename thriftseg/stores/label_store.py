"""Labels that were made, not given: PNG maps and clicks on disk, with where they came from and what they cost.

    <root>/<source>/<video>/<frame:06d>.png   palette PNG of train ids or object ids
    <root>/<source>/clicks.json               labels kept as points (see `thriftseg.stores.click_file`)
    <root>/<source>/manifest.jsonl            one row per label and per human action
    <root>/<source>/objects.jsonl             what became of tracked objects (see `thriftseg.stores.object_log`)
    <root>/<source>/reviews.jsonl             what people decided about labels (see `thriftseg.stores.review_log`)

The images may lie in shards instead (see `thriftseg.shards`), from a folder above the root.

A label is written before its row, and each of them in full or not at all: what the manifest lists is there, and a
killed run goes on where it stopped. Rows carry no time, so two stores are equal when their sets of rows are.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from thriftseg.arrays import Int32Array, UInt8Array
from thriftseg.atomic import sweep_partial, write_bytes
from thriftseg.costs import AnnotationCost
from thriftseg.datasets import PALETTE, Finding, encode_label_png, list_folders, read_label_png
from thriftseg.errors import LabelStoreError, ThriftsegError
from thriftseg.folders import sole_writer
from thriftseg.parsing import read_bytes
from thriftseg.pixels import open_image
from thriftseg.shards import is_file, local_folder
from thriftseg.stores.click_file import Click, click_key, digest_of, encode_click_file, read_click_file
from thriftseg.stores.manifest import Manifest, canonical
from thriftseg.stores.object_log import LoggedObject, ObjectLog
from thriftseg.stores.review_log import Decision, Remade, ReviewLog, Reviews
from thriftseg.stores.row_index import Entry, RowTable
from thriftseg.stores.rows import POINTS, SCHEMA, ActionRow, LabelRow, action_id, kind_of_row
from thriftseg.taxonomies import Taxonomy
from thriftseg.types import IGNORE_INDEX, INSTANCES_PER_CLASS, Frame, LabelKind

_SOURCE = re.compile(r"(?!manual\Z)[A-Za-z0-9][A-Za-z0-9_.+-]*")  # "manual" names labels of the data set

_READ = ("_rows", "_clicks", "reviews", "objects")


def store_root(store: str | Path | None, dataset: str) -> Path:
    """Folder of a label store: the given one, or that in shards at an address, by default `labels/<dataset>`.

    Example:
        >>> store_root(None, "camvid").as_posix(), store_root("mine", "camvid").as_posix()
        ('labels/camvid', 'mine')
    """
    return local_folder(store) if store is not None else Path("labels") / dataset


class LabelStore:
    """The labels of one source.

    Args:
        root: Folder of all sources; made at the first write.
        source: Name of the source, such as "flow"; "manual" means the data set's own labels and is refused.
        taxonomy: Class table of the labels, `OBJECT_IDS` for ids of objects; rows of any other are refused.
        writer: Name of this process when several write at the same time, else `None`.

    Attributes:
        folder: Folder of the source.
        manifest_path: The manifest, for messages.
        click_path: The click file.
        object_log: What became of the objects that labels were made of.
        review_log: What people decided about the labels.

    Raises:
        LabelStoreError: The name of the source cannot be used.

    Example:
        >>> import tempfile
        >>> from thriftseg.taxonomies import CAMVID
        >>> store = LabelStore(Path(tempfile.mkdtemp()), "flow", CAMVID)
        >>> label = np.zeros((4, 4), np.uint8)
        >>> row = store.write("drive", 30, label, kind=LabelKind.PROPAGATED, generator="demo")
        >>> store.has("drive", 30), store.path_of("drive", 30).name
        (True, '000030.png')
    """

    def __init__(self, root: str | Path, source: str, taxonomy: Taxonomy, *, writer: str | None = None) -> None:
        if not _SOURCE.fullmatch(source):
            raise LabelStoreError(
                "name of a label source",
                expected="letters, digits, and any of _.+-, but not manual",
                found=repr(source),
            )
        self.root, self.source, self.taxonomy = Path(root), source, taxonomy
        self.folder = self.root / source
        self._manifest = Manifest(self.folder, writer)
        self.manifest_path = self._manifest.path
        self.click_path = self.folder / "clicks.json"
        self.object_log = ObjectLog(self.folder, writer)
        self.review_log = ReviewLog(self.folder, writer)

    @property
    def exists(self) -> bool:
        """Whether anything was stored under this source."""
        return self.folder.is_dir()

    @property
    def labels(self) -> Mapping[Frame, LabelRow]:
        """Rows of stored labels by video and frame number, rejected ones included.

        Raises:
            LabelStoreError: The manifest is damaged, of another version or of another class table.
        """
        return self._rows.labels

    @property
    def usable(self) -> Mapping[Frame, LabelRow]:
        """The same without labels that a person has rejected: what to train on, to show and to build on."""
        return self._rows.labels.without(self.reviews.rejected)

    def usable_of(self, videos: Iterable[str]) -> dict[str, list[LabelRow]]:
        """Rows of some videos, by video and in the order of the frames, without labels that a person has rejected."""
        return self._rows.labels.without(self.reviews.rejected).named(set(videos))

    @cached_property
    def reviews(self) -> Reviews:
        """Decisions of people about the labels."""
        return self.review_log.read()

    @cached_property
    def objects(self) -> Mapping[Frame, tuple[LoggedObject, ...]]:
        """Objects of the labels by video and frame number, as far as they were logged."""
        return self.object_log.read()

    @property
    def actions(self) -> Mapping[str, ActionRow]:
        """Human actions by identifier."""
        return self._rows.actions

    def rows(self) -> list[dict[str, Any]]:
        """All rows as JSON objects, sorted; where a frame was written twice, the later row only."""
        everything: Iterable[LabelRow | ActionRow] = [*self.labels.values(), *self.actions.values()]
        return sorted((row.to_json() for row in everything), key=canonical)

    def path_of(self, video: str, number: int) -> Path:
        """Where the PNG of a frame lies or would lie."""
        return self.folder.joinpath(video, f"{number:06d}.png")

    def file_of(self, row: LabelRow) -> Path:
        """The file that holds a label: its PNG, or the click file."""
        return self.click_path if row.kind == POINTS else self.path_of(row.video, row.frame)

    def has(self, video: str, number: int) -> bool:
        """Whether the label of a frame is complete: its row and its file are there."""
        return self.find(video, number) is not None

    def find(self, video: str, number: int) -> tuple[LabelRow, Path] | None:
        """Row and file of the label of a frame, where it is complete."""
        row = self.labels.get((video, number))
        if row is None:
            return None
        path = self.file_of(row)
        return (row, path) if (row.key in self._clicks if row.kind == POINTS else is_file(path)) else None

    def write(
        self,
        video: str,
        number: int,
        label: UInt8Array,
        *,
        kind: LabelKind,
        generator: str,
        arguments: Mapping[str, Any] | None = None,
        parents: Sequence[str] = (),
        confidence: float | None = None,
        space: Literal["train_id", "object_id"] = "train_id",
        licences: Iterable[str] = (),
        needs_review: bool = False,
    ) -> LabelRow:
        """Store a label map: first its PNG, then its row.

        Ids of objects have the colours of DAVIS in the PNG, train ids those of the class table.

        Args:
            video: Identifier of the clip.
            number: Native frame number.
            label: (H, W) uint8, 255 = no label.
            kind: Kind of the label.
            generator: What made it.
            arguments: Settings of the generator, JSON values only.
            parents: Identifiers of the human actions it descends from.
            confidence: 0..1 as the generator defines it.
            space: What the values mean.
            licences: Licences of the weights that had a part in making it.
            needs_review: Whether a person has yet to look at it.

        Raises:
            LabelStoreError: The array is no label map of this class table, or the label is locked.
        """
        path = self.path_of(video, number)
        self._refuse_locked([(video, number)])
        self._check_label(label, space, path)
        content = encode_label_png(label, PALETTE if space == "object_id" else self.taxonomy.flat_palette())
        write_bytes(path, content)
        row = LabelRow(
            video=video,
            frame=number,
            kind=kind.label,
            source=self.source,
            generator=generator,
            arguments=dict(arguments or {}),
            space=space,
            taxonomy=self.taxonomy.name,
            taxonomy_version=self.taxonomy.version,
            parents=tuple(parents),
            ignored_share=round(float(np.count_nonzero(label == IGNORE_INDEX)) / label.size, 6),
            confidence=None if confidence is None else round(confidence, 6),
            sha256=hashlib.sha256(content).hexdigest(),
            licences=tuple(sorted(set(licences))),
            needs_review=needs_review,
        )
        self._add([row])
        return row

    def write_points(
        self,
        points: Mapping[Frame, Sequence[Click]],
        *,
        dataset: str,
        generator: str,
        costs: Mapping[Frame, AnnotationCost],
        sizes: Mapping[Frame, tuple[int, int]],
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        """Store clicks: the click file is rewritten first, then come a row and a human action per frame.

        Args:
            points: Clicks by frame.
            dataset: Name of the data set.
            generator: What made them.
            costs: What the clicks of each frame cost.
            sizes: Height and width of each frame.
            arguments: Settings of the generator, JSON values only.

        Raises:
            LabelStoreError: The label of a frame is locked.
        """
        self._refuse_locked(points)
        keys = {frame: click_key(dataset, *frame) for frame in points}
        merged = self._clicks | {keys[frame]: tuple(clicks) for frame, clicks in points.items()}
        write_bytes(self.click_path, encode_click_file(merged, self.taxonomy))
        self._clicks = merged
        rows: list[LabelRow | ActionRow] = []
        for frame, clicks in points.items():
            action = action_id(self.source, dataset, *frame)
            height, width = sizes[frame]
            rows.append(ActionRow(action, self.source, *frame, costs[frame]))
            rows.append(
                LabelRow(
                    video=frame[0],
                    frame=frame[1],
                    kind=POINTS,
                    source=self.source,
                    generator=generator,
                    arguments=dict(arguments or {}),
                    space="train_id",
                    taxonomy=self.taxonomy.name,
                    taxonomy_version=self.taxonomy.version,
                    parents=(action,),
                    ignored_share=round(1 - len(clicks) / (height * width), 6),
                    confidence=None,
                    sha256=digest_of(clicks),
                    key=keys[frame],
                )
            )
        self._add(rows)

    def record_action(self, action: ActionRow) -> None:
        """Note a human action and its cost, before the labels that descend from it."""
        self._add([action])

    def record_objects(self, video: str, number: int, objects: Iterable[LoggedObject]) -> None:
        """Note the objects of a frame, before its label is stored."""
        noted = tuple(objects)
        self.object_log.write(video, number, noted)
        if "objects" in self.__dict__:
            self.objects = {**self.objects, (video, number): noted}

    def record_reviews(self, rows: Iterable[Decision | Remade]) -> None:
        """Note what people decided, or that labels were made again."""
        self.review_log.add(rows)
        self.__dict__.pop("reviews", None)

    def points(self, video: str, number: int) -> tuple[Click, ...]:
        """Clicks of a frame as (column, row, train id).

        Raises:
            LabelStoreError: The frame has no clicks.
        """
        row = self.labels.get((video, number))
        clicks = self._clicks.get(row.key) if row is not None and row.key is not None else None
        if row is None or clicks is None:
            raise LabelStoreError(f"no clicks for frame {number} of {video!r}", path=self.click_path)
        if not self._is_intact(row):
            raise LabelStoreError(
                f"the clicks of frame {number} of {video!r} are not those that were written",
                path=self.click_path,
                expected="the digest in the manifest",
                fix="run the label command again",
            )
        return clicks

    def read(self, video: str, number: int, *, verify: bool = False) -> UInt8Array:
        """Read a label map.

        Args:
            video: Identifier of the clip.
            number: Native frame number.
            verify: Compare the file with the digest in its row.

        Raises:
            LabelStoreError: There is no such label, or the file is not the one that was written.
        """
        path = self.path_of(video, number)
        row = self.labels.get((video, number))
        if row is None or row.kind == POINTS:
            raise LabelStoreError(f"source {self.source!r} has no label map of this frame", path=path)
        if verify and not self._is_intact(row):
            raise LabelStoreError(
                "the label is not the one that was written",
                path=path,
                expected="the digest in the manifest",
                fix="delete the file and run the label command again",
            )
        return np.asarray(read_label_png(path), np.uint8)

    def read_instances(self, video: str, number: int) -> Int32Array | None:
        """Instance ids of a label map whose object ids were stored; `None` where they were not.

        Args:
            video: Identifier of the clip.
            number: Native frame number.

        Returns:
            `train_id * 1000 + k`, (H, W) int32; 0 = no instance.

        Raises:
            LabelStoreError: The file holds objects that the object log does not have, or more than 999 of a class.
        """
        path = self.object_log.path_of_ids(video, number)
        if not is_file(path):
            return None
        ids = read_label_png(path)
        table = np.zeros(int(ids.max()) + 1, np.int32)
        known = {item.id: item for item in self.objects.get((video, number), ())}
        for found in np.unique(ids[ids > 0]).tolist():
            item = known.get(found)
            if item is None or (item.instance or 0) >= INSTANCES_PER_CLASS:
                raise LabelStoreError(
                    "object ids that the object log does not explain" if item is None else "too many instances",
                    path=path,
                    expected=f"ids in {self.object_log.path.name}, at most {INSTANCES_PER_CLASS - 1} of a class",
                    found=f"id {found}",
                    fix="delete the file, and the label has no instances",
                )
            table[found] = item.train_id * INSTANCES_PER_CLASS + item.instance if item.instance else 0
        return table[ids]

    def verify(self) -> list[Path]:
        """Files that are missing or differ from what was written."""
        return [self.file_of(row) for row in self.labels.values() if not self._is_intact(row)]

    def require_recipe(self, generator: str, arguments: Mapping[str, Any]) -> None:
        """Refuse to mix labels of different making under one source.

        Raises:
            LabelStoreError: A stored label has another generator or other arguments.
        """
        if self._rows.recipes <= {_recipe_of(generator, arguments)}:
            return
        wanted = canonical({"generator": generator, **arguments})
        for row in self.labels.values():
            found = canonical({"generator": row.generator, **row.arguments})
            if found != wanted:
                raise LabelStoreError(
                    f"source {self.source!r} holds labels that were made in another way",
                    path=self.manifest_path,
                    expected=wanted,
                    found=found,
                    fix="choose another source name, or delete this folder",
                )

    def consolidate(self) -> None:
        """Merge the shards of all writers into one sorted manifest and delete half-written files.

        Call it only while nobody else writes to this source.
        """
        if not self.exists:
            return
        with sole_writer(self.folder):  # against pages, on which people decide while labels are made
            sweep_partial(self.folder)
            self.refresh()
            rows = self._rows
            everything = chain(rows.labels.values(), rows.actions.values())
            self._manifest.consolidate((row.to_json() for row in everything), len(rows.labels) + len(rows.actions))
            self.object_log.consolidate()
            self.review_log.consolidate()

    def refresh(self) -> None:
        """Forget what was read, to see rows that other processes have written."""
        for name in _READ:
            self.__dict__.pop(name, None)

    def __getstate__(self) -> dict[str, Any]:
        """What is sent to other processes: nothing that was read."""
        return {name: value for name, value in vars(self).items() if name not in _READ}

    @cached_property
    def _rows(self) -> _Rows:
        """Labels and human actions of the manifest."""
        table, facts = self._manifest.tables(kind_of_row, SCHEMA, _entry_of)
        for fact in facts:
            found = fact.partition("\n")[0]
            if found and found != f"{self.taxonomy.name} version {self.taxonomy.version}":
                raise LabelStoreError(
                    "labels of another class table",
                    path=self.manifest_path,
                    expected=f"{self.taxonomy.name} version {self.taxonomy.version}",
                    found=found,
                    fix="choose the view of the data set they were made for, or generate them again",
                )
        return _Rows(table, facts)

    @cached_property
    def _clicks(self) -> dict[str, tuple[Click, ...]]:
        """Clicks by the names of frames in the click file."""
        return read_click_file(self.click_path, self.taxonomy) if self.click_path.exists() else {}

    def _add(self, rows: Sequence[LabelRow | ActionRow]) -> None:
        known = self._rows
        self._manifest.append([row.to_json() for row in rows])
        for row in rows:
            known.add(row)

    def _is_intact(self, row: LabelRow) -> bool:
        if row.kind == POINTS:
            return row.key in self._clicks and digest_of(self._clicks[row.key]) == row.sha256
        path = self.file_of(row)
        return is_file(path) and hashlib.sha256(read_bytes(path, fault=LabelStoreError)).hexdigest() == row.sha256

    def _refuse_locked(self, frames: Iterable[Frame]) -> None:
        locked = sorted(self.reviews.locked.intersection(frames))
        if locked:
            video, number = locked[0]
            raise LabelStoreError(
                f"the label of frame {number} of {video!r} is locked",
                path=self.path_of(video, number),
                fix="accept the frame (thriftseg label review), which takes the lock away",
            )

    def _check_label(self, label: UInt8Array, space: str, path: Path) -> None:
        if label.ndim != 2 or label.dtype != np.uint8 or not label.size:
            raise LabelStoreError(
                "not a label map", path=path, expected="(H, W) uint8", found=f"{label.shape} {label.dtype}"
            )
        present = np.flatnonzero(np.bincount(label.ravel(), minlength=256)[:IGNORE_INDEX])
        if space == "train_id" and present.size and present[-1] >= self.taxonomy.num_classes:
            raise LabelStoreError(
                f"train ids outside the class table {self.taxonomy.name!r}",
                path=path,
                expected=f"0..{self.taxonomy.num_classes - 1} or {IGNORE_INDEX}",
                found=int(present[-1]),
            )


class _Rows:
    """The rows of a manifest, by table.

    Attributes:
        labels: Labels by frame.
        actions: Human actions by identifier.
        recipes: How the labels were made, those included that others have replaced.
    """

    def __init__(self, table: Callable[[str], RowTable[Any]], facts: set[str]) -> None:
        self.labels: RowTable[LabelRow] = table("label")
        self._actions: RowTable[ActionRow] = table("action")
        self.actions = _Actions(self._actions)
        self.recipes = {recipe for fact in facts if (recipe := fact.partition("\n")[2])}

    def add(self, row: LabelRow | ActionRow) -> None:
        """Take in a row that was appended to the manifest."""
        entry = _entry_of(row)
        if isinstance(row, ActionRow):
            self._actions.add(entry.key, row)
        else:
            self.labels.add(entry.key, row)
            self.recipes.add(entry.fact.partition("\n")[2])


class _Actions(Mapping[str, ActionRow]):
    def __init__(self, rows: RowTable[ActionRow]) -> None:
        self._rows = rows

    def __getitem__(self, name: str) -> ActionRow:
        return self._rows[name, 0]

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._rows)

    def __len__(self) -> int:
        return len(self._rows)


def find_rot(root: str | Path, taxonomy: Taxonomy) -> list[Finding]:
    """Compare every label of all sources with the digest in its manifest, and decode the images beside them.

    Args:
        root: Folder of the label store; without one there is nothing to find.
        taxonomy: Class table of the labels.

    Returns:
        Files that are missing or damaged, source by source.

    Example:
        >>> import tempfile
        >>> from thriftseg.taxonomies import CAMVID
        >>> with tempfile.TemporaryDirectory() as root:
        ...     store = LabelStore(root, "flow", CAMVID)
        ...     row = store.write("drive", 30, np.zeros((4, 4), np.uint8), kind=LabelKind.PROPAGATED, generator="demo")
        ...     size = store.path_of("drive", 30).write_bytes(b"rot")
        ...     [finding.message.partition("000030.png")[2] for finding in find_rot(root, CAMVID)]
        [': missing, or not what was written']
    """
    return [finding for folder in list_folders(Path(root)) for finding in _rot_of_source(folder, taxonomy)]


def _rot_of_source(folder: Path, taxonomy: Taxonomy) -> list[Finding]:
    try:
        store = LabelStore(folder.parent, folder.name, taxonomy)
        labels = {store.file_of(row) for row in store.labels.values()}
        damaged = dict.fromkeys(store.verify())
    except ThriftsegError as error:
        return [Finding("stored label", error.headline)]
    findings = [Finding("stored label", f"{path}: missing, or not what was written") for path in damaged]
    for path in sorted({*folder.rglob("*.png")} - labels):
        try:
            with open_image(path, read_bytes(path)) as image:
                image.load()
        except ThriftsegError as error:
            findings.append(Finding("stored label", error.headline))
    return findings


def _entry_of(row: LabelRow | ActionRow) -> Entry:
    """How a row is found; of a label is noted of which class table it is, and how it was made."""
    if isinstance(row, ActionRow):
        return Entry("action", (row.id, 0), "")
    recipe = _recipe_of(row.generator, row.arguments)
    return Entry("label", (row.video, row.frame), f"{row.taxonomy} version {row.taxonomy_version}\n{recipe}")


def _recipe_of(generator: str, arguments: Mapping[str, Any]) -> str:
    """Equal for what is made in the same way."""
    return msgspec.json.encode([generator, arguments], order="deterministic").decode()


def rows_equal(first: LabelStore, second: LabelStore) -> bool:
    """Whether two stores hold the same labels from the same actions, in whatever order they were written."""
    return {canonical(row) for row in first.rows()} == {canonical(row) for row in second.rows()}
