"""A ranking on disk: a table, and the frames ready for an annotation tool."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from thriftseg.annotation.people.images import OUTLINE_COLOR
from thriftseg.annotation.people.mask_files import MaskFilesPerson
from thriftseg.annotation.ranking.frames import RankedSample
from thriftseg.annotation.ranking.granularity import Granularity, WholeFrame
from thriftseg.annotation.ranking.objects import RankedAnnotation
from thriftseg.atomic import write_bytes
from thriftseg.datasets import VideoDataset, encode_frame, frame_bytes
from thriftseg.errors import ConfigError
from thriftseg.exchange import FORMATS, ExportedFrame, image_name
from thriftseg.labels import Prompter
from thriftseg.types import Clip

TABLE = "next.csv"
TOOLS = ("coco", "cvat")
"""Formats of the annotation file."""


def write_ranking(
    dataset: VideoDataset,
    ranking: Sequence[RankedSample],
    folder: str | Path,
    *,
    tool: str = "coco",
    granularity: Granularity | None = None,
) -> Path:
    """Write what to label next, so that an annotation tool can open it and `thriftseg label import` reads the result.

        <folder>/next.csv                  a row per sample, the most wanted first
        <folder>/images/<video>/<file>     the frames; where regions are asked for, with a line around them
        <folder>/annotations.json | .xml   the frames without any shape yet

    Args:
        dataset: The data set.
        ranking: The samples.
        folder: Target folder.
        tool: "coco" or "cvat".
        granularity: What a sample is, whole frames by default.

    Returns:
        The table, which is written last.

    Raises:
        ConfigError: There is no such tool, nothing to write, or a ranking lies there already.

    Example:
        >>> import tempfile
        >>> from thriftseg.annotation import rank_samples
        >>> from thriftseg.datasets import Folder, write_label_png
        >>> with tempfile.TemporaryDirectory() as root:
        ...     _ = Path(root, "classes.yaml").write_text("classes: [road, car]")
        ...     write_label_png(f"{root}/val/drive/frames/7.png", np.zeros((4, 6), np.uint8))
        ...     ranking = rank_samples(Folder(root), "val", 1, progress=False)
        ...     table = list(csv.reader(write_ranking(Folder(root), ranking, f"{root}/next").open()))
        >>> table[0][:5], table[1][:5]
        (['rank', 'video', 'frame', 'region', 'pixels'], ['1', 'drive', '7', '0', '24'])
    """
    table = Path(folder) / TABLE
    if tool not in TOOLS:
        raise ConfigError("no such annotation tool", expected=" or ".join(TOOLS), found=repr(tool))
    if not ranking:
        raise ConfigError("nothing is left to be labelled")
    if table.exists():
        raise ConfigError("holds a ranking already", path=table, fix="choose another folder")
    regions: dict[tuple[str, int], list[int]] = {}
    clips: dict[str, Clip] = {}
    for each in ranking:
        clips[each.clip.video] = each.clip
        regions.setdefault((each.clip.video, each.sample.number), []).append(each.sample.region)
    for (video, number), wanted in regions.items():
        clip, path = clips[video], clips[video].frames[number]
        if granularity is None or isinstance(granularity, WholeFrame):
            content = frame_bytes(path)
        else:
            image = dataset.read_frame(clip, number)
            inside = np.isin(granularity.regions(image), wanted).astype(np.uint8)
            image[cv2.dilate(inside, np.ones((3, 3), np.uint8)) != inside] = OUTLINE_COLOR
            content = encode_frame(image, path.suffix.lower())
        write_bytes(table.parent / "images" / image_name(clip, number), content)
    empty = (
        ExportedFrame(clips[video], number, np.zeros(dataset.clip_size(clips[video]), np.uint16), ())
        for video, number in regions
    )
    FORMATS[tool].write(table.parent, empty, dataset.taxonomy)
    header = ["video", "frame", "region", "pixels", "score", "file"]
    rows = [
        [each.clip.video, *each.sample, each.pixels, f"{each.score:.6f}", each.clip.frames[each.sample.number]]
        for each in ranking
    ]
    _write_table(table, header, rows)
    return table


def write_annotation_tasks(ranking: Sequence[RankedAnnotation], folder: str | Path, prompter: Prompter) -> Path:
    """Write which objects to annotate next, each with a folder for a person (see `people.mask_files`).

        <folder>/next.csv                                            a row per annotation, the most wanted first
        <folder>/<video>/<object:03d>/<round:02d>_<frame:06d>/       frame, mask so far, task.json
        <folder>/instructions.md                                     what to do with them

    Args:
        ranking: The annotations.
        folder: Target folder.
        prompter: What is going to make masks of clicks.

    Returns:
        The table, which is written last.

    Raises:
        ConfigError: There is nothing to write, or a ranking lies there already.

    Example:
        >>> import tempfile
        >>> from thriftseg import datasets, synthetic
        >>> from thriftseg.annotation import MaskMethods, list_objects
        >>> prompter = MaskMethods(prompter="grabcut").make_prompter()
        >>> with tempfile.TemporaryDirectory() as root:
        ...     _ = synthetic.synthesize_objects(root, train_clips=1, val_clips=0, frames=2, height=32, width=48)
        ...     [video], _ = list_objects(datasets.DAVIS(root), "train")
        ...     ranking = [RankedAnnotation(video, 1, "mask", 1, 80.0, 0.5, video.truth(0))]
        ...     [row] = csv.DictReader(write_annotation_tasks(ranking, f"{root}/next", prompter).open())
        >>> row["seconds"], row["task"]
        ('80.0', 'scene-train-000/001/01_000001')
    """
    table = Path(folder) / TABLE
    if not ranking:
        raise ConfigError("nothing is left to be annotated", fix="add --include_labelled true to rank what is labelled")
    if table.exists():
        raise ConfigError("holds a ranking already", path=table, fix="choose another folder")
    person = MaskFilesPerson(folder, prompter)
    header = ["video", "object", "frame", "type", "seconds", "score", "file", "task"]
    rows: list[list[object]] = []
    for each in ranking:
        video, number = each.video, each.video.numbers[each.place]
        task = person.prepare(video, each.place, each.kind, each.mask, each.round)
        place = [video.video, video.object_id, number, each.kind, each.seconds, f"{each.score:.6f}"]
        rows.append([*place, video.clip.frames[number], task.relative_to(table.parent)])
    _write_table(table, header, rows)
    return table


def _write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["rank", *header])
    writer.writerows([rank, *row] for rank, row in enumerate(rows, start=1))
    write_bytes(path, text.getvalue().encode())
