"""`thriftseg annotate collect`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thriftseg.cli.annotate.objects import ObjectOptions
from thriftseg.cli.command import say
from thriftseg.cli.options.reader import ObjectData

if TYPE_CHECKING:
    from thriftseg.annotation import Clicking, MaskMethods

_SAMPLES = {"quality set": "masks", "type set": "states"}
_CONFIGS = {
    "quality set": "--config eva_vos/mask_quality.yaml --data.quality_set",
    "type set": "--config eva_vos/annotation_policy.yaml --data.type_set",
}


def run(
    data: ObjectData,
    objects: ObjectOptions,
    methods: MaskMethods,
    clicking: Clicking,
    split: str = "train",
    rounds: int | None = None,
    out: str | None = None,
    **options: Any,
) -> int:
    """Record what the networks of eva-vos learn from.

    Args:
        data: The data set.
        objects: The objects.
        methods: What carries masks, and what makes them.
        clicking: How a person clicks.
        split: Split that holds the videos.
        rounds: Rounds per object of both sets, the first mask included; see the other options if unset.
        out: Folder of quality_set and type_set, which go on if they are there; labels/<dataset> if unset.
        options: Those of `thriftseg.annotation.CollectSettings`.
    """
    from thriftseg.annotation import CollectSettings, collect_annotations
    from thriftseg.stores import store_root

    if rounds is not None:
        options |= {"quality_rounds": rounds, "type_rounds": rounds}
    settings = CollectSettings(**options)
    dataset = data.open()
    totals = collect_annotations(
        dataset,
        objects.find(dataset, split),
        clicking.simulated(methods.make_prompter()),
        methods.make_propagator(),
        store_root(out, dataset.name),
        settings,
        say=say,
    )
    for total in totals:
        print(
            f"{total.kind} {total.folder}: {total.objects} objects, {total.rounds} rounds, "
            f"{total.samples} {_SAMPLES[total.kind]}, {total.cost.hours:.3f} h of simulated annotation"
        )
    for total in totals:
        print(f"then: thriftseg fit {_CONFIGS[total.kind]} {total.folder} --data.frames_root {dataset.root}")
    return 0
