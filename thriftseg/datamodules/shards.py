"""Packing a data set and its labels into tar shards, to train from a bucket or where the files fit no disk.

The shards have the layout of WebDataset [0], so that its readers open them as well. A sample is a frame:

    <split>/<video>/<frame:06d>.jpg|png                the bytes of the frame's file
    <split>/<video>/<frame:06d>.manual.png|json        labels of the data set; likewise coarse and instances
    <split>/<video>/<frame:06d>.<source>.png           labels of the store, with .<source>.objects.png
    <split>/<video>/<frame:06d>.json                   where each label comes from, and what it cost
    <split>/<video>/frames.mp4                         the video, of clips whose frames lie in one

Beside them lie the index, which maps the paths of the data set's own folders to bytes of the shards, the texts at the
top of the data set (class table, lists) and, in `label_store`, the manifests of the labels. A reader of shards, which
would repeat how each data set lists its clips and decodes its labels, is not needed: every reader opens this folder
like the one that was packed (see `thriftseg.shards`).

[0] https://github.com/webdataset/webdataset
"""

from __future__ import annotations

import hashlib
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec

from thriftseg.atomic import whole_file, write_bytes
from thriftseg.costs import AnnotationCost, CostModel
from thriftseg.datasets import EmptySplitError, VideoDataset, frame_file, list_folders
from thriftseg.errors import ConfigError, DatasetError, LabelStoreError
from thriftseg.folders import claim_folder, writes_alone
from thriftseg.parsing import read_bytes
from thriftseg.progress import progress_bar
from thriftseg.shards import SHARD_INDEX, ShardIndex, ShardRow, is_file, read_shard_index
from thriftseg.stores import (
    GIVEN_SOURCES,
    POINTS,
    LabelStore,
    Manifest,
    canonical,
    file_stamp,
    given_label,
    price_actions,
    store_root,
)
from thriftseg.types import Clip

LABELS_OF_SHARDS = "label_store"
"""Folder of the label store beside shards."""

_RECORD = "run.json"
_TEXTS = (".txt", ".yaml", ".yml", ".json", ".csv", ".md")


@dataclass(frozen=True)
class ShardReport:
    """What `write_shards` did.

    Attributes:
        out: The folder.
        shards: How many shards there are.
        written: How many of them were not there before.
        frames: How many frames they have.
        size: Their bytes.

    Example:
        >>> str(ShardReport(Path("shards"), shards=2, written=1, frames=600, size=300 * 2**20))
        'shards: 2 shards (1 written now) with 600 frames, 300.0 MiB'
    """

    out: Path
    shards: int
    written: int
    frames: int
    size: int

    def __str__(self) -> str:
        made = f"{self.shards} shards ({self.written} written now)"
        return f"{self.out}: {made} with {self.frames} frames, {self.size / 2**20:.1f} MiB"


