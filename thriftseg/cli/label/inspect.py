"""`thriftseg label inspect`."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import Any, Literal

from thriftseg.cli.command import print_json
from thriftseg.cli.options.reader import AnyData
from thriftseg.errors import ConfigError


def run(
    data: AnyData,
    source: str,
    split: str = "train",
    store: str | None = None,
    sheet: str | None = None,
    frames: int = 12,
    order: Literal["worst", "spread"] = "worst",
    columns: int = 4,
    plot: str | None = None,
    json: str | None = None,
    **options: Any,
) -> int:
    """Show labels, what they cover, and how good they are.

    Args:
        data: The data set.
        source: Labels to show: manual, coarse, or a source of the label store.
        split: Split whose labels are shown.
        store: Folder of the label store; `labels/<dataset>` if unset.
        sheet: PNG to write with overlays of some labels.
        frames: Labels on the sheet.
        order: Which labels are on the sheet.
        columns: Overlays per row of the sheet.
        plot: Picture to write of quality against offset.
        json: File to write the figures to as JSON; to stdout without a file.
        options: Those of `thriftseg.labels.inspect_labels`.
    """
    from thriftseg.labels import draw_sheet, inspect_labels, plot_by_offset, write_sheet
    from thriftseg.reports import print_inspection
    from thriftseg.stores import LabelSource, store_root

    if frames < 1:
        raise ConfigError("--frames", expected="at least 1", found=frames)
    dataset = data.find()
    inspection = inspect_labels(dataset, split, source, store=store, **options)
    written = []
    if sheet is not None:
        chosen = inspection.worst(frames) if order == "worst" else inspection.spread(frames)
        labels = LabelSource(dataset, store_root(store, dataset.name), source)
        written.append(write_sheet(draw_sheet(labels, chosen, columns=columns), sheet))
    if plot is not None:
        written.append(plot_by_offset(inspection.by_offset, plot, f"{source}, {dataset.name} {split}"))
    if print_json(json, json_format.dumps(inspection.to_json(), indent=2) + "\n"):
        return 0
    if json is not None:
        written.append(Path(json))
    print(dataset.describe_root())
    print_inspection(inspection)
    for path in written:
        print(f"written: {path}")
    return 0
