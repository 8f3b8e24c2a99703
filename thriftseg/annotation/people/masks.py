"""Annotations of the mask of an object in a frame, and the protocol of those who make them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

from thriftseg.annotation.eva_vos.objects import ObjectVideo
from thriftseg.arrays import BoolArray
from thriftseg.costs import AnnotationCost

AnnotationKind = Literal["mask", "clicks", "box", "absent"]
"""The mask is drawn, or made of clicks or of a box; or the object is not in the frame."""

EXACT: frozenset[AnnotationKind] = frozenset({"mask", "absent"})
"""Annotations that leave nothing to be said about a frame."""


class MaskClick(NamedTuple):
    """A click on a frame.

    Attributes:
        x: Column.
        y: Row.
        positive: Whether it says that the object is here, or that it is not.

    Example:
        >>> clicks = [MaskClick(x=40, y=20, positive=True), MaskClick(x=44, y=30, positive=False)]
        >>> [(x, y) for x, y, positive in clicks if positive]
        [(40, 20)]
    """

    x: int
    y: int
    positive: bool


@dataclass(frozen=True, eq=False)
class MaskAnnotation:
    """The annotation of an object in a frame.

    Attributes:
        kind: What was done.
        mask: Mask of the object, (H, W).
        cost: What the work of the person costs.
        clicks: Clicks of the person.
        free_clicks: Number of clicks by which a machine described the earlier mask to the prompter.

    Example:
        >>> import numpy as np
        >>> mask = np.array([[False, True, True]])
        >>> clicks = MaskClick(1, 0, True), MaskClick(0, 0, False)
        >>> made = MaskAnnotation("clicks", mask, AnnotationCost(4.0, clicks=2), clicks)
        >>> made.kind in EXACT, len(made.clicks) == made.cost.clicks, int(made.mask.sum())
        (False, True, 2)
    """

    kind: AnnotationKind
    mask: BoolArray
    cost: AnnotationCost
    clicks: tuple[MaskClick, ...] = ()
    free_clicks: int = 0


class MaskAnnotator(Protocol):
    """A person who annotates objects, simulated or real.

    Attributes:
        needs_truth: Whether this is a simulation, which knows the truth and may be asked any number of times.

    Example:
        >>> from thriftseg.annotation import ClickPerson, MaskFilesPerson
        >>> from thriftseg.labels import GrabCutPrompter
        >>> people: list[MaskAnnotator] = [ClickPerson(GrabCutPrompter()), MaskFilesPerson("work", GrabCutPrompter())]
        >>> [(person.needs_truth, person.price("mask").seconds) for person in people]
        [(True, 80.0), (False, 80.0)]
    """

    needs_truth: ClassVar[bool]

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Settings that annotations depend on, JSON values only."""

    def price(self, kind: AnnotationKind) -> AnnotationCost:
        """What an annotation is expected to cost."""

    def annotate(
        self, video: ObjectVideo, place: int, kind: AnnotationKind, current: BoolArray, round: int
    ) -> MaskAnnotation:
        """Annotate the object in a frame; asking the same again gives the same.

        Args:
            video: The object.
            place: The frame.
            kind: What to do. A frame without the object is "absent", whatever was asked for.
            current: Mask so far, (H, W).
            round: How many annotations the object has had.

        Raises:
            WaitingForLabels: A real person has not done it yet; ask again later.
        """
