from __future__ import annotations

import pytest
import torch

from thriftseg.errors import ConfigError
from thriftseg.zoo import ObjectIds, ObjectRows

LABELS = torch.tensor([[0, 3, 3, 12], [7, 7, 255, 12]])


def test_label_map_to_masks_and_back():
    objects = ObjectIds.present_in(LABELS)
    assert objects.ids == (3, 7, 12)
    masks = objects.masks(LABELS)
    assert masks.shape == (3, 2, 4)
    assert masks.sum(dim=(1, 2)).tolist() == [2, 2, 2]
    background = 1 - masks.sum(0, keepdim=True)
    again = objects.labels(torch.cat([background, masks]))
    assert torch.equal(again, LABELS.masked_fill(LABELS == 255, 0))


def test_ignored_pixels_are_in_no_mask():
    masks = ObjectIds((3, 7, 12)).masks(LABELS)
    assert masks[:, 1, 2].tolist() == [0, 0, 0]


def test_later_objects_take_the_next_channels():
    objects = ObjectIds((7,)).extended((12, 7)).extended((3, 3 + 1))
    assert objects.ids == (7, 12, 3, 4)
    assert objects.flags((3, 7, 99)).tolist() == [True, False, True, False]
    assert ObjectIds().extended(()).ids == ()


def test_many_clips_at_once():
    labels = LABELS.expand(5, 2, 4)
    masks = ObjectIds((12, 3)).masks(labels)
    assert masks.shape == (5, 2, 2, 4)
    assert torch.equal(masks[4, 0], (LABELS == 12).float())


def test_without_objects_everything_is_background():
    assert ObjectIds.present_in(torch.tensor([[0, 255]])).ids == ()
    assert ObjectIds().masks(LABELS).shape == (0, 2, 4)
    assert not ObjectIds().labels(torch.rand(1, 2, 4)).any()


@pytest.mark.parametrize("ids", [(0, 1), (255,), (3, 3), (-2,)])
def test_wrong_ids(ids):
    with pytest.raises(ConfigError, match="expected distinct positive numbers other than 255"):
        ObjectIds(ids)


def test_wrong_number_of_channels():
    with pytest.raises(ConfigError, match="expected 3; found 5"):
        ObjectIds((1, 2)).labels(torch.rand(5, 4, 4))


FLAGS = torch.tensor([[True, False, True], [False, False, False], [False, True, False]])


def test_rows_of_a_table():
    rows = ObjectRows.given(FLAGS)
    assert rows.places == ((0, 0), (0, 2), (2, 1))
    assert rows.channels == len(rows) == 3
    table = torch.arange(9.0).view(3, 3)
    assert rows.gather(table).tolist() == [0, 2, 7]
    assert torch.equal(rows.scatter(rows.gather(table), 3), table * FLAGS)
    assert rows.spread(torch.tensor([10, 20, 30])).tolist() == [10, 10, 30]


def test_rows_of_a_full_table_and_of_none():
    full, empty = ObjectRows.given(torch.ones(2, 3, dtype=torch.bool)), ObjectRows.given([[False], [False]])
    table = torch.rand(2, 3, 4, 5)
    assert torch.equal(full.scatter(full.gather(table), 2), table)
    assert empty.gather(torch.rand(2, 1, 4)).shape == (0, 4)
    assert not empty.scatter(torch.rand(0, 4), 2).any()
    assert ObjectRows().scatter(torch.rand(0, 4), 2).shape == (2, 0, 4)


def test_rows_can_be_read_from_wider_tables():
    rows = ObjectRows.given(FLAGS)
    wide = torch.cat([torch.arange(9.0).view(3, 3), torch.full((3, 2), -1.0)], dim=1)
    assert rows.gather(wide).tolist() == [0, 2, 7]


def test_union_keeps_the_rows_in_order():
    rows = ObjectRows.given(FLAGS)
    later = ObjectRows.given([[False, False, False, False], [True, False, False, True], [False, True, False, False]])
    both = rows.union(later)
    assert both.places == ((0, 0), (0, 2), (1, 0), (1, 3), (2, 1))
    assert both.channels == 4
    assert rows.positions_in(both) == [0, 1, 4]


def test_gradient_passes_through_the_table():
    rows = ObjectRows.given(FLAGS)
    table = torch.rand(3, 3, requires_grad=True)
    (rows.scatter(rows.gather(table), 3) ** 2).sum().backward()
    assert torch.equal(table.grad, 2 * table.detach() * FLAGS)
