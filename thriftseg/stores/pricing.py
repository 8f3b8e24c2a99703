"""Prices of human actions: those of the data set by a cost model, those of a label store as it recorded them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from thriftseg.costs import AnnotationCost, CostModel
from thriftseg.datasets import ClipReader
from thriftseg.errors import LabelStoreError
from thriftseg.progress import progress_bar
from thriftseg.resources import available_cpus
from thriftseg.stores.label_source import GIVEN_SOURCES, SourceLabel, given_files, given_label, price_given
from thriftseg.stores.label_store import LabelStore
from thriftseg.stores.measurements import MeasurementCache, file_stamp
from thriftseg.types import Clip

_SCHEMA = 2
_SHOW_PROGRESS_FROM = 200


def price_actions(
    dataset: ClipReader[Any],
    clips: Iterable[Clip],
    actions: Collection[str],
    model: CostModel,
    *,
    stores: Sequence[LabelStore] = (),
    cache_folder: Path | None = None,
) -> dict[str, AnnotationCost]:
    """Price the human actions that labels descend from.

    Args:
        dataset: Reads the label maps of the data set, for models that count on them.
        clips: Clips whose labels the actions may have drawn.
        actions: Identifiers of the actions (`thriftseg.stores.action_id`).
        model: Prices a label of the data set.
        stores: Label stores that may have recorded the others.
        cache_folder: Where prices that took reading label maps are kept, as `costs.<model>.json`; they are counted
            again when a label file has changed.

    Returns:
        Cost by action, in the order of `actions`.

    Raises:
        LabelStoreError: Nobody recorded an action, or it was priced by another cost model.
        ConfigError: The model knows no price for this data set.
        DatasetError: A label map cannot be read.

    Example:
        >>> from thriftseg.datasets import Cityscapes
        >>> clip = Clip("aachen_000000_000019", {19: Path("19.png")}, labels={19: Path("19.png")})
        >>> drawn = "manual:cityscapes/aachen_000000_000019/000019"
        >>> prices = price_actions(Cityscapes("data"), [clip], [drawn], CostModel.named("published"))
        >>> prices[drawn].hours
        1.5
    """
    recorded: dict[str, AnnotationCost] = {}
    for action in actions:
        store = next((store for store in stores if action in store.actions), None)
        if store is None:
            continue
        row = store.actions[action]
        if row.cost_model not in {"", model.name}:
            raise LabelStoreError(
                f"action {action!r} was priced by another cost model",
                path=store.manifest_path,
                expected=model.name,
                found=row.cost_model,
                fix=f"set cost_model to {row.cost_model}",
            )
        recorded[action] = row.cost
    frames = [(name, clip, n) for clip in clips for name in GIVEN_SOURCES for n in given_files(name, clip)]
    given = {a: label for frame in frames if (label := given_label(dataset, *frame)) for a in label.actions}
    unknown = next((action for action in actions if action not in recorded and action not in given), None)
    if unknown is not None:
        raise LabelStoreError(
            "a label descends from an action that nobody recorded",
            path=stores[0].manifest_path if len(stores) == 1 else None,
            expected=f"a label of {dataset.name}, or an action row in the manifest",
            found=unknown,
            fix="generate the labels again",
        )
    drawn = _price_drawn(dataset, {a: given[a] for a in actions if a not in recorded}, model, cache_folder)
    return {action: recorded[action] if action in recorded else drawn[action] for action in actions}


def _price_drawn(
    dataset: ClipReader[Any], labels: Mapping[str, SourceLabel], model: CostModel, cache_folder: Path | None
) -> dict[str, AnnotationCost]:
    """Cost of labels of the data set by action; label maps are counted once per file."""
    if not model.needs_label:
        return {action: price_given(dataset, label, model) for action, label in labels.items()}
    taxonomy = f"{dataset.taxonomy.name} {dataset.taxonomy.version}"
    path = cache_folder / f"costs.{model.name}.json" if cache_folder is not None else None
    cache = MeasurementCache(path, {"schema": _SCHEMA, "model": repr(model), "taxonomy": taxonomy}, AnnotationCost)
    stamps = {action: file_stamp(label.path) for action, label in labels.items()}
    missing = {action: label for action, label in labels.items() if cache.get(action, stamps[action]) is None}
    if missing:
        # Decoding and contour search release the interpreter lock, so threads are enough.
        threads = ThreadPoolExecutor(max_workers=min(8, available_cpus()))
        with progress_bar(len(missing) >= _SHOW_PROGRESS_FROM) as bar, threads as pool:
            costs = pool.map(lambda label: price_given(dataset, label, model), missing.values())
            counted = bar.track(costs, total=len(missing), description="counting polygon clicks")
            for action, cost in zip(missing, counted, strict=True):
                cache.add(action, stamps[action], cost)
        cache.save()
    return {action: cache.get(action, stamps[action]) for action in labels}
