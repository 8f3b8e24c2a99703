"""Label maps as sets of objects that a tracker can follow, and back."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal, get_args

import cv2
import numpy as np

from thriftseg.arrays import AnyArray, BoolArray, Int32Array, UInt8Array, UInt16Array
from thriftseg.errors import ConfigError, DatasetError
from thriftseg.types import BACKGROUND, IGNORE_INDEX, INSTANCES_PER_CLASS

ObjectUnit = Literal["class", "instance", "component"]
"""Unit that counts as one object: a class, an instance (else a class), or a connected component of a class."""

OBJECT_UNITS: tuple[ObjectUnit, ...] = get_args(ObjectUnit)

NO_OBJECT = 0
"""Id of pixels that belong to no object."""

MIN_COMPONENT = 64
"""Smallest component that becomes an object, in pixels."""

_MOST_OBJECTS = np.iinfo(np.uint16).max


@dataclass(frozen=True)
class TrackedObject:
    """One object of a label map.

    Attributes:
        id: Number in the object map, from 1.
        train_id: Its class.
        instance: Number of the instance or component within the class, from 1; `None` for a whole class, or for what
            is left of it beside its instances.

    Example:
        >>> label, instances = np.full((1, 3), 13, np.uint8), np.array([[13001, 13002, 0]], np.int32)
        >>> [(each.id, each.instance) for each in objects_of(label, instances, "instance", thing_ids=[13]).objects]
        [(1, None), (2, 1), (3, 2)]
    """

    id: int
    train_id: int
    instance: int | None = None


@dataclass(frozen=True)
class ObjectMap:
    """Which pixel belongs to which object.

    Attributes:
        ids: Object ids, (H, W) uint16, 0 = no object.
        objects: The objects; the first has id 1, the second id 2, and so on.
        rest: Train id of pixels that belong to none.

    Example:
        >>> objects = objects_of(np.array([[3, 3, 255], [8, 8, 8]], np.uint8))
        >>> moved = np.roll(objects.ids, 1, axis=1)
        >>> objects.to_label(moved).tolist()
        [[255, 3, 3], [8, 8, 8]]
    """

    ids: UInt16Array
    objects: tuple[TrackedObject, ...]
    rest: int = IGNORE_INDEX

    def to_label(self, ids: UInt16Array) -> UInt8Array:
        """Label map of an object map of any frame of the clip.

        Args:
            ids: Object ids, (H, W) uint16.

        Returns:
            Train ids, (H, W) uint8; `rest` where there is no object.

        Raises:
            ConfigError: There is an id without object.
        """
        if ids.size and int(ids.max()) > len(self.objects):
            raise ConfigError("object id without object", expected=f"0..{len(self.objects)}", found=int(ids.max()))
        train_ids: UInt8Array = np.array([self.rest, *(item.train_id for item in self.objects)], np.uint8)
        return train_ids[ids]

    def without_background(self) -> ObjectMap:
        """The same map where `BACKGROUND` is no object, but what is left beside the others.

        Example:
            >>> objects = objects_of(np.array([[0, 0, 3]], np.uint8)).without_background()
            >>> objects.ids.tolist(), objects.to_label(objects.ids).tolist()
            ([[0, 0, 1]], [[0, 0, 3]])
        """
        kept = [item for item in self.objects if item.train_id != BACKGROUND]
        table = np.zeros(len(self.objects) + 1, np.uint16)
        table[[item.id for item in kept]] = np.arange(1, len(kept) + 1)
        objects = tuple(replace(item, id=place) for place, item in enumerate(kept, start=1))
        return ObjectMap(table[self.ids], objects, rest=BACKGROUND)


def objects_of(
    label: UInt8Array,
    instances: Int32Array | None = None,
    unit: ObjectUnit = "class",
    thing_ids: Collection[int] = (),
    min_area: int = MIN_COMPONENT,
) -> ObjectMap:
    """Divide a label map into objects, numbered in the order (train id, instance).

    - "class": one object per class.
    - "instance": one object per instance of a thing class, and one per class for everything else, groups included.
    - "component": one object per 8-connected component of a class, from the top left; smaller ones than `min_area`
      belong to no object, so their pixels end as ignored.

    Going back with `ObjectMap.to_label` gives the label map again but for those.

    Args:
        label: Train ids, (H, W) uint8, 255 = ignore.
        instances: Instance ids `train_id * 1000 + k`, 0 = none, (H, W) int32; `None` for data without instances.
        unit: What counts as one object.
        thing_ids: Train ids of the classes with instances.
        min_area: Smallest component, in pixels.

    Raises:
        ConfigError: There is no such unit, or `min_area` is below 1.
        DatasetError: The maps differ in size, or there are more than 65535 objects.

    Example:
        >>> label = np.array([[3, 3, 255], [8, 8, 8]], np.uint8)
        >>> objects = objects_of(label)
        >>> objects.ids.tolist(), [item.train_id for item in objects.objects]
        ([[1, 1, 0], [2, 2, 2]], [3, 8])
        >>> bool((objects.to_label(objects.ids) == label).all())
        True
    """
    check_unit(unit, min_area)
    if instances is not None and instances.shape != label.shape:
        raise DatasetError("label and instances differ in size", expected=label.shape, found=instances.shape)
    ids = np.zeros(label.shape, np.uint16)
    objects: list[TrackedObject] = []
    parts: AnyArray
    order: dict[int, int | None]
    for train_id in np.flatnonzero(np.bincount(label.ravel(), minlength=256)[:IGNORE_INDEX]).tolist():
        region = label == train_id
        if unit == "component":
            parts, order = _components(region, min_area)
        elif unit == "instance" and instances is not None and train_id in thing_ids:
            parts, order = _instances(region, instances, train_id)
        else:
            parts, order = region.view(np.uint8), {1: None}
        if len(objects) + len(order) > _MOST_OBJECTS:
            raise DatasetError("too many objects in a label map", expected=f"at most {_MOST_OBJECTS}")
        table = np.zeros(int(parts.max()) + 1, np.uint16)
        for number, instance in order.items():
            objects.append(TrackedObject(len(objects) + 1, train_id, instance))
            table[number] = objects[-1].id
        ids += table[parts]
    return ObjectMap(ids, tuple(objects))


def check_unit(unit: str, min_area: int) -> None:
    """Refuse what `objects_of` does not know.

    Raises:
        ConfigError: There is no such unit, or `min_area` is below 1.

    Example:
        >>> check_unit("component", min_area=64)
        >>> check_unit("pixel", min_area=64)
        Traceback (most recent call last):
        thriftseg.errors.ConfigError: no such unit of objects; expected class, instance, component; found 'pixel'
    """
    if unit not in OBJECT_UNITS:
        raise ConfigError("no such unit of objects", expected=", ".join(OBJECT_UNITS), found=repr(unit))
    if min_area < 1:
        raise ConfigError("min_area", expected="at least 1 pixel", found=min_area)


def _instances(region: BoolArray, instances: Int32Array, train_id: int) -> tuple[AnyArray, dict[int, int | None]]:
    """Part numbers of a class, 0 outside of it, and the instance of each: first what has none, then the instances."""
    own = np.where(instances // INSTANCES_PER_CLASS == train_id, instances % INSTANCES_PER_CLASS, 0)
    parts = np.where(region, own + 1, 0)
    numbers = np.flatnonzero(np.bincount(parts.ravel())[1:]) + 1
    return parts, {number: number - 1 or None for number in numbers.tolist()}


def _components(region: BoolArray, min_area: int) -> tuple[AnyArray, dict[int, int | None]]:
    """Component numbers, 0 outside of the class, and the place in the order of each that is large enough."""
    _, components, stats, _ = cv2.connectedComponentsWithStatsWithAlgorithm(
        region.view(np.uint8), 8, cv2.CV_32S, cv2.CCL_GRANA
    )
    large = (np.flatnonzero(stats[1:, cv2.CC_STAT_AREA] >= min_area) + 1).tolist()
    # The numbering of components is OpenCV's own business, so number them by their first pixel.
    numbers, first_pixels = np.unique(components, return_index=True)
    start = dict(zip(numbers.tolist(), first_pixels.tolist(), strict=True))
    return components, {number: place for place, number in enumerate(sorted(large, key=start.__getitem__), start=1)}
