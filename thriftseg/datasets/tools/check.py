"""Checking a data set on disk before anything is trained on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from rich.console import Console
from rich.table import Table

from thriftseg.arrays import Int64Array
from thriftseg.datasets.base import ClipReader, ClipType, EmptySplitError, VideoDataset
from thriftseg.datasets.images import probe_size
from thriftseg.datasets.tools.leakage import find_leaks
from thriftseg.errors import ConfigError, DatasetError
from thriftseg.progress import progress_bar
from thriftseg.resources import available_cpus
from thriftseg.types import Clip

SHOWN_FINDINGS = 20
"""Faults, and warnings, that `print_report` lists one by one."""


@dataclass(frozen=True)
class Finding:
    """Something wrong, or worth knowing.

    Attributes:
        kind: What was looked at: split, frame, label, coarse, instances or leakage.
        message: One line that names the file.
        fault: Whether the data cannot be used like this; otherwise it is a warning.

    Example:
        >>> findings = [Finding("label", "7.png: missing"), Finding("leakage", "a and b share footage", fault=False)]
        >>> [finding.message for finding in findings if finding.fault]
        ['7.png: missing']
    """

    kind: str
    message: str
    fault: bool = True


@dataclass
class SplitSummary:
    """Contents of a split.

    Attributes:
        split: Name of the split.
        clips: Number of clips.
        recordings: Number of recordings the clips were cut from.
        frames: Number of frames.
        labels: Number of manual labels.
        coarse: Number of coarse labels.
        instances: Number of instance maps.
        number_range: Smallest and largest frame number.
        sizes: (height, width) of the clips and how many clips have it.
        pixels: (num_classes + 1,) labelled pixels by train id; the last entry counts ignored ones.
    """

    split: str
    clips: int
    recordings: int
    frames: int
    labels: int
    coarse: int
    instances: int
    number_range: tuple[int, int]
    pixels: Int64Array
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)


@dataclass(kw_only=True)
class Report:
    """Outcome of a check.

    Attributes:
        dataset: Name of the data set.
        root: Folder, and where its name came from.
        findings: Faults and warnings.
    """

    dataset: str
    root: str
    findings: list[Finding]

    @property
    def faults(self) -> list[Finding]:
        """Findings that make the data unusable as they are."""
        return [finding for finding in self.findings if finding.fault]

    @property
    def warnings(self) -> list[Finding]:
        """Findings that are good to know."""
        return [finding for finding in self.findings if not finding.fault]

    @property
    def exit_code(self) -> int:
        """0 without faults, otherwise 2."""
        return 2 if self.faults else 0


@dataclass(kw_only=True)
class CheckReport(Report):
    """Outcome of `check_dataset`.

    Attributes:
        class_names: Names in train order.
        splits: What was found, by split, in the order of the reader.

    Example:
        >>> findings = [Finding("label", "7.png: missing"), Finding("leakage", "a and b share footage", fault=False)]
        >>> report = CheckReport(dataset="camvid", root="data", findings=findings, class_names=["sky"], splits=[])
        >>> len(report.faults), len(report.warnings), report.exit_code
        (1, 1, 2)
    """

    class_names: list[str]
    splits: list[SplitSummary]


def check_dataset(
    dataset: VideoDataset,
    strict: bool = False,
    *,
    every_frame: bool = True,
    devices: int | None = None,
    progress: bool = False,
) -> CheckReport:
    """Read every file of a data set and look for leakage between its splits.

    Faults are files that are missing, unreadable, of another size than the rest of their clip, or that hold ids
    outside the class table. Footage shared between splits is a fault too, except in splits that the authors of the
    data fixed, where it is a warning. A split that is not there is a warning as long as another one is.

    Args:
        dataset: The data set.
        strict: Make leakage inside official splits a fault.
        every_frame: Decode every frame; otherwise those without a label are only opened.
        devices: Threads; by default one per core.
        progress: Show a progress bar on stderr.

    Returns:
        Counts and findings; the order does not depend on the number of threads.

    Raises:
        DatasetError: The root or the class table is missing.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from thriftseg.datasets import Folder, write_label_png
        >>> with tempfile.TemporaryDirectory() as root:
        ...     size = Path(root, "classes.yaml").write_text("classes: [{name: road}, {name: car}]")
        ...     write_label_png(Path(root, "train/drive/frames/7.png"), np.zeros((4, 6), np.uint8))
        ...     write_label_png(Path(root, "train/drive/labels/7.png"), np.full((4, 6), 2, np.uint8))
        ...     report = check_dataset(Folder(root))
        >>> report.exit_code, report.faults[0].message.partition("; ")[2]
        (2, 'expected ids 0..1, 255; found 2')
    """
    class_names = dataset.taxonomy.class_names
    clips, findings = list_splits(dataset)
    summaries = [_summarise(split, listed, len(class_names)) for split, listed in clips.items()]
    findings += _read_everything(dataset, clips, summaries, every_frame, devices, progress)
    for summary in summaries:
        if not summary.labels and not summary.coarse:
            message = f"split {summary.split!r} has no labels: it serves prediction only"
            findings.append(Finding("label", message, fault=False))
    fatal = strict or not dataset.official_splits
    findings += [Finding("leakage", leak.describe(), fatal) for leak in find_leaks(clips)]
    findings += [Finding("leakage", message) for message in shared_names(clips)]
    return CheckReport(
        dataset=dataset.name,
        root=f"{dataset.root} (from {dataset.root_origin})",
        class_names=class_names,
        splits=summaries,
        findings=findings,
    )


def list_splits(dataset: ClipReader[ClipType]) -> tuple[dict[str, list[ClipType]], list[Finding]]:
    """The clips of every split that is there, and what is wrong with the others.

    A split that is not there is a warning as long as another one is.
    """
    findings: list[Finding] = []
    clips: dict[str, list[ClipType]] = {}
    for split in dataset.splits:
        try:
            clips[split] = dataset.clips(split)
        except EmptySplitError as error:
            findings.append(Finding("split", f"no {split} split: nothing at {error.path}", fault=False))
        except DatasetError as error:
            findings.append(Finding("split", error.headline))
    if not clips and not any(finding.fault for finding in findings):
        findings = [Finding(finding.kind, finding.message) for finding in findings]
    return clips, findings


def _summarise(split: str, clips: list[Clip], num_classes: int) -> SplitSummary:
    numbers = [number for clip in clips for number in clip.frames]
    return SplitSummary(
        split=split,
        clips=len(clips),
        recordings=len({clip.drive for clip in clips}),
        frames=len(numbers),
        labels=sum(len(clip.labels) for clip in clips),
        coarse=sum(len(clip.coarse) for clip in clips),
        instances=sum(len(clip.instances) for clip in clips),
        number_range=(min(numbers), max(numbers)),
        pixels=np.zeros(num_classes + 1, dtype=np.int64),
    )


def threads(devices: int | None) -> ThreadPoolExecutor:
    """Threads to read files in, one per core by default.

    Raises:
        ConfigError: There are none.
    """
    if devices is not None and devices < 1:
        raise ConfigError("number of devices", expected="at least 1", found=devices)
    return ThreadPoolExecutor(devices or available_cpus())


def _read_everything(
    dataset: VideoDataset,
    clips: dict[str, list[Clip]],
    summaries: list[SplitSummary],
    every_frame: bool,
    devices: int | None,
    progress: bool,
) -> list[Finding]:
    frames = [
        (summary, clip, number)
        for summary, listed in zip(summaries, clips.values(), strict=True)
        for clip in listed
        for number in clip.frames
    ]
    num_classes = dataset.taxonomy.num_classes
    findings: list[Finding] = []
    with progress_bar(progress) as bar, threads(devices) as pool:
        outcomes = pool.map(lambda frame: _read_files(dataset, every_frame, *frame[1:]), frames)
        shown = bar.track(outcomes, total=len(frames), description=f"reading {dataset.name}")
        for (summary, _, _), (found, pixels) in zip(frames, shown, strict=True):
            findings += found
            if pixels is not None:
                summary.pixels += np.append(pixels[:num_classes], pixels[num_classes:].sum())
    for summary, listed in zip(summaries, clips.values(), strict=True):
        summary.sizes.update(sizes_of(dataset, listed))
    return findings


def _read_files(
    dataset: VideoDataset, every_frame: bool, clip: Clip, number: int
) -> tuple[list[Finding], Int64Array | None]:
    """Faults in the files of a frame, and the number of pixels of each train id in its label."""
    decoded = every_frame or number in clip.labels
    readings: list[tuple[str, Mapping[int, object], Callable[[Clip, int], object]]] = [
        ("frame", clip.frames, dataset.read_frame if decoded else lambda clip, number: probe_size(clip.frames[number])),
        ("coarse", clip.coarse, dataset.read_coarse),
        ("instances", clip.instances, dataset.read_instances),
        ("label", clip.labels, dataset.read_label),
    ]
    findings: list[Finding] = []
    pixels = None
    for kind, files, read in readings:
        if number not in files:
            continue
        try:
            content = read(clip, number)
        except DatasetError as error:
            findings.append(Finding(kind, error.headline))
            continue
        if kind == "label":
            pixels = np.bincount(np.asarray(content).ravel(), minlength=256)
    return findings, pixels


def sizes_of(dataset: ClipReader[ClipType], clips: Iterable[ClipType]) -> Iterator[tuple[int, int]]:
    """Height and width of every clip that has a readable first frame."""
    for clip in clips:
        try:
            yield dataset.clip_size(clip)
        except DatasetError:  # its frames are among the findings already
            continue


def shared_names(clips: Mapping[str, Sequence[Clip]]) -> Iterator[str]:
    """Say which splits have clips of the same name."""
    for (one, first), (other, second) in combinations(clips.items(), 2):
        shared = sorted({clip.video for clip in first} & {clip.video for clip in second})
        if shared:
            yield f"{one} and {other} both have a clip called {shared[0]!r} ({len(shared)} in all); rename it"


def print_report(report: CheckReport, console: Console | None = None) -> None:
    """Print a report as tables, followed by its findings.

    Example:
        >>> missing = [Finding("label", "7.png: missing")]
        >>> report = CheckReport(dataset="camvid", root="data/camvid", findings=missing, class_names=["sky"], splits=[])
        >>> print_report(report, Console(width=80))
        camvid in data/camvid
        fault label: 7.png: missing
        1 faults, 0 warnings
    """
    console = console or Console()
    console.print(f"[bold]{report.dataset}[/bold] in {report.root}", highlight=False)
    if report.splits:
        table = Table("", title="Counts")
        for summary in report.splits:
            table.add_column(summary.split, justify="right")
        for row in ("clips", "recordings", "frames", "labels", "coarse", "instances"):
            table.add_row(row, *(str(getattr(summary, row)) for summary in report.splits))
        table.add_row("frame numbers", *("{}..{}".format(*summary.number_range) for summary in report.splits))
        table.add_row("sizes", *(sizes_text(summary.sizes) for summary in report.splits))
        console.print(table)
    if any(summary.pixels.any() for summary in report.splits):
        console.print(_classes_table(report))
    print_findings(report, console)


def print_findings(report: Report, console: Console) -> None:
    """Print the first faults and warnings and how many there are."""
    for title, style, findings in (("fault", "red", report.faults), ("warning", "yellow", report.warnings)):
        for finding in findings[:SHOWN_FINDINGS]:
            console.print(f"[{style}]{title}[/{style}] {finding.kind}: ", end="", highlight=False)
            console.print(finding.message, markup=False, highlight=False, soft_wrap=True)
        if len(findings) > SHOWN_FINDINGS:
            console.print(f"[{style}]... and {len(findings) - SHOWN_FINDINGS} more[/{style}]")
    console.print(f"{len(report.faults)} faults, {len(report.warnings)} warnings", highlight=False)


def sizes_text(sizes: Counter[tuple[int, int]]) -> str:
    """The three most common sizes.

    Example:
        >>> sizes_text(Counter({(480, 854): 2, (480, 910): 1}))
        '854x480, 910x480'
    """
    common = [f"{width}x{height}" for (height, width), _ in sizes.most_common(3)]
    return ", ".join(common + ["..."] * (len(sizes) > 3))


def _classes_table(report: CheckReport) -> Table:
    table = Table("class", title="Share of labelled pixels in %")
    labelled = [summary for summary in report.splits if summary.pixels.any()]
    for summary in labelled:
        table.add_column(summary.split, justify="right")
    for train_id, name in enumerate([*report.class_names, "(ignored)"]):
        counts = [(int(summary.pixels[train_id]), int(summary.pixels.sum())) for summary in labelled]
        table.add_row(name, *(f"{100 * part / whole:.2f}" if part else "none" for part, whole in counts))
    return table
