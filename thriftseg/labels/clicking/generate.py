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
from typing import Any

import cv2
import numpy as np

from thriftseg.arrays import BoolArray, Int32Array, UInt8Array
from thriftseg.costs import AnnotationCost, CostModel
from thriftseg.datasets import VideoDataset, probe_size
from thriftseg.errors import ConfigError, LabelStoreError
from thriftseg.labels.jobs.generate import generate
from thriftseg.labels.jobs.job import FrameJob, LabelOutcome, LabelTask, annotated_frames
from thriftseg.labels.jobs.summary import Summary
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
from thriftseg.types import IGNORE_INDEX, INSTANCES_PER_CLASS, Frame, Size
from thriftseg.workers import Workers

REFERENCE_MIN_COMPONENT = 512
"""Smallest region that gets a click, in pixels of a 2048 x 1024 label map [0]."""

_REFERENCE_AREA = 2048 * 1024
_FLUSH_EVERY = 256


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


@dataclass(frozen=True, kw_only=True)
class ClickSummary(Summary):
    """What `label_clicks` or `import_clicks` did.

    Attributes:
        clicks: Clicks of all frames of this call.

    Example:
        >>> clicks = AnnotationCost(seconds=92.5, clicks=37)
        >>> print(ClickSummary(Path("clicks"), written=2, kept=0, ignored_share=0.999, clicks=37, cost=clicks))
        37 clicks on 2 frames (18.5 per frame, 0.03 h) in clicks; 0 frames were there already
    """

    clicks: int
    cost: AnnotationCost = field(default_factory=AnnotationCost)

    @property
    def images(self) -> int:
        """Frames that got clicks now."""
        return self.written

    def __str__(self) -> str:
        frames = self.written + self.kept
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
    **workers: Any,
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
        workers: Those of `thriftseg.workers.Workers`: `devices`, `engine` and so on.

    Raises:
        ConfigError: A component has less than one pixel.
        LabelStoreError: The split has no annotated frames, the source holds clicks made in another way, or a process
            died.
        UnfinishedError: Some labels could not be made (the others are stored).

    Example:
        >>> import tempfile
        >>> from thriftseg.datasets import Folder, write_label_png
        >>> with tempfile.TemporaryDirectory() as root:
        ...     size = Path(root, "classes.yaml").write_text("classes: [{name: road}, {name: car}]")
        ...     for name in ("frames/7.png", "labels/7.png"):
        ...         write_label_png(Path(root, "train/drive", name), np.ones((21, 31), np.uint8))
        ...     summary = label_clicks(Folder(root), "train", store=Path(root, "labels"), progress=False)
        ...     LabelStore(Path(root, "labels"), "clicks", Folder(root).taxonomy).points("drive", 7)
        ((15, 10, 1),)
        >>> summary.clicks, summary.cost.seconds
        (1, 2.5)
    """
    if min_component is not None and min_component < 1:
        raise ConfigError("min_component", expected="at least 1 pixel", found=min_component)
    target = LabelStore(store_root(store, dataset.name), source, dataset.taxonomy)
    job = _SimulatedClicks(dataset, target, min_component, seed, CostModel.named(cost_model))
    return _generate(job, annotated_frames(dataset, split), Workers(accelerator="cpu", shared=True, **workers))


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
        path: The JSON file, or the folder of point maps; see `thriftseg.stores.click_file` for both.
        store: Folder of the label store; `labels/<dataset>` when absent.
        source: Name of the clicks in the store.
        cost_model: Prices clicks.

    Raises:
        LabelStoreError: A file is damaged, lacks a frame, or has clicks outside a frame.

    Example:
        >>> import tempfile
        >>> from thriftseg.datasets import Folder, write_label_png
        >>> with tempfile.TemporaryDirectory() as root:
        ...     size = Path(root, "classes.yaml").write_text("classes: [{name: road}, {name: car}]")
        ...     for name in ("frames/7.png", "labels/7.png"):
        ...         write_label_png(Path(root, "train/drive", name), np.ones((16, 24), np.uint8))
        ...     size = Path(root, "clicks.json").write_text('{"drive/000007": [{"cls": 1, "x": 5, "y": 4}]}')
        ...     summary = import_clicks(Folder(root), "train", Path(root, "clicks.json"), store=Path(root, "labels"))
        >>> summary.written, summary.clicks
        (1, 1)
    """
    path = Path(path)
    tasks = annotated_frames(dataset, split)
    sizes = {(task.clip.video, n): probe_size(task.clip.frames[n]) for task in tasks for n in task.targets}
    keys = {frame: click_key(dataset.name, *frame) for frame in sizes}
    given = _read_maps(path, dataset, sizes) if path.is_dir() else read_click_file(path, dataset.taxonomy)
    absent = [key for key in keys.values() if key not in given]
    if absent:
        raise LabelStoreError(
            f"the click file lacks {len(absent)} of {len(keys)} frames of split {split!r}",
            path=path,
            expected=f"a key {absent[0]!r}",
            found=f"{len(given)} keys" + (f" such as {next(iter(given))!r}" if given else ""),
        )
    for frame, size in sizes.items():
        _check_inside(given[keys[frame]], size, keys[frame], path)
    target = LabelStore(store_root(store, dataset.name), source, dataset.taxonomy)
    clicks = {frame: (given[key], sizes[frame]) for frame, key in keys.items()}
    kind = "point maps" if path.is_dir() else "click file"
    job = _GivenClicks(dataset, target, kind, _digest(path, given), clicks, CostModel.named(cost_model))
    return _generate(job, tasks, Workers(progress=False))


