"""`thriftseg annotate next`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

from thriftseg.cli.command import say
from thriftseg.cli.options.reader import AnyData
from thriftseg.errors import ConfigError

if TYPE_CHECKING:
    from thriftseg.annotation import MaskMethods, ObjectRanking, SampleSelection


@dataclass(frozen=True)
class ClassRanking:
    """What ranks labels of classes.

    Attributes:
        weights: Network that is asked what it is unsure of, by name, path or hf:ORG/NAME; looks and motion decide
            without one.
        resize: Height and width that it works at; those of the weights, or of the files, if unset.
        granularity: What is labelled at a time: frame, rec<N> such as rec40, or sp.
        superpixel_weights: Weights of SpixelFCN; SLIC without.
        uncertainty: How it is measured.
        labelled: Sources of the label store; what they have labelled is left out.
        store: Folder of the label store; `labels/<dataset>` if unset.
        exchange: Format of the annotation file.
    """

    weights: str | None = None
    resize: tuple[int, int] | None = None
    granularity: str = "frame"
    superpixel_weights: str | None = None
    uncertainty: Literal["entropy", "margin", "least_conf"] = "entropy"
    labelled: list[str] = field(default_factory=list)
    store: str | None = None
    exchange: Literal["coco", "cvat"] = "coco"


def run(
    data: AnyData,
    selection: SampleSelection,
    of_classes: ClassRanking,
    of_objects: ObjectRanking,
    methods: MaskMethods,
    count: int,
    out: str,
    split: str = "train",
    step: int = 1,
    include_labelled: bool = False,
    seed: int = 0,
) -> int:
    """Rank what to label next over a whole data set.

    Args:
        data: The data set.
        selection: How samples are chosen.
        of_classes: What ranks labels of classes.
        of_objects: What ranks masks of objects.
        methods: What carries masks, and what makes them.
        count: How many are wanted.
        out: Folder to write to.
        split: Split to choose from.
        step: Look at every n-th frame of a video.
        include_labelled: Rank frames with a manual label of the data set, too.
        seed: Seed of what is random in the strategy.
    """
    if not data.has_objects:
        _refuse({**_changed(of_objects), **_changed(methods)}, "masks of objects", data, but="accelerator")
        _rank_classes(data, selection, of_classes, methods.accelerator, count, out, split, step, include_labelled, seed)
        return 0
    from thriftseg.annotation import next_annotations
    from thriftseg.reports import print_table, ranking_table

    _refuse(_changed(of_classes), "labels of classes", data)
    if of_objects.qnet_weights:
        _refuse({**_changed(selection), **({"step": step} if step != 1 else {})}, "rankings without a network", data)
    ranking, written = next_annotations(
        data.open(),
        split,
        count,
        out,
        choice=of_objects,
        methods=methods,
        selection=selection,
        step=step,
        include_labelled=include_labelled,
        seed=seed,
        say=say,
    )
    rows = [(*each.name, each.kind, f"{each.seconds:g}", f"{each.score:.4f}") for each in ranking]
    print_table(ranking_table(("video", "object", "frame", "type", "seconds", "score"), rows))
    hours = sum(each.seconds for each in ranking) / 3600
    print(f"{len(ranking)} to annotate in {written}, {hours:.3f} h; a folder with task.json for each in {out}")
    if of_objects.qnet_weights:
        print(f"then: {_loop(data, split, of_objects, methods, out)}")
    return 0


def _rank_classes(
    data: AnyData,
    selection: SampleSelection,
    settings: ClassRanking,
    accelerator: str,
    count: int,
    out: str,
    split: str,
    step: int,
    include_labelled: bool,
    seed: int,
) -> None:
    from thriftseg.annotation import create_granularity, labelled_frames, rank_samples, view_of, write_ranking
    from thriftseg.reports import print_table, ranking_table

    if settings.resize and settings.weights is None:
        raise ConfigError("--resize is about a network", fix="add --weights, or drop it")
    dataset = data.open()
    granularity = create_granularity(settings.granularity, settings.superpixel_weights)
    ranking = rank_samples(
        dataset,
        split,
        count,
        view=view_of(dataset.taxonomy, settings.weights, settings.uncertainty, settings.resize, accelerator),
        granularity=granularity,
        selection=selection,
        labelled=labelled_frames(
            dataset, split, manual=not include_labelled, sources=settings.labelled, store=settings.store
        ),
        step=step,
        seed=seed,
    )
    written = write_ranking(dataset, ranking, out, tool=settings.exchange, granularity=granularity)
    rows = [(each.clip.video, *each.sample, each.pixels, f"{each.score:.3f}") for each in ranking]
    print_table(ranking_table(("video", "frame", "region", "pixels", "score"), rows))
    print(
        f"{len(ranking)} to label in {written}\nthen: thriftseg label import --dataset {data.dataset} "
        f"--split {split} --format {settings.exchange} --path {out} --source NAME"
    )


def _loop(data: AnyData, split: str, choice: ObjectRanking, methods: MaskMethods, out: str) -> str:
    """The command that reads the answers for the first annotation of each object, and goes on."""
    changed = {name: value for name, value in _changed(methods).items() if name != "accelerator"}
    options = {"dataset": data.dataset, "root": data.root, "split": split, **asdict(choice), **changed}
    given = shlex.join(
        word for name, value in options.items() if value is not None for word in (f"--{name}", str(value))
    )
    given += f" --reader {shlex.quote(json.dumps(data.reader))}" if data.reader else ""
    types = "--type agent --policy argmax" if choice.policy_weights else "--type mask"
    return f"thriftseg annotate eva-vos {given} --frame qnet {types} --annotator files --work {out} --out RUN"


def _changed(settings: Any) -> dict[str, Any]:
    """Settings that differ from their defaults."""
    plain = type(settings)()
    values = {each.name: getattr(settings, each.name) for each in fields(settings)}
    return {name: value for name, value in values.items() if value != getattr(plain, name)}


def _refuse(changed: Mapping[str, Any], about: str, data: AnyData, but: str | None = None) -> None:
    """Refuse options that say nothing about the data set."""
    for name in changed.keys() - {but}:
        raise ConfigError(f"--{name} is about {about}", found=f"--dataset {data.dataset}", fix="leave it out")
