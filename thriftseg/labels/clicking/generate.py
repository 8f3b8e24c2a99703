"""Click labels: one click per object or region of a label map, as an annotator would give them.

[0] Liu, He, Yan, Jiang, Xia, Zheng, Hu, "WeClick: Weakly-Supervised Video Semantic Segmentation with Click
    Annotations", ACM Multimedia 2021.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from thriftseg.arrays import BoolArray, Int32Array, UInt8Array
from thriftseg.costs import AnnotationCost, CostModel
from thriftseg.datasets import VideoDataset, probe_size
from thriftseg.errors import LabelStoreError, ThriftsegError
from thriftseg.labels.jobs.engine import run_job
from thriftseg.stores import (
    Click,
    LabelStore,
    click_key,
    digest_of,
    point_map_path,
    read_click_file,
    read_point_map,
    store_root,
)
from thriftseg.types import IGNORE_INDEX, INSTANCES_PER_CLASS, Clip, Frame

REFERENCE_MIN_COMPONENT = 512
"""Smallest region that gets a click, in pixels of a 2048 x 1024 label map [0]."""

_REFERENCE_AREA = 2048 * 1024
_FLUSH_EVERY = 256

_MadeClicks = tuple[Frame, list[Click] | str, tuple[int, int]]
"""A frame, its clicks or why there are none, and its height and width."""


def scaled_min_component(height: int, width: int) -> int:
    """Smallest region that gets a click, for a label map of another size.

    Example:
        >>> scaled_min_component(1024, 2048), scaled_min_component(360, 480)
        (512, 42)
    """
    return max(1, _round(REFERENCE_MIN_COMPONENT * height * width / _REFERENCE_AREA))


def generate_clicks(
    label: UInt8Array,
    instances: Int32Array | None = None,
    thing_ids: Collection[int] = (),
    min_component: int = REFERENCE_MIN_COMPONENT,
    seed: int | str = 0,
) -> list[Click]:
    """Click every object and region once.

    Every instance of a thing class is one object, whatever its size. Everything else, including the parts of thing
    classes without instance (groups), is split into 8-connected components per class, of which small ones are left
    out. The click is the centroid, rounded, where that lies on the object, else a random pixel of it.

    Args:
        label: Train ids, (H, W) uint8, 255 = ignore.
        instances: Instance ids `train_id * 1000 + k`, 0 = none, (H, W) int32; `None` for data without instances.
        thing_ids: Train ids of the classes with instances.
        min_component: Smallest component that gets a click, in pixels.
        seed: Seed of the random pixels.

    Returns:
        Clicks as (column, row, train id), ordered by class.

    Example:
        >>> label = np.full((40, 40), 255, np.uint8)
        >>> label[10:21, 10:31] = 2
        >>> generate_clicks(label, min_component=100)
        [(20, 15, 2)]
    """
    draw = random.Random(seed)
    clicks: list[Click] = []
    for train_id in np.flatnonzero(np.bincount(label.ravel(), minlength=256)[:IGNORE_INDEX]).tolist():
        region = label == train_id
        if instances is not None and train_id in thing_ids:
            own = np.where(region & (instances // INSTANCES_PER_CLASS == train_id), instances, 0)
            clicks += [(*point, train_id) for point in _click_instances(own, draw)]
            region &= own == 0
        clicks += [(*point, train_id) for point in _click_components(region, min_component, draw)]
    return clicks


def _click_instances(instances: Int32Array, draw: random.Random) -> Iterator[tuple[int, int]]:
    rows, columns = np.nonzero(instances)
    ids = instances[rows, columns]
    areas = np.bincount(ids)
    sums = np.bincount(ids, weights=columns), np.bincount(ids, weights=rows)
    for instance in np.flatnonzero(areas).tolist():
        column, row = (_round(total[instance] / areas[instance]) for total in sums)
        yield (column, row) if instances[row, column] == instance else _random_pixel(instances == instance, draw)


def _click_components(region: BoolArray, min_component: int, draw: random.Random) -> Iterator[tuple[int, int]]:
    if np.count_nonzero(region) < min_component:
        return
    # The default algorithm is the parallel form of this one and takes three times as long on one thread.
    _, components, stats, centroids = cv2.connectedComponentsWithStatsWithAlgorithm(
        region.view(np.uint8), 8, cv2.CV_32S, cv2.CCL_GRANA
    )
    large = np.flatnonzero(stats[1:, cv2.CC_STAT_AREA] >= min_component) + 1
    # The numbering of components is OpenCV's own business, so order them by place before drawing random numbers.
    for index in sorted(large.tolist(), key=lambda i: (*stats[i, [cv2.CC_STAT_TOP, cv2.CC_STAT_LEFT]], *centroids[i])):
        column, row = _round(centroids[index, 0]), _round(centroids[index, 1])
        if components[row, column] != index:
            left, top, width, height = stats[index, : cv2.CC_STAT_AREA].tolist()
            box = components[top : top + height, left : left + width]
            column, row = _random_pixel(box == index, draw)
            column, row = column + left, row + top
        yield column, row


def _random_pixel(mask: BoolArray, draw: random.Random) -> tuple[int, int]:
    inside = np.flatnonzero(mask)
    row, column = divmod(int(inside[draw.randrange(len(inside))]), mask.shape[1])
    return column, row


def _round(coordinate: float) -> int:
    return math.floor(coordinate + 0.5)


@dataclass(frozen=True)
class ClickSummary:
    """What `label_clicks` or `import_clicks` did.

    Attributes:
        folder: Folder of the source.
        images: Frames that got clicks now.
        kept: Frames that had them already.
        clicks: Clicks of all these frames.
        cost: Their cost.
    """

    folder: Path
    images: int
    kept: int
    clicks: int
    cost: AnnotationCost = field(default_factory=AnnotationCost)

    def __str__(self) -> str:
        frames = self.images + self.kept
        return (
            f"{self.clicks} clicks on {frames} frames ({self.clicks / max(1, frames):.1f} per frame, "
            f"{self.cost.hours:.2f} h) in {self.folder}; {self.kept} frames were there already"
        )


def label_clicks(
    dataset: VideoDataset,
    split: str,
    *,
    store: str | Path | None = None,
    source: str = "clicks",
    min_component: int | None = None,
    seed: int = 0,
    cost_model: str | CostModel = "polygon",
    workers: int = 1,
    progress: bool = True,
) -> ClickSummary:
    """Make clicks for all annotated frames of a split from their label maps, as a simulated annotator.

    A killed run goes on where it stopped when it is started again.

    Args:
        dataset: The data set.
        split: Its split.
        store: Folder of the label store; `labels/<dataset>` when absent.
        source: Name of the clicks in the store.
        min_component: Smallest component that gets a click, in pixels; scaled to the label map's area when absent.
        seed: Seed; every frame has its own random numbers.
        cost_model: Prices clicks (both named models agree on clicks).
        workers: Number of processes.
        progress: Whether to show a progress bar.

    Raises:
        LabelStoreError: The source holds clicks made in another way, or some frames could not be read (the others
            are stored).
    """
    model = CostModel.named(cost_model) if isinstance(cost_model, str) else cost_model
    job = _ClickJob(dataset, min_component, seed)
    writer = _ClickWriter(
        _open_store(dataset, store, source),
        dataset.name,
        model,
        generator="thriftseg.labels.clicking.generate",
        arguments={"min_component": min_component, "seed": seed, **_prices(model)},
    )
    frames = _annotated(dataset, split)
    todo = writer.missing(frames)
    failures: list[str] = []

    def collect(made: _MadeClicks) -> None:
        frame, clicks, size = made
        if isinstance(clicks, str):
            failures.append(clicks)
        else:
            writer.add(frame, clicks, size)

    run_job(job, todo, description="clicks", devices=workers, accelerator="cpu", progress=progress, on_result=collect)
    return writer.finish(frames, failures)


def import_clicks(
    dataset: VideoDataset,
    split: str,
    path: str | Path,
    *,
    store: str | Path | None = None,
    source: str = "clicks",
    cost_model: str | CostModel = "polygon",
) -> ClickSummary:
    """Take the clicks of all annotated frames of a split from a public click file or a folder of point maps.

    Args:
        dataset: The data set.
        split: Its split.
        path: The JSON file, see `thriftseg.stores.click_file`, or the folder, see `thriftseg.stores.point_maps`.
        store: Folder of the label store; `labels/<dataset>` when absent.
        source: Name of the clicks in the store.
        cost_model: Prices clicks.

    Raises:
        LabelStoreError: A file is damaged, lacks a frame, or has clicks outside a frame.
    """
    path = Path(path)
    frames = _annotated(dataset, split)
    keys = [click_key(dataset.name, clip.video, number) for clip, number in frames]
    given = _read_maps(path, dataset, frames) if path.is_dir() else read_click_file(path, dataset.taxonomy)
    absent = [key for key in keys if key not in given]
    if absent:
        raise LabelStoreError(
            f"the click file lacks {len(absent)} of {len(keys)} frames of split {split!r}",
            path=path,
            expected=f"a key {absent[0]!r}",
            found=f"{len(given)} keys" + (f" such as {next(iter(given))!r}" if given else ""),
        )
    model = CostModel.named(cost_model) if isinstance(cost_model, str) else cost_model
    target = _open_store(dataset, store, source)
    arguments = {"sha256": _digest(path, given), **_prices(model)}
    writer = _ClickWriter(target, dataset.name, model, "point maps" if path.is_dir() else "click file", arguments)
    for (clip, number), key in zip(frames, keys, strict=True):
        if not target.has(clip.video, number):
            size = probe_size(clip.frames[number])
            _check_inside(given[key], size, key, path)
            writer.add((clip.video, number), given[key], size)
    return writer.finish(frames, [])


def _read_maps(folder: Path, dataset: VideoDataset, frames: Sequence[tuple[Clip, int]]) -> dict[str, tuple[Click, ...]]:
    paths = [point_map_path(folder, clip.video, number) for clip, number in frames]
    absent = [path for path in paths if not path.is_file()]
    if absent:
        raise LabelStoreError(
            f"{len(absent)} of {len(frames)} point maps are missing",
            path=folder,
            expected=absent[0].relative_to(folder),
        )
    return {
        click_key(dataset.name, clip.video, number): read_point_map(
            path, dataset.taxonomy, probe_size(clip.frames[number])
        )
        for (clip, number), path in zip(frames, paths, strict=True)
    }


def _digest(path: Path, given: Mapping[str, Sequence[Click]]) -> str:
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    lines = [f"{key} {digest_of(given[key])}" for key in sorted(given)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


class _ClickJob:
    """Makes the clicks of one frame; an unreadable one gives its message instead."""

    def __init__(self, dataset: VideoDataset, min_component: int | None, seed: int) -> None:
        self._dataset, self._min_component, self._seed = dataset, min_component, seed

    def __call__(self, task: tuple[Clip, int]) -> _MadeClicks:
        clip, number = task
        frame = (clip.video, number)
        try:
            label = self._dataset.read_label(clip, number)
            instances = self._dataset.read_instances(clip, number)
        except ThriftsegError as error:
            return frame, error.headline, (0, 0)
        height, width = label.shape
        smallest = scaled_min_component(height, width) if self._min_component is None else self._min_component
        things = self._dataset.taxonomy.thing_ids
        seed = f"{self._seed}/{clip.video}/{number}"
        return frame, generate_clicks(label, instances, things, smallest, seed), (height, width)


class _ClickWriter:
    """Collects clicks and writes them to the store in batches, since each batch rewrites the click file."""

    def __init__(
        self, store: LabelStore, dataset: str, model: CostModel, generator: str, arguments: dict[str, object]
    ) -> None:
        self._store, self._dataset, self._model = store, dataset, model
        self._generator, self._arguments = generator, arguments
        self._points: dict[Frame, Sequence[Click]] = {}
        self._sizes: dict[Frame, tuple[int, int]] = {}
        self._written = 0
        store.consolidate()
        store.require_recipe(generator, arguments)

    def missing(self, frames: Sequence[tuple[Clip, int]]) -> list[tuple[Clip, int]]:
        return [(clip, number) for clip, number in frames if not self._store.has(clip.video, number)]

    def add(self, frame: Frame, clicks: Sequence[Click], size: tuple[int, int]) -> None:
        self._points[frame], self._sizes[frame] = clicks, size
        if len(self._points) >= _FLUSH_EVERY:
            self._flush()

    def finish(self, frames: Sequence[tuple[Clip, int]], failures: Sequence[str]) -> ClickSummary:
        self._flush()
        self._store.consolidate()
        if failures:
            raise LabelStoreError(
                f"{len(failures)} of {len(frames)} frames got no clicks",
                path=self._store.folder,
                fix="mend the files below and run the command again",
                detail="\n".join(sorted(failures)),
            )
        counts = [len(self._store.points(clip.video, number)) for clip, number in frames]
        cost = sum((self._model.clicks(count) for count in counts), AnnotationCost())
        return ClickSummary(self._store.folder, self._written, len(frames) - self._written, sum(counts), cost)

    def _flush(self) -> None:
        if not self._points:
            return
        costs = {frame: self._model.clicks(len(clicks)) for frame, clicks in self._points.items()}
        self._store.write_points(
            self._points,
            dataset=self._dataset,
            generator=self._generator,
            costs=costs,
            sizes=self._sizes,
            arguments=self._arguments,
        )
        self._written += len(self._points)
        self._points, self._sizes = {}, {}


def _open_store(dataset: VideoDataset, root: str | Path | None, source: str) -> LabelStore:
    return LabelStore(store_root(root, dataset.name), source, dataset.taxonomy)


def _annotated(dataset: VideoDataset, split: str) -> list[tuple[Clip, int]]:
    frames = [(clip, number) for clip in dataset.clips(split) for number in clip.annotated]
    if not frames:
        raise LabelStoreError(f"split {split!r} of {dataset.name} has no annotated frames", path=dataset.root)
    return frames


def _prices(model: CostModel) -> dict[str, object]:
    return {"click_s": model.click_s, "overhead_s": model.overhead_s}


def _check_inside(clicks: Sequence[Click], size: tuple[int, int], key: str, path: Path) -> None:
    height, width = size
    for column, row, _ in clicks:
        if column >= width or row >= height:
            raise LabelStoreError(
                f"click of {key!r} outside the frame",
                path=path,
                expected=f"x < {width}, y < {height}",
                found=f"x {column}, y {row}",
            )
