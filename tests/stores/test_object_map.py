from __future__ import annotations

import numpy as np
import pytest

from thriftseg.errors import ConfigError, DatasetError
from thriftseg.stores.object_map import OBJECT_UNITS, TrackedObject, objects_of

CAR, PERSON, ROAD = 13, 11, 0
THINGS = (PERSON, CAR)


def street() -> tuple[np.ndarray, np.ndarray]:
    """Road with two cars of one instance each, a group of cars without, a person in two parts, and void."""
    label = np.zeros((40, 60), np.uint8)
    instances = np.zeros((40, 60), np.int32)
    label[2:12, 2:12], instances[2:12, 2:12] = CAR, CAR * 1000 + 2
    label[2:12, 12:20], instances[2:12, 12:20] = CAR, CAR * 1000 + 1
    label[20:30, 2:12] = CAR
    for rows in (slice(20, 30), slice(32, 36)):
        label[rows, 30:40], instances[rows, 30:40] = PERSON, PERSON * 1000 + 7
    label[:, 50:] = 255
    label[0, 45] = 8  # one pixel
    return label, instances


def members(objects) -> list[tuple[int, int | None, int]]:
    return [(item.train_id, item.instance, int((objects.ids == item.id).sum())) for item in objects.objects]


def test_classes():
    label, instances = street()
    objects = objects_of(label, instances, "class", THINGS)
    assert members(objects) == [(ROAD, None, 1579), (8, None, 1), (PERSON, None, 140), (CAR, None, 280)]


def test_instances_then_what_is_left_of_the_class_first():
    label, instances = street()
    objects = objects_of(label, instances, "instance", THINGS)
    assert members(objects) == [
        (ROAD, None, 1579),
        (8, None, 1),
        (PERSON, 7, 140),
        (CAR, None, 100),
        (CAR, 1, 80),
        (CAR, 2, 100),
    ]


def test_components_by_their_first_pixel():
    label, instances = street()
    objects = objects_of(label, instances, "component", THINGS, min_area=30)
    assert members(objects) == [(ROAD, 1, 1579), (PERSON, 1, 100), (PERSON, 2, 40), (CAR, 1, 180), (CAR, 2, 100)]
    assert [item[2] for item in members(objects_of(label, unit="component"))] == [1579, 100, 180, 100]


def test_components_are_8_connected():
    label = np.full((4, 4), 255, np.uint8)
    label[np.arange(4), np.arange(4)] = 5
    assert objects_of(label, unit="component", min_area=4).objects == (TrackedObject(1, 5, 1),)


@pytest.mark.parametrize("unit", OBJECT_UNITS)
def test_back_to_the_label(unit):
    """Offset 0 is the identity, void stays void."""
    label, instances = street()
    objects = objects_of(label, instances, unit, THINGS, min_area=1)
    np.testing.assert_array_equal(objects.to_label(objects.ids), label)
    assert (objects.to_label(np.zeros_like(objects.ids)) == 255).all()


def test_small_components_become_ignored():
    label, _ = street()
    objects = objects_of(label, unit="component")
    changed = objects.to_label(objects.ids) != label
    assert changed.sum() == 1 + 40  # the pixel and the lower part of the person
    assert (objects.to_label(objects.ids)[changed] == 255).all()


def test_instances_of_another_class_do_not_count():
    """Where label and instance ids contradict each other, the label holds."""
    label = np.full((4, 4), CAR, np.uint8)
    instances = np.full((4, 4), PERSON * 1000 + 1, np.int32)
    assert members(objects_of(label, instances, "instance", THINGS)) == [(CAR, None, 16)]


def test_three_hundred_objects():
    label = np.full((40, 60), CAR, np.uint8)
    instances = (np.arange(40 * 60).reshape(40, 60) % 300 + 1 + CAR * 1000).astype(np.int32)
    objects = objects_of(label, instances, "instance", THINGS)
    assert [item.id for item in objects.objects] == list(range(1, 301))
    np.testing.assert_array_equal(objects.ids, instances - CAR * 1000)
    np.testing.assert_array_equal(objects.to_label(objects.ids), label)


def test_nothing_but_void():
    objects = objects_of(np.full((4, 4), 255, np.uint8))
    assert objects.objects == ()
    assert (objects.to_label(objects.ids) == 255).all()


def test_faults():
    label = np.zeros((4, 4), np.uint8)
    with pytest.raises(ConfigError, match="no such unit of objects; expected class, instance, component; found 'box'"):
        objects_of(label, unit="box")
    with pytest.raises(ConfigError, match="min_area; expected at least 1 pixel; found 0"):
        objects_of(label, unit="component", min_area=0)
    with pytest.raises(DatasetError, match=r"differ in size; expected \(4, 4\); found \(2, 4\)"):
        objects_of(label, np.zeros((2, 4), np.int32))
    with pytest.raises(ConfigError, match=r"object id without object; expected 0\.\.1; found 2"):
        objects_of(label).to_label(np.full((4, 4), 2, np.uint16))
    dots = np.full((514, 514), 255, np.uint8)
    dots[::2, ::2] = 0  # 257 x 257 single pixels
    with pytest.raises(DatasetError, match="too many objects in a label map; expected at most 65535"):
        objects_of(dots, unit="component", min_area=1)
