"""Prices of the labels that came with a data set, counted once per label file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from thriftseg.costs import AnnotationCost, CostModel
from thriftseg.datasets import VideoDataset
from thriftseg.progress import progress_bar
from thriftseg.resources import available_cpus
from thriftseg.stores.measurements import MeasurementCache, file_stamp
from thriftseg.stores.rows import action_id
from thriftseg.types import Clip

_SCHEMA = 2
_SHOW_PROGRESS_FROM = 200


@dataclass(frozen=True)
class GivenLabel:
    """A label file of a data set.

    Attributes:
        clip: The clip it belongs to.
        number: Native frame number.
        source: "manual" or "coarse".
    """

    clip: Clip
    number: int
    source: str = "manual"

    @property
    def path(self) -> Path:
        """The label file."""
        return (self.clip.labels if self.source == "manual" else self.clip.coarse)[self.number]


def price_labels(
    dataset: VideoDataset, labels: Sequence[GivenLabel], model: CostModel, cache_folder: Path | None = None
) -> dict[str, AnnotationCost]:
    """What it cost to draw the given label maps.

    Args:
        dataset: Reads the label maps, for models that count on them.
        labels: The label files.
        model: Prices one label map.
        cache_folder: Where figures that took reading label maps are kept, as `costs.<model>.json`; they are counted
            again when a label file has changed.

    Returns:
        Cost by identifier of the human action (`thriftseg.stores.rows.action_id`).

    Raises:
        ConfigError: The model knows no price for this data set.
        DatasetError: A label map cannot be read.
    """
    wanted = {action_id(label.source, dataset.name, label.clip.video, label.number): label for label in labels}
    if not model.needs_label:
        return {action: _price(dataset, label, model) for action, label in wanted.items()}
    cache = _price_cache(cache_folder, dataset, model)
    stamps = {action: file_stamp(label.path) for action, label in wanted.items()}
    missing = {action: label for action, label in wanted.items() if cache.get(action, stamps[action]) is None}
    for action, cost in _price_all(dataset, missing, model).items():
        cache.add(action, stamps[action], cost.to_dict())
    if missing:
        cache.save()
    return {action: AnnotationCost.from_dict(cache.get(action, stamps[action])) for action in wanted}


def _price(dataset: VideoDataset, label: GivenLabel, model: CostModel) -> AnnotationCost:
    if label.source == "coarse":
        return model.coarse_frame(
            dataset.name, dataset.read_coarse(label.clip, label.number) if model.needs_label else None
        )
    return model.manual_frame(dataset.name, dataset.read_label(label.clip, label.number) if model.needs_label else None)


def _price_all(dataset: VideoDataset, labels: Mapping[str, GivenLabel], model: CostModel) -> dict[str, AnnotationCost]:
    if not labels:
        return {}
    shown = len(labels) >= _SHOW_PROGRESS_FROM
    # Decoding and contour search release the interpreter lock, so threads are enough.
    with progress_bar(shown) as bar, ThreadPoolExecutor(max_workers=min(8, available_cpus())) as pool:
        costs = pool.map(lambda label: _price(dataset, label, model), labels.values())
        counted = bar.track(costs, total=len(labels), description="counting polygon clicks")
        return dict(zip(labels, counted, strict=True))


def _price_cache(folder: Path | None, dataset: VideoDataset, model: CostModel) -> MeasurementCache:
    taxonomy = f"{dataset.taxonomy.name} {dataset.taxonomy.version}"
    path = folder / f"costs.{model.name}.json" if folder is not None else None
    return MeasurementCache(path, {"schema": _SCHEMA, "model": repr(model), "taxonomy": taxonomy})
