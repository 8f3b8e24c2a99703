"""A simulated person who annotates objects of videos: by drawing masks, by clicks, or by boxes [0, 1].

[0] Delatolas, Kalogeiton, Papadopoulos, Learning the What and How of Annotation in Video Object Segmentation, WACV
    2024, https://arxiv.org/abs/2311.04414.
[1] https://github.com/thanosDelatolas/eva-vos
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, NamedTuple, get_args

import cv2
import numpy as np

from thriftseg.annotation.eva_vos.objects import ObjectVideo
from thriftseg.annotation.people.masks import AnnotationKind, MaskAnnotation, MaskClick
from thriftseg.arrays import BoolArray, Int64Array, UInt8Array
from thriftseg.costs import AnnotationCost, CostModel
from thriftseg.errors import ConfigError
from thriftseg.labels import Candidates, CorrectsMasks, Embedded, GrabCutPrompter, NumCandidates, Prompt, Prompter
from thriftseg.regions import bounding_box

SAMChoice = Literal["oracle", "score"]
"""Who picks one of several masks of a prompter: the person, who knows the truth, or the score of the prompter."""

REBUILT_IOU = 0.8
"""IoU above which a rebuilt mask stands for the one that it was made from."""

Choose = Callable[[Candidates], int]


def mask_iou(a: BoolArray, b: BoolArray) -> float:
    """Intersection over union of two masks, (H, W); 1 where both are empty.

    Example:
        >>> mask_iou(np.array([[True, True, False]]), np.array([[False, True, True]]))
        0.3333333333333333
    """
    union = int(np.count_nonzero(a | b))
    return int(np.count_nonzero(a & b)) / union if union else 1.0


def median_click(mask: BoolArray) -> MaskClick:
    """Positive click on the pixel of a mask that is nearest to the median of its columns and rows.

    Args:
        mask: (H, W), not empty. Of equally near pixels, the first in reading order is clicked.

    Raises:
        ValueError: The mask is empty.

    Example:
        >>> mask = np.zeros((6, 8), bool)
        >>> mask[1:4, 2:7] = True
        >>> median_click(mask)
        MaskClick(x=4, y=2, positive=True)
    """
    rows, columns = np.nonzero(mask)
    if not len(rows):
        raise ValueError("expected a mask with pixels, found an empty one")
    x, y = _nearest(columns, rows, float(np.median(columns)), float(np.median(rows)))
    return MaskClick(x, y, True)


def corrective_click(mask: BoolArray, target: BoolArray, snap_negative: bool = True) -> MaskClick:
    """The click that corrects the largest error of a mask.

    An error is an 8-connected component of wrong pixels, either all beside the target (the click is negative) or all
    missing from the mask (positive); of equal ones, the wrong one beside the target comes first, then the first in
    reading order. The click goes to the mean of its pixels, rounded down. Positive ones outside of the target move to
    its nearest pixel; negative ones outside of the component move to its nearest pixel. A mask without error gets the
    median click of the target.

    Args:
        mask: Mask so far, (H, W).
        target: What it should be, (H, W).
        snap_negative: Move negative clicks; the code of EVA-VOS does not.

    Raises:
        ValueError: Mask and target are empty.

    Example:
        >>> target = np.zeros((6, 8), bool)
        >>> target[1:4, 2:7] = True
        >>> mask = target.copy()
        >>> mask[:, :4] = False
        >>> corrective_click(mask, target), corrective_click(target, mask)
        (MaskClick(x=2, y=2, positive=True), MaskClick(x=2, y=2, positive=False))
    """
    surplus, missing = _largest_component(mask & ~target), _largest_component(target & ~mask)
    if surplus is not None and (missing is None or surplus.area >= missing.area):
        x, y = surplus.nearest(surplus.x, surplus.y) if snap_negative else (surplus.x, surplus.y)
        return MaskClick(x, y, False)
    if missing is None:
        return median_click(target)
    if target[missing.y, missing.x]:
        return MaskClick(missing.x, missing.y, True)
    rows, columns = np.nonzero(target)
    return MaskClick(*_nearest(columns, rows, missing.x, missing.y), True)


class PromptedMask:
    """The mask that a prompter makes of all clicks so far, and of its own last answer.

    Args:
        embedded: The frame.
        candidates: Masks that the prompter offers each time.
        mask: Mask to be corrected, (H, W), for frames that can do that (`CorrectsMasks`).

    Attributes:
        clicks: The clicks so far.
        mask: The mask they gave, (H, W); before the first the one to be corrected, or `None`.
    """

    def __init__(self, embedded: Embedded, candidates: NumCandidates = 3, mask: BoolArray | None = None) -> None:
        self._embedded, self._candidates = embedded, candidates
        self._logits: Any = None
        self.clicks: tuple[MaskClick, ...] = ()
        self.mask = mask

    def add(self, click: MaskClick, choose: Choose) -> BoolArray:
        """Click once more.

        Args:
            click: The click.
            choose: Gives the number of the candidate to take.

        Returns:
            The mask, (H, W).
        """
        self.clicks += (click,)
        points = np.array([click[:2] for click in self.clicks], np.float32)
        positive = np.array([click.positive for click in self.clicks], np.bool_)
        if isinstance(self._embedded, CorrectsMasks):
            answer = self._embedded.correct(self.mask, points, positive, self._candidates)
        else:
            (answer,) = self._embedded.predict([Prompt(points, positive, mask_logits=self._logits)], self._candidates)
        chosen = choose(answer)
        mask: BoolArray = answer.masks[chosen]
        self.mask, self._logits = mask, answer.low_res_logits[chosen]
        return mask


def by_score(candidates: Candidates) -> int:
    """The candidate that the prompter likes best."""
    return int(candidates.scores.argmax())


def by_iou(target: BoolArray) -> Choose:
    """A function that gives the candidate which agrees best with a mask, (H, W); the first of equal ones."""
    return lambda candidates: int(np.argmax([mask_iou(mask, target) for mask in candidates.masks]))


def rebuild_mask(
    embedded: Embedded, mask: BoolArray, candidates: NumCandidates = 3, max_clicks: int = 20
) -> PromptedMask:
    """Describe a mask that was made elsewhere to a prompter, by clicks that cost nobody anything.

    A median click and corrective clicks against the mask, until the IoU with it is above 0.8. Where that is never
    reached, or the mask is empty, there are no clicks at all. Neither are there where the prompter corrects masks of
    others (`CorrectsMasks`), as GrabCut does: it gets the mask itself.

    Args:
        embedded: The frame.
        mask: (H, W).
        candidates: Masks that the prompter offers each time, of which the one that agrees best is taken.
        max_clicks: Most corrective clicks.
    """
    rebuilt = PromptedMask(embedded, candidates)
    if not mask.any():
        return rebuilt
    if isinstance(embedded, CorrectsMasks):
        return PromptedMask(embedded, candidates, mask)
    found = rebuilt.add(median_click(mask), by_iou(mask))
    while mask_iou(found, mask) <= REBUILT_IOU:
        if len(rebuilt.clicks) > max_clicks:
            return PromptedMask(embedded, candidates)
        found = rebuilt.add(corrective_click(found, mask), by_iou(mask))
    return rebuilt


class PrompterLimits(NamedTuple):
    """How often a prompter is asked.

    Attributes:
        candidates: Masks per answer.
        rebuild_clicks: Most corrective clicks that rebuild a mask.
    """

    candidates: NumCandidates
    rebuild_clicks: int


def limits_of(
    prompter: Prompter, candidates: NumCandidates | None = None, rebuild_clicks: int | None = None
) -> PrompterLimits:
    """The limits that are given or else fit the prompter: 3 masks and 20 clicks, of which GrabCut needs none.

    Raises:
        ConfigError: The number of clicks is negative.

    Example:
        >>> limits_of(GrabCutPrompter())
        PrompterLimits(candidates=3, rebuild_clicks=0)
    """
    own = PrompterLimits(3, 0) if prompter.name == GrabCutPrompter.name else PrompterLimits(3, 20)
    limits = PrompterLimits(
        candidates or own.candidates, own.rebuild_clicks if rebuild_clicks is None else rebuild_clicks
    )
    if limits.rebuild_clicks < 0:
        raise ConfigError("rebuild_clicks", expected="0 or more", found=limits.rebuild_clicks)
    return limits


class ClickPerson:
    """A simulated person, who knows the truth and turns clicks and boxes into masks with a prompter [0, 1].

    - "mask": the true mask.
    - "clicks": the mask so far is rebuilt for the prompter (`rebuild_mask`), then the person corrects it, click by
      click, always the largest error (`corrective_click`). Without a mask that could be rebuilt, the first click is
      `median_click`.
    - "box": the bounding box of the object.
    - A frame without the object is "absent", and the prompter is not asked.

    Args:
        prompter: Makes masks of clicks and boxes.
        cost_model: Prices the work; 80 s for a mask, 1.5 s for a click and 1 s for all of them by default.
        clicks: Clicks of an annotation.
        sam_choice: Who picks one of several masks.
        snap_negative: See `corrective_click`.
        candidates: Masks that the prompter offers each time; see `limits_of` for the default.
        rebuild_clicks: Most corrective clicks that rebuild a mask; see `limits_of` for the default.

    Raises:
        ConfigError: A setting is out of range.

    Example:
        >>> person = ClickPerson(GrabCutPrompter(), clicks=5)
        >>> [person.price(kind).seconds for kind in ("mask", "clicks", "box")], person.limits
        ([80.0, 8.5, 7.0], PrompterLimits(candidates=3, rebuild_clicks=0))
    """

    needs_truth: ClassVar[bool] = True

    def __init__(
        self,
        prompter: Prompter,
        cost_model: CostModel | None = None,
        *,
        clicks: int = 3,
        sam_choice: SAMChoice = "oracle",
        snap_negative: bool = True,
        candidates: NumCandidates | None = None,
        rebuild_clicks: int | None = None,
    ) -> None:
        if clicks < 1 or sam_choice not in get_args(SAMChoice):
            raise ConfigError(
                "setting of a simulated person",
                expected=f"clicks of at least 1, sam_choice {' or '.join(get_args(SAMChoice))}",
                found=f"clicks={clicks}, sam_choice={sam_choice!r}",
            )
        self.prompter, self.clicks, self.sam_choice, self.snap_negative = prompter, clicks, sam_choice, snap_negative
        self.costs = cost_model or CostModel.named("polygon")  # both models have the same times for objects
        self.limits = limits_of(prompter, candidates, rebuild_clicks)

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Settings that annotations depend on."""
        return {
            "annotator": "simulated",
            "prompter": {"name": self.prompter.name, **self.prompter.arguments},
            "clicks": self.clicks,
            "sam_choice": self.sam_choice,
            "snap_negative": self.snap_negative,
            **self.limits._asdict(),
            "seconds": {kind: self.price(kind).seconds for kind in get_args(AnnotationKind)},
        }

    def price(self, kind: AnnotationKind) -> AnnotationCost:
        """What an annotation costs."""
        return price_of(self.costs, kind, self.clicks)

    def annotate(
        self, video: ObjectVideo, place: int, kind: AnnotationKind, current: BoolArray, round: int
    ) -> MaskAnnotation:
        """Annotate the object in a frame; see `MaskAnnotator.annotate`.

        Raises:
            ConfigError: The object is there, but was said to be absent.
        """
        truth = video.truth(place)
        if not truth.any():
            return MaskAnnotation("absent", truth, self.price("absent"))
        if kind == "mask":
            return MaskAnnotation("mask", truth, self.price("mask"))
        if kind == "clicks":
            prompted = self.start(video.frame(place), current)
            free, mask = len(prompted.clicks), current
            for _ in range(self.clicks):
                mask = self.click_once(prompted, truth)
            return MaskAnnotation("clicks", mask, self.price("clicks"), prompted.clicks[free:], free)
        if kind == "box":
            left, top, width, height = bounding_box(truth)
            prompt = Prompt(box=(left, top, left + width, top + height))
            (answer,) = self.prompter.embed(video.frame(place)).predict([prompt], self.limits.candidates)
            return MaskAnnotation("box", answer.masks[self._choice(truth)(answer)], self.price("box"))
        raise ConfigError("a person does not call an object absent that is there", found=f"{video.name} frame {place}")

    def start(self, frame: UInt8Array, current: BoolArray) -> PromptedMask:
        """What the clicks of the person go on from.

        Args:
            frame: (H, W, 3) uint8 RGB.
            current: Mask so far, (H, W).
        """
        return rebuild_mask(self.prompter.embed(frame), current, *self.limits)

    def click_once(self, prompted: PromptedMask, truth: BoolArray) -> BoolArray:
        """Click where it helps most.

        Args:
            prompted: From `start`.
            truth: True mask, (H, W), not empty.

        Returns:
            The mask after the click, (H, W).
        """
        mask = prompted.mask
        click = median_click(truth) if mask is None else corrective_click(mask, truth, self.snap_negative)
        return prompted.add(click, self._choice(truth))

    def _choice(self, truth: BoolArray) -> Choose:
        return by_score if self.sam_choice == "score" else by_iou(truth)


