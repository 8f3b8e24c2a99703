"""Point maps of stored clicks, for tools that read label maps only."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from thriftseg.datasets import VideoDataset, write_label_png
from thriftseg.errors import LabelStoreError
from thriftseg.stores import LabelStore, draw_point_map, point_map_path, store_root
from thriftseg.types import Clip
from thriftseg.workers import Workers, run_tasks


def write_point_maps(
    dataset: VideoDataset,
    split: str,
    *,
    store: str | Path | None = None,
    source: str = "clicks",
    devices: int = 1,
    progress: bool = True,
) -> Path:
    """Write the clicks of a split as point maps (`thriftseg.stores.click_file`), beside the click file.

    Args:
        dataset: The data set.
        split: Its split.
        store: Folder of the label store; `labels/<dataset>` when absent.
        source: Name of the clicks in the store.
        devices: Number of processes.
        progress: Whether to show a progress bar.

    Returns:
        Their folder, `<store>/<source>/point_maps`.

    Raises:
        LabelStoreError: The source has no clicks for this split.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from thriftseg.datasets import Folder, read_label_png
        >>> from thriftseg.labels import label_clicks
        >>> with tempfile.TemporaryDirectory() as root:
        ...     size = Path(root, "classes.yaml").write_text("classes: [{name: road}, {name: car}]")
        ...     for name in ("frames/7.png", "labels/7.png"):
        ...         write_label_png(Path(root, "train/drive", name), np.ones((21, 31), np.uint8))
        ...     store = Path(root, "labels")
        ...     clicks = label_clicks(Folder(root), "train", store=store, progress=False)
        ...     maps = write_point_maps(Folder(root), "train", store=store, progress=False)
        ...     drawn = read_label_png(maps / "drive/000007.png")
        >>> [(row, column, drawn[row, column].item()) for row, column in np.argwhere(drawn != 255).tolist()]
        [(10, 15, 1)]
    """
    clicks = LabelStore(store_root(store, dataset.name), source, dataset.taxonomy)
    frames = [(clip, n) for clip in dataset.clips(split) for n in clip.frames if (clip.video, n) in clicks.usable]
    if not frames:
        raise LabelStoreError(f"source {source!r} has no clicks for split {split!r}", path=clicks.folder)
    folder = clicks.folder / "point_maps"
    write = partial(_write_point_map, dataset, clicks, folder)
    run_tasks(write, frames, Workers(devices, "cpu", progress=progress), description="point maps")
    return folder


def _write_point_map(dataset: VideoDataset, clicks: LabelStore, folder: Path, frame: tuple[Clip, int]) -> None:
    clip, number = frame
    drawn = draw_point_map(clicks.points(clip.video, number), *dataset.clip_size(clip))
    write_label_png(point_map_path(folder, clip.video, number), drawn, clicks.taxonomy.flat_palette())