@writes_alone("out")
def write_shards(
    dataset: VideoDataset,
    out: str | Path,
    *,
    store: str | Path | None = None,
    sources: Sequence[str] | None = None,
    shard_mib: int = 256,
    cost_model: str = "polygon",
    progress: bool = False,
) -> ShardReport:
    """Pack a data set and labels of its store into shards.

    What is written depends on files and settings alone. A run that was killed goes on with the next shard; in a
    finished folder, only shards whose files have changed are written again.

    Args:
        dataset: The data set. What its reader, with its settings, does not list is left out.
        out: Folder of the shards; copy all of it to a bucket.
        store: Folder of the label store; `labels/<dataset>` when absent.
        sources: Sources of the store to pack; by default all.
        shard_mib: MiB of a shard, unless a single frame with its labels, or a video, takes more.
        cost_model: Prices the labels that came with the data set, as in a mixture.
        progress: Show a progress bar on stderr.

    Raises:
        ConfigError: A setting is wrong, or the folder holds something else.
        DatasetError: A file is missing, or changes meanwhile; or the shards are read as other clips.
        LabelStoreError: A source is missing or damaged, or nobody recorded an action that a label descends from.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from thriftseg.datasets import Folder, write_label_png
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for name in ("frames/7.png", "frames/8.png", "labels/8.png"):
        ...         write_label_png(Path(root, "mine/train/drive", name), np.ones((16, 24), np.uint8))
        ...     size = Path(root, "mine/classes.yaml").write_text("classes: [{name: road}, {name: car}]")
        ...     report = write_shards(Folder(Path(root, "mine")), Path(root, "shards"), sources=[])
        ...     report.shards, report.frames, [clip.annotated for clip in Folder(report.out).clips("train")]
        (1, 2, [(8,)])
    """
    out = Path(out)
    if shard_mib < 1:
        raise ConfigError("shard_mib", expected="at least 1", found=shard_mib)
    root = store_root(store, dataset.name)
    names = sorted(sources) if sources is not None else [folder.name for folder in list_folders(root)]
    stores = [LabelStore(root, name, dataset.taxonomy) for name in names]
    for each in stores:
        if not each.manifest_path.is_file():
            raise LabelStoreError("no labels of this source", path=each.manifest_path, fix="choose among --sources")
    settings = {"dataset": dataset.name, "sources": names, "shard_mib": shard_mib, "cost_model": cost_model}
    claim_folder(out, settings, record=_RECORD, problem="holds other shards", fix_of_foreign="choose an empty folder")
    clips = _clips(dataset)
    samples = _Samples(dataset, stores, _prices(dataset, clips, stores, cost_model, root))
    with progress_bar(progress) as bar:
        frames = bar.track(
            [(split, clip, number) for split, of_split in clips.items() for clip in of_split for number in clip.frames],
            description="packing frames",
        )
        rows, written = _write_all(out, _groups((samples.of(*frame) for frame in frames), shard_mib * 2**20))
    plain = {place: read_bytes(path) for place, path in _plain_files(dataset, stores)}
    for place, content in plain.items():
        if not (out / place).is_file() or read_bytes(out / place) != content:
            write_bytes(out / place, content)
    stamps = {place: (len(content), hashlib.sha256(content).hexdigest()) for place, content in plain.items()}
    index = ShardIndex(1, dataset.name, rows, stamps).encode()
    if not (out / SHARD_INDEX).is_file() or read_bytes(out / SHARD_INDEX) != index:
        write_bytes(out / SHARD_INDEX, index)
    kept = {row.name for row in rows}
    for path in out.glob("*.tar"):
        if path.name not in kept:
            path.unlink()
    _journal_file(out).unlink(missing_ok=True)
    _check_clips(dataset, clips, out)
    count = sum(len(clip.frames) for of_split in clips.values() for clip in of_split)
    return ShardReport(out, len(rows), written, count, sum(row.bytes for row in rows))


def _clips(dataset: VideoDataset) -> dict[str, list[Clip]]:
    """The clips of all splits that are there."""
    found = {}
    for split in dataset.splits:
        with suppress(EmptySplitError):
            found[split] = dataset.clips(split)
    return found or {dataset.splits[0]: dataset.clips(dataset.splits[0])}  # which says what is missing


def _prices(
    dataset: VideoDataset, clips: dict[str, list[Clip]], stores: Sequence[LabelStore], cost_model: str, root: Path
) -> dict[str, AnnotationCost]:
    everything = [clip for of_split in clips.values() for clip in of_split]
    frames = {(clip.video, number) for clip in everything for number in clip.frames}
    given = (given_label(dataset, name, clip, n) for clip in everything for n in clip.frames for name in GIVEN_SOURCES)
    actions = dict.fromkeys(action for label in given if label is not None for action in label.actions)
    for each in stores:
        rows = (row for frame, row in each.labels.items() if frame in frames)
        actions |= dict.fromkeys(action for row in rows for action in row.parents)
    model = CostModel.named(cost_model)
    return price_actions(dataset, everything, actions, model, stores=stores, cache_folder=root)


class _Entry(NamedTuple):
    """A member of a shard.

    Attributes:
        member: Its name in the tar.
        place: Its path below the root of the data set; empty for what no reader asks for.
        source: The file, or the content.
        stamp: Size, and what else tells that it is still the same.
    """

    member: str
    place: str
    source: Path | bytes
    stamp: tuple[Any, ...]

    def open(self) -> BinaryIO:
        """The content."""
        return BytesIO(self.source) if isinstance(self.source, bytes) else self.source.open("rb")


