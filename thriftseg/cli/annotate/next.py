"""`thriftseg annotate next`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

from thriftseg.cli.options.reader import AnyData
from thriftseg.errors import ConfigError

if TYPE_CHECKING:
    from thriftseg.annotation import MaskMethods, RankedAnnotation, SampleSelection


@dataclass(frozen=True)
class ClassRanking:
    """For labels of classes.

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


@dataclass(frozen=True)
class ObjectRanking:
    """For masks of objects.

    Attributes:
        qnet_weights: Weights of qnet, which ranks frames; looks and motion decide without.
        policy_weights: Weights of the agent, which says how to annotate a frame; it is drawn without.
    """

    qnet_weights: str | None = None
    policy_weights: str | None = None


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
        of_classes: For labels of classes.
        of_objects: For masks of objects.
        methods: What carries masks, and what makes them.
        count: How many are wanted.
        out: Folder to write to.
        split: Split to choose from.
        step: Look at every n-th frame of a video.
        include_labelled: Rank frames with a manual label of the data set, too.
        seed: Seed of what is random in the strategy.
    """
    if data.has_objects:
        _refuse(of_classes, "labels of classes", data.dataset)
        return _next_objects(data, selection, of_objects, methods, count, out, split, step, include_labelled, seed)
    _refuse(of_objects, "masks of objects", data.dataset)
    _refuse(methods, "masks of objects", data.dataset, but=("accelerator",))
    from thriftseg.annotation import create_granularity, labelled_frames, rank_samples, view_of, write_ranking
    from thriftseg.reports import print_table, ranking_table

    dataset = data.open()
    granularity = create_granularity(of_classes.granularity, of_classes.superpixel_weights)
    known = labelled_frames(
        dataset, split, manual=not include_labelled, sources=of_classes.labelled, store=of_classes.store
    )
    if of_classes.resize and of_classes.weights is None:
        raise ConfigError("--resize is about a network", fix="add --weights, or drop it")
    view = view_of(dataset.taxonomy, of_classes.weights, of_classes.uncertainty, of_classes.resize, methods.accelerator)
    settings: dict[str, Any] = {"view": view, "granularity": granularity, "selection": selection}
    ranking = rank_samples(dataset, split, count, labelled=known, step=step, seed=seed, **settings)
    written = write_ranking(dataset, ranking, out, tool=of_classes.exchange, granularity=granularity)
    rows = [(each.clip.video, *each.sample, each.pixels, f"{each.score:.3f}") for each in ranking]
    print_table(ranking_table(("video", "frame", "region", "pixels", "score"), rows))
    print(
        f"{len(ranking)} to label in {written}\nthen: thriftseg label import --dataset {data.dataset} "
        f"--split {split} --format {of_classes.exchange} --path {out} --source NAME"
    )
    return 0


def _next_objects(
    data: AnyData,
    selection: SampleSelection,
    choice: ObjectRanking,
    methods: MaskMethods,
    count: int,
    out: str,
    split: str,
    step: int,
    include_labelled: bool,
    seed: int,
) -> int:
    from thriftseg.annotation import (
        AnnotationChoices,
        MaskFilesPerson,
        QNetFrames,
        list_objects,
        rank_annotations,
        rank_cold_annotations,
        write_annotation_tasks,
    )
    from thriftseg.reports import print_table, ranking_table

    if choice.policy_weights and not choice.qnet_weights:
        raise ConfigError("the agent needs somebody who chooses frames", fix="add --qnet_weights")
    if choice.qnet_weights:
        _refuse(selection, "rankings without a network", data.dataset)
        if step != 1:
            _refuse_option("step", "rankings without a network", data.dataset)
    dataset = data.open()
    prompter = methods.make_prompter()
    videos, skipped = list_objects(dataset, split)
    for line in skipped:
        print(line)
    person, propagator = MaskFilesPerson(out, prompter), methods.make_propagator()
    shared: dict[str, Any] = {"first_only": include_labelled, "seed": seed}
    ranking: Sequence[RankedAnnotation]
    if choice.qnet_weights:
        frames = QNetFrames(choice.qnet_weights, methods.device)
        types = AnnotationChoices(
            type="agent" if choice.policy_weights else "mask", policy_weights=choice.policy_weights, policy="argmax"
        )
        chosen = types.make_types(methods, prompter)
        ranking = rank_annotations(videos, count, frames, chosen, person, propagator, **shared)
    else:
        ranking = rank_cold_annotations(
            dataset, split, videos, count, person, propagator, selection=selection, step=step, **shared
        )
    written = write_annotation_tasks(ranking, out, prompter)
    rows = [
        (each.video.video, each.video.object_id, each.video.numbers[each.place], each.kind, f"{each.seconds:g}",
         f"{each.score:.4f}")
        for each in ranking
    ]  # fmt: skip
    print_table(ranking_table(("video", "object", "frame", "type", "seconds", "score"), rows))
    hours = sum(each.seconds for each in ranking) / 3600
    print(f"{len(ranking)} to annotate in {written}, {hours:.3f} h; a folder with task.json for each in {out}")
    if choice.qnet_weights:
        print(f"then: {_loop(data, split, choice, methods, out)}")
    return 0


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


def _refuse(settings: Any, about: str, dataset: str, but: Sequence[str] = ()) -> None:
    """Refuse settings that say nothing about the data set."""
    for name in _changed(settings):
        if name not in but:
            _refuse_option(name, about, dataset)


def _refuse_option(name: str, about: str, dataset: str) -> None:
    raise ConfigError(f"--{name} is about {about}", found=f"--dataset {dataset}", fix="leave it out")
