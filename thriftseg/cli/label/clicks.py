"""`thriftseg label clicks`."""

from __future__ import annotations

from typing import Any

from thriftseg.cli.options.reader import ClassData


def run(
    data: ClassData,
    split: str = "train",
    store: str | None = None,
    source: str = "clicks",
    path: str | None = None,
    cost_model: str = "polygon",
    point_maps: bool = False,
    devices: int = 1,
    **options: Any,
) -> int:
    """One click per object or region, from label maps or a file.

    Args:
        data: The data set.
        split: Split to label.
        store: Folder of the label store; `labels/<dataset>` if unset.
        source: Name of the clicks in the store.
        path: Click file, or folder of point maps, to take the clicks from; simulated from label maps if unset.
        cost_model: Prices the clicks: polygon or published.
        point_maps: Write the clicks as point maps too.
        devices: Number of processes.
        options: Those of `thriftseg.labels.label_clicks`.
    """
    from thriftseg.labels import import_clicks, label_clicks, write_point_maps

    dataset = data.open()
    if path is not None:
        summary = import_clicks(dataset, split, path, store=store, source=source, cost_model=cost_model)
    else:
        summary = label_clicks(
            dataset, split, store=store, source=source, cost_model=cost_model, devices=devices, **options
        )
    print(summary)
    if point_maps:
        print(f"point maps in {write_point_maps(dataset, split, store=store, source=source, devices=devices)}")
    return 0
