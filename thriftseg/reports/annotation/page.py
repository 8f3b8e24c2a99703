"""The report of a run that labelled a video with a small budget: a page, a picture, a video."""

from __future__ import annotations

import json
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import cv2
import msgspec
import numpy as np

from thriftseg.atomic import write_bytes
from thriftseg.datasets import VideoDataset, encode_frame
from thriftseg.drawing import VideoWriter, blend
from thriftseg.errors import DatasetError
from thriftseg.parsing import Count, read_bytes, read_json
from thriftseg.reports.annotation.figure import plot_annotation_run
from thriftseg.reports.annotation.runs import (
    BOUGHT,
    LABELS,
    QUALITIES,
    AnnotationRun,
    read_annotation_run,
)
from thriftseg.reports.tables.terminal import format_hours, metric_heading, percent_cell
from thriftseg.stores import LabelStore
from thriftseg.types import Clip

PAGE, PICTURE, VIDEO = "report.html", "report.png", "overlay.mp4"

_FPS = 10.0
_THUMBNAIL_WIDTH, _MOST_THUMBNAILS = 192, 60  # pixels; some 10 kB each
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; } th, td { padding: .2rem .7rem; border-bottom: 1px solid #d9d9d9; }
th { text-align: left; } td.number { text-align: right; font-variant-numeric: tabular-nums; }
img { max-width: 100%; } figure { display: inline-block; margin: .3rem; } figcaption { font-size: .8rem; }
"""


@dataclass(frozen=True)
class AnnotationReport:
    """Files of a report.

    Attributes:
        page: The page, all in one file.
        picture: The plots, `None` where no score is known.
        video: All frames with their labels.

    Example:
        >>> report = AnnotationReport(Path("run", PAGE), picture=None, video=Path("run", VIDEO))
        >>> report.page.name, report.video.name
        ('report.html', 'overlay.mp4')
    """

    page: Path
    picture: Path | None
    video: Path


def write_annotation_report(folder: str | Path, dataset: VideoDataset) -> AnnotationReport:
    """Write `report.html`, `report.png` and `overlay.mp4` into the folder of a finished run.

    Args:
        folder: Folder of the run.
        dataset: Reader of its video.

    Raises:
        DatasetError: The folder holds no finished run, or one of another video.

    Example:
        >>> import tempfile
        >>> from thriftseg.datasets import Folder
        >>> try:
        ...     with tempfile.TemporaryDirectory() as folder:
        ...         write_annotation_report(folder, Folder("data/mine"))
        ... except DatasetError as error:
        ...     print(error.problem, "->", error.expected)
        no run with a finished round -> run.json
    """
    run = read_annotation_run(folder)
    clip = _clip(run, dataset)
    picture = plot_annotation_run(run, run.folder / PICTURE)
    _write_video(run, dataset, clip)
    thumbnails = list(_thumbnails(run, dataset, clip))
    write_bytes(run.folder / PAGE, _page(run, picture, thumbnails).encode())
    return AnnotationReport(run.folder / PAGE, picture, run.folder / VIDEO)


def _clip(run: AnnotationRun, dataset: VideoDataset) -> Clip:
    video, split = run.settings["video"], run.settings["split"]
    for clip in dataset.clips(split):
        if clip.video == video:
            return clip
    raise DatasetError(f"split {split!r} of {dataset.name} has no video {video!r}", path=run.folder)


def _write_video(run: AnnotationRun, dataset: VideoDataset, clip: Clip) -> None:
    store = LabelStore(run.folder / "labels", LABELS, dataset.taxonomy)
    missing = [number for number in clip.frames if not store.has(clip.video, number)]
    if missing:
        raise DatasetError(f"{len(missing)} frames have no label yet", path=run.folder, fix="finish the run first")
    with VideoWriter(run.folder / VIDEO, _FPS) as video:
        for number in clip.frames:
            frame, label = dataset.read_frame(clip, number), store.read(clip.video, number)
            video.write(blend(frame, label, dataset.taxonomy.palette))


def _thumbnails(run: AnnotationRun, dataset: VideoDataset, clip: Clip) -> Iterator[tuple[str, bytes]]:
    """Frames of which something was bought, under the labels that were drawn: captions and JPEGs."""
    store = LabelStore(run.folder / "labels", BOUGHT, dataset.taxonomy)
    for number, rounds in sorted(_bought(run, store, clip).items()):
        frame, label = dataset.read_frame(clip, number), store.read(clip.video, number)
        drawn = blend(frame, label, dataset.taxonomy.palette, alpha=0.6)
        counts = ", ".join(f"{count} in round {round}" for round, count in sorted(rounds.items()))
        height, width = drawn.shape[:2]
        if width > _THUMBNAIL_WIDTH:
            size = (_THUMBNAIL_WIDTH, max(1, round(height * _THUMBNAIL_WIDTH / width)))
            drawn = np.asarray(cv2.resize(drawn, size, interpolation=cv2.INTER_AREA), np.uint8)
        yield f"frame {number}: {counts}", encode_frame(drawn, ".jpg")


class _Selection(msgspec.Struct):
    """What a round asked for: frame, region and pixels of each sample."""

    samples: list[tuple[Count, Count, Count]]


def _bought(run: AnnotationRun, store: LabelStore, clip: Clip) -> dict[int, Counter[int]]:
    """Of every frame, how many samples were bought in which round."""
    rounds: dict[tuple[int, int], int] = {}
    for row in run.rounds[1:]:
        asked = read_json(run.folder / f"round_{row.number}" / "selection.json", _Selection)
        # What a round had no money left for may come again, what it bought never does: the last one counts.
        rounds |= {(number, region): row.number for number, region, _ in asked.samples}
    bought: dict[int, Counter[int]] = {}
    for (video, number), label in store.labels.items():
        if video == clip.video:
            try:
                bought[number] = Counter(rounds[number, int(action.rpartition("#")[2])] for action in label.parents)
            except (KeyError, ValueError) as error:
                problem = f"frame {number} was bought in no round"
                raise DatasetError(problem, path=store.manifest_path, found=label.parents) from error
    return bought


def _page(run: AnnotationRun, picture: Path | None, thumbnails: Sequence[tuple[str, bytes]]) -> str:
    title = f"{run.settings['dataset']}: {run.settings['video']}"
    settings = [[name, value if isinstance(value, str) else json.dumps(value)] for name, value in run.settings.items()]
    plots = f'<img alt="quality against cost" src="{_data("image/png", read_bytes(picture))}">' if picture else ""
    figures = "".join(
        f'<figure><img alt="" src="{_data("image/jpeg", content)}"><figcaption>{escape(caption)}</figcaption></figure>'
        for caption, content in thumbnails[:_MOST_THUMBNAILS]
    )
    hidden = len(thumbnails) - _MOST_THUMBNAILS
    more = f"<p>and {hidden} more frames</p>" if hidden > 0 else ""
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>{_rounds(run)}"
        "<p>Scores are those of the network alone and, on the right, with the manual labels pasted over it. "
        f"Shares are of drawing every frame.</p>{plots}<h2>What was bought</h2>{figures}{more}"
        f"<h2>Settings</h2>{_table([], settings)}</body></html>\n"
    )


def _rounds(run: AnnotationRun) -> str:
    names = [metric_heading(name) for name in QUALITIES]
    head = ["round", "samples", "clicks", "class clicks", "hours", "% pixels", "% clicks", "% clicks but for classes"]
    head += [f"{name} %" for name in names] + [f"{name} % pasted" for name in names]
    rows = []
    for row in run.rounds:
        counts = [row.number, row.samples, row.cost.clicks, row.cost.class_clicks]
        scores = [scores[name] for scores in (row.predicted, row.pasted) for name in QUALITIES]
        shares = [row.pixel_share, row.click_share, row.boundary_click_share]
        percents = [percent_cell(value).plain for value in (*shares, *scores)]
        rows.append([*map(str, counts), format_hours(row.cost.hours), *percents])
    return _table([head], rows)


def _table(head: Sequence[Sequence[str]], rows: Sequence[Sequence[str]]) -> str:
    lines = ["".join(f"<th>{escape(cell)}</th>" for cell in row) for row in head]
    lines += ["".join(_cell(cell) for cell in row) for row in rows]
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _cell(text: str) -> str:
    is_number = text == "-" or text.replace(".", "", 1).isdecimal()
    return f"<td{' class=number' if is_number else ''}>{escape(text)}</td>"


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{b64encode(content).decode()}"