class _Samples:
    """Makes the samples of frames, one after the other.

    Args:
        dataset: The data set.
        stores: Labels to go along.
        prices: Cost by human action.
    """

    def __init__(self, dataset: VideoDataset, stores: Sequence[LabelStore], prices: dict[str, AnnotationCost]) -> None:
        self._dataset, self._stores, self._prices = dataset, stores, prices
        self._packed: set[str] = set()

    def of(self, split: str, clip: Clip, number: int) -> list[_Entry]:
        """Members of a sample; a file that several frames share goes with the first."""
        key, labels = f"{split}/{clip.video}/{number:06d}", dict[str, Any]()
        frame = clip.frames[number]
        file = frame_file(frame)
        files = {f"{key}{file.suffix.lower()}" if file == frame else f"{split}/{clip.video}/{file.name}": file}
        beside = {"instances": clip.instances[number]} if number in clip.instances else {}
        for name in GIVEN_SOURCES:
            label = given_label(self._dataset, name, clip, number)
            if label is not None:
                files[f"{key}.{name}{label.path.suffix.lower()}"] = label.path
                labels[name] = {"kind": label.kind.label, "parents": label.actions}
        beside |= self._dataset.files_beside(clip, number)
        files |= {f"{key}.{name}{path.suffix.lower()}": path for name, path in beside.items()}
        entries = [self._entry(member, path, path.relative_to(self._dataset.root)) for member, path in files.items()]
        for store in self._stores:
            row = store.labels.get((clip.video, number))
            if row is None:
                continue
            decision = store.reviews.decisions.get((clip.video, number, None))
            labels[store.source] = row.to_json() | ({"verdict": decision.verdict} if decision is not None else {})
            ids = store.object_log.path_of_ids(clip.video, number)
            stored = {f"{key}.{store.source}.objects.png": ids} if is_file(ids) else {}
            if row.kind == POINTS:
                labels[store.source]["clicks"] = store.points(clip.video, number)
            else:
                stored[f"{key}.{store.source}.png"] = store.path_of(clip.video, number)
            entries += [
                self._entry(member, path, LABELS_OF_SHARDS / path.relative_to(store.root))
                for member, path in stored.items()
            ]
        actions = dict.fromkeys(action for label in labels.values() for action in label["parents"])
        about = {
            "dataset": self._dataset.name,
            "taxonomy": self._dataset.taxonomy.name,
            "split": split,
            "video": clip.video,
            "frame": number,
            "frame_step": clip.frame_step,
            "drive": clip.drive,
            "labels": labels,
            "costs": {action: self._prices[action].to_json() for action in actions},
        }
        content = canonical(about).encode()
        entries.append(_Entry(f"{key}.json", "", content, (len(content), hashlib.sha256(content).hexdigest())))
        new = [entry for entry in entries if entry.place not in self._packed]
        self._packed.update(entry.place for entry in new if entry.place)
        return new

    def _entry(self, member: str, path: Path, place: Path) -> _Entry:
        return _Entry(member, place.as_posix(), path, tuple(file_stamp(path)))


