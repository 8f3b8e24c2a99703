"""Finer label maps from coarse polygons: each instance is segmented anew from points inside its polygon.

[0] "samsam2", a study of the Segment Anything models for reducing the annotation effort of video segmentation data
    sets, https://github.com/samiksome92/samsam2.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import cv2
import numpy as np

from thriftseg.arrays import BoolArray, Float32Array, Int32Array, UInt8Array
from thriftseg.datasets import Regions
from thriftseg.errors import ConfigError
from thriftseg.labels.refining.prompters.protocol import Candidates, Embedded, Prompt
from thriftseg.types import IGNORE_INDEX

Shrink = Literal["ignore", "keep"]
Beyond = Literal["stuff", "ignore_only", "all"]

POINTS, FEEDBACK_ROUNDS = 2, 2
"""Points per instance, and how often the mask goes back into the network [0]."""

LEAST_OVERLAP, MOST_GROWTH = 0.5, 8.0
"""The gate: share of the polygon that the mask keeps, and its area in polygons."""

_CERTAIN, _LIKELY = np.float32(20), np.float32(10)  # logits of a polygon that serves as a mask

DOMINANT_SHARE = 0.9
"""Share of the labelled pixels of an automatic mask that one class must exceed [0]."""


@dataclass(frozen=True)
class RefineRule:
    """How refined masks are written back into a coarse label map.

    Attributes:
        shrink: What becomes of pixels of a polygon that its mask leaves: 255, or they keep their class.
        beyond: What a mask may take beyond its polygon: pixels that carry no label or none of the refined classes
            ("stuff"), unlabelled ones only ("ignore_only"), or all.
        gate: Keep the polygon where the mask covers less than half of it or more than eight times its area.

    Raises:
        ConfigError: A value is unknown.

    Example:
        >>> polygon, mask = np.array([[True, True, False]]), np.array([[False, True, True]])
        >>> points, coarse = np.zeros((0, 2), np.float32), np.array([[13, 13, 255]], np.uint8)
        >>> refined = [Refined(CoarseInstance(1, 13, polygon), points, mask, (0.9,), accepted=True)]
        >>> [write_back(coarse, refined, [13], RefineRule(shrink)).tolist() for shrink in ("ignore", "keep")]
        [[[255, 13, 13]], [[13, 13, 13]]]
    """

    shrink: Shrink = "ignore"
    beyond: Beyond = "stuff"
    gate: bool = True

    def __post_init__(self) -> None:
        for name, known in (("shrink", get_args(Shrink)), ("beyond", get_args(Beyond))):
            if getattr(self, name) not in known:
                raise ConfigError(f"unknown {name} rule", expected=", ".join(known), found=getattr(self, name))


@dataclass(frozen=True)
class CoarseInstance:
    """A region to refine.

    Attributes:
        place: Number of the region, from 1 in drawing order.
        train_id: Its class.
        mask: Its visible pixels, (H, W) bool, at least one.
    """

    place: int
    train_id: int
    mask: BoolArray


@dataclass(frozen=True)
class Refined:
    """What came out of an instance.

    Attributes:
        instance: The instance.
        points: Points that prompted it, (P, 2) as (column, row).
        mask: The refined mask, (H, W) bool.
        scores: Predicted quality after each round.
        accepted: Whether it passed the gate.
    """

    instance: CoarseInstance
    points: Float32Array
    mask: BoolArray
    scores: tuple[float, ...]
    accepted: bool


def instances_of(regions: Regions, train_ids: Collection[int]) -> list[CoarseInstance]:
    """The visible regions of some classes in drawing order; groups are no instances."""
    visible = np.bincount(regions.index.ravel(), minlength=len(regions.train_ids) + 1)
    rows = enumerate(zip(regions.train_ids, regions.groups, strict=True), start=1)
    return [
        CoarseInstance(place, train_id, regions.index == place)
        for place, (train_id, group) in rows
        if train_id in train_ids and not group and visible[place]
    ]


def regions_of_map(label: UInt8Array, instances: Int32Array | None, train_ids: Collection[int]) -> Regions:
    """Regions where there are no polygons: instances where the map has them, else 8-connected components of a class.

    Parts of a class with instances that belong to none are a group, which is no instance.

    Args:
        label: Train ids, (H, W) uint8.
        instances: Instance ids `train_id * 1000 + k`, 0 = none, (H, W) int32, or `None`.
        train_ids: Classes to look at.

    Returns:
        The regions, in order of class and place.
    """
    index = np.zeros(label.shape, np.int32)
    classes: list[int] = []
    for train_id in sorted(train_ids):
        region = label == train_id
        own = np.where(region, instances, 0) if instances is not None else None
        if own is not None and own.any():
            masks = [own == value for value in np.unique(own[own > 0]).tolist()]
        else:
            count, components = cv2.connectedComponents(region.view(np.uint8), connectivity=8)
            masks = [components == number for number in range(1, count)]
        for mask in masks:
            classes.append(train_id)
            index[mask] = len(classes)
    return Regions(index, tuple(classes), (False,) * len(classes))


def refine_instances(
    instances: Sequence[CoarseInstance], image: Embedded, *, gate: bool, seed: str, outline: bool = False
) -> list[Refined]:
    """Segment instances from random points inside them.

    Two points are drawn in each instance, the best of three candidate masks is taken, and its logits go back with the
    same points two more times [0].

    Args:
        instances: The instances.
        image: The frame, embedded by a prompter.
        gate: Whether masks that leave or outgrow their polygon are not accepted.
        seed: Seed; each instance has its own random numbers.
        outline: Prompt with the polygons as masks too, for methods whose logits have the size of the frame: the own
            polygon is certain, and so is that those of others do not belong to the object.
    """
    if not outline:
        return _refined_together(instances, image, [None] * len(instances), gate, seed) if instances else []
    taken = np.any([instance.mask for instance in instances], axis=0)
    elsewhere = np.where(taken, -_CERTAIN, -_LIKELY)
    return [  # one by one, since each answer takes several frames of memory
        refined
        for instance in instances
        for refined in _refined_together([instance], image, [np.where(instance.mask, _CERTAIN, elsewhere)], gate, seed)
    ]


def _refined_together(
    instances: Sequence[CoarseInstance],
    image: Embedded,
    certain: Sequence[Float32Array | None],
    gate: bool,
    seed: str,
) -> list[Refined]:
    """Refine instances, given what their polygons say as logits (H, W)."""
    prompts = [_point_prompt(instance, f"{seed}/{instance.place}") for instance in instances]
    first = [_masked(prompt, known, known) for prompt, known in zip(prompts, certain, strict=True)]
    best = [_best(candidates) for candidates in image.predict(first, candidates=3)]
    scores = [[float(candidate.scores[0])] for candidate in best]
    for _ in range(FEEDBACK_ROUNDS):
        fed = [
            _masked(prompt, candidate.low_res_logits[0], known)
            for prompt, candidate, known in zip(prompts, best, certain, strict=True)
        ]
        best = [_best(candidates) for candidates in image.predict(fed, candidates=1)]
        for row, candidate in zip(scores, best, strict=True):
            row.append(float(candidate.scores[0]))
    return [
        Refined(
            instance,
            prompt.points,
            candidate.masks[0],
            tuple(row),
            accepted=not gate or _passes_gate(instance.mask, candidate.masks[0]),
        )
        for instance, prompt, candidate, row in zip(instances, prompts, best, scores, strict=True)
    ]


def _masked(prompt: Prompt, logits: Float32Array | None, certain: Float32Array | None) -> Prompt:
    """The prompt with logits, wherever nothing is certain."""
    if logits is not None and certain is not None:
        logits = np.where(np.abs(certain) == _CERTAIN, certain, logits)
    return replace(prompt, mask_logits=logits)


def _point_prompt(instance: CoarseInstance, seed: str) -> Prompt:
    rows, columns = np.nonzero(instance.mask)
    chosen = random.Random(seed).sample(range(len(rows)), min(POINTS, len(rows)))
    points = np.stack([columns[chosen], rows[chosen]], axis=1).astype(np.float32)
    return Prompt(points=points, positive=np.ones(len(points), np.bool_))


def _best(candidates: Candidates) -> Candidates:
    """The candidate of the highest predicted quality, alone."""
    place = int(np.argmax(candidates.scores))
    kept = slice(place, place + 1)
    return Candidates(candidates.masks[kept], candidates.scores[kept], candidates.low_res_logits[kept])


def _passes_gate(polygon: BoolArray, mask: BoolArray) -> bool:
    area = np.count_nonzero(polygon)
    kept = np.count_nonzero(polygon & mask) >= LEAST_OVERLAP * area
    return bool(kept and np.count_nonzero(mask) <= MOST_GROWTH * area)


def write_back(
    label: UInt8Array, refined: Sequence[Refined], train_ids: Collection[int], rule: RefineRule
) -> UInt8Array:
    """Write refined masks into a coarse label map.

    Where two masks meet, the instance drawn later wins. Pixels that no accepted mask touches stay as they are.

    Args:
        label: Train ids, (H, W) uint8.
        refined: Refined instances in drawing order.
        train_ids: The classes that are refined, which "stuff" does not overwrite.
        rule: See `RefineRule`.

    Returns:
        The new map, (H, W) uint8.
    """
    result = label.copy()
    accepted = [entry for entry in refined if entry.accepted]
    if rule.shrink == "ignore":
        for entry in accepted:
            result[entry.instance.mask & ~entry.mask] = IGNORE_INDEX
    free = _free(result, train_ids, rule.beyond)
    taken = np.zeros(label.shape, np.bool_)
    for entry in accepted:
        target = entry.mask & (free | taken | entry.instance.mask)
        result[target] = entry.instance.train_id
        taken |= target
    return result


def _free(label: UInt8Array, train_ids: Collection[int], beyond: Beyond) -> BoolArray:
    """Pixels that any mask may take."""
    if beyond == "all":
        return np.ones(label.shape, np.bool_)
    kept = train_ids if beyond == "stuff" else range(IGNORE_INDEX)
    allowed = np.ones(256, np.bool_)
    allowed[list(kept)] = False
    return np.asarray(allowed[label], np.bool_)


def label_by_automatic_masks(
    label: UInt8Array, masks: Sequence[BoolArray]
) -> tuple[UInt8Array, list[tuple[int, int | None]]]:
    """Give whole masks the class of their labelled pixels.

    A mask whose labelled pixels are of one class by more than 90 % [0] gets that class everywhere; one without
    labelled pixels is skipped. Large masks are painted first, so small ones lie in front.

    Args:
        label: Train ids, (H, W) uint8.
        masks: Masks without classes, each (H, W) bool.

    Returns:
        The new map, (H, W) uint8, and for each mask, largest first, its area and class; `None` where it got none.
    """
    result = label.copy()
    decisions: list[tuple[int, int | None]] = []
    for area, mask in sorted(((int(np.count_nonzero(mask)), mask) for mask in masks), key=lambda row: -row[0]):
        counts = np.bincount(label[mask], minlength=256)[:IGNORE_INDEX]
        dominates = counts.max() > DOMINANT_SHARE * counts.sum()
        decisions.append((area, int(counts.argmax()) if dominates else None))
        if dominates:
            result[mask] = counts.argmax()
    return result, decisions
