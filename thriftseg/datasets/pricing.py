"""Prices of the labels that came with a data set, counted once per label file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thriftseg.atomic import write_bytes
from thriftseg.costs import AnnotationCost, CostModel
from thriftseg.datasets.base import VideoDataset
from thriftseg.datasets.label_rows import action_id
from thriftseg.progress import progress_bar
from thriftseg.types import Clip

_SCHEMA = 1
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
        Cost by identifier of the human action (`thriftseg.datasets.label_rows.action_id`).

    Raises:
        ConfigError: The model knows no price for this data set.
        DatasetError: A label map cannot be read.
    """
    wanted = {action_id(label.source, dataset.name, label.clip.video, label.number): label for label in labels}
    if not model.needs_label:
        return {action: _price(dataset, label, model) for action, label in wanted.items()}
    cache = _PriceCache(cache_folder, dataset, model)
    known = {action: cost for action, label in wanted.items() if (cost := cache.get(action, label)) is not None}
    missing = {action: label for action, label in wanted.items() if action not in known}
    fresh = _price_all(dataset, missing, model)
    cache.add(missing, fresh)
    return {action: known[action] if action in known else fresh[action] for action in wanted}


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
    with progress_bar(shown) as bar, ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        costs = pool.map(lambda label: _price(dataset, label, model), labels.values())
        counted = bar.track(costs, total=len(labels), description="counting polygon clicks")
        return dict(zip(labels, counted, strict=True))


class _PriceCache:
    """Costs of label files by identifier, valid while size and time of the file stay the same."""

    def __init__(self, folder: Path | None, dataset: VideoDataset, model: CostModel) -> None:
        self._path = folder / f"costs.{model.name}.json" if folder is not None else None
        taxonomy = dataset.taxonomy
        self._header = {"schema": _SCHEMA, "model": repr(model), "taxonomy": f"{taxonomy.name} {taxonomy.version}"}
        self._entries = self._read()

    def get(self, action: str, label: GivenLabel) -> AnnotationCost | None:
        entry = self._entries.get(action)
        return AnnotationCost.from_dict(entry["cost"]) if entry and entry["stamp"] == _stamp(label.path) else None

    def add(self, labels: Mapping[str, GivenLabel], costs: Mapping[str, AnnotationCost]) -> None:
        if self._path is None or not costs:
            return
        for action, cost in costs.items():
            self._entries[action] = {"stamp": _stamp(labels[action].path), "cost": cost.to_dict()}
        content = json.dumps({**self._header, "labels": self._entries}, sort_keys=True)
        try:
            write_bytes(self._path, content.encode())
        except OSError:
            return  # a read-only store costs time at the next start, nothing else

    def _read(self) -> dict[str, Any]:
        try:
            content = json.loads(self._path.read_text()) if self._path is not None else {}
        except (OSError, ValueError):
            return {}
        if any(content.get(name) != value for name, value in self._header.items()):
            return {}
        return dict(content["labels"])


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]
