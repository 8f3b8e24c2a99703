from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from thriftseg.datasets.polygons import Polygon, PolygonFile, draw_labels, draw_regions
from thriftseg.errors import ConfigError
from thriftseg.labels.refining.instances import (
    CoarseInstance,
    Refined,
    RefineRule,
    instances_of,
    label_by_automatic_masks,
    refine_instances,
    regions_of_map,
    write_back,
)
from thriftseg.labels.refining.prompters.protocol import Candidates, Prompt
from thriftseg.taxonomies import CITYSCAPES

HEIGHT, WIDTH = 40, 60
BUILDING, PERSON, RIDER, CAR = 2, 11, 12, 13
REFINED = (5, 6, 7, 11, 12, 13, 17, 18)


def disc(row: float, column: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2


def square(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.int32)


@dataclass
class Discs:
    """A prompter that finds discs around the centre of the points; a mask that comes back grows by a pixel."""

    radius: float

    def predict(self, prompts: Sequence[Prompt], candidates: int) -> list[Candidates]:
        return [self._answer(prompt, candidates) for prompt in prompts]

    def _answer(self, prompt: Prompt, candidates: int) -> Candidates:
        column, row = prompt.points.mean(axis=0)
        grown = 0 if prompt.mask_logits is None else float(prompt.mask_logits[0, 0])
        radii = [self.radius + grown + extra for extra in (0, -1, 1)[:candidates]]
        masks = np.stack([disc(row, column, radius) for radius in radii])
        scores = np.array([0.9, 0.3, 0.2][:candidates], np.float32)
        return Candidates(masks, scores, np.full((candidates, 4, 4), grown + 1, np.float32))


@dataclass
class Fixed:
    """A prompter that always finds the same mask."""

    mask: np.ndarray

    def predict(self, prompts: Sequence[Prompt], candidates: int) -> list[Candidates]:
        masks, scores = np.stack([self.mask] * candidates), np.ones(candidates, np.float32)
        return [Candidates(masks, scores, np.zeros((candidates, 4, 4), np.float32)) for _ in prompts]


def region(train_id: int, left: int, top: int, right: int, bottom: int, place: int = 1) -> CoarseInstance:
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[top:bottom, left:right] = True
    return CoarseInstance(place, train_id, mask)


def refined(instance: CoarseInstance, mask: np.ndarray, accepted: bool = True) -> Refined:
    return Refined(instance, np.zeros((2, 2), np.float32), mask, (0.5,), accepted)


@pytest.fixture
def scene() -> tuple[np.ndarray, CoarseInstance]:
    """A person's square inside a building."""
    label = np.full((HEIGHT, WIDTH), BUILDING, np.uint8)
    label[:, 50:] = 255
    person = region(PERSON, 10, 10, 30, 30)
    label[person.mask] = PERSON
    return label, person


class TestWritingBack:
    def test_a_smaller_mask_leaves_the_rest_of_the_square_unlabelled(self, scene):
        label, person = scene
        small = disc(20, 20, 5)
        result = write_back(label, [refined(person, small)], REFINED, RefineRule())
        assert (result[small] == PERSON).all()
        assert (result[person.mask & ~small] == 255).all()
        np.testing.assert_array_equal(result[~person.mask], label[~person.mask])

    def test_or_keeps_its_class(self, scene):
        label, person = scene
        result = write_back(label, [refined(person, disc(20, 20, 5))], REFINED, RefineRule(shrink="keep"))
        np.testing.assert_array_equal(result, label)

    @pytest.mark.parametrize(("overwrite", "building", "unlabelled"), [
        ("stuff", PERSON, PERSON),
        ("ignore_only", BUILDING, PERSON),
        ("all", PERSON, PERSON),
    ])  # fmt: skip
    def test_what_a_larger_mask_may_take(self, scene, overwrite, building, unlabelled):
        label, person = scene
        large = np.zeros_like(person.mask)
        large[15:25, 5:58] = True
        result = write_back(label, [refined(person, large)], REFINED, RefineRule(beyond=overwrite))
        assert np.unique(result[15:25, 30:50]).tolist() == [building]
        assert np.unique(result[15:25, 50:58]).tolist() == [unlabelled]

    def test_a_neighbour_that_is_not_refined_keeps_its_pixels(self, scene):
        label, person = scene
        label[10:30, 30:40] = RIDER
        wide = disc(20, 20, 16)
        for overwrite, expected in (("stuff", RIDER), ("ignore_only", RIDER), ("all", PERSON)):
            result = write_back(label, [refined(person, wide)], REFINED, RefineRule(beyond=overwrite))
            assert result[20, 33] == expected

    @pytest.mark.parametrize("first_is_rider", [True, False])
    def test_where_two_masks_meet_the_later_polygon_wins(self, scene, first_is_rider):
        label, person = scene
        rider = region(RIDER, 30, 10, 45, 30, place=2)
        label[rider.mask] = RIDER
        masks = {PERSON: disc(20, 22, 12), RIDER: disc(20, 36, 10)}
        both = masks[PERSON] & masks[RIDER]
        assert both.any()
        order = [rider, person] if first_is_rider else [person, rider]
        result = write_back(label, [refined(entry, masks[entry.train_id]) for entry in order], REFINED, RefineRule())
        assert np.unique(result[both]).tolist() == [order[-1].train_id]
        assert (result[masks[RIDER] & ~masks[PERSON]] == RIDER).all()

    def test_a_rejected_mask_changes_nothing(self, scene):
        label, person = scene
        result = write_back(label, [refined(person, disc(5, 45, 3), accepted=False)], REFINED, RefineRule())
        np.testing.assert_array_equal(result, label)

    def test_unknown_rules(self):
        with pytest.raises(ConfigError, match="unknown shrink rule; expected ignore, keep; found drop"):
            RefineRule(shrink="drop")
        with pytest.raises(ConfigError, match="unknown beyond rule; expected stuff, ignore_only, all"):
            RefineRule(beyond="nothing")


class TestRefining:
    def test_the_best_candidate_goes_back_twice(self, scene):
        _, person = scene
        (entry,) = refine_instances([person], Discs(radius=6), gate=False, seed="a")
        column, row = entry.points.mean(axis=0)
        np.testing.assert_array_equal(entry.mask, disc(row, column, 6 + 2))  # one pixel with each round
        assert entry.scores == pytest.approx((0.9, 0.9, 0.9))

    def test_points_are_two_different_pixels_of_the_instance(self, scene):
        _, person = scene
        for seed in range(20):
            (entry,) = refine_instances([person], Discs(5), gate=False, seed=str(seed))
            columns, rows = entry.points.astype(int).T
            assert person.mask[rows, columns].all()
            assert len({tuple(point) for point in entry.points.tolist()}) == 2

    def test_a_single_pixel_gives_its_one_point(self):
        (entry,) = refine_instances([region(CAR, 7, 9, 8, 10)], Discs(0), gate=False, seed="a")
        assert entry.points.tolist() == [[7, 9]]

    def test_each_instance_has_its_own_random_numbers(self, scene):
        _, person = scene
        rider = region(RIDER, 40, 10, 50, 30, place=2)
        alone = refine_instances([rider], Discs(4), gate=False, seed="a")
        beside = refine_instances([person, rider], Discs(4), gate=False, seed="a")
        np.testing.assert_array_equal(alone[0].points, beside[1].points)
        other = refine_instances([rider], Discs(4), gate=False, seed="b")
        assert not np.array_equal(alone[0].points, other[0].points)

    @pytest.mark.parametrize(
        ("columns", "accepted"),
        [((25, 30), True), ((25, 29), False), ((20, 60), True), ((19, 60), False)],
        ids=["half of it", "less", "eight times its area", "more"],
    )
    def test_gate(self, columns, accepted):
        """A polygon of 10x10 pixels and masks that cover whole columns of it, 20 rows high where they exceed it."""
        polygon = region(PERSON, 25, 15, 35, 25)
        rows = slice(15, 25) if columns[1] <= 30 else slice(10, 30)
        mask = np.zeros((HEIGHT, WIDTH), np.bool_)
        mask[rows, slice(*columns)] = True
        (entry,) = refine_instances([polygon], Fixed(mask), gate=True, seed="a")
        assert entry.accepted is accepted
        (entry,) = refine_instances([polygon], Fixed(mask), gate=False, seed="a")
        assert entry.accepted


class TestRegions:
    def drawn(self) -> PolygonFile:
        regions = (
            Polygon("building", square(0, 0, 59, 39)),
            Polygon("car", square(5, 5, 20, 20)),
            Polygon("cargroup", square(30, 5, 45, 20)),
            Polygon("person", square(12, 5, 16, 20)),
            Polygon("rider", square(6, 30, 10, 34)),
            Polygon("car", square(4, 28, 12, 36)),  # hides the rider
        )
        return PolygonFile(Path("a.json"), HEIGHT, WIDTH, regions)

    def test_visible_parts_of_refined_classes_in_drawing_order(self):
        regions = draw_regions(self.drawn(), CITYSCAPES)
        instances = instances_of(regions, REFINED)
        assert [(entry.place, entry.train_id) for entry in instances] == [(2, CAR), (4, PERSON), (6, CAR)]
        assert instances[0].mask.sum() == 16 * 16 - 5 * 16  # the person stands in front of it
        label = draw_labels(self.drawn(), CITYSCAPES)
        for entry in instances:
            assert (label[entry.mask] == entry.train_id).all()

    def test_groups_and_other_classes_stay_as_they_are(self):
        label = draw_labels(self.drawn(), CITYSCAPES)
        instances = instances_of(draw_regions(self.drawn(), CITYSCAPES), REFINED)
        entries = refine_instances(instances, Discs(3), gate=False, seed="a")
        result = write_back(label, entries, REFINED, RefineRule())
        np.testing.assert_array_equal(result[5:21, 30:46], label[5:21, 30:46])
        touched = np.any([entry.instance.mask | entry.mask for entry in entries], axis=0)
        np.testing.assert_array_equal(result[~touched], label[~touched])

    def test_without_polygons_instances_or_components(self):
        label = np.full((HEIGHT, WIDTH), 255, np.uint8)
        label[5:10, 5:10] = label[5:10, 20:25] = CAR
        label[20:30, 5], label[20:30, 9] = 5, 5
        ids = np.zeros((HEIGHT, WIDTH), np.int32)
        ids[5:10, 5:8], ids[5:10, 8:10] = CAR * 1000 + 1, CAR * 1000 + 2
        regions = regions_of_map(label, ids, REFINED)
        areas = [int(entry.mask.sum()) for entry in instances_of(regions, REFINED)]
        assert list(zip(regions.train_ids, areas, strict=True)) == [(5, 10), (5, 10), (CAR, 15), (CAR, 10)]
        assert regions.index[7, 22] == 0  # a car without instance is a group


class TestAutomaticMasks:
    @pytest.mark.parametrize(("cars", "buildings", "accepted"), [(91, 9, True), (90, 10, False), (0, 0, False)])
    def test_more_than_nine_tenths(self, cars, buildings, accepted):
        label = np.full((HEIGHT, WIDTH), 255, np.uint8)
        mask = np.zeros((HEIGHT, WIDTH), np.bool_)
        mask[10:20, 10:30] = True
        inside = np.flatnonzero(mask)
        label.reshape(-1)[inside[:cars]] = CAR
        label.reshape(-1)[inside[cars : cars + buildings]] = BUILDING
        result, decisions = label_by_automatic_masks(label, [mask])
        assert decisions == [(200, CAR if accepted else None)]
        np.testing.assert_array_equal(result, np.where(mask, CAR, label) if accepted else label)

    def test_small_masks_lie_in_front(self):
        label = np.full((HEIGHT, WIDTH), 255, np.uint8)
        label[0, :20], label[12, 12] = BUILDING, PERSON
        large, small = np.zeros((2, HEIGHT, WIDTH), np.bool_)
        large[:20, :20], small[10:15, 10:15] = True, True
        result, decisions = label_by_automatic_masks(label, [small, large])
        assert [train_id for _, train_id in decisions] == [BUILDING, PERSON]
        assert (result[10:15, 10:15] == PERSON).all()
        assert result[5, 5] == BUILDING