def _groups(samples: Iterable[list[_Entry]], limit: int) -> Iterator[list[_Entry]]:
    """Members of one shard after the other; a sample is never torn."""
    group, size = list[_Entry](), 0
    for entries in samples:
        more = sum(tarfile.BLOCKSIZE * (1 + -(-entry.stamp[0] // tarfile.BLOCKSIZE)) for entry in entries)
        if group and size + more > limit:
            yield group
            group, size = [], 0
        group, size = group + entries, size + more
    if group:
        yield group


def _journal_file(out: Path) -> Path:
    return out / "shards.unfinished.jsonl"


def _write_all(out: Path, groups: Iterable[list[_Entry]]) -> tuple[list[ShardRow], int]:
    """Write the shards that are not there yet; returns the rows of all, and how many were written."""
    journal = Manifest(out, "unfinished", "shards")
    finished = read_shard_index(out / SHARD_INDEX).shards if (out / SHARD_INDEX).is_file() else []
    known = {row.name: row for row in [*finished, *journal.read(ShardRow)]}
    rows, written = list[ShardRow](), 0
    for number, group in enumerate(groups):
        name, stamps = f"{number:06d}.tar", [[entry.member, entry.place, *entry.stamp] for entry in group]
        plan = hashlib.sha256(msgspec.json.encode(stamps)).hexdigest()
        row = known.get(name)
        if row is None or row.plan != plan or not _is_there(out / name, row.bytes):
            if finished:  # from here on, the index is wrong
                journal.append(msgspec.to_builtins(each) for each in finished)
                (out / SHARD_INDEX).unlink()
                finished = []
            row = _write_shard(out / name, group, plan)
            journal.append([msgspec.to_builtins(row)])
            written += 1
        rows.append(row)
    return rows, written


def _is_there(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


class _Checked:
    """A stream that counts the checksum of what is read."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self.crc = stream, 0

    def read(self, count: int = -1) -> bytes:
        """The next bytes."""
        piece = self._stream.read(count)
        self.crc = zlib.crc32(piece, self.crc)
        return piece


def _write_shard(path: Path, group: Iterable[_Entry], plan: str) -> ShardRow:
    files: dict[str, dict[str, tuple[int, int, int]]] = {}
    with whole_file(path) as stream:
        with tarfile.open(fileobj=stream, mode="w") as tar:
            for entry in group:
                info = tarfile.TarInfo(entry.member)
                info.size = entry.stamp[0]
                start = int(tar.offset) + len(info.tobuf(tar.format, str(tar.encoding), str(tar.errors)))
                with entry.open() as content:
                    checked = _Checked(content)
                    tar.addfile(info, checked)
                if not isinstance(entry.source, bytes) and tuple(file_stamp(entry.source)) != entry.stamp:
                    raise DatasetError("changed while it was packed", path=entry.source, fix="run the command again")
                if entry.place:
                    folder, _, name = entry.place.rpartition("/")
                    files.setdefault(folder, {})[name] = (start, info.size, checked.crc)
        stream.flush()
        size = stream.seek(0, 2)
        stream.seek(0)
        digest = hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]
    return ShardRow(path.name, size, digest, plan, files)


def _plain_files(dataset: VideoDataset, stores: Sequence[LabelStore]) -> Iterator[tuple[str, Path]]:
    """Texts at the top of the data set, and all but the images of the label stores, by their path."""
    for path in sorted(dataset.root.iterdir()):
        if path.suffix.lower() in _TEXTS and path.is_file() and path.name not in (SHARD_INDEX, _RECORD):
            yield path.name, path
    for store in stores:
        for path in sorted(store.folder.iterdir()):
            if path.is_file() and path.suffix in (".json", ".jsonl"):
                yield f"{LABELS_OF_SHARDS}/{store.source}/{path.name}", path


def _check_clips(dataset: VideoDataset, clips: dict[str, list[Clip]], out: Path) -> None:
    """Compare what the reader lists in the shards with what it lists in the files."""
    packed = dataset.at(out)
    for split, expected in clips.items():
        wanted, found = _listing(expected, dataset.root), dict[str, Any]()
        with suppress(EmptySplitError):
            found = _listing(packed.clips(split), out)
        if wanted != found:
            (out / SHARD_INDEX).unlink()
            other = next((video for video in {**wanted, **found} if wanted.get(video) != found.get(video)), None)
            raise DatasetError(
                f"the reader of {dataset.name} lists other clips in the shards than in the files",
                path=out,
                found=f"clip {other} of split {split!r}",
                fix="a reader of shards lists files by list_files, list_folders and glob_files of thriftseg.datasets",
            )


def _listing(clips: Iterable[Clip], root: Path) -> dict[str, Any]:
    return {
        clip.video: [
            {number: path.relative_to(root) for number, path in files.items()}
            for files in (clip.frames, clip.labels, clip.coarse, clip.instances)
        ]
        + [clip.frame_step, clip.drive]
        for clip in clips
    }
