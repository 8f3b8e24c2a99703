"""What to annotate next of the objects of a data set, from what names the networks to the folder of a person."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thriftseg.annotation.eva_vos.frame_choice import QNetFrames
from thriftseg.annotation.eva_vos.methods import AnnotationChoices, MaskMethods
from thriftseg.annotation.eva_vos.objects import list_objects
from thriftseg.annotation.people.mask_files import MaskFilesPerson
from thriftseg.annotation.ranking.files import write_annotation_tasks
from thriftseg.annotation.ranking.objects import RankedAnnotation, rank_annotations, rank_cold_annotations
from thriftseg.annotation.ranking.selection import SampleSelection
from thriftseg.datasets import VOSDataset
from thriftseg.errors import ConfigError


@dataclass(frozen=True)
class ObjectRanking:
    """What ranks masks of objects.

    Attributes:
        qnet_weights: Weights of QNet, which ranks frames; looks and motion decide without.
        policy_weights: Weights of the agent, which says how to annotate a frame; it is drawn without.

    Raises:
        ConfigError: There is an agent, and nobody who chooses frames.

    Example:
        >>> ObjectRanking(policy_weights="agent.ckpt")
        Traceback (most recent call last):
        thriftseg.errors.ConfigError: the agent needs somebody who chooses frames; fix: add --qnet_weights
    """

    qnet_weights: str | None = None
    policy_weights: str | None = None

    def __post_init__(self) -> None:
        if self.policy_weights and not self.qnet_weights:
            raise ConfigError("the agent needs somebody who chooses frames", fix="add --qnet_weights")


def next_annotations(
    dataset: VOSDataset,
    split: str,
    count: int,
    out: str | Path,
    *,
    choice: ObjectRanking | None = None,
    methods: MaskMethods | None = None,
    selection: SampleSelection | None = None,
    step: int = 1,
    include_labelled: bool = False,
    seed: int = 0,
    say: Callable[[str], None] = lambda text: None,
) -> tuple[list[RankedAnnotation], Path]:
    """Rank what to annotate next, and write it for a person.

    Args:
        dataset: The data set.
        split: Split to choose from.
        count: Annotations that are wanted.
        out: Folder to write to.
        choice: What ranks them.
        methods: What carries masks, and what makes them.
        selection: How frames are chosen without qnet.
        step: Look at every n-th frame of a video, without qnet.
        include_labelled: Rank frames with a mask of the data set, too.
        seed: Seed of what is random.
        say: Called with a line for every object that is skipped.

    Returns:
        The ranking, and the table that was written; see `write_annotation_tasks`.

    Raises:
        ConfigError: The settings contradict each other, or a ranking lies there already.

    Example:
        >>> import tempfile
        >>> from thriftseg import datasets, synthetic
        >>> options = {"methods": MaskMethods(accelerator="cpu"), "include_labelled": True}
        >>> with tempfile.TemporaryDirectory() as root:
        ...     _ = synthetic.synthesize_objects(root, train_clips=1, val_clips=0, frames=2, height=32, width=48)
        ...     ranking, table = next_annotations(datasets.DAVIS(root), "train", 1, f"{root}/next", **options)
        ...     [each.name for each in ranking], sorted(path.name for path in table.parent.iterdir())
        ([('scene-train-000', 1, 1)], ['instructions.md', 'next.csv', 'scene-train-000'])
    """
    choice, methods = choice or ObjectRanking(), methods or MaskMethods()
    prompter = methods.make_prompter()
    videos, skipped = list_objects(dataset, split)
    for line in skipped:
        say(line)
    person, propagator = MaskFilesPerson(out, prompter), methods.make_propagator()
    shared: dict[str, Any] = {"first_only": include_labelled, "seed": seed}
    if choice.qnet_weights:
        frames = QNetFrames(choice.qnet_weights, methods.device)
        kind: Any = "agent" if choice.policy_weights else "mask"
        types = AnnotationChoices(type=kind, policy_weights=choice.policy_weights, policy="argmax")
        chosen = types.make_types(methods, prompter)
        ranking = rank_annotations(videos, count, frames, chosen, person, propagator, **shared)
    else:
        ranking = rank_cold_annotations(
            dataset, split, videos, count, person, propagator, selection=selection, step=step, **shared
        )
    return ranking, write_annotation_tasks(ranking, out, prompter)
