"""Point maps of stored clicks, for tools that read label maps only."""

from __future__ import annotations

from pathlib import Path

from thriftseg.datasets import VideoDataset, write_label_png
from thriftseg.errors import LabelStoreError
from thriftseg.labels.jobs.engine import run_job
from thriftseg.stores import LabelStore, draw_point_map, point_map_path, store_root
from thriftseg.types import Clip


def write_point_maps(
    dataset: VideoDataset,
    split: str,
    *,
    store: str | Path | None = None,
    source: str = "clicks",
    workers: int = 1,
    progress: bool = True,
) -> Path:
    """Write the clicks of a split as point maps (`thriftseg.stores.point_maps`), beside the click file.

    Args:
        dataset: The data set.
        split: Its split.
        store: Folder of the label store; `labels/<dataset>` when absent.
        source: Name of the clicks in the store.
        workers: Number of processes.
        progress: Whether to show a progress bar.

    Returns:
        Their folder, `<store>/<source>/point_maps`.

    Raises:
        LabelStoreError: The source has no clicks for this split.
    """
    clicks = LabelStore(store_root(store, dataset.name), source, dataset.taxonomy)
    frames = [(clip, n) for clip in dataset.clips(split) for n in clip.frames if (clip.video, n) in clicks.usable]
    if not frames:
        raise LabelStoreError(f"source {source!r} has no clicks for split {split!r}", path=clicks.folder)
    job = _PointMapJob(dataset, clicks)
    run_job(job, frames, description="point maps", devices=workers, accelerator="cpu", progress=progress)
    return job.folder


class _PointMapJob:
    """Writes the point map of one frame."""

    def __init__(self, dataset: VideoDataset, clicks: LabelStore) -> None:
        self._dataset, self._clicks = dataset, clicks
        self.folder = clicks.folder / "point_maps"

    def __call__(self, task: tuple[Clip, int]) -> None:
        clip, number = task
        height, width = self._dataset.clip_size(clip)
        drawn = draw_point_map(self._clicks.points(clip.video, number), height, width)
        write_label_png(point_map_path(self.folder, clip.video, number), drawn, self._clicks.taxonomy.flat_palette())
