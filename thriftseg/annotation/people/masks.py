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