def price_of(costs: CostModel, kind: AnnotationKind, clicks: int) -> AnnotationCost:
    """What annotating an object in a frame costs.

    Args:
        costs: Prices single actions.
        kind: What is done.
        clicks: Number of clicks, where it is clicks.

    Example:
        >>> model = CostModel.named("polygon")
        >>> [price_of(model, kind, clicks=3).seconds for kind in ("mask", "clicks", "box", "absent")]
        [80.0, 5.5, 7.0, 3.0]
    """
    if kind == "clicks":
        return costs.clicks(clicks, objects=1)
    return {"mask": costs.mask, "box": costs.box, "absent": costs.absent}[kind]()


class _Component(NamedTuple):
    """The largest component of a mask.

    Attributes:
        area: Its pixels.
        x: Mean column, rounded down.
        y: Mean row, rounded down.
        columns: Columns of its pixels, in reading order.
        rows: Rows of its pixels.
    """

    area: int
    x: int
    y: int
    columns: Int64Array
    rows: Int64Array

    def nearest(self, x: float, y: float) -> tuple[int, int]:
        return _nearest(self.columns, self.rows, x, y)


def _largest_component(mask: BoolArray) -> _Component | None:
    """The largest 8-connected component, the first in reading order of equal ones; `None` in an empty mask."""
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    if not width:
        return None
    window = np.ascontiguousarray(mask[top : top + height, left : left + width]).view(np.uint8)
    _, numbers, stats, _ = cv2.connectedComponentsWithStats(window, connectivity=8, ltype=cv2.CV_32S)
    areas = stats[1:, cv2.CC_STAT_AREA]
    largest = (np.flatnonzero(areas == areas.max()) + 1).tolist()
    if len(largest) > 1:  # how components are numbered is OpenCV's own business
        largest = numbers[np.isin(numbers, largest)][:1].tolist()
    rows, columns = np.nonzero(numbers == largest[0])
    rows, columns = rows + top, columns + left
    count = len(rows)
    return _Component(count, int(columns.sum()) // count, int(rows.sum()) // count, columns, rows)


def _nearest(columns: Int64Array, rows: Int64Array, x: float, y: float) -> tuple[int, int]:
    """The pixel nearest to a point, as (x, y)."""
    place = int(np.argmin((columns - x) ** 2 + (rows - y) ** 2))
    return int(columns[place]), int(rows[place])
