"""Drawn frames, and the training samples they become once their labels are looked up."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from thriftseg.datasets import describe_reach, target_number
from thriftseg.errors import MixtureError
from thriftseg.stores import COARSE, MANUAL, LabelSource, action_id
from thriftseg.types import Clip, LabelKind, TrainingSample


@dataclass(frozen=True)
class Pick:
    """A frame to train on, before its label is looked up.

    Attributes:
        clip: The clip.
        annotated: Native number of the annotated frame it was drawn from.
        offset: Steps from there.
        source: Source of its label, see `LabelSource`.
        weight: Factor on its loss.
    """

    clip: Clip
    annotated: int
    offset: int
    source: str
    weight: float = 1.0

    @cached_property
    def number(self) -> int:
        """Native number of the frame to train on.

        Raises:
            MixtureError: The clip has no frame at this offset.
        """
        number = target_number(self.clip, self.annotated, self.offset)
        if number is None:
            raise MixtureError(
                f"clip {self.clip.video!r} has no frame at offset {self.offset} of annotated frame {self.annotated}",
                expected=f"offsets within {describe_reach(self.clip, self.annotated)} "
                f"(1 step = {self.clip.frame_step} in frame numbers)",
                fix="choose a pattern with shorter offsets, or a data set whose annotated frames have neighbours",
            )
        return number

    def sample(self, source: LabelSource) -> TrainingSample:
        """Look the label up.

        Args:
            source: The source of this name.

        Raises:
            MixtureError: There is no such label.
            LabelStoreError: The store is damaged, of another class table, or holds object ids.
        """
        label = source.find(self.clip, self.number)
        if label is None:
            raise self._no_label(source)
        points = source.points(label)
        path = label.path if points is None else None
        noted = {"licences": label.licences, "needs_review": label.needs_review}
        return self._sample(kind=label.kind, actions=label.actions, label=path, points=points, **noted)

    def planned_sample(self, dataset: str, *, from_coarse: bool) -> TrainingSample:
        """The sample that this becomes once its label is made.

        Args:
            dataset: Name of the data set.
            from_coarse: Whether the label will be made from the coarse label of the annotated frame, where there is
                one, and not from the manual label.
        """
        origin = COARSE if from_coarse and self.annotated in self.clip.coarse else MANUAL
        return self._sample(
            kind=LabelKind.REFINED if from_coarse else LabelKind.PROPAGATED,
            actions=(action_id(origin, dataset, self.clip.video, self.annotated),),
        )

    def _sample(self, **label: Any) -> TrainingSample:
        return TrainingSample(
            clip=self.clip,
            number=self.number,
            annotated=self.annotated,
            source=self.source,
            weight=self.weight,
            **label,
        )

    def _no_label(self, source: LabelSource) -> MixtureError:
        video, number = self.clip.video, self.number
        if source.is_given(self.clip):
            return MixtureError(
                f"clip {video!r} has no {self.source} label at offset {self.offset}",
                expected=f"a label of frame {number}",
                fix="take this offset from a source of the label store",
            )
        store = source.store
        found = "its row only" if (video, number) in store.labels else "no row in its manifest"
        fix = "make the labels first (thriftseg label --help), or set store to the folder that has them"
        steps = [(other - self.annotated) // self.clip.frame_step for name, other in store.labels if name == video]
        if steps and (video, number) not in store.labels:
            nearest = sorted(steps, key=abs)[:4]
            fix = f"give the part offsets that have a label, such as {sorted(nearest)}, or make the label first"
        return MixtureError(
            f"source {self.source!r} has no label at offset {self.offset} of frame {self.annotated} in clip {video!r}",
            path=store.path_of(video, number),
            found=found if store.exists else "no such source",
            fix=fix,
        )
