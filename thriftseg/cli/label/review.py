"""`thriftseg label review`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thriftseg.cli.options.reader import ClassData
from thriftseg.errors import ConfigError

if TYPE_CHECKING:
    from thriftseg.workers import Accelerator


def run(
    data: ClassData,
    source: str,
    split: str = "train",
    store: str | None = None,
    worst: int = 20,
    objects: bool = False,
    sheet: str | None = None,
    decisions: str | None = None,
    apply: bool = False,
    corrections: str | None = None,
    repropagate: bool = False,
    weights: str | None = None,
    settings: dict[str, Any] | None = None,
    devices: int = 1,
    accelerator: Accelerator = "auto",
    num_nodes: int = 1,
    engine: str = "processes",
    address: str = "auto",
) -> int:
    """Decide about doubtful labels, spread corrections.

    Args:
        data: The data set.
        source: Labels of the store to review.
        split: Split whose labels are reviewed.
        store: Folder of the label store; `labels/<dataset>` if unset.
        worst: Labels to list, least confident first.
        objects: List their objects in the decisions file too.
        sheet: PNG to write with overlays of the labels listed.
        decisions: CSV to write as a table to be filled in, or to apply.
        apply: Store the decisions of the table.
        corrections: Source of labels that people made: say what they reach.
        repropagate: Make again what the corrections reach.
        weights: Weights of a network or of RAFT, which rows do not hold.
        settings: Further settings of the network.
        devices: Number of GPUs or CPU processes.
        accelerator: What to compute on.
        num_nodes: Number of nodes that work together.
        engine: What hands the work out: processes or ray.
        address: Address of the Ray cluster.
    """
    from thriftseg.labels import (
        Repropagation,
        apply_decisions,
        draw_sheet,
        least_confident,
        propagator_like,
        write_decisions,
        write_sheet,
    )
    from thriftseg.reports import print_review
    from thriftseg.stores import LabelSource, store_root

    if apply and decisions is None:
        raise ConfigError("--apply true without decisions", fix="give --decisions FILE")
    if repropagate and corrections is None:
        raise ConfigError("--repropagate true without corrections", fix="give --corrections SOURCE")
    dataset = data.open()
    if apply and decisions is not None:
        print(apply_decisions(dataset, source, decisions, store=store))
    if corrections is not None:
        again = Repropagation(dataset, split, source, corrections, store=store)
        if repropagate:
            propagator = propagator_like(again.row, weights, **(settings or {}))
            made = again.run(
                propagator,
                devices=devices,
                accelerator=accelerator,
                num_nodes=num_nodes,
                engine=engine,
                address=address,
            )
            print(made)
        else:
            print(again.plan())
    if apply or corrections is not None:
        return 0
    found = least_confident(dataset, split, source, store=store, worst=worst, devices=devices)
    written = [] if decisions is None else [write_decisions(decisions, found.rows(objects))]
    if sheet is not None and found.labels:
        labels = LabelSource(dataset, store_root(store, dataset.name), source)
        written.append(write_sheet(draw_sheet(labels, [entry.inspected for entry in found.labels]), sheet))
    print_review(found)
    for path in written:
        print(f"written: {path}")
    return 0
