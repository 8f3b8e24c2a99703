"""Masks of single objects become one map; bad ones become regions without a label."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from thriftseg.labels.boxes.masks import DRAWN, ObjectMask, compose_masks, ignore_boxes, levels_of, mean_probability
from thriftseg.losses import CrossEntropy, PartiallyHuberisedCrossEntropy

SIZE = (10, 12)


def mask(object_id: int, box: tuple[int, int, int, int], p: float = 1.0, source: str = "box2seg") -> ObjectMask:
    x0, y0, x1, y1 = box
    levels = levels_of(np.full((y1 - y0, x1 - x0), p, np.float32))
    return ObjectMask(object_id, source, levels, top=y0, left=x0)


class TestCompose:
    def test_the_larger_probability_wins(self):
        masks = [mask(4, (0, 0, 8, 8), 0.6), mask(9, (4, 4, 12, 10), 0.9)]
        for order in (masks, masks[::-1]):
            ids = compose_masks(order, SIZE)
            assert (ids[4:8, 4:8] == 9).all()
            assert (ids[:4, :8] == 4).all()
            assert np.unique(ids).tolist() == [0, 4, 9]

    def test_half_is_background(self):
        assert not compose_masks([mask(1, (0, 0, 5, 5), 0.5)], SIZE).any()
        assert compose_masks([mask(1, (0, 0, 5, 5), 0.5001)], SIZE).sum() == 25

    def test_drawn_beats_predicted(self):
        drawn = mask(2, (0, 0, 8, 8), source=DRAWN)
        ids = compose_masks([mask(3, (2, 2, 4, 4), 1.0), drawn], SIZE)
        assert (ids[:8, :8] == 2).all()

    def test_the_smaller_of_two_drawn_is_on_top(self):
        ids = compose_masks([mask(1, (2, 2, 4, 4), source=DRAWN), mask(2, (0, 0, 8, 8), source=DRAWN)], SIZE)
        assert (ids == 1).sum() == 4

    def test_ties_go_to_the_smaller_mask_then_to_the_smaller_id(self):
        assert (compose_masks([mask(1, (0, 0, 8, 8)), mask(2, (0, 0, 3, 3))], SIZE) == 2).sum() == 9
        assert np.unique(compose_masks([mask(7, (0, 0, 3, 3)), mask(5, (0, 0, 3, 3))], SIZE)).tolist() == [0, 5]

    def test_levels_keep_the_decision(self):
        p = np.random.default_rng(0).random((50, 50), np.float32)
        assert np.array_equal(levels_of(p) > 127, p > 0.5)
        assert mean_probability(levels_of(p)) == pytest.approx(p[p > 0.5].mean(), abs=1 / 255)


class TestFilter:
    ids = compose_masks([mask(1, (0, 0, 6, 6)), mask(2, (4, 4, 12, 10))], SIZE)

    def test_the_box_is_ignored_except_for_kept_neighbours(self):
        box = (1, 1, 8, 8)
        label = ignore_boxes(self.ids, {1: box})
        inside = np.zeros(SIZE, bool)
        inside[1:8, 1:8] = True
        neighbour = self.ids == 2
        assert (label[inside & ~neighbour] == 255).all()
        assert np.array_equal(label == 2, neighbour)
        assert (label[~inside & ~neighbour] == 0).all()  # what the bad mask had outside of its box is gone

    def test_two_bad_neighbours_do_not_protect_each_other(self):
        label = ignore_boxes(self.ids, {1: (0, 0, 6, 6), 2: (4, 4, 12, 10)})
        assert set(np.unique(label).tolist()) == {0, 255}

    def test_nothing_bad_changes_nothing(self):
        assert np.array_equal(ignore_boxes(self.ids, {}), self.ids)

    @pytest.mark.parametrize("loss", [CrossEntropy(), PartiallyHuberisedCrossEntropy(tau=3)])
    def test_losses_leave_the_box_out(self, loss):
        """The gradient vanishes in the box and is elsewhere that of a loss on the other pixels alone."""
        label = torch.from_numpy(ignore_boxes(self.ids, {1: (1, 1, 8, 8)})).long()[None]
        logits = torch.randn(1, 3, *SIZE, dtype=torch.float64, requires_grad=True)
        loss(logits, label).backward()
        valid = label[0] != 255
        assert (logits.grad[0, :, ~valid] == 0).all()
        alone = logits.detach()[:, :, valid][..., None].requires_grad_()
        loss(alone, label[:, valid][..., None]).backward()
        assert torch.allclose(logits.grad[0, :, valid], alone.grad[0, :, :, 0])