def _read_maps(folder: Path, dataset: VideoDataset, sizes: Mapping[Frame, Size]) -> dict[str, tuple[Click, ...]]:
    paths = {frame: point_map_path(folder, *frame) for frame in sizes}
    absent = [path for path in paths.values() if not path.is_file()]
    if absent:
        raise LabelStoreError(
            f"{len(absent)} of {len(paths)} point maps are missing",
            path=folder,
            expected=absent[0].relative_to(folder),
        )
    return {
        click_key(dataset.name, *frame): read_point_map(path, dataset.taxonomy, sizes[frame])
        for frame, path in paths.items()
    }


def _digest(path: Path, given: Mapping[str, Sequence[Click]]) -> str:
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    lines = [f"{key} {digest_of(given[key])}" for key in sorted(given)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _generate(job: _ClickJob, tasks: Sequence[LabelTask], workers: Workers) -> ClickSummary:
    def summarise(summary: Summary, outcomes: object) -> ClickSummary:
        frames = [(task.clip.video, number) for task in tasks for number in task.targets]
        clicks = sum(len(job.store.points(*frame)) for frame in frames if job.store.has(*frame))
        return ClickSummary(**vars(summary), clicks=clicks)

    return generate(job, tasks, workers, summarise)


class _ClickJob(FrameJob[LabelTask]):
    """Stores clicks in batches, since each batch rewrites the click file; one process does so for all."""

    dataset: VideoDataset

    def __init__(
        self,
        dataset: VideoDataset,
        store: LabelStore,
        generator: str,
        arguments: Mapping[str, object],
        model: CostModel,
    ) -> None:
        prices = {"click_s": model.click_s, "overhead_s": model.overhead_s}
        super().__init__(dataset, store, generator, {**arguments, **prices}, description="clicks")
        self._model = model
        self._batch: list[tuple[Frame, Sequence[Click], Size]] = []

    def receive(self, outcome: LabelOutcome) -> None:
        self._batch += outcome.notes
        if len(self._batch) >= _FLUSH_EVERY:
            self._flush()

    def finish(self) -> None:
        self._flush()
        super().finish()

    def _flush(self) -> None:
        if self._batch:
            self.store.write_points(
                {frame: clicks for frame, clicks, _ in self._batch},
                dataset=self.dataset.name,
                generator=self.generator,
                costs={frame: self._model.clicks(len(clicks)) for frame, clicks, _ in self._batch},
                sizes={frame: size for frame, _, size in self._batch},
                arguments=self.arguments,
            )
            self._batch = []


class _SimulatedClicks(_ClickJob):
    """Makes the clicks of one frame from its label map."""

    def __init__(
        self, dataset: VideoDataset, store: LabelStore, min_component: int | None, seed: int, model: CostModel
    ) -> None:
        arguments = {"min_component": min_component, "seed": seed}
        super().__init__(dataset, store, "thriftseg.labels.clicking.generate", arguments, model)
        self._min_component, self._seed = min_component, seed

    def make(self, task: LabelTask, number: int) -> tuple[Frame, list[Click], Size]:
        label = self.dataset.read_label(task.clip, number)
        instances = self.dataset.read_instances(task.clip, number)
        height, width = label.shape
        smallest = scaled_min_component(height, width) if self._min_component is None else self._min_component
        seed = f"{self._seed}/{task.clip.video}/{number}"
        clicks = generate_clicks(label, instances, self.dataset.taxonomy.thing_ids, smallest, seed)
        return (task.clip.video, number), clicks, (height, width)


class _GivenClicks(_ClickJob):
    """Takes clicks as they are."""

    def __init__(
        self,
        dataset: VideoDataset,
        store: LabelStore,
        generator: str,
        digest: str,
        clicks: Mapping[Frame, tuple[Sequence[Click], Size]],
        model: CostModel,
    ) -> None:
        super().__init__(dataset, store, generator, {"sha256": digest}, model)
        self._clicks = clicks

    def make(self, task: LabelTask, number: int) -> tuple[Frame, Sequence[Click], Size]:
        frame = (task.clip.video, number)
        return frame, *self._clicks[frame]


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
