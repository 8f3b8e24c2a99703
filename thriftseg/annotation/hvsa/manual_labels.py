"""The labels that people have made of a video so far, kept in a label store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any

import numpy as np

from thriftseg.annotation.people.requests import Answer
from thriftseg.annotation.ranking.selection import Sample
from thriftseg.arrays import UInt8Array
from thriftseg.costs import AnnotationCost
from thriftseg.errors import LabelStoreError
from thriftseg.stores import ActionRow, LabelRow, LabelStore, action_id
from thriftseg.types import IGNORE_INDEX, LabelKind


class ManualLabels:
    """Answers of all rounds for one video, as a label map per frame.

    Every answer is a human action of its own with its own cost. A region counts as labelled once the label map that it
    went into is complete in the store, so after a kill it is asked for again, and is not paid for twice: the same
    answer is the same action.

    Args:
        store: Where the labels are kept.
        dataset: Name of the data set.
        video: Identifier of the clip.
        generator: Who labels, such as "hvsa/simulated".
        arguments: Settings that the labels depend on, JSON values only.

    Raises:
        LabelStoreError: The source holds labels that were made in another way.

    Example:
        >>> import tempfile
        >>> from thriftseg.annotation import Request
        >>> from thriftseg.taxonomies import CAMVID
        >>> request = Request.of("drive", Sample(30, 0), np.array([[True, True, False]]), "rec2")
        >>> with tempfile.TemporaryDirectory() as root:
        ...     manual = ManualLabels(LabelStore(root, "person", CAMVID), "camvid", "drive", generator="by hand")
        ...     manual.add([Answer(request, np.array([[3, 3]], np.uint8), AnnotationCost(9, clicks=4))])
        ...     manual.numbers, manual.read(30).tolist(), manual.cost.clicks
        ([30], [[3, 3, 255]], 4)
    """

    def __init__(
        self,
        store: LabelStore,
        dataset: str,
        video: str,
        *,
        generator: str,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        self._store, self._dataset, self.video = store, dataset, video
        self._generator, self._arguments = generator, dict(arguments or {})
        store.require_recipe(generator, self._arguments)

    @property
    def numbers(self) -> list[int]:
        """Native numbers of the frames that are labelled, at least in part, increasing."""
        return sorted(row.frame for row in self._rows())

    @property
    def samples(self) -> set[Sample]:
        """The regions that are labelled."""
        actions = ((row.frame, action) for row in self._rows() for action in row.parents)
        return {Sample(number, int(action.rpartition("#")[2])) for number, action in actions}

    @property
    def actions(self) -> list[ActionRow]:
        """The work behind them, one action per region."""
        return [self._store.actions[action] for row in self._rows() for action in row.parents]

    @property
    def cost(self) -> AnnotationCost:
        """What they cost."""
        return sum((action.cost for action in self.actions), AnnotationCost())

    def read(self, number: int) -> UInt8Array:
        """Label map of a frame, (H, W) uint8 train ids, 255 where nothing is labelled.

        Raises:
            LabelStoreError: Nothing of the frame is labelled.
        """
        # Not verified: a run killed between file and row leaves the file ahead, and the same answers mend that.
        return self._store.read(self.video, number)

    def add(self, answers: Iterable[Answer]) -> None:
        """Add answers; where a pixel is labelled already, the new label holds.

        Raises:
            LabelStoreError: An answer is about another video or does not fit the label map of its frame.
        """
        source = self._store.source
        in_order = sorted(answers, key=lambda answer: answer.sample.number)
        for number, group in groupby(in_order, key=lambda answer: answer.sample.number):
            bought, is_labelled = list(group), self._store.has(self.video, number)
            label = self.read(number) if is_labelled else np.full(bought[0].request.size, IGNORE_INDEX, np.uint8)
            for answer in bought:
                self._check(answer, label)
                answer.paint(label)
            parents = list(self._store.labels[self.video, number].parents) if is_labelled else []
            for answer in bought:
                name = action_id(source, self._dataset, self.video, *answer.sample)
                self._store.record_action(ActionRow(name, source, self.video, number, answer.cost, answer.cost_model))
                parents.append(name)
            self._store.write(
                self.video,
                number,
                label,
                kind=LabelKind.MANUAL,
                generator=self._generator,
                arguments=self._arguments,
                parents=list(dict.fromkeys(parents)),
            )

    def _check(self, answer: Answer, label: UInt8Array) -> None:
        request = answer.request
        if request.video != self.video or request.size != label.shape:
            raise LabelStoreError(
                "an answer that belongs to another label map",
                path=self._store.path_of(self.video, request.sample.number),
                expected=f"{self.video!r}, {label.shape[1]}x{label.shape[0]}",
                found=f"{request.video!r}, {request.size[1]}x{request.size[0]}",
            )

    def _rows(self) -> list[LabelRow]:
        own = (row for row in self._store.labels.values() if row.video == self.video)
        return [row for row in own if self._store.has(row.video, row.frame)]


def paste(prediction: UInt8Array, label: UInt8Array) -> UInt8Array:
    """Put manual labels over a prediction.

    Args:
        prediction: (H, W) uint8 train ids.
        label: (H, W) uint8 train ids, 255 = no label.

    Example:
        >>> paste(np.uint8([[1, 1, 1]]), np.uint8([[255, 2, 255]])).tolist()
        [[1, 2, 1]]
    """
    return np.where(label == IGNORE_INDEX, prediction, label)
