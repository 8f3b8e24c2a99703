"""Checking a data set of video object segmentation before anything is trained on it."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from rich.console import Console
from rich.table import Table

from thriftseg.datasets.images import probe_size
from thriftseg.datasets.tools.check import (
    Finding,
    Report,
    list_splits,
    print_findings,
    shared_names,
    sizes_of,
    sizes_text,
    threads,
)
from thriftseg.datasets.vos.base import VOSClip, VOSDataset, ids_in
from thriftseg.errors import DatasetError
from thriftseg.parsing import read_bytes
from thriftseg.progress import progress_bar

_SHOWN_IDS = 8


@dataclass
class VOSSplitSummary:
    """Contents of a split.

    Attributes:
        split: Name of the split.
        videos: Number of videos.
        frames: Number of frames.
        masks: Number of masks.
        objects: Number of objects.
        late: Objects that are introduced after the first frame of their video.
        most_objects: Largest number of objects in a video.
        categories: Number of different categories, where they are told.
        sizes: (height, width) of the videos and how many have it.
    """

    split: str
    videos: int = 0
    frames: int = 0
    masks: int = 0
    objects: int = 0
    late: int = 0
    most_objects: int = 0
    categories: int = 0
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)


@dataclass(kw_only=True)
class VOSCheckReport(Report):
    """Outcome of `check_vos`.

    Attributes:
        splits: What was found, by split, in the order of the reader.

    Example:
        >>> splits = [VOSSplitSummary("train", videos=60, objects=144), VOSSplitSummary("val", videos=30, objects=61)]
        >>> report = VOSCheckReport(dataset="davis", root="data/davis", findings=[], splits=splits)
        >>> report.exit_code, sum(summary.objects for summary in report.splits)
        (0, 205)
    """

    splits: list[VOSSplitSummary]


def check_vos(
    dataset: VOSDataset,
    strict: bool = False,
    *,
    every_frame: bool = True,
    devices: int | None = None,
    progress: bool = False,
) -> VOSCheckReport:
    """Read every file of a data set of video object segmentation and look for videos that two splits share.

    Faults are files that are missing, unreadable, of another size than the rest of their video, or that hold colours;
    masks that a split should have; ids that are introduced nowhere; objects whose first mask does not show them; and
    names that two splits share. Footage under two names is a fault, too, except in splits that the authors of the data
    fixed, where it is a warning. Objects that a mask lacks although a file lists them there, and videos without
    objects, are warnings.

    Args:
        dataset: The data set.
        strict: Make footage shared by official splits a fault.
        every_frame: Decode every frame; otherwise frames without a mask are only opened.
        devices: Threads; by default one per core.
        progress: Show a progress bar on stderr.

    Returns:
        Counts and findings; the order does not depend on the number of threads.

    Raises:
        DatasetError: The root is missing.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from thriftseg.datasets import DAVIS, write_label_png
        >>> with tempfile.TemporaryDirectory() as root:
        ...     Path(root, "ImageSets/2017").mkdir(parents=True)
        ...     size = Path(root, "ImageSets/2017/train.txt").write_text("bear")
        ...     for folder, values in (("JPEGImages", [90, 80, 70]), ("Annotations", [0, 1, 1])):
        ...         write_label_png(Path(root, folder, "480p/bear/00000.png"), np.array([values], np.uint8))
        ...     report = check_vos(DAVIS(root))
        >>> report.splits[0].objects, report.faults
        (1, [])
    """
    clips, findings = list_splits(dataset)
    summaries = []
    with progress_bar(progress) as bar, threads(devices) as pool:
        for split, listed in clips.items():
            found = pool.map(partial(_check_clip, dataset, every_frame, split), listed)
            for part in bar.track(found, total=len(listed), description=f"reading {split}"):
                findings += part
            summaries.append(_summarise(dataset, split, listed))
    fatal = strict or not dataset.official_splits
    findings += [Finding("leakage", message) for message in shared_names(clips)]
    findings += [Finding("leakage", message, fatal) for message in _shared_footage(clips)]
    root = f"{dataset.root} (from {dataset.root_origin})"
    return VOSCheckReport(dataset=dataset.name, root=root, findings=findings, splits=summaries)


def _check_clip(dataset: VOSDataset, every_frame: bool, split: str, clip: VOSClip) -> list[Finding]:
    return [
        *_missing_masks(dataset, split, clip),
        *_frame_faults(dataset, clip, every_frame),
        *_mask_faults(dataset, clip),
    ]


def _missing_masks(dataset: VOSDataset, split: str, clip: VOSClip) -> Iterator[Finding]:
    published = dataset.masks_of(split)
    if published == "all":
        missing = [number for number in clip.scored if number not in clip.labels]
    else:
        first = {item.first for item in clip.listed} or {min(clip.frames)}
        missing = sorted(number for number in first if number not in clip.labels) if published == "first" else []
    if missing:
        message = f"{len(missing)} masks are missing, the first for frame {clip.frame_name(missing[0])}"
        yield Finding("mask", f"{split} video {clip.video}: {message}")


def _frame_faults(dataset: VOSDataset, clip: VOSClip, every_frame: bool) -> Iterator[Finding]:
    for number, path in clip.frames.items():
        try:
            if every_frame or number in clip.labels:
                dataset.read_frame(clip, number)
            else:
                probe_size(path)
        except DatasetError as error:
            yield Finding("frame", error.headline)


def _mask_faults(dataset: VOSDataset, clip: VOSClip) -> Iterator[Finding]:
    ids: dict[int, list[int]] = {}
    for number in clip.labels:
        try:
            ids[number] = ids_in(dataset.read_mask(clip, number))
        except DatasetError as error:
            yield Finding("mask", error.headline)
    try:
        objects = {item.id: item for item in dataset.objects(clip)}
    except DatasetError:  # its masks are among the findings already
        return
    if not objects and clip.labels:
        yield Finding("object", f"video {clip.video} has no objects", fault=False)
    for number, present in ids.items():
        unknown = [object_id for object_id in present if object_id not in objects]
        if unknown:
            shown = ", ".join(map(str, unknown[:_SHOWN_IDS]))
            known = ", ".join(map(str, list(objects)[:_SHOWN_IDS]))
            message = f"{clip.labels[number]}: ids that are introduced nowhere; expected {known}; found {shown}"
            yield Finding("object", message)
    yield from _disagreements(clip, ids)


def _disagreements(clip: VOSClip, ids: Mapping[int, Sequence[int]]) -> Iterator[Finding]:
    """Where the list of objects and the masks contradict each other."""
    for item in clip.listed:
        lacking = [number for number in item.frames if number in ids and item.id not in ids[number]]
        if item.first in lacking:
            message = f"{clip.labels[item.first]}: object {item.id} is listed from here on, but the mask lacks it"
            yield Finding("object", message)
        elif lacking:
            names = f"{len(lacking)} of {len(item.frames)} frames listed for it, such as {clip.frame_name(lacking[0])}"
            yield Finding("object", f"video {clip.video}: object {item.id} is not in {names}", fault=False)


def _summarise(dataset: VOSDataset, split: str, clips: Sequence[VOSClip]) -> VOSSplitSummary:
    summary = VOSSplitSummary(split, len(clips), sizes=Counter(sizes_of(dataset, clips)))
    categories = set()
    for clip in clips:
        summary.frames += len(clip.frames)
        summary.masks += len(clip.labels)
        try:
            objects = dataset.objects(clip)
        except DatasetError:
            continue
        summary.objects += len(objects)
        summary.late += sum(item.first > min(clip.frames) for item in objects)
        summary.most_objects = max(summary.most_objects, len(objects))
        categories |= {item.category for item in objects if item.category}
    summary.categories = len(categories)
    return summary


def _shared_footage(clips: Mapping[str, Sequence[VOSClip]]) -> Iterator[str]:
    """Videos of different splits whose first frames are the same file under different names."""
    by_content: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for split, listed in clips.items():
        for clip in listed:
            with suppress(DatasetError):  # its frames are among the findings already
                content = read_bytes(next(iter(clip.frames.values())))
                by_content[hashlib.sha256(content).hexdigest()].append((split, clip.video))
    for places in by_content.values():
        splits, names = {split for split, _ in places}, {name for _, name in places}
        if len(splits) > 1 and len(names) > 1:
            where = " and ".join(f"{name} of {split}" for split, name in places)
            yield f"{where} begin with the same image"


def print_vos_report(report: VOSCheckReport, console: Console | None = None) -> None:
    """Print a report as a table, followed by its findings.

    Example:
        >>> colours = [Finding("mask", "bear/00000.png: holds colours instead of ids")]
        >>> report = VOSCheckReport(dataset="davis", root="data/davis", findings=colours, splits=[])
        >>> print_vos_report(report, Console(width=80))
        davis in data/davis
        fault mask: bear/00000.png: holds colours instead of ids
        1 faults, 0 warnings
    """
    console = console or Console()
    console.print(f"[bold]{report.dataset}[/bold] in {report.root}", highlight=False)
    if report.splits:
        table = Table("", title="Counts")
        for summary in report.splits:
            table.add_column(summary.split, justify="right")
        for row in ("videos", "frames", "masks", "objects", "late", "most_objects", "categories"):
            table.add_row(row.replace("_", " "), *(str(getattr(summary, row)) for summary in report.splits))
        table.add_row("sizes", *(sizes_text(summary.sizes) for summary in report.splits))
        console.print(table)
    print_findings(report, console)
